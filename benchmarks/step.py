"""A training step in its variants, beside the same data through `transformers`' Sam3Model.

    python -m benchmarks.step                                # sam3 on a GPU; tiny and small where there is none
    python -m benchmarks.step --presets sam3 --rows eager regions "plain transformers"

Random weights, a corpus of made-up images (benchmarks/build.py), one prompt an image, each row in a process of its
own after `--warmup` steps that do not count. All take their batches from train/data/loader.py.

eager                Learner.update of train/run/step.py: the whole training graph (all decoder layers, one-to-many
                     queries, the geometry token), matching and objective of SAM3 with masks, clipping, AdamW with layer
                     decay.
regions …            the same compiled by regions. vision:2, all: blocks are computed again. LoRA: adapters are trained.
graphs …             regions replayed as CUDA graphs; not on a CPU.
plain transformers   Sam3Model(...) on text prompts, AdamW, no compile. It does less: the final layer alone, no
                     one-to-many queries and no geometry token, the n-th instance assigned to the n-th query without
                     matching, cross-entropies and an L1 in place of the objective, masks compared at the size of the
                     prediction, no clipping. It has the same weights and the same precision.
…, compiled          that model in torch.compile as a whole.

s/step               median of the steps, waiting for data included; the mean decides the other rates.
memory               peak of what torch allocated on the GPU; on a CPU, peak resident memory of the process.
data wait            part of the time in which the next batch was not there yet.
launches             of an update after the steps: on a GPU what the profiler sees launched; on a CPU calls of
                     operators that compute (benchmarks/launches.py), where nothing is compiled.
waits                of the host for the GPU in that update, without that for the loss, which is looked at here.
CPU s/step           processor time of the training process without the loader's, for machines that others use too.
TFLOP                of forward and backward passes of the mean step (train/speed/work.py). The plain row counts the
                     graph without one-to-many queries, one prompt token more than Sam3Model has.
MFU                  model FLOPs utilisation: TFLOP/s over the dense bf16 peak of the GPU by its data sheet.

A loss or gradient that is not finite ends the command with an error.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from transformers import Sam3Model

from benchmarks.launches import Launches
from benchmarks.stream import build_corpus
from medshards.train.data.batch import Batch
from medshards.train.data.feed import Feed
from medshards.train.data.open import open_data
from medshards.train.data.plan import Slices
from medshards.train.memory.estimate import graph_of
from medshards.train.model.outputs import Targets
from medshards.train.run.config import Config, load_config
from medshards.train.run.parallel import World, world
from medshards.train.run.step import Learner, build_graph
from medshards.train.speed.work import Work, peak_of, work_of

CONFIGS = {"sam3": "single-gpu", "small": "small", "tiny": "tiny"}  # of each architecture, in train/presets
BATCH = {"sam3": 2, "small": 4, "tiny": 4}
STEPS = {"sam3": 50, "small": 8, "tiny": 30}

Update = Callable[[Batch, int], float]  # makes update number n and returns its loss, a finite number


@dataclass(frozen=True)
class Measured:
    """Figures of a row; times in seconds, memory in GiB."""

    seconds: list[float]
    cpu: float
    waited: float
    images: int
    flops: float
    memory: float
    losses: tuple[float, float]
    launches: int | None
    waits: int | None

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(self.seconds)


def configure(preset: str, options: argparse.Namespace, own: Sequence[str] = ()) -> Config:
    """Configuration of a row with options of its own: random weights, no accumulation, one prompt an image."""
    batch = options.batch or BATCH[preset]
    images = [f"batch.images={batch}", f"batch.per_rank={batch}"]
    fixed = ["model.weights=null", f"model.preset={preset}", "model.checkpoint_activations=off"]
    data = ["data.max_prompts_per_image=1", f"data.workers={options.workers}"]
    return load_config(CONFIGS[preset], [*fixed, *data, *images, *own, *options.set])


def medshards(config: Config, ranks: World, total: int) -> Update:
    """The project's own step."""
    learner = Learner(build_graph(config), config, ranks)

    def update(batch: Batch, step: int) -> float:
        terms, _ = learner.update([batch], None, step, total)
        return float(terms["loss"])

    return update


def plain(config: Config, ranks: World, total: int, compiled: bool = False) -> Update:
    """What a script of forty lines does; ``compiled`` with one line more."""
    graph = build_graph(config)
    model = Sam3Model(graph.config)
    model.load_state_dict(graph.state_dict())
    del graph
    model = model.to(ranks.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.1)
    if compiled:
        model.compile()

    def update(batch: Batch, step: int) -> float:
        given, targets = batch.inputs(ranks.device), batch.targets(ranks.device)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(ranks.device.type, torch.bfloat16, config.run.precision == "bf16"):
            outputs = model(
                pixel_values=given["pixel_values"][given["img_id"]],
                input_ids=given["input_ids"][given["text_id"]],
                attention_mask=given["attention_mask"][given["text_id"]],
            )
        loss = simple_loss(outputs, targets)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return update


