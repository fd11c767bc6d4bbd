"""The samples of one set, given in batches: one gather at C speed for each batch."""

from __future__ import annotations

import numpy as np

from footplate.data.rows import Array, Indices, Rows
from footplate.data.scaler import Scaler

__all__ = ["ArraySet"]

WHOLE_BYTES = 2_000_000_000
"""Inputs up to this size as float32 are scaled once and kept; larger ones are scaled batch by batch."""


class ArraySet:
    """The training, validation or test samples: scaled float32 inputs, int64 classes or float32 targets."""

    def __init__(self, inputs: Rows, targets: Rows, indices: Indices, scaler: Scaler, *, classes: bool) -> None:
        """Take the samples at ``indices``; ``classes`` says whether targets are class numbers."""
        self._inputs = inputs
        self._targets = targets
        self._indices = indices
        self._scaler = scaler
        self._classes = classes
        self._whole = self._build_whole()

    def __len__(self) -> int:
        return len(self._indices)

    def gather(self, indices: Indices) -> tuple[Array, Array]:
        """Return inputs and targets of these samples, in this order."""
        if self._whole is not None:
            inputs, targets = self._whole
            return inputs.take(indices, axis=0), targets.take(indices, axis=0)
        return self._read(self._indices[indices])

    def whole(self) -> tuple[Array, Array] | None:
        """Return all inputs and targets as they are given to the network, or None when they are not in memory."""
        return self._whole

    def _build_whole(self) -> tuple[Array, Array] | None:
        size = len(self._indices) * int(np.prod(self._inputs.shape, dtype=np.int64)) * 4
        if self._inputs.mapped or self._targets.mapped or size > WHOLE_BYTES:
            return None
        return self._read(self._indices)

    def _read(self, rows: Indices) -> tuple[Array, Array]:
        inputs = self._scaler.apply(self._inputs.take(rows))
        targets = self._targets.take(rows)
        return inputs, targets.astype(np.int64, copy=False) if self._classes else self._scaler.apply_targets(targets)
