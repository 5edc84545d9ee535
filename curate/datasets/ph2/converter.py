"""PH²: melanocytic lesions in dermoscopic images.

Mendonça et al., EMBC 2013. The lesion is the 1-bit (in one copy 24-bit) `_lesion.bmp`; the colour classes in `_roi/`
are not read. Only BMP files are the dataset's own: a public copy has JPEGs beside them.
"""

from __future__ import annotations

from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pictures import Pictures, one, paths
from medshards.curate.sample import Reject
from medshards.curate.source import Case, Skip
from medshards.curate.tree import Tree

ID = "IMD[0-9][0-9][0-9]"


class Converter(Pictures):
    """One case a lesion; group = case (patients are not published)."""

    slug = "ph2"
    layouts = (
        paths(
            "PH2 Dataset images",
            f"{{id:{ID}}}/{{id}}_Dermoscopic_Image/{{id}}.bmp",
            "{id}/{id}_lesion/{id}_lesion.bmp",
        ),
    )
    ignored = {f"{ID}/{ID}_roi/*": "region of one colour class"}
    masks = one("lesion", raster.read_binary)
    key = "{id}"

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        yield from super().discover(tree)
        known = {file.stem for need in tree.layout.needs for file in tree.glob(need)}
        for copy in tree.glob(f"{ID}/*/*.jpg"):
            if copy.stem in known:
                yield Skip(copy.name, "JPEG copy of a picture")
