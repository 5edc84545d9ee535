"""Images paired with their masks by name, and the sample of an image with one mask.

What most converters of pictures have in common, those that are declared (`pictures`) too. Where a missing mask means
more than a lost file, a converter walks its files itself (that of `drive`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from numpy.typing import NDArray

from medshards.curate.formats.pictures import raster
from medshards.curate.sample import Image, Instance, Region, Reject, Sample
from medshards.curate.source import Case, Source
from medshards.curate.tree import File

K = TypeVar("K", bound=str | tuple[Any, ...])


class Pair(NamedTuple, Generic[K]):
    """An image and its mask. key: what their names have in common."""

    key: K
    image: File
    mask: File

    @property
    def files(self) -> dict[str, File]:
        """The files of a `Case`."""
        return {"image": self.image, "mask": self.mask}


def pairs(
    images: Mapping[K, File],
    masks: Mapping[K, File],
    image_name: Callable[[K], str],
    mask_name: Callable[[K], str],
) -> Iterator[Pair[K] | Reject]:
    """Images with their masks, files by key, in the order of the keys; a half of a pair gives a Reject in its place.

    image_name, mask_name: what a person should look for where the file of a key is missing: "masks/{}.png".format.
    The codes are `missing_mask` for an image without mask and `missing_image` for a mask without image.
    """
    for key in sorted(images.keys() | masks.keys()):
        if key not in masks:
            yield Reject("missing_mask", f"no {mask_name(key)}", images[key].name)
        elif key not in images:
            yield Reject("missing_image", f"no {image_name(key)}", masks[key].name)
        else:
            yield Pair(key, images[key], masks[key])


def read_both(case: Case, read: Callable[[File], NDArray[Any]]) -> tuple[Image, NDArray[Any]]:
    """The image of a case, and what `read` makes of its file "mask" (H×W or H×W×C), as large as the image.

    Raises Reject (`size_mismatch`, and those of `raster.read_image` and of `read`).
    """
    file = case.files["mask"]
    image, mask = raster.read_image(case.files["image"]), read(file)
    raster.require_size(mask, image, file)
    return image, mask


def sample_of_mask(source: Source, case: Case, label: str, read: Callable[[File], NDArray[Any]]) -> Sample:
    """The sample of a case whose file "mask" shows one native label: one instance, which is empty where the mask is.

    read: reader of the mask, H×W bool, such as `raster.read_binary`.

    Raises Reject (`unknown_label`, and those of `read_both`).
    """
    image, mask = read_both(case, read)
    instance = Instance(source.concept(label, case.files["mask"]), Region.of(mask), label)
    return Sample(case.key, image, [instance], case.group, case.split)
