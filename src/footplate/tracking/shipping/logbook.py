"""How far each tracker has been told: ``shipping/NAME.json`` in the run directory; to which, its job says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from footplate.errors import RecordError
from footplate.record.files import read_json, write_json
from footplate.record.rundir import RunDir

__all__ = ["FOLDER", "Logbook", "is_locked", "lock_run", "read_logbooks", "read_settings"]

FOLDER = "shipping"
"""In the run directory."""
_LOCK = ".lock"


@dataclass(kw_only=True)
class Logbook:
    """How far one tracker has been told. It changes while records are shipped, and is written after each step."""

    positions: Mapping[str, int] = field(default_factory=dict)
    """Offset in each journal up to which the tracker has been told."""
    memory: dict[str, Any] = field(default_factory=dict)
    """What the shipper itself wants to know again, such as the id of the tracker's run."""
    shipped: int = 0
    """Values, events and tables that the tracker has been told."""
    where: str = ""
    """Where people can look at it."""
    is_closed: bool = False
    """Whether the tracker knows how the run has ended."""
    error: str = ""
    """Why the last call failed; empty after one that did not."""
    updated_at: str = ""

    @classmethod
    def read(cls, run: RunDir, name: str) -> Self:
        """Return what is written down; an empty one when there is none, or none that can be read: all is told again."""
        with suppress(RecordError):
            value = read_json(_get_path(run, name)) if _get_path(run, name).exists() else {}
            known = {one.name for one in fields(cls)}
            return cls(**{key: item for key, item in value.items() if key in known})
        return cls()

    def write(self, run: RunDir, name: str) -> None:
        """Write it down in one step; RecordError when that fails."""
        _get_path(run, name).parent.mkdir(exist_ok=True)
        write_json(_get_path(run, name), asdict(self))


def _get_path(run: RunDir, name: str) -> Path:
    return run.path / FOLDER / f"{name}.json"


def read_settings(run: RunDir) -> dict[str, dict[str, Any]]:
    """Return the trackers a run is shipped to, each with its settings, as its last attempt has them."""
    for attempt in reversed(run.attempts()):
        if attempt.job_path.exists():
            return dict(read_json(attempt.job_path).get("trackers") or {})
    return {}


def read_logbooks(run: RunDir) -> dict[str, Logbook]:
    """Return how far each tracker of a run has been told."""
    return {name: Logbook.read(run, name) for name in read_settings(run)}


def is_locked(run: RunDir) -> bool:
    """Tell whether a process ships a run right now."""
    if not (run.path / FOLDER / _LOCK).exists():
        return False
    with lock_run(run) as is_free:
        return not is_free


@contextmanager
def lock_run(run: RunDir) -> Iterator[bool]:
    """Let one process ship a run; False while another one does."""
    import fcntl

    (run.path / FOLDER).mkdir(exist_ok=True)
    with (run.path / FOLDER / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
