"""Starts the wrapper of an attempt, so that no signal is lost on the way and no failure goes unrecorded."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from types import FrameType, TracebackType

from footplate.errors import FootplateError, RecordError
from footplate.record import exit_codes
from footplate.record.cause import Cause
from footplate.record.clock import get_utc_text
from footplate.record.receipt import Receipt, find_receipt, write_receipt
from footplate.record.rundir import Attempt, RunDir
from footplate.record.signals import PREEMPTION, STOP_SIGNALS

__all__ = ["EarlySignals", "record_failure"]


class EarlySignals:
    """Takes the signals that come while an attempt is being started.

    Before its wrapper is there they end the start, with KeyboardInterrupt, so that this can be recorded; afterwards
    they go to the wrapper, which stops the job in good order. Outside the main thread Python allows no handlers.
    """

    def __init__(self) -> None:
        self._wrapper: subprocess.Popen[bytes] | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> EarlySignals:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what `signal` itself has returned

    def start_wrapper(
        self, run: RunDir, attempt: Attempt, environment: Mapping[str, str], *, with_stdin: bool
    ) -> subprocess.Popen[bytes]:
        """Start the process that supervises an attempt, in a session of its own.

        It is born with these signals blocked and takes them when it is ready: one that comes at once is not lost.
        """
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, PREEMPTION))
        try:
            with (attempt.path / "wrapper.log").open("ab") as log:
                self._wrapper = subprocess.Popen(
                    # UTF-8 whatever the locale is: job.json is, and holds what is no text as surrogates.
                    [
                        sys.executable,
                        "-X",
                        "utf8",
                        "-m",
                        "footplate.record.wrapper",
                        str(run.path),
                        str(attempt.number),
                    ],
                    cwd=run.path,  # not the job's: with -m Python looks there first, and a json.py may lie there
                    env=dict(environment),
                    stdin=None if with_stdin else subprocess.DEVNULL,  # a debugger in the command reads the terminal
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            return self._wrapper
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._wrapper is None:
            raise KeyboardInterrupt
        self._wrapper.send_signal(number)


def record_failure(run: RunDir, attempt: Attempt, error: BaseException) -> None:
    """Write into the run directory that an attempt could not be started; one that does not say what it is goes."""
    try:
        if run.find_json("run.json") is None:
            shutil.rmtree(run.path)  # it holds nothing yet
            return
        receipt = find_receipt(attempt)
        if receipt is None or receipt.wrapper_pid != os.getpid():
            return  # the wrapper has taken over
        ended = _end_receipt(receipt, error)
        try:
            write_receipt(attempt, ended)
        except RecordError:
            (run.path / "env.json").unlink(missing_ok=True)  # on a full disk the receipt is worth more
            write_receipt(attempt, ended)
    except (FootplateError, OSError) as second:
        error.add_note(f"this could not be recorded in {run.path}: {second}")


def _end_receipt(receipt: Receipt, error: BaseException) -> Receipt:
    cancelled = isinstance(error, KeyboardInterrupt)
    now = get_utc_text()
    return replace(
        receipt,
        heartbeat_at=now,
        ended_at=now,
        exit_code=exit_codes.INTERRUPTED if cancelled else exit_codes.NOT_STARTED,
        cause=None if cancelled else Cause.platform,
        cancelled=cancelled,
        evidence=f"could not be started: {type(error).__name__}" + (f": {error}" if str(error) else ""),
    )
