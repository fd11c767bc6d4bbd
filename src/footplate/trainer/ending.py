"""How one process of a training ends: what it leaves for the wrapper, and what the others' readers see of it."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress

from footplate.errors import FootplateError, RecordError
from footplate.record.exit_files import write_exit
from footplate.record.log_filter import start_filter
from footplate.record.redact import Redactor
from footplate.record.rundir import Attempt

__all__ = ["leave_word", "note_step", "send_output_to_rank_log"]

_NOTE = "after step "


def send_output_to_rank_log(attempt: Attempt, rank: int, *, redacts: bool = False) -> int | None:
    """Send all that this process prints to its own log; return the number of the file that was stderr before.

    The first process keeps what it has, the log of the run: None. ``redacts``: it is cleaned on its way.
    """
    if rank == 0:
        return None
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(2)
    if redacts:
        source, log = os.pipe()
        start_filter(attempt.job_path, attempt.log_path(rank), source)
        os.close(source)
    else:
        log = os.open(attempt.log_path(rank), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    for number in (1, 2):
        os.dup2(log, number)
    os.close(log)
    return before


def note_step(error: Exception, step: int) -> None:
    """Note on an error after how many optimiser steps it came."""
    error.add_note(f"{_NOTE}{step}")


def leave_word(
    attempt: Attempt,
    rank: int,
    code: int,
    *,
    error: BaseException | None = None,
    step: int | None,
    stderr: int | None,
    redactor: Redactor | None = None,
) -> None:
    """Write with what code and why this process ends; a process with a log of its own says it in the main one too."""
    reason = "" if error is None else _describe(error)
    if redactor is not None:
        reason = redactor.clean_text(reason)
    with suppress(RecordError):  # a full disk: the exit code says it
        write_exit(attempt, rank, code, reason=reason, step=_find_step(error) if step is None else step)
    if stderr is not None and error is not None:
        with suppress(OSError):
            os.write(stderr, f"rank {rank}: {reason}; see {attempt.log_path(rank).name}\n".encode())


def _describe(error: BaseException) -> str:
    if isinstance(error, FootplateError):
        return error.message
    words = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _find_step(error: BaseException | None) -> int | None:
    for note in getattr(error, "__notes__", ()):
        if match := re.fullmatch(rf"{_NOTE}(\d+)", note):
            return int(match[1])
    return None
