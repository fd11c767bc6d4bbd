"""What it costs that processes agree on a stop: ``torchrun --standalone --nproc-per-node 2 benchmarks/agreement.py``.

Each process trains a small network; a step is timed without asking, with a vote in each step, with votes as the loop
makes them (one in 0.05 s), and with an exchange in each step that is waited for.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable

import torch

from footplate.data.load import load_data
from footplate.profile.load import load_profile_text
from footplate.trainer.assemble import assemble
from footplate.trainer.distributed.agreement import Agreement
from footplate.trainer.distributed.world import World, open_world

PROFILE = """
model: {{hidden_size: {width}, num_layers: 2}}
data: {{train_data: "sklearn:digits"}}
training: {{batch_size: 32}}
distributed: {{enabled: true, world_size: {size}}}
device: cpu
"""
STEPS, ROUNDS = 60, 5


def main() -> None:
    texts = {width: PROFILE.format(width=width, size=os.environ["WORLD_SIZE"]) for width in (64, 512)}
    with open_world(load_profile_text(texts[64])) as world:
        torch.set_num_threads(1)
        for width, text in texts.items():
            measure(world, width, text)


def measure(world: World, width: int, text: str) -> None:
    profile = load_profile_text(text)
    parts = assemble(profile, load_data(profile), world)
    often, seldom = Agreement(world, lambda: ""), Agreement(world, lambda: "")
    ways: dict[str, Callable[[], object]] = {
        "without asking": lambda: None,
        "a vote in each step": often.find_stop,
        "votes as the loop makes them": seldom.find_stop,
        "an exchange that is waited for": lambda: world.gather(0),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, ask in ways.items():
            world.broadcast(None)
            started = time.perf_counter()
            for number in range(STEPS):
                step = parts.train.take(0, 0, number % 20 * 64, 64)
                parts.stepper.take_step(step, 32)
                ask()
            times[name].append((time.perf_counter() - started) / STEPS)
        seldom.set_step_s(world.broadcast(statistics.median(times["without asking"])))
    often.close()
    seldom.close()
    if world.is_first:
        base = statistics.median(times["without asking"])
        for name, taken in times.items():
            step_s = statistics.median(taken)
            told = f"{step_s * 1e3:.3f} ms a step (+{(step_s - base) * 1e6:.0f} µs)"
            sys.stdout.write(f"mlp {width}: {name}: {told}, best round {min(taken) * 1e3:.3f}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
