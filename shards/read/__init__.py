"""Read a corpus back: by its index, from a disk, an object store or a local cache of shards."""
