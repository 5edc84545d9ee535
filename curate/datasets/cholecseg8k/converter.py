"""CholecSeg8k: organs, tissue and instruments in frames of laparoscopic gall-bladder operations.

Hong et al., arXiv 2012.12453. `*_endo_watershed_mask.png` holds the numbers of the annotation tool, three times over;
`*_endo_color_mask.png` shows the same classes in colours and `*_endo_mask.png` the annotator's scribbles, neither is
read. A white frame of one pixel round each mask, and pixels of value 0, have no label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs, read_both
from medshards.curate.sample import Reject, Sample, SlicePosition
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

CLIP = "video[0-9][0-9]/video[0-9][0-9]_[0-9][0-9][0-9][0-9][0-9]"
IMAGE, MASK = "_endo.png", "_endo_watershed_mask.png"
FRAMES = 80  # of each of the 101 clips
NAME = re.compile(r"(?P<clip>video\d\d_\d{5})/frame_(?P<number>\d+)_endo(_watershed_mask)?\.png")


class Converter(Source):
    """One case a frame; group = operation, the videoVV of its folder (clips of one video follow each other)."""

    slug = "cholecseg8k"
    layouts = (Layout("Kaggle, Hugging Face", (f"{CLIP}/frame_*{IMAGE}", f"{CLIP}/frame_*{MASK}")),)
    ignored = {
        f"{CLIP}/frame_*_color_mask.png": "mask in colours, for display",
        f"{CLIP}/frame_*_endo_mask.png": "mask of scribbles",
    }

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        image_pattern, mask_pattern = tree.layout.needs
        images, masks = _by_frame(tree.glob(image_pattern)), _by_frame(tree.glob(mask_pattern))
        names = f"frame_{{0[1]}}{IMAGE} beside it".format, f"frame_{{0[1]}}{MASK} beside it".format
        for pair in pairs(images, masks, *names):
            if isinstance(pair, Reject):
                yield pair
                continue
            clip, number = pair.key
            index = number - int(clip[-5:])
            if not 0 <= index < FRAMES:
                message = f"a clip holds the {FRAMES} frames from the number in its name on"
                yield Reject("not_native", message, pair.image.name, (pair.mask.name,))
            else:
                video = clip.partition("_")[0]
                yield Case(f"{video}-{number:05d}", pair.files, video, facts={"clip": clip, "index": index})

    def load(self, case: Case) -> Iterator[Sample]:
        file = case.files["mask"]
        image, numbers = read_both(case, raster.read_grey)
        regions = self.instances(raster.split_values(numbers, self.labels.by_value(), file), file)
        position = SlicePosition(case.facts["clip"], case.facts["index"], FRAMES)
        yield Sample(case.key, image, regions, case.group, position=position)


def _by_frame(files: list[File]) -> dict[tuple[str, int], File]:
    """Files by clip and frame number; the numbers are not padded in the names."""
    return {(m["clip"], int(m["number"])): f for f in files if (m := NAME.search(f.name))}
