"""What a person does on the pages, in a real browser."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from medshards.common.window import values
from medshards.curate.catalog.entry import load_catalog
from medshards.curate.formats.pictures import png
from medshards.shards.browse.shelf import Shelf
from medshards.shards.browse.site import Site
from medshards.shards.browse.static import write_site
from medshards.shards.read.decode import decode_image
from tests.shards.browse.conftest import EVIL

PAGES = (
    "index.html",
    "datasets/busi.html",
    "corpus.html",
    "corpus.html#show=refused",
    "statistics.html",
    "sample.html#dataset=busi&key={key}",
    "sample.html#dataset=btcv&key=case-0001-0001",
    "runs.html",
)
SHIFTS = """window.shifts = 0; new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) shifts += entry.value;
}).observe({ type: "layout-shift", buffered: true });"""


@pytest.fixture
def key(site: Site) -> str:
    found = site.shelves["busi"].first_with_instances()
    assert found
    return found


def until(page: Any, expression: str) -> None:
    """Wait; playwright's own way evaluates text in the page, which its policy forbids."""
    end = time.monotonic() + 60
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def visible(page: Any, selector: str) -> int:
    return page.locator(f"{selector}:visible").count()


def test_the_catalog_is_searched_filtered_and_sorted(page: Any) -> None:
    page.goto("index.html")
    assert visible(page, ".card") == 43
    page.fill("[name=q]", "polyp")
    until(page, "document.querySelectorAll('.cards li:not([hidden])').length < 43")
    assert "BUSI" not in page.locator(".cards").inner_text()
    page.fill("[name=q]", "")
    page.select_option("[name=modality]", "CT")
    until(page, "location.hash === '#modality=CT'")
    assert "BTCV" in page.locator(".cards li:not([hidden])").inner_text()
    page.go_back()
    until(page, "document.querySelectorAll('.cards li:not([hidden])').length === 43")
    page.goto("index.html#sort=images&concept=polyp")  # a deep link
    until(page, "document.querySelectorAll('.cards li:not([hidden])').length < 43")
    assert page.input_value("[name=concept]") == "polyp"
    sizes = page.eval_on_selector_all(".cards li:not([hidden])", "all => all.map(one => +one.dataset.images)")
    assert sizes == sorted(sizes, reverse=True)


def test_the_grid_is_filtered_and_leads_to_a_sample_and_back(page: Any, site: Site) -> None:
    page.goto("corpus.html")
    page.wait_for_selector("#grid svg path")
    assert page.locator("#grid li").count() == sum(map(len, site.shelves.values()))
    page.select_option("[name=dataset]", "busi")
    page.fill("[name=instances]", "1")
    page.press("[name=instances]", "Enter")
    rows = site.shelves["busi"].rows(0)
    filled = [row["key"] for row in rows if row["instances"]]
    assert 0 < len(filled) < len(rows)
    until(page, f"document.querySelectorAll('#grid li').length === {len(filled)}")
    page.wait_for_selector("#grid svg path")
    assert "lesion" in page.locator("#grid svg title").first.text_content()
    page.uncheck("#shown")
    assert visible(page, "#grid svg") == 0
    page.check("#shown")
    page.locator("#grid a").first.click()
    page.wait_for_selector("#stage svg path")
    assert page.locator("h1").inner_text() == f"busi/{filled[0]}"
    page.go_back()
    until(page, f"document.querySelectorAll('#grid li').length === {len(filled)}")
    assert page.input_value("[name=dataset]") == "busi"


def test_each_filter_of_the_grid_leaves_what_it_says(page: Any, site: Site) -> None:
    rows = [row for shelf in site.shelves.values() for row in shelf.rows(0)]
    areas = sorted(row["largest"] for row in rows if row["largest"])
    wanted = {
        "split=val": lambda row: row["split"] == "val",
        "concept=liver": lambda row: "liver" in row["concepts"],
        "instances=2&most=9": lambda row: 2 <= row["instances"] <= 9,
        "most=0": lambda row: row["instances"] == 0,
        f"area={areas[-2]}": lambda row: row["largest"] is not None and row["largest"] >= areas[-2],
        "below=300": lambda row: row["smallest"] is not None and row["smallest"] <= 300,
    }
    for address, fits in wanted.items():
        expected = [row["key"] for row in rows if fits(row)]
        assert 0 < len(expected) < len(rows), address
        page.goto("about:blank")
        page.goto(f"corpus.html#{address}")
        until(page, "/of/.test(document.querySelector('#count').textContent)")
        assert (
            page.locator("#grid .name:first-of-type, #grid .frame + .name").all_inner_texts() == expected
        ), address


