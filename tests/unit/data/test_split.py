"""The split keeps the shares of the classes, is the same for ever, and never leaves a set empty that has a share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from footplate.data.split import split_samples
from footplate.errors import DataError


def test_the_split_is_the_same_for_ever() -> None:
    split = split_samples(12, 0.2, 0.2, 42)
    assert (split.val.tolist(), split.test.tolist()) == ([6, 9], [2, 8])
    split = split_samples(12, 0.2, 0.2, 42, np.arange(12) % 3)
    assert (split.val.tolist(), split.test.tolist()) == ([1, 8], [2, 6])


@given(size=st.integers(5, 300), val=st.floats(0, 0.4), test=st.floats(0, 0.4), seed=st.integers(0, 2**32 - 1))
def test_every_sample_is_in_one_set_and_no_set_with_a_share_is_empty(
    size: int, val: float, test: float, seed: int
) -> None:
    split = split_samples(size, val, test, seed)
    assert sorted(np.concatenate([split.train, split.val, split.test])) == list(range(size))
    assert len(split.train) > 0
    assert (len(split.val) > 0) == (val > 0)
    assert (len(split.test) > 0) == (test > 0)


@given(counts=st.lists(st.integers(1, 60), min_size=2, max_size=6), seed=st.integers(0, 100))
def test_each_class_keeps_its_share(counts: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    if len(labels) < 5:
        return
    split = split_samples(len(labels), 0.2, 0.2, seed, labels)
    for label, count in enumerate(counts):
        for part in (split.val, split.test):
            expected = count * len(part) / len(labels)
            assert abs(int((labels[part] == label).sum()) - expected) <= 1.5


def test_too_few_samples_are_answered_with_the_arithmetic() -> None:
    with pytest.raises(DataError, match=r"2 samples: 1 for validation \(0.1\) and 1 for the test \(0.1\)") as caught:
        split_samples(2, 0.1, 0.1, 0)
    assert "at least 3 samples" in caught.value.hint


def test_shares_that_leave_nothing_are_answered() -> None:
    with pytest.raises(DataError, match="leave 0 to train on"):
        split_samples(40, 0.6, 0.6, 0)
