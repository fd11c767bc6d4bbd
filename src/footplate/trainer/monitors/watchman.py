"""A thread beside the training that looks at what cannot be seen between two steps."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from footplate.trainer.hooks import Hook
from footplate.trainer.progress import Progress

__all__ = ["Look", "Watchman"]

_END_LIMIT_S = 10.0
"""A look may hang in a driver; the training does not wait for it for ever."""
_log = logging.getLogger("footplate")


@dataclass(frozen=True, kw_only=True)
class Look:
    """One thing to look at, again and again."""

    name: str
    """What it is, for the log."""
    interval_s: float
    """Time between two looks."""
    run: Callable[[], None]
    """Looks; called in another thread than the training's."""


class Watchman(Hook):
    """Looks at each thing in its interval while the loop runs. A look that fails is told once and not tried again."""

    def __init__(self, looks: Sequence[Look]) -> None:
        self._looks = list(looks)
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def on_start(self, progress: Progress) -> None:  # noqa: ARG002
        if self._looks and self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchman", daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._end.set()
        if self._thread is None:
            return
        self._thread.join(_END_LIMIT_S)
        if self._thread.is_alive():  # it ends with the process
            _log.warning("a look at the machine has not come back within %.0f s: it is left alone", _END_LIMIT_S)

    def _watch(self) -> None:
        due = {look.name: time.monotonic() + look.interval_s for look in self._looks}
        looks = list(self._looks)
        while looks:
            if self._end.wait(max(0.0, min(due[look.name] for look in looks) - time.monotonic())):
                return
            now = time.monotonic()
            for look in [look for look in looks if due[look.name] <= now]:
                try:
                    look.run()
                except Exception as error:  # noqa: BLE001 — a watch that fails must not end the training
                    _log.exception("%s is not watched any more: %s", look.name, error)
                    looks.remove(look)
                due[look.name] = time.monotonic() + look.interval_s