def test_what_was_refused_is_filtered_by_reason_and_named(page: Any) -> None:
    page.goto("corpus.html")
    page.select_option("[name=show]", "refused")
    until(page, "document.querySelectorAll('#grid .reject').length === 2")
    assert visible(page, "[name=concept]") == 0
    page.select_option("[name=reason]", "mask_missing")
    until(page, "document.querySelectorAll('#grid .reject').length === 1")
    told = page.locator("#grid .reject").inner_text()
    for word in ("malignant/none.png", "mask_missing", "there is no mask", "busi"):
        assert word in told
    assert page.evaluate("location.hash") == "#show=refused&reason=mask_missing"
    page.go_back()
    until(page, "document.querySelectorAll('#grid .reject').length === 2")
    page.go_back()
    page.wait_for_selector("#grid svg path")
    page.goto("datasets/busi.html")
    page.get_by_role("link", name="mask_missing").click()
    until(page, "document.querySelectorAll('#grid .reject').length === 1")


def test_a_sample_tells_all_and_names_its_instances(page: Any, site: Site, key: str) -> None:
    page.goto(f"sample.html#dataset=busi&key={key}")
    page.wait_for_selector("#stage svg path")
    shelf = site.shelves["busi"]
    row = shelf.place(key)
    assert row is not None
    record = shelf.read(row).record
    assert page.locator("#stage svg path").count() == len(record["instances"])
    assert record["origin"][0]["sha256"] in page.locator("#origin").inner_text()
    assert f"{key}.mask.png" in page.locator("#members").inner_text()
    page.locator("#stage svg path").first.dispatch_event("pointermove", {"bubbles": True})
    first = record["instances"][0]
    assert page.locator("#hover").inner_text() == f"{first['text']} 1, {first['area']:,} px"
    page.check("#fill")
    assert page.evaluate("getComputedStyle(document.querySelector('#stage path')).fill") != "none"
    after = shelf.table["key"][row + 1].as_py()
    page.locator("#after").click()
    until(page, f"document.querySelector('h1').textContent === 'busi/{after}'")


def test_slices_of_a_ct_are_turned_and_windowed(page: Any, site: Site) -> None:
    shelf = site.shelves["btcv"]
    slices = shelf.volume(shelf.table["volume"][0].as_py())
    assert len(slices) > 1
    page.goto(f"sample.html#dataset=btcv&key={slices[0]}")
    page.wait_for_selector("#stage canvas")
    pixel = "document.querySelector('canvas').getContext('2d').getImageData(20, 20, 1, 1).data[0]"
    first = shelf.place(slices[0])
    assert first is not None
    raw = shelf.read(first)
    for name, window in (("as recorded", {}), ("bone", {"HU": (-450, 1050)}), ("lung", {"HU": (-1350, 150)})):
        page.select_option("#preset", name)
        assert page.evaluate(pixel) == pytest.approx(int(decode_image(raw, window)[20, 20]), abs=1), name
    page.locator("#slice").fill(str(len(slices) - 1))
    told = f"{len(slices)} of {len(slices)}"
    until(page, f"document.querySelector('#place').textContent === '{told}'")
    assert page.locator("h1").inner_text() == f"btcv/{slices[-1]}"


def test_a_number_under_the_pointer_is_that_of_the_volume(page: Any, site: Site) -> None:
    shelf = site.shelves["btcv"]
    key = shelf.table["key"][0].as_py()
    raw = shelf.read(0)
    expected = values(png.decode(raw.image), raw.record)
    page.goto(f"sample.html#dataset=btcv&key={key}")
    page.wait_for_selector("#stage canvas")
    box = page.locator("#stage canvas").bounding_box()
    height, width = expected.shape
    page.mouse.move(box["x"] + 10.5 * box["width"] / width, box["y"] + 12.5 * box["height"] / height)
    until(page, "document.querySelector('#value').textContent !== ''")
    assert page.locator("#value").inner_text() == f"{expected[12, 10]:,.0f} HU at 12, 10"