def simple_loss(outputs: object, targets: Targets) -> Tensor:
    """Losses of the final layer, instance n of a prompt against query n."""
    logits, boxes, masks, presence, semantic = (
        getattr(outputs, name).float()
        for name in ("pred_logits", "pred_boxes", "pred_masks", "presence_logits", "semantic_seg")
    )
    assert targets.masks is not None
    wanted_masks = F.adaptive_avg_pool2d(targets.masks.float()[:, None], masks.shape[-2:])[:, 0]
    classes, union = torch.zeros_like(logits), torch.zeros_like(semantic)
    loss, first = logits.new_zeros(()), 0
    for prompt, count in enumerate(targets.num_boxes.tolist()):
        own = slice(first, first + count)
        first += count
        if count:
            classes[prompt, :count] = 1
            union[prompt, 0] = wanted_masks[own].amax(0)
            loss = loss + F.l1_loss(boxes[prompt, :count], corners(targets.boxes[own]))
            loss = loss + F.binary_cross_entropy_with_logits(masks[prompt, :count], wanted_masks[own])
    present = (targets.num_boxes > 0).float().to(logits.device)
    return (
        loss / len(logits)
        + F.binary_cross_entropy_with_logits(logits, classes)
        + F.binary_cross_entropy_with_logits(presence.flatten(), present)
        + F.binary_cross_entropy_with_logits(semantic, union)
    )


def corners(boxes: Tensor) -> Tensor:
    """(cx, cy, w, h) to (x1, y1, x2, y2)."""
    centre, extent = boxes.split(2, dim=-1)
    return torch.cat((centre - extent / 2, centre + extent / 2), dim=-1)


@dataclass(frozen=True)
class Row:
    """job: makes the updates. options: of the configuration. compiled: anything is."""

    job: Callable[[Config, World, int], Update]
    options: tuple[str, ...] = ()
    compiled: bool = False


ROWS = {
    "eager": Row(medshards, ("model.compile=off",)),
    "eager, all": Row(medshards, ("model.compile=off", "model.checkpoint_activations=all")),
    "eager, LoRA": Row(medshards, ("model.compile=off", "model.lora={}")),
    "regions": Row(medshards, ("model.compile=regions",), True),
    "regions, vision:2": Row(
        medshards, ("model.compile=regions", "model.checkpoint_activations=vision:2"), True
    ),
    "regions, all": Row(medshards, ("model.compile=regions", "model.checkpoint_activations=all"), True),
    "regions, LoRA": Row(medshards, ("model.compile=regions", "model.lora={}"), True),
    "graphs": Row(medshards, ("model.compile=regions", "model.graphs=true"), True),
    "graphs, all": Row(
        medshards,
        ("model.compile=regions", "model.graphs=true", "model.checkpoint_activations=all"),
        True,
    ),
    "plain transformers": Row(plain),
    "plain transformers, compiled": Row(partial(plain, compiled=True), compiled=True),
}
LAUNCH = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx", "cudaGraphLaunch")
WAIT = ("cudaStreamSynchronize", "cudaEventSynchronize", "cudaDeviceSynchronize")


def launched(row: Row, update: Callable[[], float], on_gpu: bool) -> tuple[int | None, int | None]:
    """Launches and waits of an update; None where nothing counts them."""
    if on_gpu:
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            update()
        calls = {each.key: each.count for each in profiler.key_averages()}
        waits = sum(calls.get(name, 0) for name in WAIT) - 1  # for the loss
        return sum(calls.get(name, 0) for name in LAUNCH), waits
    if row.compiled:
        return None, None
    with Launches() as counter:
        update()
    return counter.found.total(), None


def image_side(config: Config) -> int:
    """Side of the network input, px."""
    return graph_of(config).image_size


def flops_of(row: str, work: Work, batch: Batch) -> float:
    """FLOPs of a step with this batch; the plain row encodes image and text of each prompt anew."""
    if not row.startswith("plain"):
        return work.of(batch)
    return (work.image + work.text + work.prompt) * len(batch.prompts)


def feed(config: Config, corpus: Path, device: torch.device) -> Iterator[Batch]:
    """Batches without end."""
    data, images = open_data(config, str(corpus), image_side(config)), config.batch.in_a_pass
    slices = Slices(data.plan, 0, images, images, 0, 1)
    return Feed(
        data.samples, slices, config.data.workers, config.data.prefetch, pin_memory=device.type == "cuda"
    )


