"""The order of the samples is a function of seed, epoch and size."""

import numpy as np

from footplate.data.sampler import get_order

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
