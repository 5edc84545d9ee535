"""medshards: medical segmentation datasets, as downloaded, to one streamable corpus, and SAM3 trained on it."""
