"""A small corpus with a CT, served; and a real browser that looks at it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.phantoms import write_phantom
from medshards.shards.browse.server import open_server
from medshards.shards.browse.site import Site
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset

CHROMIUM = Path("/usr/bin/chromium")
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lesions of two classes, and CT slices; two rejects, one with markup for a name."""
    folder, catalog = tmp_path_factory.mktemp("browse"), load_catalog()
    for slug in ("btcv", "busi"):
        write_phantom(slug, folder / "raw" / slug)
        build_dataset(catalog[slug], folder / "raw" / slug, folder / "corpus")
    write_corpus(folder / "corpus", "default", "none")
    with (folder / "corpus" / "busi" / "rejects.jsonl").open("a") as lines:
        plain = {
            "case": "none",
            "file": "malignant/none.png",
            "code": "mask_missing",
            "message": "there is no mask",
        }
        for reject in (dict.fromkeys(plain, EVIL), plain):
            lines.write(json.dumps(reject) + "\n")
    return folder / "corpus"


@pytest.fixture(scope="session")
def site(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The corpus, and a run that has a log with a line cut short, a report, and a file that is nobody's business."""
    run = tmp_path_factory.mktemp("run") / EVIL.replace("/", "")
    run.mkdir()
    lines = [{"step": 5, "loss": 4.0, "lr/all": 0.1}, {"step": 10, "loss": 3.0, "lr/all": 0.1}]
    validation = {
        "step": 10,
        "validation": {"top1": 0.25, "mask_iou": 0.5},
        "datasets": {EVIL: {"top1": 0.25}},
    }
    (run / "log.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in [*lines, validation]) + '{"ste'
    )
    (run / "report.html").write_text("<p>done</p>")
    (run / "secret.txt").write_text("x")
    return Site(corpus, load_catalog(), runs=[run])


@pytest.fixture(scope="session")
def address(site: Site) -> Iterator[str]:
    """Where the site is served, with a slash at the end."""
    server = open_server(site, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is absent; `make browser` installs it")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A page at 1440 px; afterwards nothing was asked of another origin, and no error was told."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, base_url=address)
    context.set_default_timeout(60_000)
    opened, told, asked = context.new_page(), list[str](), list[str]()

    def refuse(dialog: Any) -> None:
        told.append(dialog.message)
        dialog.dismiss()

    opened.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: told.append(str(error)))
    opened.on("dialog", refuse)
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    context.close()
    assert told == []
    assert all(url.startswith((address, "file:")) for url in asked)
