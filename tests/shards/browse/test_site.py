"""What is served, to whom, and how fast; no browser needed."""

from __future__ import annotations

import http.client
import json
import statistics
import tarfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from medshards.curate.catalog.entry import load_catalog
from medshards.shards.browse import sample
from medshards.shards.browse.runs import Run
from medshards.shards.browse.server import HEADERS
from medshards.shards.browse.shelf import ROWS, Shelf
from medshards.shards.browse.site import PACK, Site
from medshards.shards.browse.statistics import csv_of
from medshards.shards.build.index import INDEX
from medshards.shards.cli.browse import site as command
from medshards.shards.read.decode import decode_planes
from tests.shards.browse.conftest import EVIL

OUTSIDE = (
    "../corpus.json", "%2e%2e/corpus.json", "..%2fcorpus.json", "%252e%252e%252fcorpus.json", "assets/../site.py",
    "assets/%2e%2e/site.py", "pictures/busi/..%2f..%2fmanifest.json", "pictures/..%2fbusi/x", "rows/busi/-1.js",
    "/etc/passwd", "//etc/passwd", "assets/style.css%00.js", "pictures\\busi\\..\\manifest.json", "corpus.json",
)  # fmt: skip


def ask(address: str, path: str, method: str = "GET", host: str = "") -> http.client.HTTPResponse:
    place = urlsplit(address).netloc
    connection = http.client.HTTPConnection(place, timeout=60)
    connection.putrequest(method, f"/{path}", skip_host=True)
    connection.putheader("Host", host or place)
    connection.endheaders()
    return connection.getresponse()


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_outside_the_site_is_served(address: str, path: str) -> None:
    answer = ask(address, path)
    assert answer.status == 404
    assert answer.read() == b"not found\n"


def test_only_reading_is_allowed_and_only_from_here(address: str) -> None:
    assert ask(address, "").status == 200
    head = ask(address, "index.html", "HEAD")
    assert int(head.headers["Content-Length"]) > 1000
    assert head.read() == b""
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(address, "", method).status == 501
    assert ask(address, "", host="evil.example").status == 403  # a name that was made to point here


def test_every_answer_forbids_foreign_content(address: str) -> None:
    for path in ("index.html", "assets/site.js", "runs/0/report.html", "nothing"):
        answer = ask(address, path)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "http" not in policy
        assert ("unsafe" in policy) == ("sandbox" in policy) == (path == "runs/0/report.html")


def test_a_run_shows_its_curves_and_its_reports_alone(site: Site) -> None:
    page = site.get("runs.html")
    assert page is not None
    text = page.body.decode()
    assert "top1: 0.2500 at 10.0000" in text
    assert "loss: 3.0000 at 10.0000" in text
    assert text.count(">mask_iou</text>") == 1  # a legend where a plot has several curves
    assert text.count(">loss</text>") == 2  # none where it has one: its title, and its axis
    assert EVIL not in text
    assert "&lt;img src=x" in text
    report = site.get("runs/0/report.html")
    assert report is not None
    assert report.body == b"<p>done</p>"
    for address in ("runs/0/secret.txt", "runs/0/other.html", "runs/1/report.html", "runs/0/overlay-0.png"):
        assert site.get(address) is None
    assert 'href="runs.html"' in (site.get("index.html") or page).body.decode()


