"""Aperio XML: polygons in file order, nothing guessed, nothing fetched or expanded."""

from pathlib import Path

import pytest

from medshards.curate.formats.pictures import polygons
from medshards.curate.formats.pictures.aperio import read_annotations
from medshards.curate.sample import Reject
from medshards.curate.tree import File

HEAD, TAIL = "<Annotations{}><Annotation Id='1' Type='4'><Regions>", "</Regions></Annotation></Annotations>"
SQUARE = "<Region Id='{}' Type='{}' NegativeROA='{}' Area='{}'><Vertices>{}</Vertices></Region>"


def region(points: list[tuple[float, float]], number: int = 1, kind: int = 0, negative: int = 0) -> str:
    return SQUARE.format(number, kind, negative, 0, "".join(f"<Vertex X='{x}' Y='{y}'/>" for x, y in points))


def write(folder: Path, *regions: str, attributes: str = "") -> File:
    path = folder / "a.xml"
    path.write_text(HEAD.format(attributes) + "".join(regions) + TAIL)
    return File(path.name, path)


def test_polygons_in_file_order(tmp_path: Path) -> None:
    read = read_annotations(
        write(
            tmp_path,
            region([(1, 2), (3.5, 2), (3, 4)], number=7),
            region([(0, 0), (-2.5, 1002.1)], number=7),
            region([]),
            attributes=" MicronsPerPixel='0.25'",
        )
    )
    assert [r.tolist() for r in read.regions] == [[[1, 2], [3.5, 2], [3, 4]], [[0, 0], [-2.5, 1002.1]], []]
    assert read.pixel_mm == pytest.approx(0.00025)


def test_pixel_size_may_be_missing(tmp_path: Path) -> None:
    assert read_annotations(write(tmp_path)).pixel_mm is None
    assert read_annotations(write(tmp_path, attributes=" MicronsPerPixel=''")).pixel_mm is None


@pytest.mark.parametrize(("kind", "negative"), [(1, 0), (2, 0), (0, 1)])
def test_shapes_that_are_no_filled_polygons(kind: int, negative: int, tmp_path: Path) -> None:
    with pytest.raises(Reject, match="bad_annotations"):
        read_annotations(write(tmp_path, region([(0, 0), (9, 9)], kind=kind, negative=negative)))


@pytest.mark.parametrize(
    "content",
    [
        "<Annotations><Annotation>",
        "<html/>",
        "no XML",
        HEAD.format("") + "<Region><Vertex X='1'/></Region>" + TAIL,
        HEAD.format("") + "<Region><Vertex X='one' Y='2'/></Region>" + TAIL,
        "<!DOCTYPE a [<!ENTITY b 'bbbb'><!ENTITY c '&b;&b;&b;'>]><Annotations>&c;</Annotations>",
        "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/hostname'>]><Annotations>&b;</Annotations>",
    ],
)
def test_anything_else_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(Reject, match="unreadable"):
        read_annotations(File("a.xml", tmp_path / "a.xml"))


def test_pixels_of_a_region_are_as_many_as_the_area_that_imagescope_wrote(samples: Path) -> None:
    """The files' own Area attributes settle where a pixel lies: vertices measure the plane, pixel 0 spans [0, 1]."""
    import re

    found = sorted((samples / "monuseg").rglob("*.xml"))
    for path in found:
        written = [float(a) for a in re.findall(r' Area="([\d.]+)"', path.read_text())]
        regions = read_annotations(File(path.name, path)).regions
        drawn = [polygons.fill(r, (1000, 1000)).area for r in regions if len(r) > 2]
        assert len(written) == len(regions)
        assert sum(drawn) == pytest.approx(sum(written), rel=0.02)
    if not found:
        pytest.skip("no Aperio XML among the samples")
