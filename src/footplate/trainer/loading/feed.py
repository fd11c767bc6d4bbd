"""Batches of one set, on the device: one gather per batch, or one per step in processes that read ahead."""

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
from footplate.trainer.distributed.world import ALONE, World
from footplate.trainer.loading.workers import Loading, Reader, StepPlace, Workers

__all__ = ["Batch", "Feed", "Step"]

_SHARE_OF_GPU = 0.25
"""Sets up to this share of the GPU's free memory are kept on it."""
_PLAIN = Loading()


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
    draw: tuple[int, int] | None = None
    """Seed and epoch by which the samples are changed at random; None = they are taken as they are."""
    loaded: tuple[Tensor, Tensor] | None = None
    """This process's samples where they were read ahead; one to stand in follows them where others have more."""

    def split(self, size: int) -> Iterator[Batch]:
        """Yield the batches of at most ``size`` samples, as many as every other process yields.

        It can be called again, with another size.
        """
        count = len(self.indices)
        for start in range(0, self.largest_share, size):
            end = min(start + size, count)
            batch = self._get(start, end) if start < count else self._get(count, count + 1)
            yield batch if start < count else batch._replace(size=0)

    def _get(self, start: int, end: int) -> Batch:
        if self.loaded is not None:
            return self.feed.place(self.loaded[0][start:end], self.loaded[1][start:end])
        return self.feed.select(self.indices[start:end] if start < len(self.indices) else self.stand_in, self.draw)


class Feed:
    """Gives the batches of a set. In memory, tensors are made once and a batch is one ``index_select`` of each.

    Sets that are too large for that, or augmented, are read batch by batch, or by worker processes step by step. The
    samples and the bits of a step are the same in each of these ways.
    """

    def __init__(self, source: ArraySet, device: torch.device, world: World = ALONE, loading: Loading = _PLAIN) -> None:
        self._source = source
        self._device = device
        self._world = world
        self._loading = loading
        self._reader = Reader(source, loading.augmenter, world.rank, world.size)
        self._workers = Workers(self._reader, loading) if loading.num_workers else None
        self._whole: tuple[Tensor, Tensor] | None = None
        self._order_of: tuple[int, int] | None = None
        self._order = torch.empty(0, dtype=torch.int64)
        self.waited_s = 0.0
        """Time in which the loop waited for data, in seconds."""
        whole = source.whole() if loading.augmenter is None else None
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
            self._order = torch.from_numpy(self._reader.get_order(seed, epoch))
            if self._whole is not None:
                self._order = self._order.to(self._whole[0].device)
            self._order_of = (seed, epoch)
        end = min(position + size, len(self._source))
        count, rank = self._world.size, self._world.rank
        every = self._order[position:end]
        loaded = None if self._workers is None else self._workers.get(StepPlace(seed, epoch, position, size))
        self.waited_s += time.perf_counter() - started
        return Step(
            feed=self,
            indices=every if count == 1 else every[rank::count],
            num_samples=end - position,
            largest_share=-(-(end - position) // count),
            stand_in=every[:1],
            draw=(seed, epoch),
            loaded=loaded,
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

    def close(self) -> None:
        """End the processes that read ahead."""
        if self._workers is not None:
            self._workers.close()

    def select(self, indices: Tensor, draw: tuple[int, int] | None = None) -> Batch:
        """Return the batch of these samples; ``draw``, seed and epoch, changes them at random where that is asked."""
        started = time.perf_counter()
        if self._whole is None:
            batch = self._gather(indices.numpy(), draw)
        else:
            inputs, targets = self._whole
            batch = self._to_device(inputs.index_select(0, indices), targets.index_select(0, indices))
        self.waited_s += time.perf_counter() - started
        return batch

    def place(self, inputs: Tensor, targets: Tensor) -> Batch:
        """Return the batch of samples that were read ahead."""
        started = time.perf_counter()
        batch = self._to_device(inputs, targets)
        self.waited_s += time.perf_counter() - started
        return batch

    def _gather(self, indices: NDArray[np.int64], draw: tuple[int, int] | None = None) -> Batch:
        inputs, targets = self._reader.read(indices, draw)
        return self._to_device(torch.from_numpy(inputs), torch.from_numpy(targets))

    def _to_device(self, inputs: Tensor, targets: Tensor) -> Batch:
        if inputs.device.type != self._device.type:
            pinned = self._loading.pin_memory
            if pinned and not inputs.is_pinned():
                inputs, targets = inputs.pin_memory(), targets.pin_memory()
            inputs = inputs.to(self._device, non_blocking=pinned)
            targets = targets.to(self._device, non_blocking=pinned)
        if self._loading.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return Batch(inputs, targets, len(inputs))


def _fits(size: int, device: torch.device) -> bool:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return size <= _SHARE_OF_GPU * free
    return device.type == "cpu"