def test_the_last_overlays_of_a_validation_are_shown(tmp_path: Path) -> None:
    board = pytest.importorskip("tensorboard.summary.writer.event_file_writer", reason="no tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    (tmp_path / "log.jsonl").touch()
    writer = board.EventFileWriter(str(tmp_path / "tensorboard"))
    for step, data in ((1, b"early"), (2, b"late")):
        image = Summary.Image(height=1, width=1, colorspace=3, encoded_image_string=data)
        writer.add_event(
            Event(step=step, summary=Summary(value=[Summary.Value(tag=f"overlay/{EVIL}", image=image)]))
        )
    writer.close()
    assert Run(tmp_path).overlays == [(f"overlay/{EVIL}", b"late")]


def test_findings_of_an_audit_are_shown(corpus: Path, tmp_path: Path) -> None:
    key = Shelf(corpus, "busi").first_with_instances()
    ends = [{"dataset": "busi", "key": key, "split": split} for split in ("train", "val")]
    leak = {"ties": [{"kind": "same view", "correlation": 0.987, "samples": ends}], "samples": []}
    path = tmp_path / "audit.json"
    path.write_text(json.dumps({"samples": 17, "leaks": [leak], "nearest": None, "listed": []}))
    run = CliRunner().invoke
    result = run(command, [str(corpus), "--out", str(tmp_path / "site"), "--audit", str(path)])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "site" / "statistics.html").read_text()
    assert "1 found" in text
    assert "same view" in text
    assert "0.99" in text
    path.write_text("[]")
    wrong = run(command, [str(corpus), "--out", str(tmp_path / "site"), "--audit", str(path)])
    assert wrong.exit_code == 2
    assert "medshards audit --json" in wrong.output


def test_no_run_is_said_to_be_none(corpus: Path, tmp_path: Path) -> None:
    wrong = CliRunner().invoke(
        command, [str(corpus), "--out", str(tmp_path / "site"), "--run", str(tmp_path)], terminal_width=200
    )
    assert wrong.exit_code == 1
    assert "is no run" in wrong.output


def test_every_address_of_the_static_site_has_an_answer(site: Site) -> None:
    addresses = list(site.addresses())
    assert len(addresses) == len(set(addresses))
    kinds = {address: site.get(address) for address in addresses}
    assert all(answer and answer.body for answer in kinds.values())
    pages = [a.body.decode() for a in kinds.values() if a and a.kind.startswith("text/html")]
    assert not any(word in page for page in pages for word in (" style=", "<script>", "onclick", "cdn"))


def test_a_picture_is_the_stored_file(site: Site) -> None:
    shelf = site.shelves["busi"]
    answer = site.get(f"pictures/busi/{shelf.table['key'][0].as_py()}")
    assert answer is not None
    assert answer.body == shelf.read(0).image


def test_members_are_those_of_the_shards(corpus: Path) -> None:
    stored: dict[str, int] = {}
    for shard in (corpus / "busi").glob("*/*.tar"):
        with tarfile.open(shard) as tar:
            stored |= {member.name: member.size for member in tar}
    shelf = Shelf(corpus, "busi")
    told = [shelf.members(row) for row in range(len(shelf))]
    assert {name: size for members in told for name, size in members.items()} == stored


def test_a_dataset_says_what_is_printed_of_it_and_what_is_here(site: Site) -> None:
    answer = site.get("datasets/busi.html")
    assert answer is not None
    text = answer.body.decode()
    shelf = site.shelves["busi"]
    instances = sum(len(shelf.read(row).record["instances"]) for row in range(len(shelf)))
    row = text.partition('<th scope="row">annotations</th>')[2].partition("</tr>")[0]
    cells = row.replace("</td>", "").split("<td>")[1:]
    assert cells[1] == "647"  # BUSI in Table 1 of the paper
    assert cells[3] == str(instances)
    assert "medshards download busi" in text
    assert "refused, <a href=" in text


def test_outlines_are_those_of_the_masks(site: Site) -> None:
    """Filled again they are the masks, but for what the tolerance of an outline allows."""
    shelf = site.shelves["busi"]
    for row in range(len(shelf)):
        raw = shelf.read(row)
        planes = decode_planes(raw)
        for instance, outline in zip(raw.record["instances"], sample.outlines(raw), strict=True):
            mask = planes[instance["plane"]] == instance["id"]
            rings = [
                np.array([point.split(" ") for point in part.split("L")], float) - 0.5
                for part in outline["path"].replace("Z", "").split("M")[1:]
            ]
            drawn = np.zeros(mask.shape, np.uint8)
            cv2.fillPoly(drawn, [ring.astype(np.int32) for ring in rings], 1)
            assert 2 * (mask & (drawn > 0)).sum() / (mask.sum() + drawn.sum()) > 0.95


