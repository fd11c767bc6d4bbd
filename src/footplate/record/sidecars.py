"""Commands that run beside a job and are ended with it; a failing one never hurts the job."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["Sidecars"]

_MAX_REVIVED = 100


class Sidecars:
    """The commands beside one job."""

    def __init__(self, log: Path, note: Callable[[str], None]) -> None:
        """``log`` takes what they print; ``note`` is told what goes wrong."""
        self._log, self._note = log, note
        self._running: list[subprocess.Popen[bytes]] = []
        self._num_revived = 0

    def start(self, argv: list[str], environment: Mapping[str, str], *, holds_stop: bool = False) -> None:
        """Start one; that it cannot be started is noted.

        With ``holds_stop`` it begins with SIGTERM blocked, and unblocks it when it can do what that asks for: one that
        is asked to end while it still starts is not killed.
        """
        try:
            with open(self._log, "ab") as log:
                sidecar = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=_hold_stop if holds_stop else None,  # noqa: PLW1509  # no threads
                )
            self._running.append(sidecar)
        except (OSError, ValueError, IndexError) as error:
            self._note(f"the sidecar {argv} cannot be started: {error}")

    def check(self) -> None:
        """Note which have ended by themselves."""
        for sidecar in [one for one in self._running if one.poll() is not None]:
            self._note(f"the sidecar {sidecar.args!r} ended with {sidecar.returncode}")
            self._running.remove(sidecar)

    def revive(self, environment: Mapping[str, str], *, holds_stop: bool = False) -> None:
        """Start again those that something has killed, not for ever; those that have ended by themselves are left."""
        for sidecar in [one for one in self._running if (one.poll() or 0) < 0]:
            self._running.remove(sidecar)
            self._note(f"the sidecar {sidecar.args!r} was killed by signal {-sidecar.returncode}")
            if self._num_revived < _MAX_REVIVED and isinstance(sidecar.args, list):
                self._num_revived += 1
                self.start([str(word) for word in sidecar.args], environment, holds_stop=holds_stop)

    def stop(self, grace_s: float = 5.0) -> None:
        """Ask all to end, and kill those that do not within so many seconds."""
        self.check()
        for sidecar in self._running:
            sidecar.terminate()
        limit = time.monotonic() + grace_s
        for sidecar in self._running:
            try:
                sidecar.wait(max(0.0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._note(f"the sidecar {sidecar.args!r} did not stop within {grace_s:.0f} s and was killed")
                sidecar.kill()
                sidecar.wait()


def _hold_stop() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
