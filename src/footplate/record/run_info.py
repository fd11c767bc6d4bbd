"""run.json: what was started, by whom, from where."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from footplate.errors import RecordError
from footplate.record.rundir import RunDir

__all__ = ["RunInfo", "read_run_info", "write_run_info"]

_NAME = "run.json"


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What is known of a run when it is launched; it never changes afterwards."""

    id: str
    name: str
    kind: Literal["train", "exec"]
    """A built-in training, or a command of the user's."""
    created_at: str
    """ISO 8601, UTC."""
    argv: tuple[str, ...]
    cwd: str
    host: str
    user: str
    version: str
    """Footplate's."""
    experiment: str = ""
    parent: str = ""
    """The id of the run that this one repeats."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return dataclasses.asdict(self) | {"argv": list(self.argv)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunInfo:
        """Read it back; keys of a later version are ignored. Raises KeyError or TypeError when it is not one."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{key: item for key, item in value.items() if key in known} | {"argv": tuple(value["argv"])})


def write_run_info(run: RunDir, info: RunInfo) -> None:
    """Write run.json; from here on the directory is a run."""
    run.write_json(_NAME, info.to_json())


def read_run_info(run: RunDir) -> RunInfo:
    """Return what run.json says; NotFoundError, or RecordError when it is damaged."""
    value = run.read_json(_NAME)
    try:
        return RunInfo.from_json(value)
    except (KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{run.path / _NAME}: not a run's description: {error}") from error
