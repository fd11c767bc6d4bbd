"""What an error was: out of memory, or a fault in the user's code, and then in which line."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

__all__ = ["describe_failure", "find_users_line", "is_out_of_memory"]

_OUT_OF_MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "Cannot allocate memory",
    "std::bad_alloc",
    "STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN
)
_NOT_THE_USERS = tuple(
    {
        str(Path(__file__).resolve().parents[1]),
        *(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")),
    }
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the machine or the device had no memory left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY_WORDS)


def find_users_line(error: BaseException) -> str:
    """Return the innermost line of the user's own code that the error passed, or nothing: ``my_net.py line 8: …``."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((*_NOT_THE_USERS, "<"))
    ]
    if not frames:
        return ""
    last = frames[-1]
    return f"{Path(last.filename).name} line {last.lineno}, in {last.name}: {last.line}"


def describe_failure(error: BaseException) -> str:
    """Return kind, first line of the message and the user's line: ``TypeError: … (my_net.py line 8, in f: …)``."""
    words = (str(error).strip().splitlines() or [""])[0]
    told = f"{type(error).__name__}: {words}" if words else type(error).__name__
    place = find_users_line(error)
    return f"{told} ({place})" if place else told
