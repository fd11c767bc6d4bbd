"""The processes that train together: which one this is, and what they tell one another."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from footplate.errors import FootplateError, InputError, RunFailedError
from footplate.profile.model import Profile
from footplate.trainer.device import choose_device
from footplate.trainer.distributed.place import Place, count_threads, find_place

__all__ = ["ALONE", "World", "is_broken_exchange", "make_group", "open_world"]

T = TypeVar("T")

_FAILED = "footplate/failed"
_ASK_FOR_CAUSE_S = 2.0
"""A process whose exchange broke waits so long for the word of the one that failed first."""


@dataclass(frozen=True, kw_only=True)
class World:
    """One process of ``size``. Alone it tells itself; every method is then free.

    What is told goes over a group of its own on the CPU, beside the exchange of gradients, and from the training's
    thread alone. Every wait has a limit, `distributed.timeout`.
    """

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """Processes that train together."""
    local_rank: int = 0
    """Number of this process on its machine, from 0."""
    group: Any = field(default=None, repr=False, compare=False)
    """torch's group over gloo; None when alone."""
    num_threads: int | None = None
    """Threads this process computes with; None where it is alone and the profile or torch says it."""
    timeout_s: float = 600.0
    """Longest wait for another process."""
    store: Store | None = field(default=None, repr=False, compare=False)
    """Where words are left that need no exchange: it answers when one has broken."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes what is written once."""
        return self.rank == 0

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of the values of all processes, the same bits in each; all must call it."""
        if self.size == 1:
            return values
        mine = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64).reshape(-1))
        every = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(every, mine, group=self.group)
        total = np.zeros(mine.shape, dtype=np.float64)
        for part in every:  # in the order of the ranks, so that every process adds up alike
            total += part.numpy()
        return total.reshape(np.shape(values))

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank; all must call it."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def broadcast(self, value: T) -> T:
        """Return the first process's value; all must call it."""
        if self.size == 1:
            return value
        box: list[Any] = [value if self.is_first else None]
        dist.broadcast_object_list(box, group=self.group, group_src=0)
        return box[0]  # type: ignore[no-any-return]

    def wait_for_word(self, name: str, timeout_s: float) -> None:
        """Wait until somebody has called ``tell_words`` by this name. Raises torch's DistError when nobody does."""
        assert self.store is not None
        self.store.wait([f"{name}/any"], timedelta(seconds=timeout_s))

    def tell_words(self, name: str, word: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the words of all processes, by rank, whatever became of their exchange; all must call it.

        Raises torch's DistError when one does not come within ``timeout_s``.
        """
        assert self.store is not None
        self.store.set(f"{name}/{self.rank}", json.dumps(dict(word)))
        self.store.set(f"{name}/any", "")
        names = [f"{name}/{rank}" for rank in range(self.size)]
        self.store.wait(names, timedelta(seconds=self.timeout_s))
        return [json.loads(self.store.get(one)) for one in names]

    def choose(self, groups: Sequence[Sequence[int]]) -> World:
        """Return the world of the one of these groups of ranks that this process is in; all must call it alike."""
        if len(groups) == 1:
            return self
        made = {tuple(ranks): make_group(list(ranks), self.timeout_s) if len(ranks) > 1 else None for ranks in groups}
        mine = next(ranks for ranks in made if self.rank in ranks)
        return replace(self, rank=mine.index(self.rank), size=len(mine), group=made[mine])


ALONE = World()
"""The world of a process that trains alone."""


@contextmanager
def open_world(profile: Profile) -> Iterator[World]:
    """Meet the other processes, and part from them at the end without waiting for one another.

    A process that fails says so to the others, whose exchange with it breaks: they end with its reason. Raises
    InputError when the devices or the meeting place cannot be had.
    """
    place = find_place(profile)
    if place.size == 1:
        yield ALONE
        return
    device = choose_device(profile.device, profile.resources.num_gpus, place.local_rank)
    store = _meet(profile, place, device)
    timeout_s = profile.distributed.timeout
    group = make_group(list(range(place.size)), timeout_s)
    try:
        yield World(
            rank=place.rank,
            size=place.size,
            local_rank=place.local_rank,
            group=group,
            num_threads=count_threads(profile, place),
            timeout_s=timeout_s,
            store=store,
        )
    except Exception as error:
        first = _tell_failure(store, place.rank, error)
        if first is not None:
            raise RunFailedError(f"process {first['rank']} failed: {first['reason']}") from error
        if is_broken_exchange(error):
            raise RunFailedError(
                f"another process has gone, or did not answer within {timeout_s:g} s: {error}",
                hint="the launcher names in the log which one ended first; its own log is log.rankN.txt",
            ) from error
        raise
    dist.destroy_process_group()


def _meet(profile: Profile, place: Place, device: torch.device) -> Store:
    settings = profile.distributed
    backend = settings.backend
    if backend == "auto":
        backend = "nccl" if device.type == "cuda" else "gloo"
    if backend == "nccl" and device.type != "cuda":
        raise InputError(
            f"distributed.backend: nccl needs NVIDIA GPUs, and this training computes on {device}",
            hint="set distributed.backend: auto",
        )
    timeout = timedelta(seconds=settings.timeout)
    try:
        store, _, _ = next(rendezvous(settings.init_method, place.rank, place.size, timeout=timeout))
        store.set_timeout(timeout)
        dist.init_process_group(
            backend,
            store=PrefixStore("training", store),
            rank=place.rank,
            world_size=place.size,
            timeout=timeout,
            device_id=device if backend == "nccl" else None,
        )
    except (ValueError, RuntimeError, OSError) as error:
        raise RunFailedError(
            f"process {place.rank} of {place.size} does not find the others at {settings.init_method} "
            f"within {settings.timeout:g} s: {error}",
            hint="look whether all were started and whether they reach MASTER_ADDR and MASTER_PORT",
        ) from error
    return PrefixStore("words", store)


def make_group(ranks: list[int], timeout_s: float) -> Any:
    """Return a group of these ranks over gloo; all processes must call it alike."""
    return dist.new_group(ranks, backend="gloo", timeout=timedelta(seconds=timeout_s))


def _tell_failure(store: Store, rank: int, error: Exception) -> dict[str, Any] | None:
    """Leave word that this process fails; return the word of the one that failed before, when there is one."""
    reason = error.message if isinstance(error, FootplateError) else f"{type(error).__name__}: {error}"
    mine = json.dumps({"rank": rank, "reason": reason.strip()})
    # The launcher asks the others to stop when one has failed: to fail goes before to be preempted.
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    with suppress(Exception, KeyboardInterrupt):  # the one who keeps the words may be gone
        if not is_broken_exchange(error):
            told = store.compare_set(_FAILED, "", mine).decode()
        else:
            store.wait([_FAILED], timedelta(seconds=_ASK_FOR_CAUSE_S))
            told = store.get(_FAILED).decode()
        first: dict[str, Any] = json.loads(told)
        return None if first["rank"] == rank or first["reason"] == reason.strip() else first
    return None


def is_broken_exchange(error: BaseException) -> bool:
    """Return whether an error came of another process that has gone, or that did not come in time."""
    words = ("gloo", "nccl", "connection closed by peer", "connection reset", "timed out", "broken pipe")
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
