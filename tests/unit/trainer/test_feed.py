"""The samples of a step are shared out among the processes without loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from footplate.data.arrays import ArraySet
from footplate.trainer.distributed.world import World
from footplate.trainer.loading.feed import Feed

CPU = torch.device("cpu")


class Numbers(ArraySet):
    """A set whose inputs and targets are the numbers of its samples."""

    def __init__(self, size: int) -> None:
        self._numbers = np.arange(size)

    def __len__(self) -> int:
        return len(self._numbers)

    def gather(self, indices: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        return indices, indices

    def whole(self) -> tuple[NDArray[Any], NDArray[Any]]:
        return self._numbers, self._numbers


@given(
    size=st.integers(1, 200),
    step_size=st.integers(1, 60),
    worlds=st.lists(st.integers(1, 5), min_size=1, max_size=6),
)
def test_every_sample_is_seen_once_whatever_the_number_of_processes(
    size: int, step_size: int, worlds: list[int]
) -> None:
    feeds = {
        count: [Feed(Numbers(size), CPU, World(rank=rank, size=count)) for rank in range(count)] for count in worlds
    }
    seen: list[int] = []
    position = number = 0
    while position < size:
        count = worlds[number % len(worlds)]  # the number of processes may change between two steps: a resume
        steps = [feed.take(3, 4, position, step_size) for feed in feeds[count]]
        for step in steps:
            assert len(step.indices) <= step.largest_share <= -(-step_size // count)
            seen.extend(step.indices.tolist())
        position += steps[0].num_samples
        number += 1
    assert sorted(seen) == list(range(size))


@pytest.mark.parametrize(("rank", "counts"), [(0, True), (1, False)])
def test_a_process_without_a_sample_gets_one_that_does_not_count(rank: int, counts: bool) -> None:
    feed = Feed(Numbers(10), CPU, World(rank=rank, size=2))
    step = feed.take(0, 0, 9, 4)
    [batch] = step.split(4)
    assert batch.inputs.tolist() == step.stand_in.tolist()
    assert bool(batch.size) == counts
