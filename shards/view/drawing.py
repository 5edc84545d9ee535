"""Images with masks over them, laid out in rows with labels: the drawing behind the overview picture.

Colours are RGB triples, lengths are px of the finished picture.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

# Told apart on grey, pink and dark images alike, and from their neighbours in this order.
COLOURS: tuple[Colour, ...] = (
    (0, 209, 255),
    (255, 190, 11),
    (255, 64, 110),
    (122, 240, 100),
    (178, 132, 255),
    (255, 134, 51),
    (46, 222, 182),
    (255, 105, 210),
    (212, 226, 60),
    (84, 150, 255),
)
INK, PALE, LINES, PAPER = (24, 28, 36), (112, 118, 130), (226, 229, 235), (255, 255, 255)
FILL = 0.25  # part of the colour in the inside of a mask
FINE = 3  # images are drawn this many times as large and then reduced, which smooths the lines
CONTOUR = 4  # width of a contour, in such fine px; thinner around vessels and the like
DASH, GAP = 20, 16  # of a dashed contour, in fine px

BOX = (224, 176)  # width and height of the box that an image is fitted into
LABEL = 190  # width of the column with the labels
MARGIN, SPACE = 24, 16
LINE = 20  # height of a line of text
MAX_TITLE = 3  # lines of a title
MAX_PROMPTS = 3  # lines below an image
MAX_SWATCHES = 6  # colours shown before a prompt


@dataclass(frozen=True, eq=False)
class Shape:
    """A mask to draw (bool H×W)."""

    mask: NDArray[np.bool_]
    colour: Colour
    dashed: bool = False


@dataclass(frozen=True, eq=False)
class Cell:
    """An image (grey H×W or RGB H×W×3, uint8 or uint16), shapes over it, and each prompt with its colours."""

    image: NDArray[Any]
    shapes: Sequence[Shape]
    prompts: Mapping[str, Sequence[Colour]]


@dataclass(frozen=True)
class Row:
    """A row of the page: a title, lines below it, cells."""

    title: str
    lines: Sequence[str]
    cells: Sequence[Cell]


def colour(number: int) -> Colour:
    """The colour of object `number`."""
    return COLOURS[number % len(COLOURS)]


def page(rows: Sequence[Row]) -> Image.Image:
    """All rows on one sheet, as wide as the longest."""
    columns = max((len(row.cells) for row in rows), default=0)
    width = 2 * MARGIN + LABEL + columns * (SPACE + BOX[0])
    heights = [_height(row) for row in rows]
    sheet = Image.new("RGB", (width, 2 * MARGIN + sum(heights) + 2 * SPACE * max(0, len(rows) - 1)), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        if top > MARGIN:
            draw.line([(MARGIN, top - SPACE), (width - MARGIN, top - SPACE)], fill=LINES)
        _label(draw, row, top)
        for column, cell in enumerate(row.cells):
            left = MARGIN + LABEL + SPACE + column * (SPACE + BOX[0])
            sheet.paste(Image.fromarray(overlay(cell.image, cell.shapes)), (left, top))
            _prompts(draw, cell.prompts, left, top + _picture_height(row) + 6)
        top += height + 2 * SPACE
    return sheet


def overlay(image: NDArray[Any], shapes: Sequence[Shape], box: tuple[int, int] = BOX) -> NDArray[np.uint8]:
    """`image` with its shapes, fitted into `box` (width, height): RGB uint8 h×w×3, aspect ratio kept."""
    small = fitted(image.shape, box)
    fine = small[0] * FINE, small[1] * FINE
    canvas = _resize(displayable(image), fine).astype(np.float32)
    lines: list[tuple[Sequence[NDArray[Any]], Shape, int]] = []
    for shape in shapes:
        soft = _resize(shape.mask.astype(np.uint8) * 255, fine)
        inside = soft > 127
        canvas[inside] = canvas[inside] * (1 - FILL) + np.asarray(shape.colour, np.float32) * FILL
        contours = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
        thickness = np.count_nonzero(inside) / max(
            1, sum(map(len, contours))
        )  # half that of a long thin mask
        lines.append((contours, shape, min(CONTOUR, max(1, round(thickness / 2)))))
    drawn = np.clip(np.round(canvas), 0, 255).astype(np.uint8)
    for contours, shape, width in lines:
        for contour in _dashes(contours) if shape.dashed else contours:
            cv2.polylines(drawn, [contour], not shape.dashed, shape.colour, width, cv2.LINE_AA)
    return cv2.resize(drawn, small, interpolation=cv2.INTER_AREA).astype(np.uint8)


def fitted(shape: Sequence[int], box: tuple[int, int]) -> tuple[int, int]:
    """Width and height of an image of `shape` (height, width, ...) fitted into `box` (width, height)."""
    scale = min(box[0] / shape[1], box[1] / shape[0])
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def displayable(image: NDArray[Any]) -> NDArray[np.uint8]:
    """RGB uint8 H×W×3 of any stored image; 16-bit values are stretched between their 1st and 99th percentile."""
    if image.dtype != np.uint8:
        low, high = np.percentile(image, (1, 99))
        stretched = (image.astype(np.float32) - low) / max(high - low, 1) * 255
        image = np.clip(np.round(stretched), 0, 255).astype(np.uint8)
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image


def _resize(array: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    shrinks = size[0] < array.shape[1]
    return cv2.resize(array, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _dashes(contours: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """The pieces of closed contours between gaps."""
    return [c[start : start + DASH] for c in contours for start in range(0, len(c), DASH + GAP)]


def _picture_height(row: Row) -> int:
    return max((fitted(cell.image.shape, BOX)[1] for cell in row.cells), default=0)


def _height(row: Row) -> int:
    lines = max((min(len(cell.prompts), MAX_PROMPTS) for cell in row.cells), default=0)
    label = len(_wrap(row.title, _font(16), LABEL, MAX_TITLE)) + len(row.lines)
    return max(_picture_height(row) + 6 + lines * LINE, label * LINE)


def _label(draw: ImageDraw.ImageDraw, row: Row, top: int) -> None:
    font = _font(16)
    for line in _wrap(row.title, font, LABEL, MAX_TITLE):
        draw.text((MARGIN, top), line, INK, font)
        top += LINE
    top += 4
    for text in row.lines:
        draw.text((MARGIN, top), _fit(text, _font(13), LABEL), PALE, _font(13))
        top += LINE - 2


def _prompts(draw: ImageDraw.ImageDraw, prompts: Mapping[str, Sequence[Colour]], left: int, top: int) -> None:
    font = _font(14)
    shown = list(prompts.items())
    if len(shown) > MAX_PROMPTS:
        more = f"and {len(shown) - MAX_PROMPTS + 1} more prompts"
        shown = [*shown[: MAX_PROMPTS - 1], (more, [])]
    for text, tones in shown:
        x = left
        for tone in tones[:MAX_SWATCHES]:
            draw.rounded_rectangle([x, top + 4, x + 9, top + 13], 2, fill=tone)
            x += 12
        x += 3 if tones else 0
        text = f"{text} ({len(tones)})" if len(tones) > 1 else text
        draw.text((x, top), _fit(text, font, left + BOX[0] - x), INK, font)
        top += LINE


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)  # comes with pillow: no font has to be installed


def _plain(text: str) -> str:
    """`text` in ASCII, which is what the font holds."""
    text = text.translate({ord("–"): "-", ord("—"): "-", ord("×"): "x", ord("’"): "'"})
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """`text`, shortened to `width`."""
    text = _plain(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, most: int) -> list[str]:
    """`text` in lines of `width`, at most `most` of them."""
    lines = [""]
    for word in _plain(text).split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > most:
        lines[most - 1 :] = [" ".join(lines[most - 1 :])]
    return [_fit(line, font, width) for line in lines]
