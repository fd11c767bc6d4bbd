"""Step time of the training loop, default monitors on, against a tuned hand-written loop with the same mathematics.

One thread. The loops take turns in short rounds, in an order that changes; what counts is the median of the ratios of
one round, so that a busy machine slows both sides. The tuned loop runs twice: its ratio with itself is the noise.
Peers (Accelerate, Lightning, Hugging Face Trainer) are measured where they are installed: see requirements.txt here.

    python benchmarks/step_time.py [--rounds 30] [--json FILE] [--clock cpu] [--quick]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import peers
import torch
from torch import nn
from torch.nn import functional

from footplate.data.arrays import ArraySet
from footplate.data.load import LoadedData
from footplate.data.rows import Rows
from footplate.data.scaler import Scaler
from footplate.profile.facts import DataFacts
from footplate.profile.load import load_profile_text
from footplate.record.journal import Journal
from footplate.trainer.assemble import assemble
from footplate.trainer.checkpoints.saver import Saver
from footplate.trainer.hooks import Hook, JournalWriter, LogWriter
from footplate.trainer.loop import Loop, run_loop
from footplate.trainer.memory.limits import find_limits
from footplate.trainer.memory.recovery import Recovery, Surroundings
from footplate.trainer.meter import Meter
from footplate.trainer.monitors import make_monitors
from footplate.trainer.progress import Progress

NUM_SAMPLES, NUM_FEATURES, NUM_CLASSES, BATCH = 8192, 784, 10, 64
LIMITS = {256: 1.05, 1024: 1.03}
"""Allowed ratio to the tuned loop, by width."""

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.thread_time}

PROFILE = """
model: {{architecture: mlp, hidden_size: {width}, num_layers: 2}}
data: {{train_data: unused}}
training: {{batch_size: 64, optimizer: adamw, learning_rate: 1e-3, max_grad_norm: 1.0, max_steps: 1000000}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu counts this thread's own time: for a machine that is busy with other work",
    )
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it runs, its numbers say little")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 3 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as folder:
        results = [measure(width, rounds, Path(folder), CLOCKS[options.clock]) for width in LIMITS]
    for result in results:
        show(result)
    report = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "clock": options.clock,
        "widths": results,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if options.quick or all(result["passed"] for result in results) else 1


def measure(width: int, rounds: int, folder: Path, clock: Callable[[], float]) -> dict[str, object]:
    """Return median step times and ratios of all loops at one width."""
    inputs, targets = make_data()
    with Journal(folder / f"journal.{width}.jsonl") as journal:
        runners: dict[str, peers.Runner] = {
            "tuned": timed(make_tuned(width, inputs, targets)),
            "tuned again": timed(make_tuned(width, inputs, targets)),
            "footplate": timed(make_footplate(width, inputs, targets, journal)),
            "naive DataLoader": timed(make_naive(width, inputs, targets)),
            **peers.make_runners(lambda: make_model(width), inputs, targets, BATCH),
        }
        steps = max(5, int(120 * 256 / width))
        times: dict[str, list[float]] = {name: [] for name in runners}
        for runner in runners.values():
            runner(steps, clock)
        for number in range(rounds):
            names = list(runners)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                times[name].append(runners[name](steps, clock) / steps * 1e3)
    ratios = {
        name: [mine / tuned for mine, tuned in zip(values, times["tuned"], strict=True)]
        for name, values in times.items()
    }
    both = [min(pair) for pair in zip(times["tuned"], times["tuned again"], strict=True)]
    noise = [again / tuned for again, tuned in zip(times["tuned again"], times["tuned"], strict=True)]
    ratio = statistics.median(ratios["footplate"])
    return {
        "width": width,
        "rounds": rounds,
        "steps_per_round": steps,
        "tuned_ms": statistics.median(both),
        "loops": {
            name: {"ms": statistics.median(times[name]), "ratio": statistics.median(ratios[name])} for name in times
        },
        "a_a_quartiles": statistics.quantiles(noise, n=4)[::2],
        "limit": LIMITS[width],
        "passed": ratio <= LIMITS[width],
    }


def timed(run: Callable[[int], None]) -> peers.Runner:
    """Return a loop that tells how long its steps took."""

    def run_timed(steps: int, clock: peers.Clock) -> float:
        start = clock()
        run(steps)
        return clock() - start

    return run_timed