def test_markup_in_names_is_shown_as_text(page: Any) -> None:
    for address in ("datasets/busi.html", "statistics.html", "runs.html", "corpus.html#show=refused"):
        page.goto(address)
        page.wait_for_load_state("networkidle")
        assert EVIL in page.locator("main").text_content()
        assert page.locator("img[src=x]").count() == 0


def test_markup_in_a_record_is_shown_as_text(page: Any, key: str) -> None:
    """Whatever a record holds: the names of its instances and of the files it came from."""

    def spoil(route: Any) -> None:
        answer = route.fetch()
        text = answer.text().replace("benign breast lesion", EVIL).replace("Dataset_BUSI_with_GT", EVIL)
        route.fulfill(response=answer, body=text)

    page.route("**/samples/**", spoil)
    page.goto(f"sample.html#dataset=busi&key={key}")
    page.wait_for_selector("#stage svg path")
    for part in ("#prompts", "#origin", "#record", "#stage title"):
        assert EVIL in page.locator(part).first.text_content(), part
    page.goto("corpus.html#dataset=busi")
    page.wait_for_selector("#grid svg path")
    assert EVIL in page.locator("#grid title").first.text_content()
    assert page.locator("img[src=x]").count() == 0


def test_every_page_fits_and_is_accessible(page: Any, key: str) -> None:
    """By all rules in light colours; in dark ones by the two that look at colours, the same page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    told = {"resultTypes": ["violations"]}  # to tell all that passes takes longer than to look
    rules: dict[str, dict[str, Any]] = {
        "light": told,
        "dark": {**told, "runOnly": ["color-contrast", "link-in-text-block"]},
    }
    page.add_init_script(SHIFTS)
    for address in PAGES:
        page.set_viewport_size({"width": 360, "height": 800})
        page.goto("about:blank")
        page.goto(address.format(key=key))
        page.wait_for_load_state("networkidle")
        assert page.evaluate("shifts") < 0.1, address  # "good" by web.dev/cls
        for width in (1440, 360):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (address, width)
        for scheme, options in rules.items():
            page.emulate_media(color_scheme=scheme)
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (ground == "rgb(20, 24, 31)") == (scheme == "dark")
            answer = axe.run(page, options=options).response
            assert "color-contrast" in {rule["id"] for rule in answer["passes"]}
            found = [v for v in answer["violations"] if v["impact"] in ("serious", "critical")]
            assert [(v["id"], v["nodes"][0]["html"]) for v in found] == [], (address, scheme)
        page.emulate_media(color_scheme="light")


def test_the_static_site_works_from_a_disk(page: Any, corpus: Path, key: str, tmp_path: Path) -> None:
    """Packed: each tile shows its own sample, and a sample without its picture in full shows the small one."""
    first = write_site(Site(corpus, load_catalog(), pack=5, full=1), tmp_path / "site")
    page.goto(first.as_uri())
    assert visible(page, ".card") == 43
    page.goto((first.parent / "corpus.html").as_uri() + "#dataset=busi&page=0")
    page.wait_for_selector("#grid svg path")
    shelf = Shelf(corpus, "busi")
    until(page, f"document.querySelectorAll('#grid img').length === {len(shelf)}")
    for row, tile in enumerate(page.locator("#grid li").all()):
        assert tile.locator("svg path").count() == len(shelf.read(row).record["instances"])
    keys = shelf.table["key"].to_pylist()
    page.goto((first.parent / "sample.html").as_uri() + f"#dataset=busi&key={keys[0]}")
    page.wait_for_selector("#stage svg path")
    assert page.locator("#stage img").get_attribute("src") == f"pictures/busi/{keys[0]}"
    page.locator("#after").click()
    until(page, f"document.querySelector('h1').textContent === 'busi/{keys[1]}'")
    until(page, "document.querySelector('#stage img').src.startsWith('data:')")
    assert visible(page, "#only") == 1
