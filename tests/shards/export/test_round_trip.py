"""Export → import → build: no instance is lost, every mask comes back."""

import json
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

import medshards
from medshards.curate import phantoms
from medshards.curate.catalog.entry import load_catalog
from medshards.curate.cli.imports import import_
from medshards.curate.source import Own, get_source
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.shards.build.manifest import read_manifest
from medshards.shards.cli.export import export
from medshards.shards.encode.policy import SLICES, Making

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


def imported(data: Path, form: str, labels: str, folder: Path, slices: str = SLICES, **said: str) -> Path:
    """A corpus of the one dataset that lies in `data`."""
    (folder / "labels.yaml").write_text(f"dataset: mine\nexhaustive: false\nlabels:\n{labels}")
    options = [part for name, value in (SAID | said).items() for part in (f"--{name}", value)]
    arguments = [str(data), "--format", form, "--slug", "mine", "--out", str(folder / "mine")]
    result = CliRunner().invoke(import_, [*arguments, "--labels", str(folder / "labels.yaml"), *options])
    assert result.exit_code == 0, result.output
    entry = load_catalog(extra=[folder / "mine/catalog.yaml"])["mine"]
    making = Making(
        slices=slices,
        own=Own((folder / "mine/converter.py").resolve(), (folder / "mine/labels.yaml").resolve()),
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
def test_every_phantom_there_and_back_loses_nothing(everything: Path, tmp_path: Path, form: str) -> None:
    assert same(*there_and_back(everything, form, tmp_path))


def in_space(path: Path) -> dict[tuple[float, ...], float]:
    """The voxels of a NIfTI file that are not 0, by their place in mm."""
    image = nib.Nifti1Image.from_filename(path)
    values = np.asarray(image.dataobj)
    places = np.argwhere(values != 0)
    at = np.round(np.asarray(nib.affines.apply_affine(image.affine, places)), 3) + 0.0
    return {
        tuple(place): float(values[tuple(voxel)]) for place, voxel in zip(at.tolist(), places, strict=True)
    }


def test_volumes_of_nnunet_are_those_of_the_download_and_come_back(tmp_path: Path) -> None:
    """BTCV's scans are stored from back to front; the label of one has no usable header."""
    phantoms.write_phantom("btcv", tmp_path / "raw")
    entries = load_catalog()
    build_dataset(entries["btcv"], tmp_path / "raw", tmp_path / "corpus", Making(slices="all"))
    write_corpus(tmp_path / "corpus", "default", "none", entries)
    data = exported(tmp_path / "corpus", "nnunet", tmp_path / "nnunet") / "Dataset001_btcv"
    told = json.loads((data / "dataset.json").read_bytes())
    assert (told["channel_names"], told["file_ending"], told["numTraining"]) == ({"0": "CT"}, ".nii.gz", 2)
    for number in (1, 23):
        image = next(data.glob(f"images*/case-{number:04d}_0000.nii.gz"))
        source = tmp_path / f"raw/RawData/Training/img/img{number:04d}.nii.gz"
        assert in_space(image) == in_space(source)
        written, given = nib.Nifti1Image.from_filename(image), nib.Nifti1Image.from_filename(source)
        assert written.shape == given.shape
        assert (written.affine == given.affine).all()
    labels = in_space(next(data.glob("labels*/case-0001.nii.gz")))
    source_labels = in_space(tmp_path / "raw/RawData/Training/label/label0001.nii.gz")
    assert labels.keys() == source_labels.keys()
    assert len(set(zip(labels.values(), source_labels.values(), strict=True))) == 13  # one to one

    manifest = read_manifest(tmp_path / "corpus/btcv")
    assert manifest is not None
    texts = manifest["policy"]["texts"]
    text = "  background: {ignore: true, value: 0}\n" + "".join(
        f"  {json.dumps(prompt)}: {{concept: {concept}, value: {told['labels'][prompt]}}}\n"
        for concept, prompt in texts.items()
    )
    back = imported(data, "nnunet", text, tmp_path, slices="all", instances="merged", split="images(Tr)")
    first = exported(tmp_path / "corpus", "coco", tmp_path / "first")
    assert same(first, exported(back, "coco", tmp_path / "second"))


def test_slices_of_a_part_of_a_volume_stay_pictures(corpus: Path, tmp_path: Path) -> None:
    """BTCV's phantom has a slice without an organ, which an ordinary build leaves out."""
    words = [str(corpus), "--to", "nnunet", "--out", str(tmp_path / "out"), "--datasets", "btcv", "--json"]
    result = CliRunner().invoke(export, words)
    changed = json.loads(result.stdout)["changed"]
    assert [count for what, count in changed.items() if "--slices all" in what] == [8]
    assert len(list(tmp_path.glob("out/Dataset001_btcv/images*/*.png"))) == 8


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
