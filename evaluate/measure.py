"""Run a checkpoint over a corpus: every sample once, all its prompts in one pass, figures at native resolution."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.common.window import Windows
from medshards.evaluate.metrics import overlap
from medshards.evaluate.protocol import resolve
from medshards.evaluate.report import Report, Score
from medshards.evaluate.segmenter import Query, Segmenter
from medshards.evaluate.volumes import VolumeWriter
from medshards.shards.build.manifest import MANIFEST, tool_version
from medshards.shards.build.split import TEST, VAL
from medshards.shards.encode.record import Stored
from medshards.train.data.batch import decode_image, decode_planes
from medshards.train.data.corpus import BadSample, Corpus, CorpusError, Raw
from medshards.train.model.answers import UNION_SCORE, Claim, Rule
from medshards.vocab.vocabulary import Vocabulary


class Dataset:
    """One dataset of a corpus, with one of its splits open.

    texts: prompt of each concept. broader: wider concepts of each. instances: how masks became instances. foreign:
    concepts that no image shows, asked for all the same.
    """

    def __init__(
        self, location: str | Path, slug: str, split: str | None, absent: Collection[str] = ()
    ) -> None:
        """`split` None: the test split of an external or held-out dataset, the validation split of any other.

        Of the concepts `absent` those become foreign that are unrelated to every concept of the dataset. Raises
        CorpusError, UnknownConcept.
        """
        manifest = _manifest(location, slug)
        policy = manifest["policy"]
        self.slug = slug
        held_out = policy["role"] == "external" or not manifest["counts"][VAL]
        self.split = split or (TEST if held_out and manifest["counts"][TEST] else VAL)
        self.corpus = Corpus.open(location, self.split, [slug])
        self.texts: dict[str, str] = policy["texts"]
        self.broader: dict[str, list[str]] = policy["ancestors"]
        vocabulary = Vocabulary.load()
        self.foreign = {
            concept: vocabulary[concept].text
            for concept in sorted(set(absent))
            if not any(vocabulary.related(concept, own) for own in self.texts)
        }
        rule = policy["rule"] if policy["profile"] == "paper" else None
        self.instances = str(rule["instances"] if rule else policy["how"])


def open_datasets(
    location: str | Path,
    slugs: Collection[str] | None = None,
    split: str | None = None,
    absent: Collection[str] = (),
) -> list[Dataset]:
    """The datasets of a corpus (only `slugs`), each with its split open. Raises CorpusError, UnknownConcept."""
    facts = Corpus.open(location, VAL, slugs if slugs else None).facts
    return [Dataset(location, slug, split, absent) for slug in sorted(slugs or facts["datasets"])]


def _manifest(location: str | Path, slug: str) -> dict[str, Any]:
    store = Corpus.open(location, VAL, [slug]).store
    try:
        manifest: dict[str, Any] = json.loads(store.read(f"{slug}/{MANIFEST}"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{slug}/{MANIFEST} cannot be read ({error}); run `medshards verify`") from error
    return manifest


def decode(raw: Raw, windows: Windows | None = None) -> Stored:
    """A sample at its own size, numbers of a volume as `windows` show them. Raises BadSample."""
    return Stored(decode_image(raw, windows), tuple(decode_planes(raw)), raw.record)


def truth_of(sample: Stored) -> dict[str, NDArray[np.bool_]]:
    """The ground truth (bool H×W) of each class that occurs in the image: the union of its instances."""
    truth: dict[str, NDArray[np.bool_]] = {}
    for instance in sample.record["instances"]:
        mask, known = sample.mask(instance), truth.get(instance["concept"])
        truth[instance["concept"]] = mask if known is None else known | mask
    return {concept: mask for concept, mask in truth.items() if mask.any()}


def asked(sample: Stored) -> list[str]:
    """The classes to ask for: every one annotated in the image, present or known to be absent."""
    return sorted({*(i["concept"] for i in sample.record["instances"]), *sample.record["absent"]})


def query_of(sample: Stored, dataset: Dataset) -> tuple[Query, list[str]]:
    """What to ask of a sample, and the concept of each text: every class annotated, then every foreign concept.

    Raises BadSample when a class has no prompt.
    """
    concepts = asked(sample)
    if missing := [c for c in concepts if c not in dataset.texts]:
        raise BadSample(f"{dataset.slug}/{sample.record['key']}: no prompt is known for {', '.join(missing)}")
    texts = {c: dataset.texts[c] for c in concepts} | dataset.foreign
    return Query(f"{dataset.slug}/{sample.record['key']}", sample.image, tuple(texts.values())), list(texts)


def claims_of(
    segmenter: Segmenter, sample: Stored, dataset: Dataset, rules: Sequence[Rule]
) -> dict[Rule, dict[str, Claim]]:
    """Under each rule what is claimed for every class annotated in the image and every foreign concept."""
    query, concepts = query_of(sample, dataset)
    floor = min(
        (r.min_score for r in rules if r.aggregate == "union" and r.min_score is not None),
        default=UNION_SCORE,
    )
    (answers,) = segmenter.segment([query], floor, any(r.aggregate == "semantic" for r in rules))
    return {rule: {c: a.claim(rule) for c, a in zip(concepts, answers, strict=True)} for rule in rules}


def contest(claims: Mapping[str, Claim], sample: Stored, dataset: Dataset) -> dict[str, NDArray[np.bool_]]:
    """The masks (bool H×W) of the classes annotated in the image; foreign concepts take no pixel from them."""
    return resolve({c: claims[c] for c in asked(sample)}, dataset.broader)


def evaluate(
    segmenter: Segmenter,
    datasets: Sequence[Dataset],
    rules: Sequence[Rule],
    made: Mapping[str, Any],
    progress: Callable[[str], None] = lambda slug: None,
    windows: Windows | None = None,
    volumes: VolumeWriter | None = None,
) -> Report:
    """Measure every dataset under every rule; `progress(slug)` is called after each sample.

    windows: how numbers of volumes are shown, by unit. volumes: takes the masks that the first rule gives slices.

    A class that the image lacks is asked for and may take pixels from others. It has no Dice; instead the report
    counts how often the answer to an absent class or foreign concept is empty by itself, before pixels are contested.
    A sample that cannot be read is listed in the report and left out. `made` goes into the report.
    """
    report = Report(dict(made))
    for dataset in datasets:
        scores = [Score(dataset.slug, dataset.split, dataset.instances, rule) for rule in rules]
        report.scores += scores
        for number in range(len(dataset.corpus)):
            try:
                sample = decode(dataset.corpus.read(number), windows)
                truth = truth_of(sample)
                absent = [*sample.record["absent"], *dataset.foreign]
                claims = claims_of(segmenter, sample, dataset, rules)
                found = {rule: contest(claims[rule], sample, dataset) for rule in rules}
                if volumes is not None and asked(sample):
                    volumes.add(sample.record, found[rules[0]])
                for score in scores:
                    score.images += bool(truth)
                    for concept, mask in truth.items():
                        score.add(concept, overlap(found[score.rule][concept], mask))
                    for concept in absent:
                        score.add_absent(empty=not claims[score.rule][concept].claimed.any())
            except BadSample as error:
                slug, key = dataset.corpus.name(number).split("/", 1)
                report.unreadable.append((slug, key, str(error).removeprefix(f"{slug}/{key}: ")))
            progress(dataset.slug)
    return report


def protocol_facts(location: str | Path, corpus: Mapping[str, Any]) -> dict[str, Any]:
    """What the report says of corpus and protocol; `corpus` is the content of corpus.json."""
    return {
        "corpus": str(location),
        "corpus_digest": corpus["digest"],
        "profile": corpus["profile"],
        "medshards": tool_version(),
        "prompts": "the concept's canonical text alone, one prompt a class",
        "classes_asked": "every class annotated in the image, present or known to be absent",
        "classes_scored": "those present; ground truth is the union of the class's instances",
        "absent": "classes asked of images that do not show them; empty: no pixel, before pixels are contested",
        "masks": "logits upsampled bilinearly to the image's own size, probability > 0.5",
        "contested_pixels": "highest score times mask probability; a class does not compete with a broader one",
        "both_empty": 1.0,
    }
