"""The order of the samples, as a function of seed, epoch and position: a resume needs these three integers only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["get_batch_indices", "get_order"]


def get_order(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    """Return the order in which the samples of one epoch are seen: a permutation of ``range(size)``.

    It depends on nothing but its arguments: not on the machine, other random numbers, or how the data are stored.
    """
    sequence = np.random.SeedSequence([seed, epoch])
    return np.random.Generator(np.random.PCG64(sequence)).permutation(size)


def get_batch_indices(
    order: NDArray[np.int64], position: int, batch_size: int, rank: int = 0, world_size: int = 1
) -> NDArray[np.int64]:
    """Return the next samples of one process: rank r takes ``order[position + r :: world_size]``, ``batch_size`` of it.

    ``position`` counts the samples that all processes have used in this epoch. All processes together take
    ``batch_size × world_size`` samples from there, fewer at the end of the epoch; a process may get none.
    """
    end = min(position + batch_size * world_size, len(order))
    return order[position + rank : end : world_size]
