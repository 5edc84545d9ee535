"""MUCIC HL60 Cell Line: simulated 3D fluorescence microscopy of cell nuclei, at four levels of clustering.

Svoboda, Kozubek, Stejskal, Cytometry A 75A, 2009; BBBC024 at the Broad Institute. Each volume holds ids of 20 nuclei.
The same file names recur in all zips: the folder (or zip) tells clustering and noise. BBBC024's low SNR is high noise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from medshards.curate.formats.volumes.stacks import open_stack
from medshards.curate.pairs import pairs
from medshards.curate.sample import Reject, Sample
from medshards.curate.slices import samples_by_id
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

NAME = re.compile(
    r".*(?:HL60_(?P<noise>Low|High)Noise_C|BBBC024_v1_c)(?P<level>\d\d)(?:_(?P<snr>low|high)SNR)?[^/]*/"
    r"(?:.*/)?image-final_(?P<number>\d{4})\.\w+"
)
HDF5, TIFF = "*HL60_*Noise_C[0-9][0-9]*/**/", "*BBBC024_v1_c[0-9][0-9]_*SNR*/**/"


class Converter(Source):
    """One case a volume, one sample a slice; group = clustering and number (both noise levels show one phantom)."""

    slug = "mucic_hl60"
    layouts = (
        Layout("HDF5 zips, one folder each", (HDF5 + "image-final_[0-9][0-9][0-9][0-9].h*5",)),
        Layout("BBBC024 TIFF zips, one folder each", (TIFF + "image-final_[0-9][0-9][0-9][0-9].tif",)),
    )

    ignored = {"**/*Granulocytes*/**/*": "granulocytes, another set of the authors"}

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        images = {f.name: f for folder in (HDF5, TIFF) for f in tree.glob(f"{folder}image-final_*.*")}
        labels = {
            f.name.replace("image-labels_", "image-final_"): f
            for folder in (HDF5, TIFF)
            for f in tree.glob(f"{folder}image-labels_*.*")
        }
        halves = "image-final of that number beside it".format, "image-labels of that number beside it".format
        for pair in pairs(images, labels, *halves):
            if isinstance(pair, Reject):
                yield pair
            elif (match := NAME.fullmatch(pair.key)) is None:
                message = "its path does not tell noise, clustering and number"
                yield Reject("not_native", message, pair.image.name, (pair.mask.name,))
            else:
                noise = {"low": "high", "high": "low"}.get(match["snr"]) or match["noise"].lower()
                group = f"c{match['level']}-{match['number']}"
                yield Case(f"{noise}-{group}", pair.files, group)

    def load(self, case: Case) -> Iterator[Sample | Skip]:
        with (
            open_stack(case.files["image"], "Image") as image,
            open_stack(case.files["mask"], "Image") as labels,
        ):
            yield from samples_by_id(self, case, image, labels, "nucleus")
