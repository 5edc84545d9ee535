"""`medshards predict`: files are what evaluation measures, to the last digit; volumes keep their grid; bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from medshards.curate.catalog.entry import load_catalog
from medshards.evaluate.cli.evaluate import evaluate
from medshards.evaluate.dataset import asked, open_datasets
from medshards.evaluate.predict.cli import predict
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.shards.read.decode import decode
from medshards.train.model.weights import export_folder, export_official
from medshards.train.run.checkpoint import load_model
from tests.shards.build.test_manifest import no_room_beyond

RULE = ("--aggregate", "top1", "--min-score", "0")
SLUGS = ("busi", "isic_2018", "kvasir_seg", "us_nerve")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(predict, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def eight(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training split of four datasets: the images of docs/learning.md."""
    out = tmp_path_factory.mktemp("eight")
    for slug in SLUGS:
        build_dataset(load_catalog()[slug], samples / slug, out)
    write_corpus(out, "default", "none")
    return out


@pytest.fixture(scope="module")
def jobs(eight: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images as files, and a table of what evaluation asks of each."""
    folder, rows = tmp_path_factory.mktemp("images"), []
    for dataset in open_datasets(eight, split="train"):
        for number in range(len(dataset.corpus)):
            raw = dataset.corpus.read(number)
            sample = decode(raw)
            name = f"{sample.record['key']}.{raw.extension}"
            (folder / name).write_bytes(raw.image)
            rows.append({"file": name, "prompts": [dataset.texts[c] for c in asked(sample)]})
    (folder / "jobs.json").write_text(json.dumps(rows))
    return folder / "jobs.json"


def figures(corpus: Path, checkpoint: object) -> list[dict[str, Any]]:
    options = [
        "--data",
        corpus,
        "--checkpoint",
        checkpoint,
        "--split",
        "train",
        "--device",
        "cpu",
        *RULE,
        "--json",
    ]
    result = CliRunner().invoke(evaluate, [str(o) for o in options])
    assert result.exit_code == 0, result.output
    names = ("dataset", "images", "pairs", "dice", "iou", "hd95", "nsd", "classes", "empty")
    return [{name: own[name] for name in names} for own in json.loads(result.stdout)["datasets"]]


@pytest.fixture(scope="module")
def forms(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model as a run, in Hugging Face format and as an official file."""
    model, _ = load_model(run)
    folder = tmp_path_factory.mktemp("forms")
    export_folder(model, folder / "hf")
    export_official(model, folder / "sam3.pt")
    return {"run": run, "hf": folder / "hf", "official": folder / "sam3.pt"}


FORMS = ("run", "hf", "official")


@pytest.fixture(scope="module")
def measured(forms: dict[str, Path], eight: Path) -> dict[str, list[dict[str, Any]]]:
    """What evaluation says of the model in each form."""
    return {form: figures(eight, forms[form]) for form in FORMS}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["png", "nifti"])
