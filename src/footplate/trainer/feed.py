"""Batches of one set, on the device: one gather per batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from footplate.data.arrays import ArraySet
from footplate.data.sampler import get_order

__all__ = ["Batch", "Feed"]

Batch = tuple[Tensor, Tensor]

_SHARE_OF_GPU = 0.25
"""Sets up to this share of the GPU's free memory are kept on it."""


class Feed:
    """Gives the batches of a set. In memory, tensors are made once and a batch is one ``index_select`` of each."""

    def __init__(self, source: ArraySet, device: torch.device) -> None:
        self._source = source
        self._device = device
        self._whole: Batch | None = None
        self._order_of: tuple[int, int] | None = None
        self._order = torch.empty(0, dtype=torch.int64)
        whole = source.whole()
        if whole is not None:
            inputs, targets = (torch.from_numpy(np.ascontiguousarray(array)) for array in whole)
            place = device if _fits(inputs.nbytes + targets.nbytes, device) else torch.device("cpu")
            self._whole = inputs.to(place), targets.to(place)

    def __len__(self) -> int:
        return len(self._source)

    def take_shuffled(self, seed: int, epoch: int, position: int, batch_size: int, num_batches: int) -> list[Batch]:
        """Return the next batches of an epoch: ``position`` samples of it are used up; fewer at its end.

        The order is a function of seed and epoch alone, so that nothing but these integers is needed to go on.
        """
        if self._order_of != (seed, epoch):
            self._order = torch.from_numpy(get_order(seed, epoch, len(self._source)))
            if self._whole is not None:
                self._order = self._order.to(self._whole[0].device)
            self._order_of = (seed, epoch)
        end = min(position + batch_size * num_batches, len(self._source))
        return [
            self._select(self._order[start : min(start + batch_size, end)])
            for start in range(position, end, batch_size)
        ]

    def iterate(self, batch_size: int, *, limit: int | None = None) -> Iterator[Batch]:
        """Yield the batches of the set in its own order, of at most ``limit`` samples."""
        size = len(self._source) if limit is None else min(limit, len(self._source))
        for start in range(0, size, batch_size):
            end = min(start + batch_size, size)
            if self._whole is not None:
                yield self._to_device(self._whole[0][start:end], self._whole[1][start:end])
            else:
                yield self._gather(np.arange(start, end))

    def _select(self, indices: Tensor) -> Batch:
        if self._whole is None:
            return self._gather(indices.numpy())
        inputs, targets = self._whole
        return self._to_device(inputs.index_select(0, indices), targets.index_select(0, indices))

    def _gather(self, indices: NDArray[np.int64]) -> Batch:
        inputs, targets = self._source.gather(indices)
        return self._to_device(torch.from_numpy(inputs), torch.from_numpy(targets))

    def _to_device(self, inputs: Tensor, targets: Tensor) -> Batch:
        if inputs.device.type == self._device.type:
            return inputs, targets
        return inputs.to(self._device), targets.to(self._device)


def _fits(size: int, device: torch.device) -> bool:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return size <= _SHARE_OF_GPU * free
    return device.type == "cpu"