def show(result: dict[str, object]) -> None:
    """Print one table."""
    low, high = result["a_a_quartiles"]
    print(f"\n3-layer MLP, width {result['width']}, batch {BATCH}, one thread")
    print(f"{result['rounds']} rounds of {result['steps_per_round']} steps each\n")
    print(f"{'loop':<20}{'ms/step':>10}{'ratio':>8}")
    for name, value in result["loops"].items():
        print(f"{name:<20}{value['ms']:>10.3f}{value['ratio']:>8.3f}")
    print(f"tuned against itself: half of the rounds between {low:.3f} and {high:.3f}")
    print(f"footplate at most {result['limit']}: {'passed' if result['passed'] else 'FAILED'}")


def make_data() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(NUM_SAMPLES, NUM_FEATURES), torch.randint(0, NUM_CLASSES, (NUM_SAMPLES,))


def make_model(width: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(NUM_FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, NUM_CLASSES)
    )


def make_tuned(width: int, inputs: torch.Tensor, targets: torch.Tensor) -> Callable[[int], None]:
    """Return the loop as an expert writes it for speed: nothing is watched, nothing is written."""
    model = make_model(width)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0, fused=True)

    def draw() -> Iterator[torch.Tensor]:
        while True:
            yield from torch.randperm(NUM_SAMPLES).split(BATCH)

    indices = draw()

    def run(steps: int) -> None:
        for _ in range(steps):
            chosen = next(indices)
            loss = functional.cross_entropy(model(inputs.index_select(0, chosen)), targets.index_select(0, chosen))
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return run


def make_naive(width: int, inputs: torch.Tensor, targets: torch.Tensor) -> Callable[[int], None]:
    """Return the loop of the tutorials: a DataLoader that gets sample by sample."""
    model = make_model(width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    data = torch.utils.data.TensorDataset(inputs, targets)
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True)

    def draw() -> Iterator[list[torch.Tensor]]:
        while True:
            yield from loader

    batches = draw()

    def run(steps: int) -> None:
        for _ in range(steps):
            x, y = next(batches)
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    return run


def make_footplate(
    width: int, inputs: torch.Tensor, targets: torch.Tensor, journal: Journal, *, watched: bool = True
) -> Callable[[int], None]:
    """Return the real loop with the journal, the log and (where it is watched) the monitors it has by default."""
    profile = load_profile_text(PROFILE.format(width=width))
    scaler = Scaler()
    arrays = (
        Rows(parts=(inputs.numpy(),), names=("inputs",)),
        Rows(parts=(targets.numpy(),), names=("targets",)),
    )
    sets = [ArraySet(*arrays, np.arange(size), scaler, classes=True) for size in (NUM_SAMPLES, 0, 0)]
    facts = DataFacts(
        source="random",
        num_train=NUM_SAMPLES,
        num_val=0,
        num_test=0,
        input_shape=(NUM_FEATURES,),
        input_dtype="float32",
        target_shape=(),
        target_dtype="int64",
        classes=tuple(str(number) for number in range(NUM_CLASSES)),
    )
    parts = assemble(
        profile, LoadedData(train=sets[0], val=sets[1], test=sets[2], facts=facts, scaler=scaler, found=())
    )
    progress, meter = Progress(num_train=NUM_SAMPLES), Meter()
    last_step = 0
    around = Surroundings(progress=progress, device=parts.device, journal=journal, limits=find_limits())
    recovery = Recovery(parts.stepper, BATCH, around)
    hooks: list[Hook] = [JournalWriter(journal, with_throughput=True), LogWriter(10**9)]
    if watched:
        hooks += make_monitors(parts, recovery, around, journal, lambda: False).hooks
    loop = Loop(
        stepper=parts.stepper,
        recovery=recovery,
        feed=parts.train,
        seed=0,
        step_size=BATCH,
        learning_rate_at=parts.get_learning_rate,
        total_steps=10**9,
        ends_by="max_steps",
        log_frequency=profile.training.log_frequency,
        is_evaluation_due=lambda _: False,
        evaluate=lambda: None,
        hooks=hooks,
        saver=Saver(),
        find_stop=lambda: "interrupted" if progress.step >= last_step else "",
    )

    def run(steps: int) -> None:
        nonlocal last_step
        last_step = progress.step + steps
        progress.stopped_by = ""
        run_loop(loop, progress, meter)

    return run


if __name__ == "__main__":
    sys.exit(main())
