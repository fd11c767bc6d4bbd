"""Commands that run beside a job and are ended with it; a failing one never hurts the job."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["Sidecars"]

_GRACE_S = 5.0


class Sidecars:
    """The commands beside one job."""

    def __init__(self, log: Path, note: Callable[[str], None]) -> None:
        self._log, self._note = log, note
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, argv: list[str], environment: Mapping[str, str]) -> None:
        """Start one; that it cannot be started is noted."""
        try:
            with open(self._log, "ab") as log:
                sidecar = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
                )
            self._running.append(sidecar)
        except (OSError, ValueError, IndexError) as error:
            self._note(f"the sidecar {argv} cannot be started: {error}")

    def check(self) -> None:
        """Note which have ended by themselves."""
        for sidecar in [one for one in self._running if one.poll() is not None]:
            self._note(f"the sidecar {sidecar.args!r} ended with {sidecar.returncode}")
            self._running.remove(sidecar)

    def stop(self) -> None:
        """Ask all to end, and kill those that do not."""
        self.check()
        for sidecar in self._running:
            sidecar.terminate()
        limit = time.monotonic() + _GRACE_S
        for sidecar in self._running:
            try:
                sidecar.wait(max(0.0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._note(f"the sidecar {sidecar.args!r} did not stop within {_GRACE_S:.0f} s and was killed")
                sidecar.kill()
                sidecar.wait()
