"""What it costs to watch a training: being able to go back, the monitors of each step, a look into the layers.

python benchmarks/monitors.py [--rounds 30] [--clock cpu]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded

import argparse
import statistics
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path

import step_time
import torch
from torch import nn

from footplate.record.journal import Journal
from footplate.trainer.memory.limits import find_limits, find_tightest
from footplate.trainer.memory.rewind import Rewinder
from footplate.trainer.monitors.layers import LayerWatch
from footplate.trainer.progress import Progress

LIMIT = 1.01
"""Allowed ratio of a step of about a millisecond with the monitors to one without."""
_STEPS = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--clock", choices=step_time.CLOCKS, default="wall")
    options = parser.parse_args()
    torch.set_num_threads(1)
    show_marks()
    with tempfile.TemporaryDirectory() as folder:
        show_looks(Path(folder))
        ratio = show_ratio(options.rounds, step_time.CLOCKS[options.clock], Path(folder))
    print(f"with monitors at most {LIMIT}: {'passed' if ratio <= LIMIT else 'FAILED'}")
    return 0 if ratio <= LIMIT else 1


def show_marks() -> None:
    """Print what remembering the start of a step takes."""
    networks: dict[str, nn.Module] = {
        "no buffers": nn.Linear(4, 4),
        "4 batch norms": nn.Sequential(*(nn.BatchNorm2d(64) for _ in range(4))),
        "53 batch norms (resnet-50)": nn.Sequential(*(nn.BatchNorm2d(256) for _ in range(53))),
    }
    print(f"{'remembering the start of a step':<36}{'µs':>8}{'user class, µs':>16}")
    for name, network in networks.items():
        times = []
        for with_foreign in (False, True):
            rewinder = Rewinder(network, torch.device("cpu"), with_foreign=with_foreign)
            times.append(measure(rewinder.mark))
        print(f"{name:<36}{times[0]:>8.1f}{times[1]:>16.1f}")


def show_looks(folder: Path) -> None:
    """Print what a look at the memory and one into the layers take."""
    limits = find_limits()
    print(f"{'a look at the memory (every 0.25 s)':<36}{measure(lambda: find_tightest(limits)):>8.1f}")
    for width in step_time.LIMITS:
        network = step_time.make_model(width)
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter)
        with Journal(folder / f"look.{width}.jsonl") as journal:
            watch = LayerWatch(network, 1, journal, with_total=False)
            watch.on_start(Progress(num_train=1))

            def look(watch: LayerWatch = watch) -> None:
                watch.on_gradients()
                watch.on_step(Progress(num_train=1, step=1))

            took = measure(look, number=20)
        print(
            f"{f'a look into the layers, width {width}':<36}{took:>8.0f}   (every 1000 steps: {took / 1000:.1f} a step)"
        )


def show_ratio(rounds: int, clock: Callable[[], float], folder: Path) -> float:
    """Print and return the ratio of steps with all monitors to steps without; the loops take turns."""
    inputs, targets = step_time.make_data()
    with (
        Journal(folder / "a.jsonl") as first,
        Journal(folder / "b.jsonl") as second,
        Journal(folder / "c.jsonl") as third,
    ):
        runs = [
            step_time.make_footplate(256, inputs, targets, first, watched=False),
            step_time.make_footplate(256, inputs, targets, second, watched=True),
            step_time.make_footplate(256, inputs, targets, third, watched=False),
        ]
        times: list[list[float]] = [[], [], []]
        for run in runs:
            run(250)
        for number in range(rounds):
            for index in ((0, 1, 2), (2, 1, 0))[number % 2]:  # the watched one in the middle: drift cancels out
                started = clock()
                runs[index](_STEPS)
                times[index].append((clock() - started) / _STEPS * 1e3)
    ratio = statistics.median(2 * b / (a + c) for a, b, c in zip(*times, strict=True))
    noise = statistics.quantiles([c / a for a, _, c in zip(*times, strict=True)], n=4)
    print(f"step of a 3-layer MLP, width 256: {statistics.median(times[0]):.3f} ms without monitors,", end=" ")
    print(f"ratio with them {ratio:.3f}")
    print(f"two loops without them: {noise[1]:.3f}, half of the rounds between {noise[0]:.3f} and {noise[2]:.3f}")
    return ratio


def measure(call: Callable[[], object], number: int = 2000) -> float:
    """Return what a call takes, in microseconds: the best of seven rounds."""
    call()
    return min(timeit.repeat(call, number=number, repeat=7, timer=time.perf_counter)) / number * 1e6


if __name__ == "__main__":
    sys.exit(main())
