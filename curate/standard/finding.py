"""What of a standard format lies in a folder: its files, and the labels where these name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medshards.curate.formats.jsonfile import read_object
from medshards.curate.formats.pictures import coco, labelme
from medshards.curate.sample import Reject
from medshards.curate.standard.yolo import class_names
from medshards.curate.tree import File


@dataclass(frozen=True)
class Found:
    """What lies in a folder.

    needs: globs of the layout. labels: native labels, where the files name them; values: their values. volumes: these
    are volumes, where the format may hold pictures as well. facts: what the files say of all samples, by name in the
    converter.
    """

    needs: tuple[str, ...]
    labels: tuple[str, ...] = ()
    values: Mapping[str, int] = field(default_factory=dict)
    volumes: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)


def find_coco(files: dict[str, File]) -> Found:
    """The COCO files among all JSON files. Raises Reject `not_recognised`."""
    tables: dict[str, coco.Coco] = {}
    for path, file in files.items():
        if file.suffix == ".json":
            try:
                tables[path] = coco.read_coco(file)
            except Reject:
                continue
    if not tables:
        raise Reject("not_recognised", "no JSON file with images, annotations and categories")
    labels = {label for table in tables.values() for label in table.labels}
    return Found(tuple(literal(path) for path in sorted(tables)), tuple(sorted(labels)))


def find_yolo(files: dict[str, File]) -> Found:
    """The YAML file with the names of the classes. Raises Reject `not_recognised`."""
    for path, file in files.items():
        if file.suffix in (".yaml", ".yml"):
            try:
                return Found((literal(path),), class_names(file))
            except Reject:
                continue
    raise Reject("not_recognised", "no YAML file with `names` of the classes (data.yaml)")


def find_labelme(files: dict[str, File]) -> Found:
    """The labels of all LabelMe files. Raises Reject `not_recognised`."""
    labels = set()
    for file in (file for file in files.values() if file.suffix == ".json"):
        try:
            labels |= {shape.label for shape in labelme.read_labelme(file).shapes}
        except Reject:
            continue
    if not labels:
        raise Reject("not_recognised", "no JSON file with shapes of LabelMe")
    return Found(("**/*.json",), tuple(sorted(labels)))


def find_pictures(files: dict[str, File]) -> Found:
    """Nothing: the user says where the files lie."""
    return Found(())


def find_nnunet(files: dict[str, File]) -> Found:
    """The labels of dataset.json, pictures or NIfTI files. Raises Reject (`not_recognised`, `unreadable`)."""
    if "dataset.json" not in files:
        raise Reject("not_recognised", "no dataset.json; point at the folder DatasetNNN_NAME itself")
    content = read_object(files["dataset.json"])
    ending, labels = content.get("file_ending"), content.get("labels")
    told = labels if isinstance(labels, dict) else {}
    known, values = tuple(told), {name: value for name, value in told.items() if isinstance(value, int)}
    if ending == ".png":
        return Found((), known, values)
    if ending not in (".nii.gz", ".nii"):
        raise Reject("not_recognised", f"file_ending is {ending!r}; .png, .nii.gz and .nii are read")
    channel = _first_channel(content)
    facts = {"modality": channel, "unit": "hu" if channel.upper() == "CT" else "arbitrary"}
    return Found((f"imagesTr/*_0000{ending}", f"labelsTr/*{ending}"), known, values, True, facts)


def _first_channel(content: Mapping[str, Any]) -> str:
    """The name of the channel 0000, by version 2 of the format, or version 1."""
    names = content.get("channel_names", content.get("modality"))
    return str(names.get("0", "unknown")) if isinstance(names, dict) else "unknown"


def find_medsam(files: dict[str, File]) -> Found:
    """The npz files, whose arrays do not name their labels. Raises Reject `not_recognised`."""
    if not any(file.suffix == ".npz" for file in files.values()):
        raise Reject("not_recognised", "no .npz file")
    return Found(("**/*.npz",))


def literal(path: str) -> str:
    """A glob that fits this path alone."""
    return re.sub(r"([*?\[{])", r"[\1]", path)