def test_scoring_the_files_equals_evaluating_the_model(
    kind: str,
    form: str,
    forms: dict[str, Path],
    measured: dict[str, list[dict[str, Any]]],
    eight: Path,
    jobs: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "masks"
    options = ("--checkpoint", forms[form], "--out", out, "--format", kind, "--device", "cpu", *RULE)
    result = call("--jobs", jobs, *options)
    assert result.exit_code == 0, result.output
    assert sum(own["images"] for own in measured[form]) == 8
    assert any(own["dice"] > 0 for own in measured[form])
    assert figures(eight, out) == measured[form]


def decoded(segmentation: dict[str, Any]) -> NDArray[np.bool_]:
    """COCO's uncompressed run lengths, by their definition."""
    height, width = segmentation["size"]
    values = np.repeat(np.arange(len(segmentation["counts"])) % 2 == 1, segmentation["counts"])
    return values.reshape(width, height).T


def test_coco_holds_the_masks_of_the_pictures(run: Path, jobs: Path, tmp_path: Path) -> None:
    result = call(
        "--jobs", jobs, "--checkpoint", run, "--out", tmp_path, "--format", "png", "--format", "coco", "--overlay",
        *RULE,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    coco = json.loads((tmp_path / "predictions.coco.json").read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    assert len(coco["images"]) == 10
    checked = 0
    for image in coco["images"]:
        own = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        scores = json.loads((tmp_path / f"{image['file_name']}.json").read_text())
        plane = np.asarray(PIL.Image.open(tmp_path / f"{image['file_name']}.png"))
        assert plane.shape == (image["height"], image["width"])
        entries = {(p["text"], i["id"]): i for p in scores["prompts"] for i in p["instances"]}
        assert len(entries) == len(own)
        for annotation, ((text, number), entry) in zip(own, entries.items(), strict=True):
            mask = decoded(annotation["segmentation"])
            np.testing.assert_array_equal(mask, plane == number)
            assert (annotation["area"], annotation["score"]) == (mask.sum(), entry["score"])
            assert names[annotation["category_id"]] == text
            checked += 1
        assert PIL.Image.open(tmp_path / f"{image['file_name']}.overlay.png").width > 100
    assert checked >= 8


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """An oblique CT-like volume of 5 slices."""
    array = np.random.default_rng(1).integers(-1000, 1000, (24, 20, 5)).astype(np.int16)
    affine = np.array([[0.7, 0.1, 0, -30], [-0.1, 0.7, 0.2, 12], [0, -0.1, 2.5, 900], [0, 0, 0, 1]])
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_a_volume_comes_back_on_its_own_grid(volume: Path, run: Path, tmp_path: Path) -> None:
    options = (
        "--checkpoint",
        run,
        "--prompt",
        "liver",
        "--prompt",
        "spleen",
        "--out",
        tmp_path / "out",
        *RULE,
    )
    result = call(volume, *options, "--format", "nifti", "--format", "png", "--json")
    assert result.exit_code == 0, result.output
    source = nib.Nifti1Image.from_filename(volume)
    found = nib.Nifti1Image.from_filename(tmp_path / "out" / "scan.nii.gz")
    assert found.shape == source.shape
    np.testing.assert_array_equal(found.affine, source.affine)
    ids = np.asarray(found.dataobj)
    content = json.loads((tmp_path / "out" / "scan.json").read_text())
    entries = [i for p in content["prompts"] for i in p["instances"]]
    assert {i["id"] for i in entries} == set(np.unique(ids)) - {0}
    for entry in entries:
        assert entry["area"] == (ids == entry["id"]).sum()
    for k in range(5):  # each slice by itself shows the same pixels
        plane = np.asarray(PIL.Image.open(tmp_path / "out" / f"scan-{k:04d}.png"))
        np.testing.assert_array_equal(plane > 0, ids[..., k].T > 0)
    summary = json.loads(result.stdout)
    assert summary["inputs"][0]["slices"] == 5
    assert summary["made"]["mask"] == "top1, score >= 0"


def test_a_metaimage_keeps_its_place_in_the_patient(run: Path, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(np.random.default_rng(2).integers(0, 900, (3, 16, 18)).astype(np.int16))
    image.SetSpacing((0.5, 0.75, 4.0))
    image.SetOrigin((-10.0, 20.0, 30.0))
    image.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "scan.mha"))
    out = tmp_path / "out"
    assert call(tmp_path / "scan.mha", "--checkpoint", run, "--prompt", "liver", "--out", out, "--format", "nifti",
                *RULE).exit_code == 0  # fmt: skip
    found = sitk.ReadImage(str(out / "scan.nii.gz"))
    assert found.GetSize() == image.GetSize()
    for ours, theirs in [
        (found.GetSpacing(), image.GetSpacing()),
        (found.GetOrigin(), image.GetOrigin()),
        (found.GetDirection(), image.GetDirection()),
    ]:
        assert ours == pytest.approx(theirs, abs=1e-5)


def files_and_prompts(run: Path, folder: Path, *options: str) -> tuple[Result, bytes, list[dict[str, Any]]]:
    """What `predict` says of one picture, its label picture, and the prompts of its scores."""
    pixels = np.random.default_rng(3).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    folder.mkdir()
    PIL.Image.fromarray(pixels).save(folder / "a.png")
    result = call(folder / "a.png", "--checkpoint", run, "--out", folder / "out", *options, *RULE)
    assert result.exit_code == 0, result.output
    prompts: list[dict[str, Any]] = json.loads((folder / "out" / "a.json").read_text())["prompts"]
    return result, (folder / "out" / "a.png").read_bytes(), prompts


def test_a_synonym_is_asked_by_the_canonical_text_on_request(run: Path, tmp_path: Path) -> None:
    synonym = ("--prompt", "Colonic  polyp")
    _, as_typed, plain = files_and_prompts(run, tmp_path / "typed", *synonym)
    assert [(p["text"], p["concept"]) for p in plain] == [("Colonic  polyp", "polyp")]
    _, resolved, renamed = files_and_prompts(run, tmp_path / "canonical", *synonym, "--canonical")
    assert [(p["text"], p["concept"]) for p in renamed] == [("polyp", "polyp")]
    _, direct, _ = files_and_prompts(run, tmp_path / "direct", "--prompt", "polyp")
    assert resolved == direct  # the model was asked the canonical text
    scores = [[i["score"] for i in p[0]["instances"]] for p in (plain, renamed)]
    assert scores[0] != scores[1] or as_typed != resolved  # and before that, the synonym
    both = ("--prompt", "colon polyp", "--prompt", "polyp")
    assert len(files_and_prompts(run, tmp_path / "once", *both, "--canonical")[2]) == 1


@pytest.mark.parametrize("canonical", [(), ("--canonical",)])
def test_texts_outside_the_vocabulary_are_asked_and_flagged(
    canonical: tuple[str, ...], run: Path, tmp_path: Path
) -> None:
    texts = ("--prompt", "polyp of doubt", "--prompt", "colon polyp")
    result, _, prompts = files_and_prompts(run, tmp_path / "text", *texts, *canonical)
    notes = [line for line in result.stderr.splitlines() if "not in the vocabulary" in line]
    assert notes == ["note: 'polyp of doubt' is not in the vocabulary; it was asked as it is"]
    assert [(p["text"], p["concept"]) for p in prompts] == [
        ("polyp of doubt", None),
        ("polyp" if canonical else "colon polyp", "polyp"),
    ]
    as_json, _, _ = files_and_prompts(run, tmp_path / "json", *texts, *canonical, "--json")
    assert json.loads(as_json.stdout)["outside_vocabulary"] == ["polyp of doubt"]


def test_bad_input_is_named_and_the_rest_goes_on(run: Path, tmp_path: Path) -> None:
    PIL.Image.new("RGB", (30, 20)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    (tmp_path / "bad.nii.gz").write_bytes(b"no volume")
    (tmp_path / "notes.txt").write_text("passed over")
    options = ("--checkpoint", run, "--prompt", "polyp", "--out", tmp_path / "out")
    result = call(tmp_path, tmp_path / "absent.png", *options)
    assert result.exit_code == 1
    refused = [line for line in result.stderr.splitlines() if line.startswith("refused ")]
    assert len(refused) == 3
    for name in ("bad.png", "bad.nii.gz", "absent.png"):
        assert any(f"{name}: " in line for line in refused), name
    assert "good: no polyp" in result.stdout
    assert (tmp_path / "out" / "good.json").exists()
    assert "notes" not in result.output


def test_no_prediction_is_written_over_an_input(run: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    PIL.Image.new("RGB", (30, 20)).save(tmp_path / "images" / "a.png")
    before = (tmp_path / "images" / "a.png").read_bytes()
    for out in (tmp_path / "images", tmp_path):
        result = call(tmp_path / "images", "--checkpoint", run, "--prompt", "polyp", "--out", out)
        assert result.exit_code == 1
        assert "a.png: overlap: lies in" in " ".join(result.stderr.split())
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["a.png"]
    assert (tmp_path / "images" / "a.png").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [("file,prompts\na.png,\n", "a.png has no prompt"), ("name\na.png\n", "expected files")],
)
def test_a_wrong_table_of_jobs(content: str, words: str, run: Path, tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text(content)
    result = call("--jobs", tmp_path / "jobs.csv", "--checkpoint", run, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert words in result.stderr


def test_jobs_from_csv(run: Path, tmp_path: Path) -> None:
    PIL.Image.new("L", (30, 20)).save(tmp_path / "a.png")
    (tmp_path / "jobs.csv").write_text("file,prompts\na.png,polyp; fold\n")
    result = call("--jobs", tmp_path / "jobs.csv", "--checkpoint", run, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    prompts = json.loads((tmp_path / "out" / "a.json").read_text())["prompts"]
    assert [p["text"] for p in prompts] == ["polyp", "fold"]


def test_wrong_usage(run: Path, tmp_path: Path) -> None:
    for arguments in (["a.png"], ["--prompt", "polyp"], ["a.png", "--prompt", "x", "--format", "gif"]):
        assert call(*arguments, "--checkpoint", run, "--out", tmp_path).exit_code == 2


@pytest.mark.parametrize(
    ("limit", "options", "left"),
    [
        (60, ("--format", "png"), set()),
        (60, ("--format", "nifti"), set()),
        (60, ("--format", "coco"), set()),
        (5000, ("--overlay",), {"a.png", "a.json"}),
    ],
)
def test_a_full_disk_leaves_no_half_file(
    limit: int, options: tuple[str, ...], left: set[str], run: Path, tmp_path: Path
) -> None:
    """5,000 bytes are enough for labels and scores, not for the picture with contours."""
    pixels = np.random.default_rng(3).integers(0, 256, (120, 160, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    words = (
        tmp_path / "a.png",
        "--checkpoint",
        run,
        "--prompt",
        "polyp",
        "--out",
        tmp_path / "out",
        *options,
    )
    with no_room_beyond(limit):
        result = call(*words, "--device", "cpu", *RULE)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {tmp_path / 'out'}: File too large\n"
    assert {path.name for path in (tmp_path / "out").iterdir()} == left