def measure(row: str, preset: str, corpus: Path, options: argparse.Namespace) -> Measured:
    """One row, in this process."""
    job, total = ROWS[row], options.warmup + (options.steps or STEPS[preset])
    config = configure(preset, options, job.options)
    torch.set_num_threads(options.threads)
    with world() as ranks:
        on_gpu = ranks.device.type == "cuda"
        update = job.job(config, ranks, total + 1)
        source = feed(config, corpus, ranks.device)
        taken: list[Batch] = []
        seconds, waited, cpu, losses = [], 0.0, 0.0, []
        for step in range(total):
            if step == options.warmup and on_gpu:
                torch.cuda.reset_peak_memory_stats()
            if step == options.warmup:
                cpu = time.process_time()
            began = time.perf_counter()
            batch = next(source)
            arrived = time.perf_counter()
            loss = update(batch, step)
            if on_gpu:
                torch.cuda.synchronize()
            if not math.isfinite(loss):
                raise SystemExit(f"{row}, {preset}: the loss of step {step} is {loss}")
            losses.append(loss)
            if step >= options.warmup:
                seconds.append(time.perf_counter() - began)
                waited += arrived - began
                taken.append(batch)
        cpu = time.process_time() - cpu
        if on_gpu:
            memory = torch.cuda.max_memory_allocated() / 2**30
        else:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        last = next(source)
        launches, waits = launched(job, lambda: update(last, total), on_gpu)
        work = work_of(config, one_to_many=not row.startswith("plain"))
        return Measured(
            seconds,
            cpu,
            waited,
            sum(len(batch.images) for batch in taken),
            sum(flops_of(row, work, batch) for batch in taken),
            memory,
            (losses[0], losses[-1]),
            launches,
            waits,
        )


def cells(found: Measured, peak: float | None) -> list[str]:
    """A row of the table."""
    steps, rate = len(found.seconds), found.flops / found.total
    return [
        str(steps),
        f"{statistics.median(found.seconds):.3f}",
        f"{found.cpu / steps:.3f}",
        f"{found.images / found.total:.2f}",
        f"{found.memory:.2f}",
        f"{found.waited / found.total:.1%}",
        "-" if found.launches is None else f"{found.launches:,}",
        "-" if found.waits is None else str(found.waits),
        f"{found.flops / steps / 1e12:.3g}",
        f"{rate / 1e12:.3g}",
        f"{rate / peak:.1%}" if peak else "-",
        f"{found.losses[0]:.3g} to {found.losses[1]:.3g}",
    ]


def main() -> None:
    """Measure every row and print a table for each preset."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--presets", nargs="+", choices=CONFIGS, default=["sam3"] if gpu else ["tiny", "small"]
    )
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, help="default all, on a CPU those where nothing is compiled"
    )
    parser.add_argument("--steps", type=int, help="that count; default 50 for sam3, 8 for small, 30 for tiny")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them")
    parser.add_argument("--batch", type=int, help="images; default 2 for sam3, 4 for the others")
    parser.add_argument("--images", type=int, default=60, help="of the made-up corpus")
    parser.add_argument("--workers", type=int, default=2, help="processes that read and decode")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of torch")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the configuration"
    )
    options = parser.parse_args()
    console = Console(width=140)
    console.print(
        f"On {gpu}." if gpu else "There is no GPU here: measured on the CPU, without sam3 by default."
    )
    with tempfile.TemporaryDirectory() as folder:
        build_corpus(Path(folder), options.images)
        for preset in options.presets:
            config = configure(preset, options)
            images, precision = config.batch.in_a_pass, config.run.precision
            table = Table(title=f"{preset}, {image_side(config)} px, {images} images a step, {precision}")
            for title in ("job", "steps", "s/step", "CPU s/step", "images/s", "memory, GiB", "data wait",
                          "launches", "waits", "TFLOP a step", "TFLOP/s", "MFU", "loss, first to last"):  # fmt: skip
                table.add_column(title, justify="left" if title == "job" else "right")
            for row in options.rows or [name for name, row in ROWS.items() if gpu or not row.compiled]:
                context = multiprocessing.get_context("spawn")
                with ProcessPoolExecutor(1, mp_context=context) as pool:
                    found = pool.submit(measure, row, preset, Path(folder) / "corpus", options).result()
                table.add_row(row, *cells(found, peak_of(torch.device("cuda" if gpu else "cpu"), precision)))
            console.print(table)


if __name__ == "__main__":
    main()
