"""Predict input after input: nothing of one is kept when the next begins, so memory is that of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medshards.common.console import progress_bar
from medshards.common.window import Windows
from medshards.curate.sample import Reject
from medshards.evaluate.predict.inputs import Source, Unusable, find
from medshards.evaluate.predict.jobs import ask, broader
from medshards.evaluate.predict.objects import segment
from medshards.evaluate.predict.outputs import Asked, Coco, write_nifti, write_overlay, write_png
from medshards.evaluate.segmenter import Segmenter
from medshards.shards.read.corpus import BadSample
from medshards.train.model.answers import Rule
from medshards.vocab.vocabulary import Vocabulary

if TYPE_CHECKING:
    from medshards.evaluate.predict.tracker import Tracker

COCO = "predictions.coco.json"


def run(
    segmenter: Segmenter,
    jobs: Mapping[str, Sequence[str]],
    rule: Rule,
    out: Path,
    formats: Sequence[str],
    overlay: bool = False,
    canonical: bool = False,
    windows: Windows | None = None,
    tracker: Tracker | None = None,
    vocabulary: Vocabulary | None = None,
) -> dict[str, Any]:
    """Predict every input of the jobs (texts by what was pointed at) and write the results to a folder.

    tracker: follows the objects of volumes from slice to slice. vocabulary: that of the model's training data, None:
    that of medshards.
    Returns the inputs with the number of objects of each text, what was refused and why, the texts outside the
    vocabulary, and the number of files written. Raises Reject `overlap` where the inputs lie in that folder.
    """
    summary: dict[str, Any] = {"inputs": [], "refused": [], "files": 0, "outside_vocabulary": []}
    coco, names, vocabulary = Coco(), set[str](), vocabulary or Vocabulary.load()
    todo = [
        (source, ask(texts, vocabulary, canonical))
        for argument, texts in jobs.items()
        for source in find([argument])
    ]
    for source, _ in todo:
        if isinstance(source, Source) and source.path.resolve().is_relative_to(out.resolve()):
            what = f"lies in {out}, where predictions could be written over it; choose another --out"
            raise Reject("overlap", what, str(source.path))
    unknown = {each.text for _, asked in todo for each in asked if each.concept is None}
    summary["outside_vocabulary"] = sorted(unknown)
    with progress_bar("predict") as report:
        for number, (source, asked) in enumerate(todo):
            report("inputs", number, len(todo))
            try:
                if isinstance(source, Unusable):
                    raise Reject("unusable", source.reason)
                if source.name in names:
                    raise Reject(
                        "same_name", f"another input would be written as {source.name}; run them one by one"
                    )
                names.add(source.name)
                wider = broader(asked, vocabulary)
                found = _one(
                    segmenter, source, asked, wider, rule, out, formats, overlay, windows, coco, tracker
                )
            except (Reject, BadSample) as error:
                reason = error.message if isinstance(error, Reject) else str(error)
                summary["refused"].append({"input": str(source.path), "reason": reason})
                continue
            summary["files"] += found.pop("files")
            summary["inputs"].append(found)
        report("inputs", len(todo), len(todo))
    if "coco" in formats:
        coco.write(out / COCO)
        summary["files"] += 1
    return summary


def _one(
    segmenter: Segmenter,
    source: Source,
    asked: Sequence[Asked],
    wider: dict[str, list[str]],
    rule: Rule,
    out: Path,
    formats: Sequence[str],
    overlay: bool,
    windows: Windows | None,
    coco: Coco,
    tracker: Tracker | None,
) -> dict[str, Any]:
    """Predict and write one input; what the summary says of it."""
    opened = source.open(windows)
    with progress_bar(Path(source.name).name) as report:
        count = len(opened.slices)
        result = segment(
            segmenter,
            opened,
            [each.text for each in asked],
            [rule.of(each.concept.id if each.concept else None) for each in asked],
            wider,
            lambda done: report("slices", done, count) if count > 1 else None,
        )
    if tracker is not None:
        result = tracker.follow(result)
    written = 0
    if "png" in formats:
        written += len(write_png(out, result, asked))
    if "nifti" in formats:
        written += len(write_nifti(out, result, asked))
    if "dicom-seg" in formats:
        from medshards.evaluate.predict.dicomseg import write_dicom_seg

        written += len(write_dicom_seg(out, result, asked))
    if "coco" in formats:
        coco.add(result, asked)
    if overlay:
        write_overlay(out, result, asked)
        written += 1
    counts = {each.text: sum(o.text == k for o in result.objects) for k, each in enumerate(asked)}
    return {"input": source.name, "slices": count, "found": counts, "files": written}
