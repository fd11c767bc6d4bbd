"""The samples of one set, given in batches: one gather at C speed for each batch."""

from __future__ import annotations

from typing import cast

import numpy as np

from footplate.data.rows import Array, Indices, Rows
from footplate.data.scaler import Scaler

__all__ = ["ArraySet"]

WHOLE_BYTES = 2_000_000_000
"""Sets up to this size, as they are given to the network, are scaled once and kept; larger ones batch by batch."""


class ArraySet:
    """The training, validation or test samples: scaled float32 inputs or int64 tokens, int64 classes or float32."""

    def __init__(
        self, inputs: Rows, targets: Rows, indices: Indices, scaler: Scaler, *, classes: bool, tokens: bool = False
    ) -> None:
        """Take the samples at ``indices``.

        ``classes`` says whether targets are whole numbers (classes, tokens), ``tokens`` whether inputs are.
        """
        self._indices = indices
        self._scaler = scaler
        self._classes = classes
        self._tokens = tokens
        size = len(indices) * (_get_row_size(inputs, 8 if tokens else 4) + _get_row_size(targets, 8 if classes else 4))
        is_elsewhere = any(rows.mapped or rows.is_lazy for rows in (inputs, targets))
        in_memory = not is_elsewhere and size <= WHOLE_BYTES
        self._whole = self._read((inputs, targets), indices) if in_memory else None
        self._stored = None if in_memory else (inputs, targets)  # what is kept scaled is not kept as stored too

    def __len__(self) -> int:
        return len(self._indices)

    def gather(self, indices: Indices) -> tuple[Array, Array]:
        """Return inputs and targets of these samples, in this order."""
        if self._stored is not None:
            return self._read(self._stored, self._indices[indices])
        inputs, targets = cast("tuple[Array, Array]", self._whole)
        return inputs.take(indices, axis=0), targets.take(indices, axis=0)

    def whole(self) -> tuple[Array, Array] | None:
        """Return all inputs and targets as they are given to the network, or None when they are not in memory."""
        return self._whole

    def _read(self, stored: tuple[Rows, Rows], rows: Indices) -> tuple[Array, Array]:
        inputs = stored[0].take(rows)
        targets = stored[1].take(rows)
        return (
            inputs.astype(np.int64, copy=False) if self._tokens else self._scaler.apply(inputs),
            targets.astype(np.int64, copy=False) if self._classes else self._scaler.apply_targets(targets),
        )


def _get_row_size(rows: Rows, item_size: int) -> int:
    return int(np.prod(rows.shape, dtype=np.int64)) * item_size
