"""What a shipper is: an adapter to one tracker, loaded when it is used and fed with what a run records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from footplate.errors import InputError, MissingExtraError
from footplate.record.journal_reader import Entry
from footplate.record.redact import Redactor
from footplate.record.run_info import RunInfo, read_run_info
from footplate.record.rundir import RunDir
from footplate.record.state import Status

__all__ = ["EXTRAS", "SHIPPERS", "Context", "Joinable", "Record", "Shipper", "make_shipper"]

SHIPPERS = {
    "alerts": "footplate.tracking.shipping.alerts:AlertsShipper",
    "mlflow": "footplate.tracking.shipping.mlflow:MLflowShipper",
    "tensorboard": "footplate.tracking.shipping.tensorboard:TensorBoardShipper",
    "wandb": "footplate.tracking.shipping.wandb:WandBShipper",
}
"""Name, that of its section in the profile, → where the class lies; entry points of the group ``footplate.shippers``
add to it."""
_EXACT_FILES = frozenset({"profile.yaml"})
"""Of the files that trackers are given, those that are kept as they are because a rerun needs them."""
EXTRAS = {
    "mlflow": "mlflow",
    "sqlalchemy": "mlflow",
    "alembic": "mlflow",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
}
"""Package → the extra that installs it."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One entry of a run's journals that a tracker has not been told yet."""

    attempt: int
    source: str
    """Which journal: ``rank0``, ``system`` …"""
    entry: Entry


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a shipper is told of the run it ships."""

    run: RunDir
    info: RunInfo
    settings: Mapping[str, Any]
    """Its section of the profile, secrets resolved."""
    memory: dict[str, Any]
    """What it wants to know again after a restart: JSON, written down together with the position in the journals
    after ``open`` and after each ``ship``; no secrets. Under ``place`` it says whom it tells: when that becomes another
    one, all is told from the start."""
    note: Callable[[str], None]
    """Writes a line to ``shipping/log.txt``: what the tracker could not take as it was."""
    redactor: Redactor | None = None
    """Cleans the texts that are told; ``info`` and the records are clean already, as are the files of the run but for
    its profile (``clean_file``)."""

    @property
    def cwd(self) -> Path:
        """The directory of the job, which relative places of the settings start from."""
        return Path(read_run_info(self.run).cwd)

    def clean_text(self, text: str) -> str:
        """Return a text as the tracker may be told it."""
        return text if self.redactor is None else self.redactor.clean_text(text)

    def clean_file(self, path: Path) -> Path:
        """Return a file as the tracker may be given it: itself, or a cleaned copy under the same name."""
        if self.redactor is None or path.name not in _EXACT_FILES or path.parent != self.run.path:
            return path
        copy = self.run.path / "shipping" / "cleaned" / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(self.redactor.clean_text(path.read_text(encoding="utf-8")), encoding="utf-8")
        return copy


class Shipper(Protocol):
    """An adapter to one tracker. Each call either does all it should or raises; it is then made again later.

    A call may come twice with the same records, for the process may be killed before their position is written down:
    what the tracker shows must then be the same as after one call.
    """

    forgets_rewound: ClassVar[bool]
    """Whether the tracker drops the steps beyond a ``rewind``, and so needs those that are done again although nothing
    of them has changed."""

    def open(self, context: Context) -> str:
        """Connect, make the tracker's run or find it again, and return where people can look at it."""
        ...

    def ship(self, records: Sequence[Record]) -> None:
        """Tell the tracker these records; when this returns, the tracker has them."""
        ...

    def close(self, status: Status | None) -> None:
        """Tell how the run has ended, once it has, with its artifacts; None: it goes on later."""
        ...


@runtime_checkable
class Joinable(Protocol):
    """A shipper to whose run a job's own calls of the tracker's library can be added."""

    def get_environment(self) -> Mapping[str, str]:
        """Return the variables by which they find it; it is open."""
        ...


def make_shipper(name: str) -> Shipper:
    """Return a new shipper of that name; InputError for an unknown one, MissingExtraError for a missing library."""
    found = {point.name: point.value for point in entry_points(group="footplate.shippers")} | SHIPPERS
    if name not in found:
        raise InputError(f"there is no tracker {name!r}", hint=f"known are {', '.join(sorted(found))}")
    module, _, attribute = found[name].partition(":")
    try:
        shipper: Shipper = getattr(import_module(module), attribute)()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in EXTRAS:
            raise MissingExtraError(package, EXTRAS[package]) from error
        raise
    return shipper
