"""croissant.json: the corpus in the words of MLCommons Croissant 1.1 (https://docs.mlcommons.org/croissant/).

Every file with its SHA-256, and a record set a dataset: the rows of its index, which say where in which shard the
image, masks, prompts and record of each sample lie.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from medshards.shards.build import index
from medshards.shards.build.manifest import MANIFEST, FileFacts
from medshards.shards.card.contents import Contents
from medshards.shards.card.text import MARK

VERSION = "http://mlcommons.org/croissant/1.1"
FORMATS = {
    ".tar": "application/x-tar",
    ".parquet": "application/x-parquet",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".png": "image/png",
    ".md": "text/markdown",
    ".bib": "application/x-bibtex",
}
COLUMNS = {
    "key": "Name of the sample; its members in the shard are KEY.png or KEY.jpg, KEY.mask.png, KEY.txt, KEY.json.",
    "split": "train, val or test.",
    "group": "Samples of one group stand in one split.",
    "official_split": "The authors' own split, by their name.",
    "shard": "Path of the tar file below the folder of the dataset.",
    "offset": "First byte of the sample in its shard.",
    "size": "Bytes of all members of the sample.",
    "image_extension": "png or jpg.",
    "image_offset": "First byte of the image in the shard.",
    "image_size": "Bytes of the image.",
    "image_sha256": "SHA-256 of the image.",
    "mask_offsets": "First byte of each map of instance ids in the shard; 0 in it is background.",
    "mask_sizes": "Bytes of each map.",
    "mask_sha256": "SHA-256 of each map.",
    "text_offset": "First byte of the prompts in the shard.",
    "text_size": "Bytes of the prompts, a text a line.",
    "json_offset": "First byte of the record in the shard.",
    "json_size": "Bytes of the record.",
    "height": "Rows of the image.",
    "width": "Columns of the image.",
    "concepts": "Ids of what is annotated in the image.",
    "absent": "Ids of what was looked for and is not there.",
    "instances": "Number of annotated objects.",
    "volume": "Volume or clip that the image is a slice of.",
    "slice": "Number of the slice, from 0.",
    "slices": "Slices of the volume.",
}  # docs/format.md, "Tables"
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{name: f"cr:{name}" for name in (
        "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty",
        "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
        "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate",
        "separator", "source", "subField", "transform",
    )},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}  # fmt: skip


def croissant(contents: Contents, others: Mapping[str, FileFacts]) -> bytes:
    """Content of croissant.json; others: the files of the corpus that belong to no dataset, but for corpus.json."""
    files = dict(others)
    for slug in contents.manifests:
        files[f"{slug}/{MANIFEST}"] = contents.own[slug]
        files |= {f"{slug}/{name}": facts for name, facts in contents.files(slug).items()}
    licences = {facts["licence"]["spdx"] or facts["licence"]["name"] for facts in contents.about.values()}
    value = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": "medshards",
        "version": contents.tool,
        "description": f"{contents.summary} {MARK}",
        "license": sorted(licences),
        "citeAs": " | ".join(f"{slug}: {a['citation']['text']}" for slug, a in contents.about.items()),
        "distribution": [_file(name, files[name]) for name in sorted(files)],
        "recordSet": [_record_set(slug, contents.about[slug]["title"]) for slug in contents.manifests],
    }
    return (json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()


def _file(name: str, facts: FileFacts) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{facts['bytes']} B",
        "encodingFormat": FORMATS["." + name.rpartition(".")[2]],
        "sha256": facts["sha256"],
    }


def _record_set(slug: str, title: str) -> dict[str, Any]:
    fields = [_field(slug, field) for field in index.INDEX_SCHEMA if field.name in COLUMNS]
    return {"@type": "cr:RecordSet", "@id": slug, "name": slug, "description": title, "field": fields}


def _field(slug: str, column: pa.Field) -> dict[str, Any]:
    listed = pa.types.is_list(column.type)
    scalar = column.type.value_type if listed else column.type
    return {
        "@type": "cr:Field",
        "@id": f"{slug}/{column.name}",
        "name": column.name,
        "description": COLUMNS[column.name],
        "dataType": "sc:Integer" if pa.types.is_integer(scalar) else "sc:Text",
        **({"isArray": True, "arrayShape": "-1"} if listed else {}),
        "source": {"fileObject": {"@id": f"{slug}/{index.INDEX}"}, "extract": {"column": column.name}},
    }
