"""What is known of a run in one line: state, times, parameters, metrics, under the names that people ask by."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from footplate.errors import FootplateError
from footplate.record.journal_reader import Point, read_metrics
from footplate.record.run_info import RunInfo, read_run_info
from footplate.record.rundir import RunDir
from footplate.record.state import Status, get_status
from footplate.tracking.params import read_params

__all__ = ["FACTS", "Summary", "summarize"]

FACTS = {
    "id": "the run's id",
    "name": "its name",
    "kind": "train, or exec for a command of your own",
    "experiment": "the set of runs it belongs to",
    "state": "succeeded, failed …",
    "cause": "out_of_memory, preempted …",
    "host": "where it ran",
    "user": "who started it",
    "attempt": "number of the last attempt",
    "created_at": "when it was made",
    "started_at": "when its last attempt began",
    "ended_at": "when that ended",
    "duration_s": "how long that took, in seconds",
}
"""Names beside ``metrics.…`` and ``params.…``, and what they mean."""
_TIMES = ("created_at", "started_at", "ended_at")
_OF_SERIES = ("min", "max", "first", "last")


@dataclass(frozen=True)
class Summary:
    """One run; what takes long to read is read when it is asked for."""

    run: RunDir
    info: RunInfo | None
    """None where run.json is damaged."""
    status: Status
    result: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def params(self) -> Mapping[str, Any]:
        """The keys of the resolved profile, dotted."""
        return read_params(self.run)

    @cached_property
    def series(self) -> Mapping[str, list[Point]]:
        """Every metric over all steps."""
        return read_metrics(self.run)

    @property
    def metrics(self) -> Mapping[str, float]:
        """Final metrics, by name."""
        found = self.result.get("metrics")
        return found if isinstance(found, Mapping) else {}

    def find(self, name: str) -> Any | None:
        """Return a value by its name; None where the run has none of it. Times are seconds since 1970."""
        front, _, rest = name.partition(".")
        if front == "params":
            return self.params.get(rest)
        if front == "metrics":
            return self._find_metric(rest)
        value = getattr(self.status, name, None) if name in ("state", "cause", "attempt", *_TIMES[1:]) else None
        if name == "duration_s":
            return _get_seconds(self.status)
        if name == "host":
            return self.status.host or (self.info.host if self.info else None)
        if value is None and self.info is not None and hasattr(self.info, name):
            value = getattr(self.info, name)
        if name in _TIMES:
            return datetime.fromisoformat(str(value)).timestamp() if value else None
        return None if value is None or value == "" else str(value) if isinstance(value, str) else value

    def _find_metric(self, name: str) -> float | None:
        """Return a final metric, else the last value of its series; ``NAME.min`` and the like are of the series."""
        if name in self.metrics:
            return self.metrics[name]
        base, _, what = name.rpartition(".")
        if what in _OF_SERIES and base:
            values = [point.value for point in self.series.get(base, ())]
            if not values:
                return None
            return {"min": min(values), "max": max(values), "first": values[0], "last": values[-1]}[what]
        points = self.series.get(name)
        return points[-1].value if points else None


def summarize(run: RunDir) -> Summary:
    """Return what is known of a run; what is damaged is left out."""
    info, result = None, None
    with suppress(FootplateError):
        info = read_run_info(run)
    with suppress(FootplateError):
        result = run.find_json("result.json")
    return Summary(run, info, get_status(run), result if isinstance(result, Mapping) else {})


def _get_seconds(status: Status) -> float | None:
    end = status.ended_at or status.last_seen_at or status.heartbeat_at
    if status.started_at is None or end is None:
        return None
    return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(status.started_at)).total_seconds())
