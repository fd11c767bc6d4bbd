"""Ships one run to its trackers: ``python -m footplate.tracking.shipping RUN_DIR [--once | --open NAME]``.

Without an option it follows the run until it has ended and all is told; SIGTERM: until what is there now is told, at
most fifteen seconds. ``--once`` ships what is there. ``--open`` makes the tracker's run and prints, as JSON, the
variables by which a job's own calls of the tracker's library land in it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from footplate.errors import FootplateError
from footplate.record.clock import get_utc_text
from footplate.record.run_info import read_run_info
from footplate.record.rundir import RunDir
from footplate.tracking.shipping.logbook import FOLDER, lock_run, read_settings
from footplate.tracking.shipping.worker import Delivery

__all__ = ["main"]

_HURRY_S = 15.0
_WAIT_FOR_LOCK_S = 20.0
_ORPHAN_POLL_S = 2.0


def main(argv: list[str] | None = None) -> int:
    """Ship, and return 0 when all trackers know all there is."""
    parser = argparse.ArgumentParser(prog="footplate.tracking.shipping")
    parser.add_argument("run", type=Path)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--open", dest="name", default="")
    arguments = parser.parse_args(argv)
    if not (arguments.once or arguments.name):  # else somebody waits for it
        with suppress(OSError):
            os.nice(10)  # the training comes first
    run = RunDir.open(arguments.run.absolute())
    with suppress(OSError):
        os.chdir(read_run_info(run).cwd)  # relative places of trackers are those of the job
    if arguments.name:
        return _open(run, arguments.name)
    hurry = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: hurry.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])  # held back since the wrapper started this process
    end = time.monotonic() + _WAIT_FOR_LOCK_S
    while True:
        with lock_run(run) as is_ours:
            if is_ours:
                return _ship(run, hurry, once=arguments.once)
        if hurry.is_set() or time.monotonic() > end:
            sys.stderr.write(f"another process ships run {run.id}\n")
            return 1
        hurry.wait(0.2)


def _open(run: RunDir, name: str) -> int:
    """Make the tracker's run before the job starts, and print what the job's environment needs to find it."""
    with lock_run(run) as is_ours:
        if not is_ours:
            return 1
        try:
            delivery = Delivery(run, name, _ignore)
            delivery.open()
        except Exception as error:  # noqa: BLE001  # whatever a tracker's library raises: the job starts without it
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            return 1
    sys.stdout.write(json.dumps(dict(delivery.get_environment())) + "\n")
    return 0


def _ignore(_text: str) -> None:
    """Take a note that the caller tells by itself."""


def _ship(run: RunDir, hurry: threading.Event, *, once: bool) -> int:
    def note(text: str) -> None:
        with suppress(OSError), (run.path / FOLDER / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"{get_utc_text()} {text}\n")

    try:
        deliveries = [Delivery(run, name, note) for name in read_settings(run)]
    except FootplateError as error:
        note(str(error))
        return 1
    # Daemons: a call that hangs in a tracker's library must not keep this process from ending.
    threads = [
        threading.Thread(target=one.run, args=(hurry,), kwargs={"once": once}, daemon=True) for one in deliveries
    ]
    for thread in threads:
        thread.start()
    parent, deadline = os.getppid(), None
    while any(thread.is_alive() for thread in threads):
        if not once and os.getppid() != parent:
            hurry.set()  # the wrapper is gone: what is there is told, the rest waits for `footplate sync`
        if hurry.is_set():
            deadline = deadline or time.monotonic() + _HURRY_S
            if time.monotonic() > deadline:
                break
        for thread in threads:
            thread.join(0.05 if hurry.is_set() else _ORPHAN_POLL_S / len(threads))
    is_done = all(one.is_done for one in deliveries)
    sys.stdout.flush()
    os._exit(0 if is_done else 1)  # threads that still hang are left where they are


if __name__ == "__main__":
    sys.exit(main())
