"""A folder of predictions as a segmenter, so that files are measured by the very protocol that a model is.

Either what `medshards predict` writes as PNG or NIfTI:

    DIR/[…/]NAME.json       texts with scores, and the id of every instance (see evaluate/predict/scores.py)
    DIR/[…/]NAME.png        instance ids, NAME.mask1.png … where instances overlap; or NAME.nii.gz

or what other tools write, one folder for each text or concept with a file for each image, anything non-zero inside:

    DIR/polyp/NAME.png      or DIR/polyp/NAME.nii.gz

NAME is the sample's key, or the name of the file that it came from. A prediction has the size of its image; a volume's
lies on the grid of its slices, and KEY of slice 12 of the volume NAME is looked up there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.pictures.raster import read_grey
from medshards.curate.formats.volumes import nifti
from medshards.curate.sample import Region, Reject, make_key
from medshards.curate.tree import File
from medshards.evaluate.segmenter import Query
from medshards.shards.read.corpus import BadSample
from medshards.train.model.answers import UNION_SCORE, Answer, Found
from medshards.vocab.concept import normalise
from medshards.vocab.vocabulary import Vocabulary

FORMAT = "medshards predictions 1"
EXTENSIONS = (".png", ".nii.gz", ".nii")


def is_predictions(path: Path) -> bool:
    """Whether a folder holds predictions: pictures or volumes, and no checkpoint."""
    if not path.is_dir() or (path / "config.json").is_file() or (path / "checkpoints").is_dir():
        return False
    return any(_stem(file) is not None for file in _files(path))


class PredictionFolder:
    """Answers with what a folder holds; see the module. ids: of concepts that medshards' vocabulary lacks, by text."""

    batch = 1

    def __init__(self, folder: Path, ids: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._scores: dict[str, Path] = {}
        self._single: dict[tuple[str, str], Path] = {}
        self._concepts = {**{concept.text: concept.id for concept in Vocabulary.load()}, **(ids or {})}
        for file in sorted(_files(folder)):
            if file.suffix == ".json":
                self._scores[make_key(file.stem)] = file
            elif (stem := _stem(file)) is not None:
                self._single[normalise(file.parent.name), make_key(stem)] = file

    def facts(self) -> dict[str, Any]:
        """Where the predictions lie."""
        return {"predictions": str(self.folder), "predictions_files": len(self._scores) or len(self._single)}

    def segment(
        self, queries: Sequence[Query], floor: float = UNION_SCORE, semantic: bool = False
    ) -> list[list[Answer]]:
        """See `Segmenter`. Raises BadSample when there is no prediction for an image or text, or of another size."""
        return [list(self._answers(query, floor, semantic)) for query in queries]

    def _answers(self, query: Query, floor: float, semantic: bool) -> Iterator[Answer]:
        key = make_key(query.name.rsplit("/", 1)[-1])
        scores = self._scores.get(key)
        for text in query.texts:
            found = self._scored(query, scores, text) if scores else self._masks(query, key, text)
            kept = [f for place, f in enumerate(found) if place == 0 or f.score >= floor]
            heat = None
            if semantic:
                heat = np.zeros(query.size, np.float32)
                for one in found:
                    heat[one.region.window()] += one.region.crop
            yield Answer(query.size, max((f.score for f in found), default=0.0), tuple(kept), heat)

    def _scored(self, query: Query, scores: Path, text: str) -> list[Found]:
        content = _content(scores)
        entry = next((p for p in content["prompts"] if normalise(p["text"]) == normalise(text)), None)
        if entry is None:
            raise BadSample(f"{query.name}: {scores} has no answer to {text!r}")
        planes = [_plane(scores.with_name(name), query) for name in content["masks"]]
        found = [
            _found(Region.of(planes[i["plane"]] == i["id"]), float(i["score"])) for i in entry["instances"]
        ]
        return sorted(found, key=lambda one: -one.score)

    def _masks(self, query: Query, key: str, text: str) -> list[Found]:
        names = [normalise(name) for name in (text, self._concepts.get(normalise(text), text))]
        for name in names:
            volume, _, number = key.rpartition("-")
            if (name, key) in self._single:
                region = _region(self._single[name, key], 0, query)
            elif number.isdigit() and (name, volume) in self._single:
                region = _region(self._single[name, volume], int(number), query)
            else:
                continue
            return [_found(region, 1.0)] if region.area else []
        raise BadSample(
            f"{query.name}: {self.folder} has no prediction for {text!r}, such as {names[0]}/{key}.png"
        )


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")


def _stem(file: Path) -> str | None:
    extension = next((e for e in EXTENSIONS if file.name.endswith(e)), None)
    return None if extension is None else file.name.removesuffix(extension)


@lru_cache(maxsize=8)
def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("format") != FORMAT:
            raise ValueError(f"its format is {content.get('format')!r}, expected {FORMAT!r}")
    except (OSError, ValueError, AttributeError) as error:
        raise BadSample(f"{path} cannot be read: {error}") from error
    return dict(content)


def _array(path: Path) -> NDArray[Any]:
    """D×H×W."""
    try:
        if path.suffix == ".png":
            return read_grey(File(path.name, path))[None]
        return nifti.read_labels(File(path.name, path), oriented=False).array
    except Reject as reject:
        raise BadSample(str(reject)) from reject


@lru_cache(maxsize=32)
def _regions(path: Path) -> tuple[tuple[int, ...], list[Region]]:
    """Shape of a file, and what is not 0 in each of its slices: a volume is asked slice by slice for one concept after
    the other, so those of its concepts stay, and whole arrays would be gigabytes."""
    array = _array(path)
    return array.shape, [Region.of(plane) for plane in array]


def _region(path: Path, number: int, query: Query) -> Region:
    shape, regions = _regions(path)
    _refuse_other_size(path, number, shape, query)
    return regions[number]


@lru_cache(maxsize=8)
def _planes(path: Path) -> NDArray[Any]:
    return _array(path)


def _plane(path: Path, query: Query) -> NDArray[Any]:
    array = _planes(path)
    _refuse_other_size(path, 0, array.shape, query)
    return np.asarray(array[0])


def _refuse_other_size(path: Path, number: int, shape: tuple[int, ...], query: Query) -> None:
    if number >= shape[0] or shape[1:] != query.size:
        raise BadSample(f"{query.name}: {path} is {shape}, the image {query.size} (slice {number})")


def _found(region: Region, score: float) -> Found:
    return Found(score, region, region.crop.astype(np.float32))
