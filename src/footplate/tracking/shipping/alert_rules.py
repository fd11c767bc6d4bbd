"""What in a run's record is worth telling somebody at once."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from footplate.quantities import format_size
from footplate.tracking.shipping.shipper import Record

__all__ = ["Alert", "Watch"]

_LOSSES = ("train/loss", "val/loss")
_WINDOW = 5
_LEARNT = 0.9
"""A loss that fell to this share of its first readings had learnt something …"""
_WORSE = 3.0
"""… and one of this multiple of them never did."""
_LOW_DISK_GB = 2.0
_THROTTLED_FOR = 3
"""Readings in a row: a moment of it is normal."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Something that somebody should know now."""

    rule: str
    """``stall``, ``nan``, ``divergence``, ``throttling``, ``temperature``, ``disk``, ``cost``, ``memory``; ``failed``
    is how it ended."""
    text: str
    time: float
    """Seconds since 1970."""
    step: int | None = None


class Watch:
    """Finds alerts in the records of a run, in their order; what it remembers is JSON.

    Records that it has seen are passed over, so that they may be told again after a failure.
    """

    def __init__(
        self, memory: dict[str, Any], *, started_at: float, price: float | None = None, max_cost: float | None = None
    ) -> None:
        """``price`` is that of an hour, in the currency of ``max_cost``."""
        self._memory = memory
        self._started_at, self._price, self._max_cost = started_at, price, max_cost

    def look(self, records: Sequence[Record]) -> Iterator[Alert]:
        """Yield what is worth telling in records."""
        seen: dict[str, int] = self._memory.setdefault("seen", {})
        for record in records:
            source = f"{record.attempt}/{record.source}"
            if record.entry.offset_after <= seen.get(source, 0):
                continue
            seen[source] = record.entry.offset_after
            data, time = record.entry.data, record.entry.time
            if record.entry.kind == "event":
                yield from self._look_at_event(data, time)
            elif record.entry.kind == "rewind":
                self._memory.pop("losses", None)
            elif record.entry.kind == "metrics":
                yield from self._look_at_metrics(int(data["step"]), data["values"], time, source)
                yield from self._look_at_cost(time)

    def _look_at_event(self, data: Mapping[str, Any], time: float) -> Iterator[Alert]:
        step = data.get("step")
        if data["name"] == "stall":
            waited, where = data.get("waited_s", 0), data.get("where") or "somewhere"
            text = f"no progress for {waited:,.0f} s: it waits in {where}"
            yield Alert(rule="stall", text=text, time=time, step=step)
        elif data["name"] == "hot":
            text = f"{data.get('temperature_c'):g} °C, above {data.get('threshold_c'):g} °C"
            yield Alert(rule="temperature", text=text, time=time, step=step)
        elif data["name"] == "checkpoint_failed":
            text = f"no checkpoint could be written: {data.get('reason')}"
            yield Alert(rule="disk", text=text, time=time, step=step)
        elif data["name"] == "out_of_memory":
            new = data.get("new_batch_size")
            then = f"it goes on in batches of {new} instead of {data.get('batch_size')}" if new else "it cannot go on"
            yield Alert(rule="memory", text=f"out of memory: {then}", time=time, step=step)

    def _look_at_metrics(self, step: int, values: Mapping[str, float], time: float, source: str) -> Iterator[Alert]:
        for name in _LOSSES:
            if name not in values:
                continue
            if not math.isfinite(values[name]):
                yield Alert(rule="nan", text=f"{name} is {values[name]}", time=time, step=step)
            elif told := self._add_loss(name, values[name]):
                yield Alert(rule="divergence", text=told, time=time, step=step)
        free = values.get("system/disk_free_gb")
        if free is not None and free < _LOW_DISK_GB:
            yield Alert(rule="disk", text=f"{format_size(int(free * 1e9))} are free on the run's disk", time=time)
        held = [name for name, value in values.items() if name.endswith("_throttled") and value > 0]
        count = self._memory.setdefault("throttled", {})
        if source.endswith("/system") and any(name.startswith("system/") for name in values):
            count[source] = count.get(source, 0) + 1 if held else 0
            if count[source] >= _THROTTLED_FOR:
                names = ", ".join(name.removeprefix("system/") for name in held)
                yield Alert(rule="throttling", text=f"a GPU is held down: {names}", time=time)

    def _add_loss(self, name: str, value: float) -> str:
        """Add a reading; return in words that the loss diverges when it does. All of positive losses alone."""
        losses: dict[str, Any] = self._memory.setdefault("losses", {})
        known = losses.setdefault(name, {"first": [], "last": [], "lowest": None})
        if len(known["first"]) < _WINDOW:
            known["first"].append(value)
        known["last"] = [*known["last"], value][-_WINDOW:]
        if len(known["last"]) < _WINDOW or known["last"] == known["first"]:
            return ""
        now, first = statistics.median(known["last"]), statistics.median(known["first"])
        lowest = known["lowest"] = now if known["lowest"] is None else min(known["lowest"], now)
        if first <= 0 or now <= first:
            return ""
        if lowest < _LEARNT * first or now > _WORSE * first:
            return f"{name} is {now:.4g}, it began with {first:.4g} and had been down to {lowest:.4g}"
        return ""

    def _look_at_cost(self, time: float) -> Iterator[Alert]:
        if self._price is None or self._max_cost is None:
            return
        cost = max(0.0, time - self._started_at) / 3600 * self._price
        if cost > self._max_cost:
            yield Alert(rule="cost", text=f"{cost:,.2f} spent so far, more than {self._max_cost:,.2f}", time=time)
