"""MUCIC HL60 Cell Line: simulated 3D fluorescence microscopy of cell nuclei, at four levels of clustering.

Svoboda, Kozubek, Stejskal, Cytometry A 75A, 2009; BBBC024 at the Broad Institute. Each volume holds ids of 20 nuclei.
The folder (or zip) tells clustering and noise. BBBC024's low SNR is high noise.
"""

from __future__ import annotations

import re

from medshards.curate.datasets.mucic import Volumes
from medshards.curate.tree import Layout

HDF5, TIFF = "*HL60_*Noise_C[0-9][0-9]*/**/", "*BBBC024_v1_c[0-9][0-9]_*SNR*/**/"


class Converter(Volumes):
    """Group = clustering and number (both noise levels show one phantom)."""

    slug = "mucic_hl60"
    layouts = (
        Layout("HDF5 zips, one folder each", (HDF5 + "image-final_[0-9][0-9][0-9][0-9].h*5",)),
        Layout("BBBC024 TIFF zips, one folder each", (TIFF + "image-final_[0-9][0-9][0-9][0-9].tif",)),
    )
    ignored = {"**/*Granulocytes*/**/*": "granulocytes, another set of the authors"}
    folders = (HDF5, TIFF)
    path = re.compile(
        r".*(?:HL60_(?P<noise>Low|High)Noise_C|BBBC024_v1_c)(?P<level>\d\d)(?:_(?P<snr>low|high)SNR)?[^/]*/"
        r"(?:.*/)?image-final_(?P<number>\d{4})\.\w+"
    )
    told = "its path does not tell noise, clustering and number"

    def names(self, match: re.Match[str]) -> tuple[str, str]:
        noise = {"low": "high", "high": "low"}.get(match["snr"]) or match["noise"].lower()
        group = f"c{match['level']}-{match['number']}"
        return f"{noise}-{group}", group
