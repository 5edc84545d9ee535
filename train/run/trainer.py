"""The training run: a loop of updates, with validation, checkpoints and logs on the way.

The state of a run is a step and a place in the data order. Everything else is a function of them and of the
configuration: the batches (train/data/plan.py), the learning rates (train/run/optim.py) and the random numbers of
dropout, whose generator is seeded anew for every update from seed, step and rank. So a run that was killed
goes on as if it had not been.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from medshards.common.files import write_atomically
from medshards.common.text import counted
from medshards.shards.read.chain import CorpusError
from medshards.train.data.batch import Bad, Batch
from medshards.train.data.feed import Feed
from medshards.train.data.open import open_data
from medshards.train.data.plan import Slices
from medshards.train.model.lora import digest
from medshards.train.objective.objective import Norms
from medshards.train.run.checkpoint import State, best, folder_of, read_state, restore
from medshards.train.run.config import Config, ConfigError, dump_config
from medshards.train.run.continuation import differences
from medshards.train.run.monitor import Monitor
from medshards.train.run.parallel import World
from medshards.train.run.preemption import Stop
from medshards.train.run.save import Checkpointer
from medshards.train.run.step import Learner, build_graph
from medshards.train.run.validation import Validator
from medshards.train.speed.clock import Clock
from medshards.train.speed.regions import Compilations, as_it_is
from medshards.train.speed.work import peak_of, work_of

CONFIG = "config.yaml"


@dataclass(frozen=True)
class Outcome:
    """How a run ended: after how many of its updates, and whether a signal ended it."""

    step: int
    total: int
    preempted: bool


class Trainer:
    """One run on this rank.

    data: folder or URL of a corpus. run: folder of the run. resume: go on from its checkpoint of this step.
    other_corpus, other_config: allow another corpus, or another order or content of the samples, than the run began
    with. asked: the configuration before anything was chosen for the card, which the run's folder keeps. Raises
    CorpusError, CheckpointError, ConfigError, WeightsError and what `fit` raises.
    """

    def __init__(
        self,
        config: Config,
        data: str,
        run: Path,
        ranks: World,
        resume: int | None = None,
        other_corpus: bool = False,
        other_config: bool = False,
        asked: Config | None = None,
    ) -> None:
        images = config.batch.images or config.batch.in_a_pass * ranks.size
        asked, config = (_of_images(each, images) for each in (asked or config, config))
        self.config, self.run, self.ranks, self.images = config, run, ranks, images
        torch.use_deterministic_algorithms(config.run.deterministic, warn_only=True)
        # It would also fill every new tensor before it is written: a kernel each, and nothing here reads such memory.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        graph = build_graph(config)
        self.base = digest(graph) if config.model.lora else None
        self.data = open_data(config, data, graph.image_size)
        self.learner = Learner(graph, config, ranks)
        self.validate = Validator(self.data.held_out, config, ranks)
        self.checkpoints = Checkpointer(run, ranks, config.run.keep_last, config.run.async_checkpoint)
        self.step, self.taken = 0, 0  # updates made, samples taken
        self.bad: set[str] = set()  # samples that were found damaged, and replaced
        if resume is not None:
            self._resume(folder_of(run, resume), other_corpus, other_config)
        left = config.run.epochs * self.data.plan.length - self.taken
        self.total = config.run.steps or self.step + max(0, -(-left // images))
        self.slices = Slices(
            self.data.plan, self.taken, images, config.batch.in_a_pass, ranks.rank, ranks.size
        )
        self.monitor = Monitor(run, self.step, self.total, ranks.first)
        if ranks.first:
            write_atomically(run / CONFIG, dump_config(asked).encode())
        self._saved, self.first = resume, self.step
        self._compilations = Compilations()
        self._dropped: Counter[str] = Counter()
        self._clock = Clock()
        self._peak = peak_of(ranks.device, config.run.precision)
        self._work = work_of(config) if self._peak else None

    def _resume(self, folder: Path, other_corpus: bool, other_config: bool) -> None:
        state = read_state(folder)
        if state.corpus != self.data.digest and not other_corpus:
            raise CorpusError(
                f"{self.run} was trained on the corpus {state.corpus[:12]}, this is {self.data.digest[:12]}: its "
                "samples are others, or in another order. Give the old corpus, or --other-corpus to go on with "
                "this one"
            )
        other = differences(state, self.config, self.learner.graph.image_size)
        if other and not other_config:
            raise ConfigError(
                f"{self.run} was trained otherwise, so this would be no continuation of it: {'; '.join(other)}. Leave "
                "that as it was, or give --other-config to go on all the same"
            )
        if state.base != self.base:
            raise ConfigError(
                f"{self.run} was trained with {_trained(state.base)}, this would be with {_trained(self.base)}: leave "
                "model.lora and model.weights as they were"
            )
        restore(folder, self.learner.graph, self.learner.optimizer)
        self.step, self.bad = state.step, set(state.bad_samples)
        self.taken = state.epoch * self.data.plan.length + min(state.position, self.data.plan.length - 1)

    def fit(self) -> Outcome:
        """Train to the last step or to a signal.

        Raises CorpusError, StoreError, CheckpointError, WorkerLost, MachineError, FloatingPointError; no data worker
        is left then either.
        """
        options, last_pass = self.config.data, self.slices.chunks * self.ranks.size
        pin = self.ranks.device.type == "cuda"
        self._greet()
        self._clock.read()
        preempted = False
        with (
            Stop() as stop,
            Feed(self.data.samples, self.slices, options.workers, options.prefetch, pin) as feed,
        ):
            while self.step < self.total:
                with self._clock.waiting():
                    chunks = [next(feed) for _ in range(self.slices.chunks)]
                asked, norms = self._agree(chunks, stop.asked, last_pass)
                if asked:
                    preempted = True
                    break
                began = time.perf_counter()
                terms, norm = self.learner.update(chunks, norms, self.step, self.total)
                self._advance(chunks)
                if told := self._compilations.look(self.step - self.first, time.perf_counter() - began):
                    self.monitor.note(told)
                if self.step % self.config.run.log_every == 0 or self.step == self.total:
                    self._log(terms, norm)
                with self._clock.paused(), as_it_is():
                    self._look_back()
            if preempted and self._saved != self.step:
                self.learner.settle()
                self._save(None)
            self.checkpoints.finish()
        self.monitor.close(self._dropped)
        return Outcome(self.step, self.total, preempted)

    def _agree(self, chunks: Sequence[Batch], asked: bool, passes: int) -> tuple[bool, Norms | None]:
        """One exchange with all ranks before an update: is anyone asked to end, and how much is in the update."""
        counts = torch.cat([chunk.num_boxes for chunk in chunks])
        bad = [each for chunk in chunks for each in chunk.bad]
        mine = (asked, len(bad), int(counts.sum()), len(counts), int((counts > 0).sum()))
        stop, damaged, boxes, prompts, positives = map(int, self.ranks.sum(*mine))
        if stop:
            return True, None
        if damaged:
            self._replaced(bad)
        for chunk in chunks:
            self._dropped.update(chunk.dropped)
        if self.config.run.record_samples:
            self._record(chunks)
        by_rank = self.config.run.normalise == "rank"
        return False, None if by_rank else Norms.of_update(boxes, prompts, positives, passes)

    def _replaced(self, bad: Sequence[Bad]) -> None:
        """Name the damaged samples of this update on all ranks; raises CorpusError when there were too many."""
        reasons = self.ranks.gather([each.reason for each in bad])
        self.bad.update(self.ranks.gather([each.name for each in bad]))
        for reason in reasons:
            self.monitor.note(f"replaced a bad sample: {reason}")
        if len(self.bad) > self.config.data.max_bad_samples:
            raise CorpusError(
                f"{len(self.bad)} samples are damaged, more than data.max_bad_samples = "
                f"{self.config.data.max_bad_samples}; run `medshards verify` on the corpus. The last: {reasons[-1]}"
            )

    def _record(self, chunks: Sequence[Batch]) -> None:
        row = {"step": self.step, "samples": [list(chunk.names) for chunk in chunks]}
        with (self.run / f"samples-rank{self.ranks.rank}.jsonl").open("a") as stream:
            stream.write(json.dumps(row) + "\n")

    def _advance(self, chunks: Sequence[Batch]) -> None:
        self.step += 1
        self.taken += self.images
        self._clock.updates += 1
        if self._work is not None:
            self._clock.flops += sum(map(self._work.of, chunks))
        self.monitor.tick(self.step)
        self.checkpoints.poll()

    def _log(self, terms: dict[str, Tensor], norm: Tensor) -> None:
        """Means over all ranks of this update's terms; the speed since the last line."""
        read = self._clock.read()
        names = sorted(terms)
        values = torch.stack([terms[name].double() for name in names]).tolist()
        mine = (read.waited / read.seconds, read.flops / read.seconds)
        *means, wait, rate = (total / self.ranks.size for total in self.ranks.sum(*values, *mine))
        mean = dict(zip(names, means, strict=True))
        numbers = {
            "epoch": self.taken / self.data.plan.length,
            "loss": mean.pop("loss"),
            "grad_norm": float(norm),
            "images_per_s": read.updates * self.images / read.seconds,
            "s_per_step": read.seconds / read.updates,
            "data_wait": wait,
            **{f"lr/{group['name']}": group["lr"] for group in self.learner.optimizer.param_groups},
        }
        if self.ranks.device.type == "cuda":
            numbers["gpu_memory_gib"] = torch.cuda.max_memory_allocated(self.ranks.device) / 2**30
        if self._peak is not None:
            numbers["mfu"] = rate / self._peak
        self.monitor.update(self.step, numbers, mean)

    def _look_back(self) -> None:
        """Validate and save where it is time."""
        run, last = self.config.run, self.step == self.total
        length = self.data.plan.length
        epoch_ended = self.taken // length > (self.taken - self.images) // length
        validate, save = (
            last or (epoch_ended if every is None else self.step % every == 0)
            for every in (run.validate_every, run.checkpoint_every)
        )
        if validate or save:
            self.learner.settle()
        score = None
        if validate and self.validate:
            report = self.validate(self.learner.graph)
            score = report.mean(run.validate_mask)
            self.monitor.validation(self.step, report, run.validate_mask)
            known = best(self.run)
            better = score is not None and (known is None or score > known[1])
            # The first rank decides: another may look before or after a save in the background is published.
            save = save or self.ranks.sum(better and self.ranks.first)[0] > 0
        if save:
            self._save(score)

    def _save(self, score: float | None) -> None:
        epoch, position = divmod(self.taken, self.data.plan.length)
        state = State(
            step=self.step,
            epoch=epoch,
            position=position,
            corpus=self.data.digest,
            config=self.config.model_dump(mode="json"),
            architecture=self.learner.graph.config.to_dict(),
            seed=self.config.run.seed,
            bad_samples=sorted(self.bad),
            score=score,
            world=self.ranks.size,
            base=self.base,
            own_concepts=[c.facts() for c in self.data.samples.corpus.vocabulary.own],
        )
        self.checkpoints.save(self.learner.model, self.learner.optimizer, state)
        self._saved = self.step

    def _greet(self) -> None:
        say, data = self.monitor.say, self.data
        corpus = data.samples.corpus
        of = f"{counted(len(corpus), 'training sample')} of {counted(len(corpus.slugs), 'dataset')}"
        say(f"{of}, {data.plan.length} an epoch; {len(data.held_out.corpus)} for validation")
        for remark in data.remarks():
            say(remark)
        if self.ranks.device.type == "cpu" and sum(p.numel() for p in self.learner.graph.parameters()) > 1e8:
            say("no GPU is visible: an update of the full model takes ten minutes on a CPU")
        if not self.validate:
            say("there is nothing to validate on, so no checkpoint will be called the best")
        say(
            f"updates {self.step} to {self.total} of {self.images} images: {self.ranks.size} ranks on "
            f"{self.ranks.device.type} x {self.slices.chunks} passes x {self.config.batch.in_a_pass} images"
        )


def _of_images(config: Config, images: int) -> Config:
    """The configuration of updates of so many images, whatever the number of ranks."""
    return config.model_copy(update={"batch": config.batch.model_copy(update={"images": images})})


def _trained(base: str | None) -> str:
    return "all weights trained" if base is None else f"adapters on the weights {base[:12]}"
