"""Run a checkpoint over a corpus: every sample once, all its prompts in one pass, figures at native resolution."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medshards.common.files import sha256_file
from medshards.common.window import Windows
from medshards.evaluate.metrics import overlap
from medshards.evaluate.protocol import Answer, Rule, answer, resolve
from medshards.evaluate.report import Report, Score
from medshards.evaluate.volumes import VolumeWriter
from medshards.shards.build.manifest import MANIFEST, tool_version
from medshards.shards.build.split import TEST, VAL
from medshards.shards.encode.record import Stored
from medshards.train.data.batch import decode_image, decode_planes, resize_image
from medshards.train.data.corpus import BadSample, Corpus, CorpusError, Raw
from medshards.train.data.tokenizer import tokenize
from medshards.train.model.graph import Sam3Graph
from medshards.train.model.outputs import Outputs
from medshards.train.model.postprocess import normalise
from medshards.train.run.checkpoint import find, load_model, read_state
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


class Predictor:
    """A model that answers text prompts."""

    def __init__(self, model: Sam3Graph) -> None:
        self.model = model.eval()
        self.device = next(model.parameters()).device

    @torch.no_grad()
    def outputs(self, image: NDArray[np.uint8], texts: Sequence[str]) -> Outputs:
        """Ask one image (uint8 H×W or H×W×3) for every text; the image is encoded once."""
        pixels = normalise(resize_image(image, self.model.image_size)[None].to(self.device))
        ids, mask = (t.to(self.device) for t in tokenize(texts))
        prompts = torch.arange(len(texts), device=self.device)
        return self.model(pixels, torch.zeros_like(prompts), ids, mask, prompts)

    def answers(
        self, sample: Stored, dataset: Dataset, rules: Sequence[Rule]
    ) -> dict[Rule, dict[str, Answer]]:
        """Under each rule what the model says of every class annotated in the image and every foreign concept."""
        concepts = asked(sample)
        if missing := [c for c in concepts if c not in dataset.texts]:
            raise BadSample(
                f"{dataset.slug}/{sample.record['key']}: no prompt is known for {', '.join(missing)}"
            )
        texts = {c: dataset.texts[c] for c in concepts} | dataset.foreign
        if not texts:
            return {rule: {} for rule in rules}
        outputs = self.outputs(sample.image, list(texts.values()))
        size = (sample.image.shape[0], sample.image.shape[1])
        return {rule: {c: answer(outputs, k, size, rule) for k, c in enumerate(texts)} for rule in rules}

    def masks(
        self, sample: Stored, dataset: Dataset, rules: Sequence[Rule]
    ) -> dict[Rule, dict[str, NDArray[np.bool_]]]:
        """Under each rule the mask (bool H×W) of every class annotated in the image, contested pixels resolved."""
        return {
            rule: contest(answers, sample, dataset)
            for rule, answers in self.answers(sample, dataset, rules).items()
        }


def contest(answers: Mapping[str, Answer], sample: Stored, dataset: Dataset) -> dict[str, NDArray[np.bool_]]:
    """The masks (bool H×W) of the classes annotated in the image; foreign concepts take no pixel from them."""
    return resolve({c: answers[c] for c in asked(sample)}, dataset.broader)


def evaluate(
    predictor: Predictor,
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
                answers = predictor.answers(sample, dataset, rules)
                found = {rule: contest(answers[rule], sample, dataset) for rule in rules}
                if volumes is not None and asked(sample):
                    volumes.add(sample.record, found[rules[0]])
                for score in scores:
                    score.images += bool(truth)
                    for concept, mask in truth.items():
                        score.add(concept, overlap(found[score.rule][concept], mask))
                    for concept in absent:
                        score.add_absent(empty=not answers[score.rule][concept].claimed.any())
            except BadSample as error:
                slug, key = dataset.corpus.name(number).split("/", 1)
                report.unreadable.append((slug, key, str(error).removeprefix(f"{slug}/{key}: ")))
            progress(dataset.slug)
    return report


def load(checkpoint: Path, device: str) -> tuple[Predictor, dict[str, Any]]:
    """The model of a run or checkpoint, and what the report says of it. Raises CheckpointError."""
    folder = find(checkpoint)
    model, config = load_model(folder, device)
    facts = {
        "checkpoint": str(folder),
        "checkpoint_step": read_state(folder).step,
        "checkpoint_sha256": folder_digest(folder),
        "architecture": config.model.preset if config.model.weights is None else config.model.weights,
        "network_input": f"{model.image_size} x {model.image_size} px, float32 on {torch.device(device).type}",
    }
    return Predictor(model), facts


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


def folder_digest(folder: Path) -> str:
    """SHA-256 over name and SHA-256 of every file of a folder, in order of name."""
    lines = [
        f"{sha256_file(path)}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
