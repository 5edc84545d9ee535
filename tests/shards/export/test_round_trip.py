"""Export → import → build: no instance is lost, every mask comes back."""

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

import medshards
from medshards.curate import phantoms
from medshards.curate.catalog.entry import load_catalog
from medshards.curate.cli.imports import import_
from medshards.curate.source import Own, get_source
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.shards.cli.export import export
from medshards.shards.encode.policy import Making
from tests.shards.conftest import build_phantoms

SAID = {"title": "Mine", "modality": "CT", "licence": "ours", "homepage": "https://example.org"}
SAID |= {"citation": "us", "group": "none", "split": r"(train|val|test)"}


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


def exported(corpus: Path, form: str, folder: Path) -> Path:
    """A corpus in a format."""
    CliRunner().invoke(export, [str(corpus), "--to", form, "--out", str(folder)])
    return folder


def imported(data: Path, form: str, labels: str, folder: Path, **said: str) -> Path:
    """A corpus of the one dataset that lies in `data`."""
    (folder / "labels.yaml").write_text(f"dataset: mine\nexhaustive: false\nlabels:\n{labels}")
    options = [part for name, value in (SAID | said).items() for part in (f"--{name}", value)]
    arguments = [str(data), "--format", form, "--slug", "mine", "--out", str(folder / "mine")]
    result = CliRunner().invoke(import_, [*arguments, "--labels", str(folder / "labels.yaml"), *options])
    assert result.exit_code == 0, result.output
    entry = load_catalog(extra=[folder / "mine/catalog.yaml"])["mine"]
    making = Making(
        own=Own((folder / "mine/converter.py").resolve(), (folder / "mine/labels.yaml").resolve())
    )
    get_source.cache_clear()
    assert build_dataset(entry, data, folder / "corpus", making).rejects == []
    write_corpus(folder / "corpus", "default", "none", {"mine": entry})
    return folder / "corpus"


def there_and_back(corpus: Path, form: str, folder: Path) -> tuple[Path, Path]:
    """Export a corpus, import that and build it: both corpora as COCO."""
    first = exported(corpus, "coco", folder / "first")
    data = first if form == "coco" else exported(corpus, form, folder / "data")
    told = [json.loads(path.read_bytes()) for path in first.glob("annotations/*.json")]
    concepts = {c["name"]: c["concept"] for each in told for c in each["categories"]}
    labels = "".join(f"  {json.dumps(name)}: {concept}\n" for name, concept in sorted(concepts.items()))
    back = imported(data, form, labels, folder)
    return first, exported(back, "coco", folder / "second")


def same(first: Path, second: Path) -> bool:
    """Whether two exports hold the same masks under the same prompts; keys of the second contain those of the first."""
    images = [
        sum(len(json.loads(path.read_bytes())["images"]) for path in folder.glob("annotations/*.json"))
        for folder in (first, second)
    ]
    masks = [
        Counter((prompt, counts, area) for _, prompt, counts, area in regions(folder).elements())
        for folder in (first, second)
    ]
    return images[0] == images[1] and masks[0] == masks[1] and masks[0].total() > 0


@pytest.mark.parametrize("form", ["coco", "yolo-seg"])
def test_there_and_back_loses_nothing(corpus: Path, tmp_path: Path, form: str) -> None:
    assert same(*there_and_back(corpus, form, tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", ["coco", "yolo-seg"])
def test_every_phantom_there_and_back_loses_nothing(tmp_path: Path, form: str) -> None:
    corpus = build_phantoms(phantoms.slugs(), tmp_path / "phantoms")
    assert same(*there_and_back(corpus, form, tmp_path))


def test_label_maps_of_nnunet_come_back(corpus: Path, tmp_path: Path) -> None:
    folder = next(exported(corpus, "nnunet", tmp_path / "nnunet").glob("Dataset*_glas"))
    labels = "  background: {ignore: true, value: 0}\n  gland: {concept: gland, value: 1}\n"
    back = imported(folder, "nnunet", labels, tmp_path, instances="components", split="images(Tr)")
    found = {
        s.record["origin"][0]["file"]: s for split in ("train", "val") for s in medshards.open(back, split)
    }
    originals = [s for split in ("train", "val") for s in medshards.open(corpus, split, ["glas"])]
    assert len(found) == len(originals) > 0
    for sample in originals:
        other = found[f"imagesTr/{sample.record['key']}_0000.png"]
        assert (other.image == sample.image).all()
        assert (other.masks["gland"].any(axis=0) == sample.masks["gland"].any(axis=0)).all()
