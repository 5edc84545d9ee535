"""Workbooks: shared, inline and formatted strings, gaps, the sheet that is named first, damage."""

import zipfile
from pathlib import Path

import pytest

from medshards.curate.datasets.btxrd.phantom import workbook
from medshards.curate.formats.xlsx import read_sheet
from medshards.curate.sample import Reject
from medshards.curate.tree import File

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PARTS = {
    "xl/workbook.xml": f'<workbook {MAIN} xmlns:r="{LINKS}"><sheets>'
    '<sheet name="b" sheetId="2" r:id="rId9"/><sheet name="a" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Target="worksheets/sheet1.xml"/>'
    '<Relationship Id="rId9" Target="/xl/worksheets/sheet2.xml"/></Relationships>',
    "xl/sharedStrings.xml": f"<sst {MAIN}><si><t>image_id</t></si>"
    "<si><r><t>hip </t></r><r><rPr><b/></rPr><t>bone</t></r></si></sst>",
    "xl/worksheets/sheet1.xml": f"<worksheet {MAIN}><sheetData/></worksheet>",
    "xl/worksheets/sheet2.xml": f"<worksheet {MAIN}><sheetData>"
    '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c><c r="AB1" t="inlineStr"><is><t>x &amp; y</t>'
    '</is></c></row><row r="2"><c r="B2"><v>0.5</v></c><c r="C2"/></row><row r="3"><c><v>7</v></c><c t="str">'
    "<v>q</v></c></row></sheetData></worksheet>",
}


def write(path: Path, **changes: str | None) -> File:
    with zipfile.ZipFile(path, "w") as book:
        for name, content in {**PARTS, **changes}.items():
            if content is not None:
                book.writestr(name, content)
    return File(path.name, path)


def test_cells_of_the_first_sheet(tmp_path: Path) -> None:
    rows = read_sheet(write(tmp_path / "a.xlsx"))
    assert rows == [["image_id", "hip bone", *[""] * 25, "x & y"], ["", "0.5", ""], ["7", "q"]]


def test_what_the_phantoms_write_is_read(tmp_path: Path) -> None:
    rows = [["image_id", "a<b"], ["IMG000001.jpeg", "3"]]
    workbook(tmp_path / "sub/b.xlsx", rows)
    assert read_sheet(File("b.xlsx", tmp_path / "sub/b.xlsx")) == rows


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><worksheet>&c;</worksheet>'


@pytest.mark.parametrize(
    "changes",
    [
        {"xl/workbook.xml": None},
        {"xl/workbook.xml": f"<workbook {MAIN}/>"},
        {"xl/worksheets/sheet2.xml": "<worksheet>"},
        {"xl/worksheets/sheet2.xml": BOMB},
        {"xl/sharedStrings.xml": None},
        {"xl/worksheets/sheet2.xml": f'<worksheet {MAIN}><row><c r="ZZZZZ1"><v>1</v></c></row></worksheet>'},
    ],
)
def test_damage_is_named(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(Reject, match=r"a\.xlsx: unreadable: is no xlsx workbook"):
        read_sheet(write(tmp_path / "a.xlsx", **changes))


def test_another_file_is_no_workbook(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("image_id,center\n")
    with pytest.raises(Reject, match="not a zip file"):
        read_sheet(File("a.xlsx", tmp_path / "a.xlsx"))
