"""COCO → import → build → export: no instance is lost, every mask comes back."""

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from medshards.curate import phantoms
from medshards.curate.catalog.entry import load_catalog
from medshards.curate.cli.imports import import_
from medshards.curate.source import Own
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.shards.cli.export import export
from medshards.shards.encode.policy import Making
from tests.shards.conftest import build_phantoms

SAID = {"title": "Mine", "modality": "CT", "licence": "ours", "homepage": "https://example.org"}
SAID |= {"citation": "us", "group": "none", "split": r"instances_(\w+)"}


def regions(folder: Path) -> Counter[tuple[str, str, str, int]]:
    """Each instance of a COCO export: file of its image, prompt, run lengths, area."""
    found: Counter[tuple[str, str, str, int]] = Counter()
    for path in folder.glob("annotations/*.json"):
        told = json.loads(path.read_bytes())
        names = {category["id"]: category["name"] for category in told["categories"]}
        files = {image["id"]: Path(image["file_name"]).stem for image in told["images"]}
        for a in told["annotations"]:
            found[files[a["image_id"]], names[a["category_id"]], a["segmentation"]["counts"], a["area"]] += 1
    return found


def there_and_back(corpus: Path, folder: Path) -> tuple[Path, Path]:
    """Export a corpus as COCO, import that, build it, export it again; both exports."""
    first, second = folder / "first", folder / "second"
    assert CliRunner().invoke(export, [str(corpus), "--to", "coco", "--out", str(first)]).exit_code == 0
    concepts = {}
    for path in first.glob("annotations/*.json"):
        concepts |= {c["name"]: c["concept"] for c in json.loads(path.read_bytes())["categories"]}
    labels = "".join(f"  {json.dumps(name)}: {concept}\n" for name, concept in sorted(concepts.items()))
    (folder / "labels.yaml").write_text(f"dataset: mine\nexhaustive: false\nlabels:\n{labels}")
    options = [part for name, value in SAID.items() for part in (f"--{name}", value)]
    arguments = [str(first), "--format", "coco", "--slug", "mine", "--out", str(folder / "mine")]
    result = CliRunner().invoke(import_, [*arguments, "--labels", str(folder / "labels.yaml"), *options])
    assert result.exit_code == 0, result.output
    entry = load_catalog(extra=[folder / "mine/catalog.yaml"])["mine"]
    making = Making(own=Own(folder / "mine/converter.py", folder / "mine/labels.yaml"))
    built = build_dataset(entry, first, folder / "corpus", making)
    assert built.rejects == []
    write_corpus(folder / "corpus", "default", "none", {"mine": entry})
    assert (
        CliRunner().invoke(export, [str(folder / "corpus"), "--to", "coco", "--out", str(second)]).exit_code
        == 0
    )
    return first, second


def same(first: Path, second: Path) -> bool:
    """Whether two exports hold the same masks under the same prompts; keys of the second contain those of the first."""
    masks = [
        Counter((prompt, counts, area) for _, prompt, counts, area in regions(folder).elements())
        for folder in (first, second)
    ]
    return masks[0] == masks[1] and masks[0].total() > 0


def test_coco_there_and_back_loses_nothing(corpus: Path, tmp_path: Path) -> None:
    assert same(*there_and_back(corpus, tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_phantom_there_and_back_loses_nothing(tmp_path: Path) -> None:
    corpus = build_phantoms(phantoms.slugs(), tmp_path / "phantoms")
    assert same(*there_and_back(corpus, tmp_path))
