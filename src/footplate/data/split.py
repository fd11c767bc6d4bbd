"""The split: which samples train, which validate, which test; a function of the seed and the classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from footplate.data.rows import Array, Indices
from footplate.errors import DataError

__all__ = ["Split", "split_samples"]

_STREAM = 1
"""Which stream of the seed's random numbers: the order of an epoch uses others."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Indices of each set, ascending; together they are all samples, each once."""

    train: Indices
    val: Indices
    test: Indices


def split_samples(size: int, val: float, test: float, seed: int, labels: Array | None = None) -> Split:
    """Share out ``size`` samples; with ``labels`` each class keeps its share in each set, up to one sample.

    Every set with a share gets at least one sample, or DataError says how many are needed.
    """
    num_val, num_test = _count(size, val), _count(size, test)
    if size - num_val - num_test < 1:
        needed = 1 + (val > 0) + (test > 0)
        raise DataError(
            f"{size} sample{'s' if size > 1 else ''}: {num_val} for validation ({val:g}) and "
            f"{num_test} for the test ({test:g}) "
            f"leave {max(0, size - num_val - num_test)} to train on",
            hint=f"at least {needed} samples are needed, and split.val + split.test below 1"
            if size < needed or val + test >= 1
            else "make data.split.val or data.split.test smaller",
        )
    order = _shuffle(size, seed, labels)
    return Split(
        train=np.sort(order[num_test + num_val :]),
        val=np.sort(order[num_test : num_test + num_val]),
        test=np.sort(order[:num_test]),
    )


def _count(size: int, share: float) -> int:
    return max(1, round(size * share)) if share > 0 else 0


def _shuffle(size: int, seed: int, labels: Array | None) -> Indices:
    """Return a random order; with labels, one in which every stretch has each class in its proportion.

    The j-th of a class's n shuffled samples stands at (j + ½) / n of the way; ties are in random order.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(_STREAM,))
    order = np.random.Generator(np.random.PCG64(sequence)).permutation(size)
    if labels is None:
        return order
    shuffled = np.asarray(labels)[order]
    by_class = np.argsort(shuffled, kind="stable")
    _, counts = np.unique(shuffled, return_counts=True)
    place = np.empty(size)
    place[by_class] = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    return order[np.argsort(place, kind="stable")]
