"""A training that goes on in another number of processes sees the very samples that it would have seen."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from footplate.data.arrays import ArraySet
from footplate.data.rows import Rows
from footplate.data.scaler import Scaler
from footplate.trainer.feed import Feed
from footplate.trainer.progress import Progress
from footplate.trainer.world import World

NUM_SAMPLES, STEP_SIZE, EPOCHS, SEED = 53, 8, 2, 7


def make_set() -> ArraySet:
    numbers = np.arange(NUM_SAMPLES, dtype=np.float32)[:, None]
    targets = np.zeros(NUM_SAMPLES, np.int64)
    rows = [Rows(parts=(part,), names=("test",)) for part in (numbers, targets)]
    return ArraySet(rows[0], rows[1], np.arange(NUM_SAMPLES), Scaler(), classes=True)


def see(progress: Progress, size: int, *, until: int, batch_size: int) -> list[Counter[int]]:
    """Let ``size`` processes take the steps up to one; return the samples of each step, of all of them together."""
    feeds = [Feed(make_set(), torch.device("cpu"), World(rank=rank, size=size)) for rank in range(size)]
    seen = []
    while progress.step < until:
        steps = [feed.take(SEED, progress.epoch, progress.position, STEP_SIZE) for feed in feeds]
        batches = [batch for step in steps for batch in step.split(batch_size) if batch.size]
        seen.append(Counter(int(number) for batch in batches for number in batch.inputs.flatten()))
        progress.count(num_samples=steps[0].num_samples)
    return seen


@pytest.mark.parametrize("sizes", [(2, 1), (1, 2), (2, 3), (3, 1)])
@pytest.mark.parametrize("change_at", [1, 6, 7, 9])
def test_the_samples_are_the_same_whatever_the_number_of_processes(sizes: tuple[int, int], change_at: int) -> None:
    steps = EPOCHS * -(-NUM_SAMPLES // STEP_SIZE)
    alone = see(Progress(num_train=NUM_SAMPLES), 1, until=steps, batch_size=STEP_SIZE)
    progress = Progress(num_train=NUM_SAMPLES)
    before = see(progress, sizes[0], until=change_at, batch_size=2)
    resumed = Progress(num_train=NUM_SAMPLES)
    resumed.load_state_dict(progress.state_dict())
    after = see(resumed, sizes[1], until=steps, batch_size=3)
    assert [*before, *after] == alone
    assert sum(alone, Counter()) == Counter({number: EPOCHS for number in range(NUM_SAMPLES)})
