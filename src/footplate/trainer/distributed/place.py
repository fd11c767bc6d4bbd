"""Which process of a training this one is: what the launcher or the profile says, read in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from footplate.errors import InputError
from footplate.profile.mesh import get_num_processes
from footplate.profile.model import Profile

__all__ = ["Place", "count_threads", "find_place"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """One process of ``size``."""

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """Processes that train together."""
    local_rank: int = 0
    """Number of this process on its machine, from 0."""
    local_size: int = 1
    """Processes on this machine."""


def find_place(profile: Profile, environ: Mapping[str, str] = os.environ) -> Place:
    """Return which process this is: by `distributed.rank`, else by the RANK, WORLD_SIZE, LOCAL_RANK of torchrun.

    Alone when `distributed` is off, and where nobody says anything. Raises InputError when what is said does not
    fit together.
    """
    settings = profile.distributed
    if not settings.enabled:
        return Place()
    declared = get_num_processes(profile)
    if settings.rank is not None:
        size, rank = declared, settings.rank
        local = settings.local_rank if settings.local_rank is not None else _read(environ, "LOCAL_RANK", rank)
    elif "RANK" in environ:
        rank, size = _read(environ, "RANK", 0), _read(environ, "WORLD_SIZE", 1)
        local = settings.local_rank if settings.local_rank is not None else _read(environ, "LOCAL_RANK", rank)
    else:
        return Place()
    if rank >= size:
        raise InputError(f"distributed.rank: there is no process {rank} of {size}; they are counted from 0")
    if size != declared:
        raise InputError(
            f"distributed.world_size: the launcher has started {size} processes, the profile asks for {declared}",
            hint=f"set distributed.world_size: {size} (resources.num_gpus goes before it), or start {declared}",
        )
    return Place(rank=rank, size=size, local_rank=local, local_size=_read(environ, "LOCAL_WORLD_SIZE", size))


def count_threads(profile: Profile, place: Place, environ: Mapping[str, str] = os.environ) -> int | None:
    """Return how many threads a process computes with: its share of the cores; None for one that is alone.

    A number of threads in the environment of the launcher goes before it; the 1 that torchrun itself sets does not.
    """
    if place.size == 1:
        return None
    if profile.resources.num_cpus is None:
        if _find_users_threads():
            return int(environ["OMP_NUM_THREADS"])
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    else:
        cores = profile.resources.num_cpus
    return max(1, cores // place.local_size)


def _find_users_threads() -> bool:
    """Return whether the launcher was started with a number of threads."""
    try:
        return "OMP_NUM_THREADS" in psutil.Process(os.getppid()).environ()
    except (psutil.Error, OSError):
        return False


def _read(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise InputError(f"the environment variable {name} is {text!r}, not a number", hint="the launcher sets it")
    return int(text)
