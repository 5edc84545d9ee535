"""Export → import → build: no instance is lost, every mask comes back."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import PIL.Image
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


SQUARES = {"a": [(5, 5, 10), (22, 30, 12)], "b": [(8, 20, 12)], "c": []}  # top, left, side by image
SIZE = (48, 60)


def write_labelme(folder: Path) -> None:
    for name, places in SQUARES.items():
        corners = [[(x, y), (x + n, y), (x + n, y + n), (x, y + n)] for y, x, n in places]
        shapes = [{"label": "benign", "points": points, "shape_type": "polygon"} for points in corners]
        told = {"imageHeight": SIZE[0], "imageWidth": SIZE[1], "shapes": shapes}
        (folder / f"{name}.json").write_text(json.dumps(told))
        PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, SIZE, np.uint8)).save(
            folder / f"{name}.png"
        )


def write_medsam(folder: Path) -> None:
    for name, places in SQUARES.items():
        ids = np.zeros(SIZE, np.uint8)
        for number, (y, x, n) in enumerate(places, start=1):
            ids[y : y + n + 1, x : x + n + 1] = (
                number  # as wide as LabelMe's, whose outline belongs to the object
            )
        image = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
        np.savez_compressed(folder / f"{name}.npz", imgs=image, gts=ids)


@pytest.mark.parametrize(
    ("form", "write", "said"),
    [("labelme", write_labelme, {}), ("medsam-npz", write_medsam, {"instances": "native"})],
)
def test_every_object_of_other_files_arrives_in_coco(
    tmp_path: Path, form: str, write: Callable[[Path], None], said: dict[str, str]
) -> None:
    reference = pytest.importorskip("pycocotools.coco", reason="needs pycocotools (extra dev)")
    (tmp_path / "data").mkdir()
    write(tmp_path / "data")
    back = imported(tmp_path / "data", form, "  benign: breast_lesion\n", tmp_path, **said)
    found: dict[str, list[list[int]]] = {}
    for path in exported(back, "coco", tmp_path / "coco").glob("annotations/*.json"):
        told = reference.COCO(str(path))
        for image in told.imgs.values():
            masks = [told.annToMask(a) for a in told.loadAnns(told.getAnnIds(image["id"]))]
            boxes = [[*np.argwhere(mask).min(axis=0), int(mask.sum())] for mask in masks]
            found[Path(image["file_name"]).stem] = sorted(boxes)
    assert found == {
        name: sorted([y, x, (n + 1) ** 2] for y, x, n in places) for name, places in SQUARES.items()
    }


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
