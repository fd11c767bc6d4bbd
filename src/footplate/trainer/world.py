"""The processes that train together: which one this is, and what they tell one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["World"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class World:
    """One process of ``size``. Alone it tells itself; every method is then free."""

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """Processes that train together."""
    local_rank: int = 0
    """Number of this process on its machine, from 0."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes what is written once."""
        return self.rank == 0

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of the values of all processes, the same bits in each; all must call it."""
        return values

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank; all must call it."""
        return [value]

    def broadcast(self, value: T) -> T:
        """Return the first process's value; all must call it."""
        return value
