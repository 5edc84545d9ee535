"""Small datasets of a user's own, labelled with concepts that the vocabulary does not hold."""

from pathlib import Path

import numpy as np
import PIL.Image

from medshards.curate.source import get_source
from tests.command import medshards

CONCEPTS = """\
mycetoma_grain: {text: mycetoma grain, kind: lesion, synonyms: [fungal grain], parent: mycetoma}
mycetoma: {text: mycetoma, kind: lesion, parent: skin_lesion}
spare_thing: {text: spare thing, kind: instrument}
"""
SAID = {"title": "Grains", "modality": "Histopathology", "licence": "Grain licence 7", "group": "none"}
SAID |= {"homepage": "https://example.org/grains", "citation": "Nobody, Grains, 2026", "format": "pairs"}
SAID |= {"images": "images/{name}.png", "masks": "masks/{name}.png", "instances": "components"}


def write_download(folder: Path) -> None:
    """Six images; the last shows nothing."""
    draw = np.random.default_rng(len(folder.name))
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(6):
        mask = np.zeros((64, 72), bool)
        mask[10 + number : 30, 20:50] = number < 5
        PIL.Image.fromarray(draw.integers(0, 255, (64, 72, 3), np.uint8)).save(
            folder / f"images/{number}.png"
        )
        PIL.Image.fromarray(mask).save(folder / f"masks/{number}.png")


def imported(folder: Path, slug: str, concept: str, concepts: str = CONCEPTS) -> None:
    """A folder for --own, and its download in raw/."""
    write_download(folder / "raw" / slug)
    (folder / "concepts.yaml").write_text(concepts)
    (folder / "labels.yaml").write_text(f"dataset: {slug}\nexhaustive: true\nlabels:\n  white: {concept}\n")
    said = [word for name, value in SAID.items() for word in (f"--{name}", value)]
    files: list[str | Path] = ["--labels", folder / "labels.yaml", "--concepts", folder / "concepts.yaml"]
    done = medshards("import", folder / "raw" / slug, "--slug", slug, "--out", folder / slug, *files, *said)
    assert done.exit_code == 0, done.output


def build(folder: Path, *slugs: str) -> tuple[int, str]:
    get_source.cache_clear()
    own: list[str | Path] = [word for slug in slugs for word in ("--own", folder / slug)]
    done = medshards("build", *slugs, "--raw", folder / "raw", "--out", folder / "corpus", *own)
    return done.exit_code, done.output
