"""Batches of one set, on the device: one gather per batch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from footplate.data.arrays import ArraySet
from footplate.data.sampler import get_order
from footplate.trainer.world import World

__all__ = ["Batch", "Feed", "Step"]

_SHARE_OF_GPU = 0.25
"""Sets up to this share of the GPU's free memory are kept on it."""
_ALONE = World()


class Batch(NamedTuple):
    """Samples of one forward pass, on the device."""

    inputs: Tensor
    targets: Tensor
    size: int
    """Samples that count: 0 where one stands in so that every process takes as many passes."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The samples that this process takes of one optimiser step."""

    feed: Feed
    indices: Tensor
    """This process's samples."""
    num_samples: int
    """Samples of all processes together."""
    largest_share: int
    """Samples of the process that has the most."""
    stand_in: Tensor
    """Index [1] of a sample to stand in where this process has none left."""

    def split(self, size: int) -> Iterator[Batch]:
        """Yield the batches of at most ``size`` samples, as many as every other process yields.

        It can be called again, with another size.
        """
        for start in range(0, self.largest_share, size):
            some = self.indices[start : start + size]
            yield self.feed.select(some) if len(some) else self.feed.select(self.stand_in)._replace(size=0)


class Feed:
    """Gives the batches of a set. In memory, tensors are made once and a batch is one ``index_select`` of each."""

    def __init__(self, source: ArraySet, device: torch.device, world: World = _ALONE) -> None:
        self._source = source
        self._device = device
        self._world = world
        self._whole: tuple[Tensor, Tensor] | None = None
        self._order_of: tuple[int, int] | None = None
        self._order = torch.empty(0, dtype=torch.int64)
        self.waited_s = 0.0
        """Time in which the loop waited for data, in seconds."""
        whole = source.whole()
        if whole is not None:
            inputs, targets = (torch.from_numpy(np.ascontiguousarray(array)) for array in whole)
            place = device if _fits(inputs.nbytes + targets.nbytes, device) else torch.device("cpu")
            self._whole = inputs.to(place), targets.to(place)

    def __len__(self) -> int:
        return len(self._source)

    @property
    def world(self) -> World:
        """The processes that share the samples."""
        return self._world

    def take(self, seed: int, epoch: int, position: int, size: int) -> Step:
        """Return this process's part of an optimiser step of ``size`` samples; fewer at an epoch's end.

        ``position`` samples of the epoch are used up. The order is a function of seed and epoch alone, and the
        process of rank r takes ``position + r :: world``: nothing but these integers is needed to go on, in as
        many processes as there then are.
        """
        started = time.perf_counter()
        if self._order_of != (seed, epoch):
            self._order = torch.from_numpy(get_order(seed, epoch, len(self._source)))
            if self._whole is not None:
                self._order = self._order.to(self._whole[0].device)
            self._order_of = (seed, epoch)
        end = min(position + size, len(self._source))
        count, rank = self._world.size, self._world.rank
        every = self._order[position:end]
        self.waited_s += time.perf_counter() - started
        return Step(
            feed=self,
            indices=every if count == 1 else every[rank::count],
            num_samples=end - position,
            largest_share=-(-(end - position) // count),
            stand_in=every[:1],
        )

    def iterate(self, batch_size: int, *, limit: int | None = None) -> Iterator[Batch]:
        """Yield the batches of the set in its own order, of at most ``limit`` samples."""
        size = len(self._source) if limit is None else min(limit, len(self._source))
        for start in range(0, size, batch_size):
            end = min(start + batch_size, size)
            if self._whole is not None:
                yield self._to_device(self._whole[0][start:end], self._whole[1][start:end])
            else:
                yield self._gather(np.arange(start, end))

    def iterate_share(self, batch_size: int) -> Iterator[Batch]:
        """Yield the batches of this process's share of the set: as many as every other process yields.

        The process of rank r takes ``r::world`` of the set in its own order.
        """
        count = self._world.size
        if count == 1:
            yield from self.iterate(batch_size)
            return
        place = self._whole[0].device if self._whole is not None else torch.device("cpu")
        every = torch.arange(len(self._source), device=place)
        share = Step(
            feed=self,
            indices=every[self._world.rank :: count],
            num_samples=len(every),
            largest_share=-(-len(every) // count),
            stand_in=every[:1],
        )
        yield from share.split(batch_size)

    def select(self, indices: Tensor) -> Batch:
        """Return the batch of these samples."""
        started = time.perf_counter()
        if self._whole is None:
            batch = self._gather(indices.numpy())
        else:
            inputs, targets = self._whole
            batch = self._to_device(inputs.index_select(0, indices), targets.index_select(0, indices))
        self.waited_s += time.perf_counter() - started
        return batch

    def _gather(self, indices: NDArray[np.int64]) -> Batch:
        inputs, targets = self._source.gather(indices)
        return self._to_device(torch.from_numpy(inputs), torch.from_numpy(targets))

    def _to_device(self, inputs: Tensor, targets: Tensor) -> Batch:
        if inputs.device.type != self._device.type:
            inputs, targets = inputs.to(self._device), targets.to(self._device)
        return Batch(inputs, targets, len(inputs))


def _fits(size: int, device: torch.device) -> bool:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return size <= _SHARE_OF_GPU * free
    return device.type == "cpu"
