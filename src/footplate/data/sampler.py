"""The order of the samples, as a function of seed, epoch and position: a resume needs these three integers only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["get_order"]


def get_order(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    """Return the order in which the samples of one epoch are seen: a permutation of ``range(size)``.

    It depends on nothing but its arguments: not on the machine, other random numbers, or how the data are stored.
    """
    sequence = np.random.SeedSequence([seed, epoch])
    return np.random.Generator(np.random.PCG64(sequence)).permutation(size)