def test_figures_are_those_of_the_samples(site: Site) -> None:
    records = [shelf.read(row).record for shelf in site.shelves.values() for row in range(len(shelf))]
    tables = site._figures.tables
    instances = [(i["concept"], i["area"], r["split"]) for r in records for i in r["instances"]]
    for row in tables["concepts"]:
        own = [split for concept, _, split in instances if concept == row["concept"]]
        assert [row["train"], row["val"], row["test"]] == [own.count(s) for s in ("train", "val", "test")]
        assert row["samples"] == sum(row["concept"] in r["concepts"] for r in records)
    for row in tables["areas"]:
        assert row["instances"] == sum(row["from_px"] <= area < row["below_px"] for _, area, _ in instances)
    for row in tables["areas_of_concepts"]:
        own = [area for concept, area, _ in instances if concept == row["concept"]]
        assert [row["instances"], row["least"], row["most"]] == [len(own), min(own), max(own)]
        assert row["median"] == statistics.median(own)
    for row in tables["together"]:
        assert row["samples"] == sum({row["concept"], row["other"]} <= set(r["concepts"]) for r in records)
    assert sum(row["instances"] for row in tables["areas"]) == len(instances)


def test_a_table_is_no_program(site: Site) -> None:
    assert csv_of([{"a": "=1+1", "b": 2}]) == "a,b\n'=1+1,2\n"
    answer = site.get("statistics/rejects.csv")
    assert answer is not None
    assert EVIL in answer.body.decode()


def test_100_000_samples_are_a_page_each_200_ms(corpus: Path, tmp_path: Path) -> None:
    few, count = pq.read_table(corpus / "busi" / INDEX), 100_000
    many = few.take(np.arange(count) % len(few))
    for name, texts in (
        ("key", (f"k{k:05}" for k in range(count))),
        ("group", (f"g{k // 5}" for k in range(count))),
    ):
        many = many.set_column(many.schema.get_field_index(name), name, pa.array(list(texts)))
    (tmp_path / "busi").mkdir()
    for name in ("annotations.parquet", "manifest.json", "rejects.jsonl"):
        (tmp_path / "busi" / name).write_bytes((corpus / "busi" / name).read_bytes())
    pq.write_table(many, tmp_path / "busi" / INDEX)
    facts = json.loads((corpus / "corpus.json").read_text())
    facts["datasets"] = {"busi": facts["datasets"]["busi"]}
    (tmp_path / "corpus.json").write_text(json.dumps(facts))
    site = Site(tmp_path, load_catalog(), pack=PACK, full=100)
    site.prepare()
    assert len(site.shelves["busi"].firsts) == count // ROWS
    assert sum(1 for _ in site.addresses()) < count / 10
    for address in ("index.html", "corpus.html", "statistics.html", "datasets/busi.html", "rows/busi/99.js"):
        begin = time.process_time()
        assert site.get(address) is not None
        assert time.process_time() - begin < 0.2, address
    assert site._figures.tables["together"] == []  # one concept a picture: an empty table is one, too
    assert site.get("statistics/together.csv") is not None
    begin = time.process_time()
    row = site.shelves["busi"].place("k77777")
    assert site.shelves["busi"].group("g15555") == [f"k{k}" for k in range(77775, 77780)]
    assert time.process_time() - begin < 0.1
    assert row == 77777


def test_the_command_copies_some_pictures_and_says_so(corpus: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    out = tmp_path / "site"
    result = run(command, [str(corpus), "--out", str(out), "--pictures", "2"])
    assert result.exit_code == 0, result.output
    samples = len(Shelf(corpus, "busi")) + len(Shelf(corpus, "btcv"))
    assert f"4 of {samples} pictures are there in full" in result.output
    assert result.output.splitlines()[-1] == str(out / "index.html")
    assert len(list((out / "pictures" / "busi").iterdir())) == 2
    assert (
        run(command, [str(corpus), "--out", str(out), "--pictures", "1"]).exit_code == 0
    )  # replaces its own
    assert len(list((out / "pictures" / "busi").iterdir())) == 1
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    refused = run(command, [str(corpus), "--out", str(tmp_path / "other")])
    assert refused.exit_code == 1
    assert "no earlier site" in refused.output
    assert list(tmp_path.glob(".*.work")) == []
    assert run(command, [str(tmp_path), "--out", str(out)]).exit_code == 1
