"""Says what trackers have been told of a run, and tells them the rest."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from footplate.errors import RunFailedError
from footplate.record.rundir import RunDir
from footplate.tracking.shipping.logbook import FOLDER, is_locked, read_logbooks
from footplate.tracking.shipping.stream import count_waiting_bytes

__all__ = ["Delivered", "list_trackers", "sync"]

_POLL_S = 0.2
_STOP_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What one tracker has been told of a run."""

    name: str
    """``mlflow``, ``tensorboard`` …"""
    where: str
    """Where people can look at it; empty when the tracker was never reached."""
    shipped: int
    """Values of metrics, events and tables that it has been told."""
    waiting_bytes: int
    """Bytes of the run's journals that it has not."""
    is_closed: bool
    """Whether it knows all, and how the run has ended."""
    is_shipping: bool
    """Whether a process tells it right now."""
    error: str
    """Why the last try failed; empty when it did not."""


def list_trackers(run: RunDir) -> list[Delivered]:
    """Return what each tracker of a run has been told; nothing for a run that is shipped nowhere."""
    books = read_logbooks(run)
    is_shipping = bool(books) and is_locked(run)
    return [
        Delivered(
            name=name,
            where=book.where,
            shipped=book.shipped,
            waiting_bytes=count_waiting_bytes(run, book.positions),
            is_closed=book.is_closed,
            is_shipping=is_shipping,
            error=book.error,
        )
        for name, book in books.items()
    ]


def sync(
    run: RunDir, *, timeout_s: float, on_progress: Callable[[Sequence[Delivered]], None] | None = None
) -> list[Delivered]:
    """Tell the trackers of a run what is there, in a process of its own, and return what they know then.

    A run that is being shipped already is left to that process. RunFailedError after ``timeout_s`` seconds; what was
    told until then stays told.
    """
    if is_locked(run) or all(one.is_closed and not one.waiting_bytes for one in list_trackers(run)):
        return list_trackers(run)
    command = [sys.executable, "-m", "footplate.tracking.shipping", str(run.path), "--once"]
    (run.path / FOLDER).mkdir(exist_ok=True)
    with (run.path / FOLDER / "output.txt").open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ)
    end = time.monotonic() + timeout_s
    try:
        while True:
            try:
                process.wait(_POLL_S)
                return list_trackers(run)
            except subprocess.TimeoutExpired:
                if on_progress is not None:
                    on_progress(list_trackers(run))
            if time.monotonic() > end:
                raise RunFailedError(
                    f"run {run.id} was not shipped within {timeout_s:g} s", hint="call it again: it goes on from there"
                )
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
