"""What lies in a run directory, read once for a page about it; what is missing or damaged is empty."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from footplate.errors import FootplateError, ProfileError
from footplate.profile.load import load_profile
from footplate.profile.model import Profile
from footplate.record.journal_reader import Entry, Point, read_events, read_metrics, read_tables
from footplate.record.run_info import RunInfo, read_run_info
from footplate.record.rundir import RunDir
from footplate.record.state import Status, get_status

__all__ = ["Seen", "read_run"]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a run has recorded."""

    run: RunDir
    info: RunInfo
    status: Status
    profile: Profile | None
    """None where there is none, or one that this version cannot read."""
    result: Mapping[str, Any]
    plan: Mapping[str, Any]
    data: Mapping[str, Any]
    code: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: Mapping[str, Sequence[Point]]
    events: Sequence[Entry]
    tables: Mapping[str, Any]
    """The last value of each table of the journal, by name."""
    read_at: float
    """Seconds since 1970."""


def read_run(run: RunDir) -> Seen:
    """Return what there is of a run."""
    return Seen(
        run=run,
        info=read_run_info(run),
        status=get_status(run),
        profile=_find_profile(run),
        result=_find(run, "result.json"),
        plan=_find(run, "plan.json"),
        data=_find(run, "data.json"),
        code=_find(run, "code.json"),
        environment=_find(run, "env.json"),
        metrics=read_metrics(run),
        events=read_events(run),
        tables=read_tables(run),
        read_at=time.time(),
    )


def _find(run: RunDir, name: str) -> Mapping[str, Any]:
    with suppress(FootplateError):
        value = run.find_json(name)
        return value if isinstance(value, Mapping) else {}
    return {}


def _find_profile(run: RunDir) -> Profile | None:
    try:
        return load_profile(run.path / "profile.yaml")
    except ProfileError:
        return None
