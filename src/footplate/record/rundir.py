"""A run directory: where everything about a run lies."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from footplate.errors import NotFoundError, RecordError
from footplate.record.files import read_json, write_json

__all__ = ["Attempt", "RunDir", "make_id"]

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # base32, lower case: safe in host names and file names
_MAX_TRIES = 50


@dataclass(frozen=True, kw_only=True)
class RunDir:
    """The directory of one run."""

    path: Path
    """Absolute."""
    clean: Callable[[Any], Any] | None = field(default=None, repr=False, compare=False)
    """Takes personal data out of what ``write_json`` writes; None: it stays as it is."""

    @classmethod
    def create(cls, parent: Path, name: str) -> RunDir:
        """Make a new directory under ``parent`` with an id of its own; one that exists is never touched."""
        parent = Path(parent).resolve()  # a way over ".." ends when a directory on it is removed
        try:
            parent.mkdir(parents=True, exist_ok=True)
            for _ in range(_MAX_TRIES):
                path = parent / make_id(name, _draw_tail())
                try:
                    path.mkdir()
                except FileExistsError:
                    continue
                (path / "artifacts").mkdir()
                return cls(path=path)
        except OSError as error:
            raise RecordError(
                f"{error.filename or parent}: a run directory cannot be made: {error.strerror}",
                hint="Choose another output directory, or make room and give write permission there.",
            ) from error
        raise RecordError(f"{parent}: no free run id for {name!r} in {_MAX_TRIES} tries", hint="Choose another name.")

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """Return the run that lies at ``path``; NotFoundError when there is none."""
        path = Path(path).absolute()
        if not (path / "run.json").is_file():
            raise NotFoundError(f"{path}: not a run directory (there is no run.json)")
        return cls(path=path)

    @property
    def id(self) -> str:
        """The run's id, which is the directory's name."""
        return self.path.name

    @property
    def artifacts(self) -> Path:
        """Where the job puts what it made."""
        return self.path / "artifacts"

    def write_json(self, name: str, value: object) -> None:
        """Write one of the run's JSON files in one step, cleaned if asked; RecordError when that fails."""
        write_json(self.path / name, value if self.clean is None else self.clean(value))

    def read_json(self, name: str) -> Any:
        """Return the value of one of the run's JSON files; NotFoundError, or RecordError when damaged."""
        return read_json(self.path / name)

    def find_json(self, name: str) -> Any | None:
        """Return the value of one of the run's JSON files, or None when it is not there."""
        try:
            return self.read_json(name)
        except NotFoundError:
            return None

    def attempts(self) -> list[Attempt]:
        """Return the attempts in their order; none when the run was never started."""
        try:
            names = [entry.name for entry in (self.path / "attempts").iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [self.get_attempt(number) for number in sorted(int(name) for name in names if name.isdecimal())]

    def get_attempt(self, number: int) -> Attempt:
        """Return the attempt of that number, there or not."""
        return Attempt(number=number, path=self.path / "attempts" / str(number))

    def new_attempt(self) -> Attempt:
        """Make the directory of the next attempt; two callers never get the same one."""
        number = max((attempt.number for attempt in self.attempts()), default=0)
        for _ in range(_MAX_TRIES):
            number += 1
            attempt = self.get_attempt(number)
            try:
                attempt.path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise RecordError(f"{attempt.path}: cannot be made: {error.strerror}") from error
            return attempt
        raise RecordError(f"{self.path}: no free attempt number up to {number}")


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try of a run."""

    number: int
    """From 1."""
    path: Path

    @property
    def receipt_path(self) -> Path:
        """What the wrapper saw."""
        return self.path / "receipt.json"

    @property
    def job_path(self) -> Path:
        """What the wrapper is to start."""
        return self.path / "job.json"

    def log_path(self, rank: int = 0) -> Path:
        """Return the path of what a rank printed."""
        return self.path / f"log.rank{rank}.txt"

    def journal_path(self, source: str = "rank0") -> Path:
        """Return the path of the journal that ``source`` writes, such as ``rank0`` or ``system``."""
        return self.path / f"journal.{source}.jsonl"

    def journals(self) -> list[Path]:
        """Return the journals that are there, by name."""
        return sorted(self.path.glob("journal.*.jsonl"))


def make_id(name: str, tail: str) -> str:
    """Return an id: what a name is called in plain letters, and a tail that tells it from others of that name."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:20].strip("-") or "run"
    return f"{slug}-{tail}"


def _draw_tail() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(6))
