"""Excel workbooks (.xlsx): the cells of the first sheet as text. Nothing is computed, no macro is touched.

Format: ECMA-376 part 1, SpreadsheetML.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import IO
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from medshards.curate.formats.files import require_file
from medshards.curate.sample import Reject
from medshards.curate.tree import File

MAX_BYTES = 1 << 28  # of one unpacked part
MAX_COLUMNS = 16384
MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
LINK = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def read_sheet(file: File) -> list[list[str]]:
    """Rows of the first sheet; empty cells are "". Numbers are as the file spells them ("12", "0.5").

    Raises Reject (`unreadable`, `lfs_pointer`).
    """
    require_file(file)
    try:
        with zipfile.ZipFile(file.path) as book:
            shared = _shared_strings(book)
            rows = []
            for row in _root(book, _first_sheet(book)).iter(f"{MAIN}row"):
                cells: dict[int, str] = {}
                for cell in row.iter(f"{MAIN}c"):
                    cells[_column(cell.get("r"), len(cells))] = _text(cell, shared)
                rows.append([cells.get(n, "") for n in range(max(cells, default=-1) + 1)])
            return rows
    except (OSError, zipfile.BadZipFile, zlib.error, ParseError, DefusedXmlException) as error:
        raise Reject("unreadable", f"is no xlsx workbook: {error}", file.name) from error
    except (KeyError, IndexError, ValueError, RuntimeError, NotImplementedError) as error:
        raise Reject("unreadable", f"is no xlsx workbook that can be read: {error}", file.name) from error


def _root(book: zipfile.ZipFile, part: str) -> Element:
    if book.getinfo(part).file_size > MAX_BYTES:
        raise ValueError(f"{part} is larger than {MAX_BYTES >> 20} MiB")
    stream: IO[bytes]
    with book.open(part) as stream:
        root: Element | None = parse(stream).getroot()
    if root is None:
        raise ValueError(f"{part} is empty")
    return root


def _first_sheet(book: zipfile.ZipFile) -> str:
    """Path of the part that holds the sheet which the workbook names first."""
    sheet = next(_root(book, "xl/workbook.xml").iter(f"{MAIN}sheet"), None)
    if sheet is None:
        raise ValueError("it has no sheet")
    for link in _root(book, "xl/_rels/workbook.xml.rels"):
        if link.get("Id") == sheet.get(LINK):
            target = link.get("Target", "")
            return target.lstrip("/") if target.startswith("/") else str(PurePosixPath("xl") / target)
    raise ValueError("the first sheet has no part")


def _shared_strings(book: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in book.namelist():
        return []
    return [_joined(item) for item in _root(book, "xl/sharedStrings.xml").iter(f"{MAIN}si")]


def _joined(item: Element) -> str:
    """The text of a string, whose runs may be formatted differently."""
    return "".join(t.text or "" for t in item.iter(f"{MAIN}t"))


def _column(reference: str | None, following: int) -> int:
    """Column number from 0 of a cell reference such as "AB12"; without one, the cell follows the last."""
    if reference is None:
        return following
    number = 0
    for letter in re.match("[A-Z]*", reference)[0]:  # type: ignore[index]
        number = number * 26 + ord(letter) - ord("A") + 1
    if not 0 < number <= MAX_COLUMNS:
        raise ValueError(f"cell {reference!r}")
    return number - 1


def _text(cell: Element, shared: list[str]) -> str:
    value = cell.findtext(f"{MAIN}v") or ""
    if cell.get("t") == "s":
        return shared[int(value)]
    if cell.get("t") == "inlineStr":
        return _joined(cell)
    return value
