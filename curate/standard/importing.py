"""Make a dataset outside the tree of files in a standard format: entry, labels and a converter of a few lines.

What the files cannot say (what their labels mean, whose they are, which samples belong together) the user says.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medshards.common.files import appearing
from medshards.curate.catalog.entry import CatalogError, load_catalog
from medshards.curate.pictures import FIELD
from medshards.curate.sample import Reject
from medshards.curate.standard.finding import (
    Found,
    find_coco,
    find_labelme,
    find_medsam,
    find_nnunet,
    find_pictures,
    find_yolo,
)
from medshards.curate.tree import File, list_files
from medshards.vocab.vocabulary import LabelMap

ENTRY, LABELS, CONVERTER, CONCEPTS = "catalog.yaml", "labels.yaml", "converter.py", "concepts.yaml"


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
    volumes: bool = False  # label maps of volumes


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
    "medsam-npz": Format(
        "npz files of MedSAM", f"{PLACE}.volumes", "MedsamFiles", find_medsam, None, volumes=True
    ),
}
NIFTI = Format("nnU-Net with NIfTI", f"{PLACE}.volumes", "NnunetVolumes", find_nnunet, None, volumes=True)


def format_of(form: str, found: Found) -> Format:
    """The format of what was found: nnU-Net's files are pictures or volumes."""
    return NIFTI if form == "nnunet" and found.volumes else FORMATS[form]


def find(root: Path, form: str) -> Found:
    """What of a format lies below `root`. Raises Reject `not_recognised`."""
    return FORMATS[form].find(list_files(root))


def write_dataset(
    folder: Path,
    form: str,
    found: Found,
    answers: Answers,
    labels: Path,
    known: LabelMap,
    concepts: Path | None = None,
) -> None:
    """Write the files of the dataset into `folder`, all or none.

    labels: the user's label file. known: its content. concepts: the user's file of new concepts. Raises Reject
    `bad_labels` where the labels do not fit the format, CatalogError where the answers make no entry, FileExistsError
    when something lies in `folder`.
    """
    text = _converter(form, found, answers, known)
    with appearing(folder) as part:
        (part / CONVERTER).write_text(text, encoding="utf-8")
        entry = {answers.slug: _entry(format_of(form, found), answers)}
        described = yaml.safe_dump(entry, sort_keys=False, allow_unicode=True)
        (part / ENTRY).write_text(described, encoding="utf-8")
        shutil.copyfile(labels, part / LABELS)
        if concepts is not None:
            shutil.copyfile(concepts, part / CONCEPTS)
        try:
            load_catalog(extra=[part / ENTRY])
        except CatalogError as error:
            raise CatalogError(str(error).replace(str(part), str(folder))) from error


def _entry(chosen: Format, answers: Answers) -> dict[str, Any]:
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
        "open_questions": [f"Imported from {chosen.title}; its licence was not looked into."],
    }


def _converter(form: str, found: Found, answers: Answers, known: LabelMap) -> str:
    chosen = format_of(form, found)
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
        body += [f"{name} = {value!r}" for name, value in found.facts.items()]
        if chosen.volumes and (objects := _objects(known)) is not None:
            body.append(f"objects = {objects!r}")
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


def _objects(known: LabelMap) -> str | None:
    """The label whose objects the values number, None when the label file says what each value means."""
    if all(label.value is not None for label in known.labels.values()):
        return None
    kept = [label for label in known.labels.values() if label.concept is not None]
    if len(kept) == 1 and kept[0].value is None:
        return kept[0].native
    message = "each label of a volume needs its `value` in the label file; one label without numbers objects"
    raise Reject("bad_labels", message)


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
