"""No name that hides in a JPEG or PNG reaches a shard, and no pixel changes: one place a line."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from medshards.cli import cli
from medshards.curate.formats.pictures import jpeg, png
from medshards.curate.formats.pictures.raster import read_image
from medshards.curate.sample import Reject
from medshards.curate.tree import File

NAME = b"TESTPERSON^INVENTED 19000101"
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)


def encoded(form: str, pixels: np.ndarray = PIXELS, **options: object) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


BASELINE = encoded("JPEG", quality=90)
GREY = encoded("JPEG", PIXELS[:, :, 0], quality=90)
PROGRESSIVE = encoded("JPEG", quality=90, progressive=True)
PLAIN = encoded("PNG")

# ---------------------------------------------------------------------------------------------------- JPEG


def segment(marker: int, content: bytes = NAME) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content


def first(extra: bytes, data: bytes = BASELINE) -> bytes:
    """`extra` behind the JFIF segment."""
    return data[:20] + extra + data[20:]


def between_scans(extra: bytes, refinement: bool = False) -> bytes:
    """`extra` before the second scan, or before the one that refines the direct components and needs no table."""
    at = jpeg.read_header(PROGRESSIVE).segments
    scans = [PROGRESSIVE[offset : offset + 14] for marker, offset, _ in at if marker == 0xDA]
    direct = [scan for scan in scans if scan[4] == 3]  # three components in one scan: their direct parts
    assert [scan[13] >> 4 for scan in direct] == [0, 1]
    place = PROGRESSIVE.index(direct[1] if refinement else scans[1])
    return PROGRESSIVE[:place] + extra + PROGRESSIVE[place:]


def before_scan(extra: bytes, data: bytes = BASELINE) -> bytes:
    at = data.index(b"\xff\xda")
    return data[:at] + extra + data[at:]


PADDED = NAME.ljust(64, b".")  # as long as a quantization table
CODES = bytes([0, 0, 0, 0, 0, len(NAME)]) + bytes(10) + NAME  # a Huffman table of codes of 6 bits
IN_JPEG: dict[str, bytes] = {
    "Exif": first(segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0" + NAME)),
    "XMP": first(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + NAME)),
    "colour profile": first(segment(0xE2, b"ICC_PROFILE\0\1\1" + NAME)),
    "index of pictures": first(segment(0xE2, b"MPF\0MM\0*" + NAME)),
    "APP3": first(segment(0xE3)),
    "APP5": first(segment(0xE5)),
    "APP10": first(segment(0xEA)),
    "APP12": first(segment(0xEC)),
    "IPTC": first(segment(0xED, b"Photoshop 3.0\x008BIM" + NAME)),
    "behind the Adobe segment": encoded("JPEG", quality=90)[:20]
    + segment(0xEE, b"Adobe\0\x64\0\0\0\0\1" + NAME)
    + BASELINE[20:],
    "APP14 of another maker": first(segment(0xEE)),
    "APP15": first(segment(0xEF)),
    "comment": first(segment(0xFE)),
    "comment before JFIF": BASELINE[:2] + segment(0xFE) + BASELINE[2:],
    "preview in JFIF": BASELINE[:2] + segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\3\3" + NAME[:27]) + BASELINE[20:],
    "behind JFIF": BASELINE[:2] + segment(0xE0, BASELINE[6:20] + NAME) + BASELINE[20:],
    "preview in JFXX": first(segment(0xE0, b"JFXX\0\x13\3\3" + NAME)),
    "unused quantization table": first(segment(0xDB, b"\3" + PADDED)),
    "overwritten quantization table": first(segment(0xDB, b"\0" + PADDED)),
    "table of colours in a grey picture": first(segment(0xDB, b"\1" + PADDED), GREY),
    "unused Huffman table": first(segment(0xC4, b"\3" + CODES)),
    "overwritten Huffman table": first(segment(0xC4, b"\x10" + CODES)),
    "beside a used table": before_scan(
        segment(0xC4, b"\x03" + CODES + BASELINE[BASELINE.index(b"\xff\xc4") + 4 :][: 17 + 12])
    ),
    "table behind the last scan": BASELINE[:-2] + segment(0xDB, b"\0" + PADDED) + BASELINE[-2:],
    "arithmetic coding's table": before_scan(segment(0xCC)),
    "number of lines": BASELINE[:-2] + segment(0xDC) + BASELINE[-2:],
    "hierarchical": before_scan(segment(0xDF)),
    "reserved marker": first(segment(0xF3)),
    "quantization table between scans": between_scans(segment(0xDB, b"\0" + PADDED)),
    "Huffman table between scans, before one that needs none": between_scans(
        segment(0xC4, b"\0" + CODES), refinement=True
    ),
    "comment between scans": between_scans(segment(0xFE)),
    "APP1 between scans": between_scans(segment(0xE1)),
    "comment behind the last scan": BASELINE[:-2] + segment(0xFE) + BASELINE[-2:],
    "behind the end": BASELINE + NAME,
    "second picture behind the end": BASELINE + first(segment(0xFE)),
    "fill bytes": first(b"\xff" * 40 + segment(0xFE) + b"\xff" * 9),
}

# ----------------------------------------------------------------------------------------------------- PNG


def chunk(kind: bytes, content: bytes = NAME) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def behind_header(kind: bytes, content: bytes = NAME) -> bytes:
    return PLAIN[:33] + chunk(kind, content) + PLAIN[33:]


def behind_pixels(kind: bytes, content: bytes = NAME) -> bytes:
    return PLAIN[:-12] + chunk(kind, content) + PLAIN[-12:]


ROWS = b"".join(b"\0" + row.tobytes() for row in PIXELS)
IN_PNG: dict[str, bytes] = {
    "text": behind_header(b"tEXt", b"Author\0" + NAME),
    "text behind the pixels": behind_pixels(b"tEXt", b"Author\0" + NAME),
    "compressed text": behind_header(b"zTXt", b"Author\0\0" + zlib.compress(NAME)),
    "international text": behind_header(b"iTXt", b"Author\0\0\0\0\0" + NAME),
    "Exif": behind_header(b"eXIf", b"MM\0*\0\0\0\x08\0\0" + NAME),
    "Exif behind the pixels": behind_pixels(b"eXIf", b"MM\0*\0\0\0\x08\0\0" + NAME),
    "name of a colour profile": behind_header(b"iCCP", NAME + b"\0\0" + zlib.compress(bytes(200))),
    "colour profile": behind_header(b"iCCP", b"x\0\0" + zlib.compress(bytes(128) + NAME)),
    "suggested palette": behind_header(b"sPLT", NAME + b"\0\x08" + bytes(6)),
    "palette beside RGB": behind_header(b"PLTE", NAME.ljust(30, b".")),
    "histogram": PLAIN[:33] + chunk(b"PLTE", bytes(30)) + chunk(b"hIST", NAME[:20]) + PLAIN[33:],
    "primaries": behind_header(b"cHRM", NAME.ljust(32, b".")),
    "gamma and gamut": PLAIN[:33] + chunk(b"gAMA", NAME[:4]) + chunk(b"sRGB", b"\0") + PLAIN[33:],
    "calibration": behind_header(b"pCAL", NAME + b"\0" + bytes(9) + b"\0"),
    "scale": behind_header(b"sCAL", b"\1" + NAME),
    "private chunk": behind_header(b"paTt"),
    "private chunk behind the pixels": behind_pixels(b"paTt"),
    "vendor's chunk": behind_header(b"vpAg"),
    "content credentials": behind_header(b"caBX"),
    "animation": PLAIN[:33]
    + chunk(b"acTL", bytes(8))
    + PLAIN[33:-12]
    + chunk(b"fdAT", bytes(4) + zlib.compress(NAME))
    + PLAIN[-12:],
    "in the end chunk": PLAIN[:-12] + chunk(b"IEND"),
    "behind the end": PLAIN + NAME,
    "second picture behind the end": PLAIN + behind_header(b"tEXt"),
    "behind the compressed pixels": PLAIN[:33]
    + chunk(b"IDAT", zlib.compress(ROWS) + NAME)
    + chunk(b"IEND", b""),
    "behind the compressed pixels, in a chunk of its own": behind_pixels(b"IDAT"),
    "rows below the picture": PLAIN[:33] + chunk(b"IDAT", zlib.compress(ROWS + NAME)) + chunk(b"IEND", b""),
}
# a date is told too
DATES = {"time": behind_header(b"tIME", bytes([7, 108, 1, 1, 0, 0, 0]))}


def stored(data: bytes, tmp_path: Path) -> tuple[np.ndarray, bytes]:
    """Pixels of a file as read, and the bytes that go into a shard for it."""
    path = tmp_path / "a"
    path.write_bytes(data)
    image = read_image(File("a", path))
    return image.pixels, image.encoded if image.encoded is not None else png.encode_image(image.pixels)


@pytest.mark.parametrize("place", IN_JPEG)
def test_no_name_in_a_jpeg_is_kept(place: str, tmp_path: Path) -> None:
    data = IN_JPEG[place]
    assert NAME[:20] in data
    clean = PROGRESSIVE if "between" in place else GREY if "grey" in place else BASELINE
    pixels, kept = stored(data, tmp_path)
    assert NAME[:10] not in kept
    assert kept[:2] == b"\xff\xd8"  # and it is a JPEG still, not decoded and encoded again
    assert np.array_equal(pixels, np.squeeze(jpeg.decode(clean, 1 if "grey" in place else 3)))
    assert np.array_equal(pixels, np.squeeze(jpeg.decode(kept, 1 if "grey" in place else 3)))
    assert stored(kept, tmp_path)[1] == kept


def test_bytes_between_the_coded_pixels_and_the_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Reject, match="unreadable"):
        stored(BASELINE[:-2] + NAME + BASELINE[-2:], tmp_path)


COARSE = encoded("JPEG", quality=50, subsampling=2, optimize=True, restart_marker_rows=1)


@pytest.mark.parametrize("data", [BASELINE, GREY, PROGRESSIVE, COARSE, PLAIN])
def test_a_file_with_nothing_to_hide_is_kept_as_it_is(data: bytes, tmp_path: Path) -> None:
    assert stored(data, tmp_path)[1] == data


@pytest.mark.parametrize("place", [*IN_PNG, *DATES])
def test_no_name_in_a_png_is_kept(place: str, tmp_path: Path) -> None:
    pixels, kept = stored((IN_PNG | DATES)[place], tmp_path)
    assert np.array_equal(pixels, PIXELS)
    assert np.array_equal(png.decode(kept), PIXELS)
    assert NAME[:4] not in kept
    assert stored(kept, tmp_path)[1] == kept
    header = png.read_header(kept)
    bare, left = png.bare((IN_PNG | DATES)[place], png.read_header((IN_PNG | DATES)[place]))
    assert left == png.read_header(bare)
    assert {kind for kind, _, _ in header.chunks} == {b"IHDR", b"IDAT", b"IEND"}
    stream = b"".join(kept[at + 8 : at + size - 4] for kind, at, size in header.chunks if kind == b"IDAT")
    inflate = zlib.decompressobj()
    assert len(inflate.decompress(stream)) == len(ROWS)
    assert not inflate.unused_data


@pytest.mark.parametrize("form", ["TIFF", "BMP", "GIF"])
def test_other_formats_are_stored_as_new_png(form: str, tmp_path: Path) -> None:
    _, kept = stored(encoded(form) + NAME, tmp_path)
    assert NAME not in kept
    assert kept[:8] == png.SIGNATURE


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (17, 9)])
def test_every_row_of_a_png_is_counted(size: tuple[int, int], interlaced: bool) -> None:
    """Row lengths by passes, counted pixel by pixel."""
    height, width = size
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    rows = []
    for left, top, across, down in passes if interlaced else [(0, 0, 1, 1)]:
        for _ in range(top, height, down):
            columns = len(range(left, width, across))
            rows += [bytes(1 + 3 * columns)] if columns else []
    stream = zlib.compress(b"".join(rows))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced))

    def make(data: bytes) -> bytes:
        return png.SIGNATURE + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")

    def exact(data: bytes) -> bool:
        return png.decode_exact(data, png.read_header(data))[1]

    assert exact(make(stream))
    assert not png.decode(make(stream)).any()
    assert not exact(make(stream + b"x"))
    assert not exact(make(zlib.compress(b"".join(rows) + b"x")))
    with pytest.raises(png.PngError, match="Not enough image data"):
        exact(make(zlib.compress(b"".join(rows)[:-1])))


def test_no_name_reaches_a_corpus(tmp_path: Path) -> None:
    images, masks = (tmp_path / "raw/kvasir_seg/Kvasir-SEG" / part for part in ("images", "masks"))
    images.mkdir(parents=True)
    masks.mkdir()
    mask = encoded("JPEG", np.where(np.indices(PIXELS.shape)[0] < 20, 255, 0).astype(np.uint8))
    files = [*IN_JPEG.values(), *IN_PNG.values()]
    for number, data in enumerate(files):
        (images / f"cj{number:023d}.jpg").write_bytes(data)
        (masks / f"cj{number:023d}.jpg").write_bytes(mask)
    build = ["build", "kvasir_seg", "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, build)
    assert result.exit_code == 0, result.output
    assert f"{len(files)} samples" in result.output
    everything = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert NAME[:10] not in everything
