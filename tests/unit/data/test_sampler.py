"""The order of the samples is a function of seed, epoch and size, and is shared out without loss."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from footplate.data.sampler import get_batch_indices, get_order

FROZEN = [
    [0, 7, 6, 9, 11, 3, 5, 2, 4, 10, 1, 8],
    [0, 7, 4, 9, 8, 3, 1, 2, 10, 6, 5, 11],
    [10, 9, 2, 7, 11, 5, 8, 1, 4, 6, 0, 3],
]


def test_order_is_the_same_for_ever() -> None:
    assert get_order(42, 0, 12).tolist() == FROZEN[0]
    assert get_order(42, 1, 12).tolist() == FROZEN[1]
    assert get_order(43, 0, 12).tolist() == FROZEN[2]


def test_order_is_a_permutation_and_changes_with_the_epoch() -> None:
    first, second = get_order(7, 0, 1000), get_order(7, 1, 1000)
    assert sorted(first) == list(range(1000))
    assert not np.array_equal(first, second)


def test_order_ignores_and_leaves_the_global_random_state() -> None:
    before = get_order(1, 2, 50)
    np.random.default_rng(99).random(10)
    assert np.array_equal(before, get_order(1, 2, 50))


def test_an_empty_set_has_an_empty_order() -> None:
    assert len(get_order(0, 0, 0)) == 0


@given(
    size=st.integers(1, 200),
    batch_size=st.integers(1, 50),
    worlds=st.lists(st.integers(1, 5), min_size=1, max_size=6),
)
def test_every_sample_is_seen_once_whatever_the_number_of_processes(
    size: int, batch_size: int, worlds: list[int]
) -> None:
    order = get_order(3, 4, size)
    seen: list[int] = []
    position = step = 0
    while position < size:
        world = worlds[step % len(worlds)]  # the number of processes may change between two steps: a resume
        for rank in range(world):
            part = get_batch_indices(order, position, batch_size, rank, world)
            assert len(part) <= batch_size
            seen.extend(part.tolist())
        position += batch_size * world
        step += 1
    assert sorted(seen) == list(range(size))


def test_ranks_take_turns() -> None:
    order = np.arange(20)
    assert get_batch_indices(order, 4, 3, rank=0, world_size=2).tolist() == [4, 6, 8]
    assert get_batch_indices(order, 4, 3, rank=1, world_size=2).tolist() == [5, 7, 9]


@pytest.mark.parametrize(("rank", "expected"), [(0, [9]), (1, [])])
def test_the_last_batch_is_smaller(rank: int, expected: list[int]) -> None:
    assert get_batch_indices(np.arange(10), 9, 4, rank, 2).tolist() == expected
