"""Memory: what a failed allocation says, what can be freed, and how near this process is to its limit."""

from __future__ import annotations

import ctypes
import gc
import re
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from footplate.quantities import format_size

__all__ = [
    "MemoryLimit",
    "Shortage",
    "describe_shortage",
    "find_limits",
    "find_tightest",
    "free_memory",
    "get_peak_gb",
    "reset_peak",
]

_BYTES_OF = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_ASKED = re.compile(r"(?:allocate|alloc) (?P<number>\d+(?:\.\d+)?) *(?P<unit>[KMGT]?)i?(?:B|bytes)\b", re.IGNORECASE)
_RECLAIMABLE = frozenset({"inactive_file", "active_file", "total_inactive_file", "total_active_file"})
"""Pages of files: the kernel takes them back before it kills anyone."""


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """What is known of an allocation that failed."""

    asked_bytes: int | None
    """What was asked for; None where the error does not say."""
    free_bytes: int | None
    """What was free on the device, or in this process's tightest limit."""

    def to_text(self) -> str:
        """Return it in words."""
        asked = "" if self.asked_bytes is None else f", {format_size(self.asked_bytes)} were asked for"
        free = "" if self.free_bytes is None else f", {format_size(self.free_bytes)} were free"
        return f"out of memory{asked}{free}"


@dataclass(frozen=True, kw_only=True)
class MemoryLimit:
    """A limit beyond which the kernel kills, with what counts towards it."""

    name: str
    """Whose limit: a control group's folder, or ``the machine``."""
    limit_bytes: int
    folder: Path
    """Where the counters lie; of the machine, the file with its memory."""

    @property
    def is_group(self) -> bool:
        """Whether it is a control group's: nobody else uses it up."""
        return not self.folder.is_file()

    def read_used(self) -> int | None:
        """Return the bytes that count and cannot be taken back; None where they cannot be read."""
        try:
            if not self.is_group:
                return self.limit_bytes - _read_machine(self.folder)["MemAvailable"]
            counts = _read_counts(self.folder / "memory.stat")
            current = self.folder / "memory.current"
            is_second = current.exists()
            used = int((current if is_second else self.folder / "memory.usage_in_bytes").read_text())
        except (OSError, ValueError, KeyError):
            return None
        names = _RECLAIMABLE if is_second or "total_inactive_file" not in counts else _TOTALS
        return max(0, used - sum(size for name, size in counts.items() if name in names))


_TOTALS = frozenset(name for name in _RECLAIMABLE if name.startswith("total_"))
"""Version 1 counts a group both with and without those below it."""


def describe_shortage(error: BaseException, device: torch.device, limits: Sequence[MemoryLimit] = ()) -> Shortage:
    """Return what an out-of-memory error says of its size, and what is free."""
    found = _ASKED.search(str(error))
    asked = None if found is None else int(float(found["number"]) * _BYTES_OF[found["unit"].upper()])
    return Shortage(asked_bytes=asked, free_bytes=get_free_bytes(device, limits))


def get_free_bytes(device: torch.device, limits: Sequence[MemoryLimit] = ()) -> int | None:
    """Return the bytes a device can still give, those torch holds in reserve included; None where nobody tells."""
    if device.type == "cuda":
        with suppress(RuntimeError):  # after some errors the driver does not answer any more
            free, _ = torch.cuda.mem_get_info(device)
            return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return None
    tightest = find_tightest(limits)
    rooms = [] if tightest is None else [tightest[0].limit_bytes - tightest[1]]
    addresses = _get_free_addresses()
    return min([*rooms, *([] if addresses is None else [addresses])], default=None)


def _get_free_addresses(*, proc: Path = Path("/proc")) -> int | None:
    """Return what ``ulimit -v`` leaves of this process's addresses; None where there is no such limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int((proc / "self" / "statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):  # no Linux
        return None
    return max(0, limit - pages * resource.getpagesize())


def free_memory(device: torch.device) -> None:
    """Give back what is held but not used: cycles of objects, torch's caches, the C library's free lists."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    trim = _find_trim()
    if trim is not None:
        trim(0)


def find_limits(
    *, proc: Path = Path("/proc"), root: Path = Path("/sys/fs/cgroup"), machine: bool = True
) -> list[MemoryLimit]:
    """Return the limits of this process: of its control groups (version 1 or 2) and their parents, of the machine."""
    try:
        total = _read_machine(proc / "meminfo")["MemTotal"]
    except (OSError, ValueError, KeyError):  # no Linux
        return []
    found = {}
    for folder in _iter_groups(proc / "self" / "cgroup", root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # no such file, or "max": no limit here
                limit = int((folder / name).read_text())
                if limit < total:
                    found[folder] = MemoryLimit(name=str(folder), limit_bytes=limit, folder=folder)
    limits = list(found.values())
    if machine:
        limits.append(MemoryLimit(name="the machine", limit_bytes=total, folder=proc / "meminfo"))
    return limits


def find_tightest(limits: Sequence[MemoryLimit]) -> tuple[MemoryLimit, int] | None:
    """Return the limit that is used up most, with the bytes that count towards it; None when none can be read."""
    seen = [(limit, used) for limit in limits if (used := limit.read_used()) is not None]
    return max(seen, key=lambda one: one[1] / one[0].limit_bytes, default=None)


def get_peak_gb(device: torch.device) -> dict[str, float]:
    """Return the most memory this process has used so far, in GB: main memory, and the device's where it counts."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    peaks = {"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9}
    if device.type == "cuda":
        peaks["peak_gpu_gb"] = max(torch.cuda.max_memory_reserved(device), _reserved_before.get(device, 0)) / 1e9
    return peaks


_reserved_before: dict[torch.device, int] = {}
"""What was reserved at most before the counters were set back."""


def reset_peak(device: torch.device) -> None:
    """Let a GPU count anew how much is used at most; ``get_peak_gb`` does not forget what was before."""
    _reserved_before[device] = max(torch.cuda.max_memory_reserved(device), _reserved_before.get(device, 0))
    torch.cuda.reset_peak_memory_stats(device)


def _iter_groups(proc_file: Path, root: Path) -> Iterator[Path]:
    """Yield the memory control groups of this process and their parents, innermost first."""
    for line in proc_file.read_text(encoding="utf-8", errors="replace").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            tops = [root, root / "unified"]
        elif "memory" in controllers.split(","):
            tops = [root / "memory"]
        else:
            continue
        for top in tops:
            folder = top / path.strip("/")
            while folder != top and top in folder.parents:
                yield folder
                folder = folder.parent
            yield top  # in a container the path is the host's, and the group itself is what is mounted here


def _read_counts(path: Path) -> dict[str, int]:
    return {name: int(number) for name, _, number in (line.partition(" ") for line in path.read_text().splitlines())}


def _read_machine(path: Path) -> dict[str, int]:
    """Return /proc/meminfo in bytes."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) == 3}


@cache
def _find_trim() -> ctypes._NamedFuncPointer | None:
    """Return glibc's malloc_trim; None with another C library."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
