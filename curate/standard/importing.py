"""Make a dataset outside the tree of files in a standard format: entry, labels and a converter of a few lines.

What the files cannot say (what their labels mean, whose they are, which samples belong together) the user says.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medshards.common.files import appearing
from medshards.curate.catalog.entry import CatalogError, load_catalog
from medshards.curate.formats.jsonfile import read_object
from medshards.curate.formats.pictures import coco, labelme
from medshards.curate.pictures import FIELD
from medshards.curate.sample import Reject
from medshards.curate.standard.yolo import class_names
from medshards.curate.tree import File, list_files
from medshards.vocab.vocabulary import LabelMap

ENTRY, LABELS, CONVERTER = "catalog.yaml", "labels.yaml", "converter.py"


@dataclass(frozen=True)
class Found:
    """What lies in a folder. needs: globs of the layout. labels: native labels, where the files name them."""

    needs: tuple[str, ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answers:
    """What only the user knows: see the options of `medshards import`."""

    slug: str
    title: str
    modality: str
    licence: str
    homepage: str
    citation: str
    instances: str
    group: str | None
    split: str | None
    images: str = ""
    masks: str = ""


@dataclass(frozen=True)
class Format:
    """A standard format. module, base: where its converter is. find: what of it lies in a folder."""

    title: str
    module: str
    base: str
    find: Callable[[dict[str, File]], Found]
    instances: str | None  # how a mask becomes instances; None: the user says it
    paths: bool = False  # images and masks lie at paths with fields
    usual: tuple[str, str] | None = None  # those paths; None: the user says them


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
    """The labels of dataset.json. Raises Reject (`not_recognised`, `unreadable`)."""
    if "dataset.json" not in files:
        raise Reject("not_recognised", "no dataset.json; point at the folder DatasetNNN_NAME itself")
    content = read_object(files["dataset.json"])
    if content.get("file_ending") != ".png":
        raise Reject("not_recognised", f"file_ending is {content.get('file_ending')!r}; .png alone is read")
    labels = content.get("labels")
    return Found((), tuple(str(name) for name in labels) if isinstance(labels, dict) else ())


PLACE = "medshards.curate.standard"
FORMATS = {
    "coco": Format("COCO", f"{PLACE}.coco", "CocoFiles", find_coco, "native"),
    "yolo-seg": Format("YOLO segmentation", f"{PLACE}.yolo", "YoloFiles", find_yolo, "native"),
    "labelme": Format("LabelMe", f"{PLACE}.labelme", "LabelmeFiles", find_labelme, "native"),
    "pairs": Format(
        "an image and a mask each", f"{PLACE}.pictures", "NamedPictures", find_pictures, None, True
    ),
    "labelmap": Format(
        "images with label maps", f"{PLACE}.pictures", "NamedPictures", find_pictures, None, True
    ),
    "nnunet": Format(
        "nnU-Net with pictures",
        f"{PLACE}.pictures",
        "NamedPictures",
        find_nnunet,
        None,
        True,
        ("imagesTr/{case}_0000.png", "labelsTr/{case}.png"),
    ),
}


def find(root: Path, form: str) -> Found:
    """What of a format lies below `root`. Raises Reject `not_recognised`."""
    return FORMATS[form].find(list_files(root))


def write_dataset(
    folder: Path, form: str, found: Found, answers: Answers, labels: Path, known: LabelMap
) -> None:
    """Write the three files of the dataset into `folder`, all or none.

    labels: the user's label file. known: its content. Raises Reject `bad_labels` where the labels do not fit the
    format, CatalogError where the answers make no entry, FileExistsError when something lies in `folder`.
    """
    text = _converter(form, found, answers, known)
    with appearing(folder) as part:
        (part / CONVERTER).write_text(text, encoding="utf-8")
        (part / ENTRY).write_text(
            yaml.safe_dump({answers.slug: _entry(form, answers)}, sort_keys=False, allow_unicode=True),
            encoding="utf-8",
        )
        shutil.copyfile(labels, part / LABELS)
        try:
            load_catalog(extra=[part / ENTRY])
        except CatalogError as error:
            raise CatalogError(str(error).replace(str(part), str(folder))) from error


def _entry(form: str, answers: Answers) -> dict[str, Any]:
    group = "every image by itself" if answers.group is None else f"what {answers.group!r} finds in the path"
    return {
        "title": answers.title,
        "modality": answers.modality,
        "role": "train",
        "homepage": answers.homepage,
        "access": {"kind": "unpublished", "how": "The copy that was imported."},
        "licence": {
            "name": answers.licence,
            "redistribution": "unknown",
            "commercial": "unknown",
            "certainty": "unverified",
        },
        "citation": {"text": answers.citation},
        "instances": answers.instances,
        "group": group,
        "official": {},
        "verified": "no",
        "open_questions": [f"Imported from {FORMATS[form].title}; its licence was not looked into."],
    }


def _converter(form: str, found: Found, answers: Answers, known: LabelMap) -> str:
    chosen = FORMATS[form]
    imports = [f"from {chosen.module} import {chosen.base}"]
    if chosen.paths:
        fields = list(dict.fromkeys(name for name, _ in FIELD.findall(answers.images)))
        shown, wanted = _masks(form, known)
        imports = [
            *(["from medshards.curate.formats.pictures import raster"] if "raster" in shown else []),
            f"from medshards.curate.pictures import {wanted}, paths",
            *imports,
        ]
        body = [
            f"layouts = (paths({chosen.title!r}, {answers.images!r}, {answers.masks!r}),)",
            f"key = {'_'.join(f'{{{name}}}' for name in fields)!r}",
            f"masks = {shown}",
        ]
    else:
        imports.append("from medshards.curate.tree import Layout")
        needs = "".join(f"{need!r}, " for need in found.needs).rstrip()
        body = [f"layouts = (Layout({chosen.title!r}, ({needs})),)"]
    body.append(f"group_pattern = {answers.group!r}")
    if answers.split is not None:
        body.append(f"split_pattern = {answers.split!r}")
    lines = [
        f'"""{answers.slug}: {chosen.title}, made by `medshards import`."""\n',
        *imports,
        f"\n\nclass Converter({chosen.base}):",
        f"    slug = {answers.slug!r}",
        *(f"    {line}" for line in body),
    ]
    return "\n".join(lines) + "\n"


def _masks(form: str, known: LabelMap) -> tuple[str, str]:
    """What the masks show, as an expression, and the name that it uses."""
    kept = [label for label in known.labels.values() if label.concept is not None]
    if form == "pairs":
        if len(kept) != 1:
            raise Reject(
                "bad_labels", f"pairs show one label, the label file has {len(kept)}; is it a labelmap?"
            )
        return f"one({kept[0].native!r}, raster.read_binary)", "one"
    if all(label.color is not None for label in known.labels.values()):
        return "COLORS", "COLORS"
    if all(label.value is not None for label in known.labels.values()):
        return "VALUES", "VALUES"
    raise Reject(
        "bad_labels", "each label of a labelmap needs its `value`, or each its `color`, in the label file"
    )


def literal(path: str) -> str:
    """A glob that fits this path alone."""
    return re.sub(r"([*?\[{])", r"[\1]", path)
