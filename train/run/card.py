"""The model card, attributions and own concepts that go with an exported model, from the corpus it was trained on.

What is said of a dataset (licence, citation) is what corpus.json says of it, as the catalog had it when it was built;
counts are those of the corpus's manifests.
The first two are templates beside this module: card.md.j2 and attribution.md.j2. The third, own_concepts.json, has the
concepts that the vocabulary of medshards does not hold (`Concept.facts`), where the corpus brought any.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from medshards.common.files import write_atomically
from medshards.shards.build.manifest import CORPUS
from medshards.shards.card.about import About
from medshards.shards.read.chain import CorpusError, read_manifest
from medshards.shards.read.corpus import Corpus
from medshards.shards.read.storage import open_store
from medshards.train.model.hub import is_hub_id
from medshards.train.model.weights import OWN_CONCEPTS
from medshards.train.run.checkpoint import State, find, read_state
from medshards.train.run.config import Config
from medshards.train.run.monitor import LOG

CARD, ATTRIBUTION = "README.md", "ATTRIBUTION.md"
SPLITS = ("train", "val")


@dataclass(frozen=True)
class Source:
    """A dataset that the model was trained or validated on.

    about: title, licence, citation. counts: samples by split. manifest: digest of its manifest.
    """

    slug: str
    about: About
    counts: dict[str, int]
    instances: int
    manifest: str

    @property
    def commercial(self) -> str:
        """yes, no or unknown."""
        return self.about["licence"]["commercial"]

    @property
    def redistribution(self) -> str:
        """yes, no or unknown."""
        return self.about["licence"]["redistribution"]


def sources_of(data: str, config: Config) -> list[Source]:
    """The datasets of a corpus that a run with this configuration trains or validates on, in order of slug.

    Raises CorpusError, StoreError.
    """
    store, facts = open_store(data), Corpus.open(data, datasets=[]).facts
    found = []
    for slug in sorted(config.data.datasets or facts["datasets"]):
        counts = read_manifest(store, slug, facts)["counts"]
        used = {split: counts.get(split, 0) for split in SPLITS}
        if config.data.weights.get(slug) == 0:
            used["train"] = 0
        if any(used.values()):
            own = facts["datasets"][slug]
            found.append(Source(slug, own["about"], used, counts["instances"], own["manifest_sha256"]))
    return found


def licence_remarks(data: str, config: Config) -> list[str]:
    """What to know before the model is used or sold: training data that forbid it or do not say; [] if none."""
    trained = [source for source in sources_of(data, config) if source.counts["train"]]
    remarks = []
    for answer, text in (
        ("no", "exclude commercial use"),
        ("unknown", "are not known to permit commercial use"),
    ):
        slugs = [source.slug for source in trained if source.commercial == answer]
        if slugs:
            remarks.append(f"{len(slugs)} of {len(trained)} training datasets {text}: {', '.join(slugs)}")
    return remarks


def write_card(folder: Path, form: str, run: Path, data: str) -> None:
    """Write README.md, ATTRIBUTION.md and own_concepts.json beside a model exported from a run's best checkpoint.

    form: ``hf``, ``official`` or ``adapter``, as it was exported. Raises CorpusError when ``data`` is not the
    corpus that the checkpoint was trained on, CheckpointError.
    """
    state = read_state(find(run))
    config = Config.model_validate(state.config)
    facts = Corpus.open(data, datasets=[]).facts
    if facts["digest"] != state.corpus:
        raise CorpusError(
            f"the checkpoint was trained on the corpus {state.corpus[:12]}, {data} is {facts['digest'][:12]}: its "
            "card would name other data"
        )
    sources = sources_of(data, config)
    values = {
        "form": form,
        "state": state,
        "corpus": facts,
        "corpus_file": CORPUS,
        "sources": sources,
        "trained": [source for source in sources if source.counts["train"]],
        "remarks": licence_remarks(data, config),
        "start": start_of(config.model.weights),
        "on_hub": config.model.weights is not None and is_hub_id(config.model.weights),
        "side": state.architecture["vision_config"]["backbone_config"]["image_size"],
        "validation": _validation(run, state),
        "config": config,
        "config_text": _shown(config),
    }
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = lambda text: " ".join(str(text).split()).replace("|", "\\|")
    for name, template in ((CARD, "card.md.j2"), (ATTRIBUTION, "attribution.md.j2")):
        text = environment.get_template(template).render(values)
        write_atomically(folder / name, text.encode())
    if state.own_concepts:
        write_atomically(folder / OWN_CONCEPTS, (json.dumps(state.own_concepts, indent=1) + "\n").encode())
    else:
        (folder / OWN_CONCEPTS).unlink(missing_ok=True)


def start_of(weights: str | None) -> str | None:
    """A name for the weights that training started from, without the folders of this machine; None: random."""
    if weights is None or is_hub_id(weights):
        return weights
    return Path(weights).name


def _shown(config: Config) -> str:
    """The configuration as YAML, without paths of this machine."""
    content = config.model_dump(mode="json")
    content["model"]["weights"] = start_of(config.model.weights)
    content["data"]["cache"] = None
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _validation(run: Path, state: State) -> dict[str, Any] | None:
    """The row of the log for the validation of a checkpoint: means and datasets."""
    if state.score is None or not (run / LOG).is_file():
        return None
    rows: Sequence[dict[str, Any]] = [
        json.loads(line) for line in (run / LOG).read_text("utf-8").splitlines()
    ]
    return next((row for row in rows if "validation" in row and row["step"] == state.step), None)
