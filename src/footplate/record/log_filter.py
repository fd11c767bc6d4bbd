"""Cleans what a job prints before it reaches its log, in a process of its own that outlives the wrapper."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["LogFilter", "start_filter"]

_MAX_REVIVED = 100


def start_filter(job: Path, log: Path, source: int) -> subprocess.Popen[bytes]:
    """Start the process that reads ``source``, cleans it as job.json says, and appends it to ``log``."""
    # Without the run's variables: what is left of a job is found by them, and killed.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("FOOTPLATE_", "TORCHELASTIC"))
    }
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "footplate.record.redact", str(job), str(log)],
        stdin=source,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )


class LogFilter:
    """The filter of one attempt. The job writes into a pipe whose other end is kept open, should the filter die."""

    def __init__(self, job: Path, log: Path, note: Callable[[str], None]) -> None:
        self._job, self._log, self._note = job, log, note
        self._num_revived = 0
        self._source, self.target = os.pipe()
        """Where the job is to print: a file descriptor, to be closed when the job has it."""
        self._process = start_filter(job, log, self._source)

    def close_target(self) -> None:
        """Leave the writing end to the job."""
        os.close(self.target)

    def check(self) -> None:
        """Start it again when it was killed; what it held in that moment is lost."""
        if self._process.poll() and self._num_revived < _MAX_REVIVED:
            self._num_revived += 1
            self._note(f"the filter of the log ended with {self._process.returncode} and was started again")
            self._process = start_filter(self._job, self._log, self._source)

    def finish(self, limit_s: float = 10.0) -> None:
        """Wait until all that was printed is in the log; whoever still prints after that does so in vain."""
        self.check()
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self._note(f"the filter of the log did not end within {limit_s:g} s")
        with suppress(OSError):
            os.close(self._source)
