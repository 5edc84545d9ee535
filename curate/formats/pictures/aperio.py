"""Aperio ImageScope annotations (XML): polygons drawn on a slide.

`<Annotations MicronsPerPixel><Annotation><Regions><Region><Vertices><Vertex X Y/>`. X runs along the columns, in px of
the full image, pixel 0 spans [0, 1]: the Area that ImageScope writes for a region is that of the polygon of its
vertices, and so is the number of pixels whose centres lie in it. A region is closed without repeating its first vertex.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray

from medshards.curate.formats.files import read_bytes
from medshards.curate.sample import Reject
from medshards.curate.tree import File


@dataclass(frozen=True, eq=False)
class Annotations:
    """What an ImageScope file holds.

    regions: the vertices of each polygon in file order, N×2 float64 (x, y) in px. Ids in the file are not reliable.
    pixel_mm: side of a pixel in mm, None where the file is silent.
    """

    regions: tuple[NDArray[np.float64], ...]
    pixel_mm: float | None


def read_annotations(file: File) -> Annotations:
    """The polygons of a file. Names, descriptions and paths of images in it are not read.

    Raises Reject (`unreadable`, `lfs_pointer`; `bad_annotations` for regions that are no filled polygons).
    """
    try:
        root = fromstring(read_bytes(file))
        if root.tag != "Annotations":
            raise ValueError(f"its first element is {root.tag!r}, not 'Annotations'")
        microns = root.get("MicronsPerPixel")
        pixel_mm = float(microns) / 1000 if microns else None
        regions = tuple(_polygon(region, file) for region in root.iter("Region"))
    except (ParseError, DefusedXmlException, KeyError, ValueError) as error:
        raise Reject("unreadable", f"is no Aperio XML: {error}", file.name) from error
    return Annotations(regions, pixel_mm if pixel_mm and pixel_mm > 0 else None)


def _polygon(region: Element, file: File) -> NDArray[np.float64]:
    kind, negative = region.get("Type", "0"), region.get("NegativeROA", "0")
    if kind != "0" or negative != "0":
        message = (
            f"region {region.get('Id')} has Type {kind}, NegativeROA {negative}; polygons (0, 0) are expected"
        )
        raise Reject("bad_annotations", message, file.name)
    points = [(float(v.attrib["X"]), float(v.attrib["Y"])) for v in region.iter("Vertex")]
    return np.array(points, np.float64).reshape(-1, 2)
