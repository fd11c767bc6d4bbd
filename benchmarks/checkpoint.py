"""How long a checkpoint stops the training: 500 MB of weights and Adam's state, beside saving them at once.

What is compared takes turns. "Footplate" is the call of the training's saver after a step: the copy, and the start of
the thread that writes. The others stop the training until the file is there: `torch.save` as most scripts have it
(without `fsync`, so that a power failure loses it), with `fsync`, and our own files, with hashes and `fsync`. Then real
steps of the training are timed with and without a checkpoint being written beside them: what the writing itself costs.

    python benchmarks/checkpoint.py [--rounds 7] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from footplate.data.load import load_data
from footplate.profile.load import load_profile_text
from footplate.record.journal import Journal
from footplate.record.rundir import RunDir
from footplate.trainer.assemble import Parts, assemble
from footplate.trainer.checkpoints.checkpoint import Checkpointer, Watched
from footplate.trainer.checkpoints.saver import Saver, make_saver
from footplate.trainer.hooks import BestWeights
from footplate.trainer.progress import Progress

LIMIT = 0.15
"""Allowed ratio to a save that stops the training."""
PROFILE = """
model: {architecture: mlp, hidden_size: 2440, num_layers: 8}
data: {train_data: "sklearn:digits"}
device: cpu
training: {batch_size: 8, optimizer: adamw, max_steps: 1000000, checkpointing: {frequency: 1, keep_last_n: 1}}
"""
STEPS = 10
"""Steps that are timed beside one checkpoint."""


class Training:
    """A training of which only the saving is measured."""

    def __init__(self, folder: Path) -> None:
        profile = load_profile_text(PROFILE)
        self.parts: Parts = assemble(profile, load_data(profile))
        self.run = RunDir.create(folder, "bench")
        self.journal = Journal(self.run.new_attempt().journal_path())
        self.progress = Progress(num_train=len(self.parts.train))
        self.best = BestWeights(
            self.parts.model, self.run.artifacts / "m.safetensors", self.journal, metric="val/loss", mode="auto"
        )
        self.checkpointer = Checkpointer(self.parts, self.run, Watched(), attempt=1)
        self.saver: Saver = make_saver(
            self.checkpointer, self.parts, self.journal, by_first=lambda is_due: is_due, best=self.best
        )

    def take_step(self) -> None:
        parts, progress = self.parts, self.progress
        step = parts.train.take(0, progress.epoch, progress.position, 8)
        parts.stepper.take_step(step, 8)
        progress.count(step.num_samples)

    def save(self) -> float:
        """Return how long the saver stops the training; the writing is waited for outside of that time."""
        started = time.perf_counter()
        self.saver.save_if_due(self.progress)
        stall_s = time.perf_counter() - started
        self.saver.close()
        return stall_s

    def save_blocking(self) -> float:
        """Return the time of our own copy and files, hashed and on the disk."""
        started = time.perf_counter()
        self.checkpointer.write(self.checkpointer.take(self.progress))
        return time.perf_counter() - started

    def save_torch(self, path: Path, *, sync: bool) -> float:
        started = time.perf_counter()
        state = {"model": self.parts.model.state_dict(), "optimizer": self.parts.stepper.optimizer.state_dict()}
        with path.open("wb") as file:
            torch.save(state, file)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        return time.perf_counter() - started

    def time_steps(self, *, saving: bool) -> float:
        """Return the time of some steps, with a checkpoint taken before the first one or without."""
        started = time.perf_counter()
        if saving:
            self.saver.save_if_due(self.progress)
        for _ in range(STEPS):
            self.take_step()
        seconds = time.perf_counter() - started
        self.saver.close()
        return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    logging.disable()
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as name:
        result = measure(Path(name), arguments.rounds)
    loads.append(os.getloadavg()[0])
    result["load"] = loads
    _print(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if result["ratio"] <= LIMIT else 1


def measure(folder: Path, rounds: int) -> dict[str, object]:
    training = Training(folder)
    for _ in range(2):
        training.take_step()
    first_s = training.save()
    cases: dict[str, Callable[[], float]] = {
        "footplate": training.save,
        "torch.save": lambda: training.save_torch(folder / "plain.pt", sync=False),
        "torch.save, fsync": lambda: training.save_torch(folder / "plain.pt", sync=True),
        "footplate, blocking (hashes, fsync)": training.save_blocking,
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds):
        names = list(cases)
        for case in names[number % len(names) :] + names[: number % len(names)]:
            training.take_step()  # a step's memory and caches are between two saves, as in a training
            times[case].append(cases[case]())
    steps = {saving: [] for saving in (False, True)}
    for _ in range(rounds):
        for saving in (False, True):
            steps[saving].append(training.time_steps(saving=saving))
    medians = {name: statistics.median(values) for name, values in times.items()}
    with_s, without_s = statistics.median(steps[True]), statistics.median(steps[False])
    training.journal.close()
    state = [*training.parts.model.parameters()]
    return {
        "bytes": sum(3 * tensor.nbytes for tensor in state),
        "first_s": first_s,
        "medians_s": medians,
        "ranges_s": {name: (min(values), max(values)) for name, values in times.items()},
        "ratio": medians["footplate"] / medians["torch.save"],
        "steps": STEPS,
        "steps_with_s": with_s,
        "steps_without_s": without_s,
        "cost_beside_s": with_s - without_s,
        "threads": torch.get_num_threads(),
    }


def _print(result: dict[str, object]) -> None:
    medians, ranges = result["medians_s"], result["ranges_s"]
    print(f"{result['bytes'] / 1e6:,.0f} MB, {result['threads']} threads, load {result['load']}")
    for name, seconds in medians.items():
        low, high = (1e3 * limit for limit in ranges[name])
        ratio = seconds / medians["torch.save"]
        print(f"{name:40} {seconds * 1e3:8.1f} ms  ({low:.1f}–{high:.1f})  {ratio:.3f}")
    print(f"{'footplate, the first one':40} {result['first_s'] * 1e3:8.1f} ms")
    with_s, without_s = result["steps_with_s"], result["steps_without_s"]
    print(f"{result['steps']} steps: {without_s:.2f} s; with a checkpoint beside them: {with_s:.2f} s")


if __name__ == "__main__":
    sys.exit(main())
