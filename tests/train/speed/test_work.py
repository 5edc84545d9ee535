"""The work of a pass: linear in what it holds, and what torch's own counter finds on numbers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from medshards.train.memory.estimate import Load, batch_of
from medshards.train.run import trainer
from medshards.train.run.config import load_config
from medshards.train.run.step import build_graph
from medshards.train.speed.work import Work, peak_of, work_of
from tests.command import medshards


def test_the_work_of_any_batch_is_what_torch_counts() -> None:
    config = load_config("tiny")
    graph = build_graph(config)
    graph.set_attn_implementation("eager")  # torch counts no other attention on a CPU
    batch = batch_of(Load(images=2, prompts=2), graph.image_size)
    batch = replace(batch, input_ids=batch.input_ids[:3], attention_mask=batch.attention_mask[:3])
    batch = replace(batch, text_id=batch.text_id % 3)
    with FlopCounterMode(display=False) as counter:
        outputs = graph(**batch.inputs("cpu"))
        torch.stack([output.sum() for output in outputs.tensors()]).sum().backward()
    found = work_of(config)
    assert found.of(batch) == counter.get_total_flops()
    assert min(found.image, found.text, found.prompt) > 0


def test_a_run_tells_its_utilisation_where_the_peak_is_known(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "peak_of", lambda device, precision: 1e12)
    monkeypatch.setattr(trainer, "work_of", lambda config: Work(image=5e9, text=0, prompt=0))
    options = (
        "run.log_every=1",
        "batch.images=4",
        "batch.per_rank=2",
        "run.validate_every=9",
        "run.overlays=0",
    )
    chosen = [word for option in options for word in ("--set", option)]
    where = ("--data", corpus, "--out", tmp_path)
    assert medshards("train", *where, "--config", "tiny", "--steps", "1", *chosen).exit_code == 0
    row = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert row["mfu"] * 1e12 * row["s_per_step"] == pytest.approx(4 * 5e9)


def test_the_peak_is_that_of_the_data_sheet_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = {"NVIDIA H100 80GB HBM3": 989e12, "NVIDIA H100 PCIe": 756e12, "NVIDIA GeForce GTX 1080": None}
    for name, flops in cards.items():
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: name)
        assert peak_of(torch.device("cuda"), "bf16") == flops
        assert peak_of(torch.device("cuda"), "fp32") is None
    assert peak_of(torch.device("cpu"), "bf16") is None
