"""Ships one run to one tracker until all is told: in a thread of its own, so that no tracker waits for another."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Mapping

from footplate.errors import FootplateError
from footplate.profile.secrets import resolve_secret
from footplate.record.clock import get_utc_text
from footplate.record.redact import read_redactor
from footplate.record.run_info import read_run_info
from footplate.record.rundir import RunDir
from footplate.record.state import RunState, Status, get_status
from footplate.tracking.shipping.logbook import Logbook, read_settings
from footplate.tracking.shipping.shipper import Context, Joinable, Shipper, make_shipper
from footplate.tracking.shipping.stream import Stream

__all__ = ["Delivery"]

_POLL_S = 1.0
_SECTIONS = {"alerts": "monitoring"}
_MAX_VALUES = 10_000
"""Values of metrics in one batch: it bounds memory, and what is told twice after a kill."""
_FEW = 1000
_FIRST_WAIT_S, _LAST_WAIT_S = 1.0, 30.0
_UNREACHABLE = re.compile(
    r"(https?://[^/\s'\"]+).*(Connection refused|Name or service not known|timed out|Connection aborted|too many \d+)",
    re.DOTALL,
)
"""What the libraries of trackers say of a network, in many more words."""


class Delivery:
    """One run on its way to one tracker."""

    def __init__(self, run: RunDir, name: str, note: Callable[[str], None]) -> None:
        self._run, self._name, self._note = run, name, note
        self._log = Logbook.read(run, name)
        self._redactor = read_redactor(run)
        self._shipper: Shipper | None = None
        self._stream = Stream(run, {})
        self._failures = 0
        self.is_done = False
        """Whether the tracker knows all there is, and the end of the run if it has ended."""

    def run(self, hurry: threading.Event, *, once: bool) -> None:
        """Ship until the run has ended and all is told; in a hurry, or ``once``, until all that is there is.

        Once ``hurry`` is set, a failure ends it.
        """
        while not self.is_done:
            try:
                num_told = self._step()
                self._failures = 0
            except Exception as error:  # noqa: BLE001  # whatever a tracker's library raises is noted, and tried again
                self._fail(error)
                if hurry.is_set() or (once and self._failures >= 3):
                    return
                wait_s = min(_FIRST_WAIT_S * 2 ** (self._failures - 1), _LAST_WAIT_S)
                hurry.wait(wait_s * random.uniform(0.5, 1.0))
                continue
            if num_told:
                if num_told < _FEW and not once:
                    hurry.wait(_POLL_S)  # a call for each value would cost the machine more than it is worth
                continue
            if self._end(is_last=hurry.is_set() or once):
                return
            hurry.wait(_POLL_S)

    def open(self) -> str:
        """Connect, if that is not done yet, and return where people can look at it."""
        if self._shipper is None:
            shipper = make_shipper(self._name)
            section = f"{_SECTIONS.get(self._name, 'logging')}.{self._name}"
            settings = {
                key: resolve_secret(value, key=f"{section}.{key}") if isinstance(value, str) else value
                for key, value in read_settings(self._run).get(self._name, {}).items()
            }
            info = read_run_info(self._run)
            context = Context(
                run=self._run,
                info=info if self._redactor is None else self._redactor.clean_info(info),
                redactor=self._redactor,
                settings=settings,
                memory=self._log.memory,
                note=lambda text: self._note(f"{self._name}: {text}"),
            )
            before = self._log.memory.get("place")
            self._log.where = shipper.open(context)
            if before is not None and self._log.memory.get("place") != before:
                self._log.positions, self._log.shipped = {}, 0  # another place: it is told from the start
            self._log.is_closed = False
            self._write()
            self._shipper = shipper
            self._stream = Stream(self._run, self._log.positions, with_redone=shipper.forgets_rewound)
        return self._log.where

    def get_environment(self) -> Mapping[str, str]:
        """Return the variables by which a job's own calls of the tracker's library land in the same place."""
        return self._shipper.get_environment() if isinstance(self._shipper, Joinable) else {}

    def _step(self) -> int:
        """Ship a batch; return how many entries it has, at least one when there was any."""
        self.open()
        batch = self._stream.read(_MAX_VALUES)
        if batch.positions == self._log.positions:
            return 0
        if batch.records and self._shipper is not None:
            self._shipper.ship(batch.records)
        self._log.positions = batch.positions
        self._log.shipped += batch.num_values
        self._write()
        self._stream.advance(batch)
        return max(1, batch.num_values)

    def _end(self, *, is_last: bool) -> bool:
        """Close when the run has ended, or when this is all for now; tell whether there is nothing left to do."""
        status = get_status(self._run)
        has_ended = status.state.is_final or (status.state is RunState.queued and status.ended_at is not None)
        if not (has_ended or is_last):
            return False
        try:
            if self._step():  # written between the last look and the end
                return False
            self._close(status if has_ended else None)
        except Exception as error:  # noqa: BLE001  # as above
            self._fail(error)
            return is_last
        return True

    def _close(self, status: Status | None) -> None:
        if self._shipper is not None:
            self._shipper.close(status)
            self._shipper = None
        self._log.is_closed = status is not None and status.state.is_final
        self._write()
        self.is_done = True

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        self._let_go()  # the next try connects anew
        first = _describe(error)
        if first != self._log.error:
            self._note(f"{self._name}: {first}")
        self._log.error = first
        self._log.updated_at = get_utc_text()
        try:
            self._log.write(self._run, self._name)
        except FootplateError as full:
            self._note(f"{self._name}: {full.message}")

    def _let_go(self) -> None:
        """Close what a failed shipper holds; that this fails too says nothing new."""
        shipper, self._shipper = self._shipper, None
        try:
            if shipper is not None:
                shipper.close(None)
        except Exception as error:  # noqa: BLE001  # as above
            self._note(f"{self._name}: while closing: {_describe(error)}")

    def _write(self) -> None:
        self._log.error, self._log.updated_at = "", get_utc_text()
        self._log.write(self._run, self._name)


def _describe(error: Exception) -> str:
    """Return why a call failed, in a line."""
    if isinstance(error, FootplateError):
        return f"{error.message}; {error.hint}" if error.hint else error.message
    text = re.sub(r"://[^/\s@]*@", "://***@", str(error).strip())  # an address may have a password in it
    if match := _UNREACHABLE.search(text):
        return f"{match[1]}: {match[2].removeprefix('too many ')}" + (" errors" if match[2].startswith("too") else "")
    return f"{type(error).__name__}: {text.partition(chr(10))[0][:300]}"
