"""Asks for smaller batches before the kernel kills for memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from footplate.quantities import format_size
from footplate.trainer.memory.limits import MemoryLimit, find_tightest
from footplate.trainer.memory.recovery import Recovery

__all__ = ["INTERVAL_S", "MemoryGuard"]

INTERVAL_S = 0.25
"""A look takes 0.1 ms, and memory is fullest in the middle of a step."""
_NEARLY_FULL = 0.92
_OURS = 0.5
"""Of what is used of a machine this share must be this process's: no batch makes room for what others hold."""
_STEPS_BETWEEN = 2
"""A smaller batch shows what it is worth after some steps only."""


class MemoryGuard:
    """Looks how near the main memory is to its limits: control groups, version 1 or 2, and the machine's."""

    def __init__(self, recovery: Recovery, limits: Sequence[MemoryLimit], *, proc: Path = Path("/proc")) -> None:
        self._recovery = recovery
        self._limits = limits
        self._proc = proc

    def look(self) -> None:
        """Ask for smaller batches when a limit is nearly reached; called in another thread than the training's."""
        if not self._recovery.can_answer(after_steps=_STEPS_BETWEEN):
            return
        tightest = find_tightest(self._limits)
        if tightest is None:
            return
        limit, used = tightest
        if used < _NEARLY_FULL * limit.limit_bytes or not self._is_ours(limit, used):
            return
        self._recovery.ask_smaller(
            f"{format_size(used)} of {format_size(limit.limit_bytes)} of memory are used ({limit.name})"
        )

    def _is_ours(self, limit: MemoryLimit, used: int) -> bool:
        return limit.is_group or self._read_resident() >= _OURS * used

    def _read_resident(self) -> int:
        """Return the bytes of this process that lie in main memory."""
        pages = (self._proc / "self" / "statm").read_text().split()
        return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")  # pages of files can be taken back
