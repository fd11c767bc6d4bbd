"""The index of runs: which there are and where they lie. The run directories are the truth; the index can be lost."""

from __future__ import annotations

import difflib
import fcntl
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from footplate.errors import FootplateError, NotFoundError, RecordError
from footplate.quantities import format_count
from footplate.record.home import get_home
from footplate.record.run_info import RunInfo, read_run_info
from footplate.record.rundir import RunDir

__all__ = ["Rebuilt", "Store", "StoredRun"]

T = TypeVar("T")

_SCHEMA_VERSION = 1  # another number in the file: the index is made anew from the run directories, nothing to migrate
_BUSY_TIMEOUT_S = 10.0
_SUFFIX_LENGTH = 6
_SCHEMA = """
CREATE TABLE runs (
    id         TEXT PRIMARY KEY,
    suffix     TEXT NOT NULL,
    path       BLOB NOT NULL,
    name       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    experiment TEXT NOT NULL,
    created_at TEXT NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """One line of the index."""

    id: str
    path: Path
    name: str
    kind: str
    experiment: str
    created_at: str

    @property
    def exists(self) -> bool:
        """Tell whether the run directory is still there."""
        return (self.path / "run.json").is_file()


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """What a rebuild found."""

    roots: tuple[Path, ...]
    num_found: int
    num_dropped: int
    """Lines of the index whose directory is gone."""
    damaged: tuple[Path, ...]
    """Run directories whose run.json cannot be read; they are left as they are."""


class Store:
    """The index of this person's runs, in an SQLite file in Footplate's home; many processes may use it at once."""

    def __init__(self, home: Path | None = None, *, tell: Callable[[str], None] | None = None) -> None:
        self._home = home if home is not None else get_home()
        self._path = self._home / "runs.sqlite"
        self._roots_path = self._home / "roots.txt"
        self._tell = tell if tell is not None else _tell_stderr
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def add(self, run: RunDir, info: RunInfo) -> None:
        """Remember a run and the directory it lies in."""
        self._do(lambda connection: _insert(connection, run.path, info))
        self._remember_root(run.path.parent)

    def remove(self, run_id: str) -> None:
        """Forget a run; its directory is not touched. Forgetting an unknown run does nothing."""
        self._do(lambda connection: connection.execute("DELETE FROM runs WHERE id = ?", (run_id,)))

    def list(self, *, limit: int | None = None) -> Sequence[StoredRun]:
        """Return the runs, newest first; also those whose directory is gone."""
        query = f"{_SELECT} ORDER BY created_at DESC, id LIMIT ?"
        return self._do(lambda connection: _read(connection.execute(query, (-1 if limit is None else limit,))))

    def find(self, text: str) -> RunDir:
        """Return the run that ``text`` means: a unique prefix of its id or of the id's last six characters, or a path.

        Raises NotFoundError that lists the candidates, or the nearest ids when there is none.
        """
        if os.sep in text or (Path(text) / "run.json").is_file():
            return RunDir.open(Path(text).expanduser().absolute())
        stored = self.locate(text)
        if not stored.exists:
            raise NotFoundError(
                f"the directory of run {stored.id} is gone: {stored.path}",
                hint="`footplate runs --rebuild` forgets it, or finds it in the directory you name",
            )
        return RunDir.open(stored.path)

    def locate(self, text: str) -> StoredRun:
        """Return the line of the index that ``text`` means, whether or not its directory is still there."""
        wanted = text.strip().lower()
        query = f"{_SELECT} WHERE substr(id, 1, ?1) = ?2 OR substr(suffix, 1, ?1) = ?2 ORDER BY created_at DESC, id"
        found = self._do(lambda connection: _read(connection.execute(query, (len(wanted), wanted)))) if wanted else []
        exact = [run for run in found if run.id == wanted]
        present = [run for run in found if run.exists]
        for choice in (exact, found, present):
            if len(choice) == 1:
                return choice[0]
        if not found:
            raise self._not_found(text)
        shown = "\n".join(f"  {run.id}" for run in found[:8]) + ("\n  …" if len(found) > 8 else "")
        raise NotFoundError(
            f"{text!r} means {len(found)} runs:\n{shown}",
            hint=f"the last characters of an id are enough: {found[0].id[-_SUFFIX_LENGTH:]}",
        )

    def rebuild(self, roots: Sequence[Path] = ()) -> Rebuilt:
        """Read the index anew from the run directories below ``roots`` and all roots that were ever used."""
        self._do(lambda connection: connection.execute(_SELECT))  # a missing or damaged index is made anew first
        for root in roots:
            if not root.is_dir():
                raise NotFoundError(f"no such directory: {root}", hint="give a directory that holds run directories")
            self._remember_root(root.resolve())
        known = self.read_roots()
        infos, damaged = _scan(known)

        def write(connection: sqlite3.Connection) -> int:
            # Only lines whose directory is gone are dropped: a run that starts meanwhile is not lost.
            gone = [run.id for run in _read(connection.execute(_SELECT)) if not run.exists]
            connection.executemany("DELETE FROM runs WHERE id = ?", [(run_id,) for run_id in gone])
            for path, info in infos:
                _insert(connection, path, info)
            return len(gone)

        num_dropped = self._do(write)
        return Rebuilt(roots=known, num_found=len(infos), num_dropped=num_dropped, damaged=damaged)

    def read_roots(self) -> tuple[Path, ...]:
        """Return the directories that runs were ever written to, in the order of their first use."""
        try:
            text = self._roots_path.read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise RecordError(f"cannot read {self._roots_path}: {error.strerror}") from error
        return tuple(Path(line) for line in dict.fromkeys(text.splitlines()) if line)

    def _remember_root(self, root: Path) -> None:
        if root in self.read_roots():
            return
        try:
            # One short line written at once to a file opened for appending: two processes cannot tear each other's.
            with self._roots_path.open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(f"{root}\n")
        except OSError as error:
            raise RecordError(f"cannot write {self._roots_path}: {error.strerror}") from error

    def _not_found(self, text: str) -> NotFoundError:
        ids = [run.id for run in self.list()]
        near = difflib.get_close_matches(text.lower(), ids, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "`footplate runs` lists all runs"
        return NotFoundError(f"there is no run {text!r}", hint=hint if ids else "there are no runs yet")

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do some work in one transaction; a corrupt file is set aside, made anew, and the work done again."""
        try:
            try:
                return self._transact(work)
            except sqlite3.DatabaseError as error:
                if not _is_corrupt(error):
                    raise
                self.close()
                self._set_aside()
                return self._transact(work)
        except sqlite3.Error as error:
            self.close()
            raise RecordError(
                f"cannot use the index of runs {self._path}: {error}",
                hint="the runs themselves are safe; make room and give write permission in its directory,\n"
                "or set FOOTPLATE_HOME to another one",
            ) from error

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._open()
        with connection:
            return work(connection)

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S)
        try:
            # SQLite does not wait when two processes switch a new file to WAL at once; the lock does.
            with _lock(self._home / "runs.lock"):
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                is_new = _make_schema(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        if is_new and self.read_roots():
            rebuilt = self.rebuild()
            if rebuilt.num_found:
                self._tell(f"the index of runs was missing; made anew from the run directories: {_count(rebuilt)}")
        return connection

    def _set_aside(self) -> None:
        with _lock(self._home / "runs.lock"):
            if _is_sound(self._path):
                return  # another process has mended it meanwhile
            aside = self._path.with_name(f"{self._path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
            self._path.replace(aside)
            for ending in ("-wal", "-shm"):
                self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
        self._tell(f"the index of runs was damaged; set aside as {aside}, made anew from the run directories")


_SELECT = "SELECT id, path, name, kind, experiment, created_at FROM runs"


def _make_schema(connection: sqlite3.Connection) -> bool:
    """Make the table if it is not there (two processes may try at once); tell whether this process made it."""
    if _read_version(connection) == _SCHEMA_VERSION:
        return False
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        if _read_version(connection) == _SCHEMA_VERSION:
            return False
        connection.execute("DROP TABLE IF EXISTS runs")
        connection.execute(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    return True


def _read_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _insert(connection: sqlite3.Connection, path: Path, info: RunInfo) -> None:
    connection.execute(
        "INSERT INTO runs (id, suffix, path, name, kind, experiment, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET path = excluded.path",
        # SQLite takes no text that is not Unicode; a path may be any bytes.
        (
            info.id,
            info.id[-_SUFFIX_LENGTH:],
            os.fsencode(path),
            _to_unicode(info.name),
            info.kind,
            _to_unicode(info.experiment),
            info.created_at,
        ),
    )


def _to_unicode(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _read(cursor: sqlite3.Cursor) -> list[StoredRun]:
    return [
        StoredRun(
            id=row[0], path=Path(os.fsdecode(row[1])), name=row[2], kind=row[3], experiment=row[4], created_at=row[5]
        )
        for row in cursor
    ]


def _scan(roots: Sequence[Path]) -> tuple[list[tuple[Path, RunInfo]], tuple[Path, ...]]:
    """Read the run directories directly below the roots; a root that is gone holds none."""
    infos: list[tuple[Path, RunInfo]] = []
    damaged: list[Path] = []
    for root in roots:
        candidates = [root, *sorted(root.iterdir())] if root.is_dir() else []
        for path in candidates:
            if path.name.startswith(".") or not (path / "run.json").is_file():
                continue
            try:
                infos.append((path, read_run_info(RunDir.open(path))))
            except FootplateError:
                damaged.append(path)
    return infos, tuple(damaged)


def _is_corrupt(error: sqlite3.DatabaseError) -> bool:
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _is_sound(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)) as connection:
            answer = connection.execute("PRAGMA quick_check").fetchone()
    except sqlite3.DatabaseError as error:
        if _is_corrupt(error):
            return False
        raise
    return bool(answer[0] == "ok")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Let one process at a time through; the wait is as long as another one's rename."""
    with path.open("w") as file:
        end = time.monotonic() + _BUSY_TIMEOUT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > end:
                    raise RecordError(f"another process holds {path} for {_BUSY_TIMEOUT_S:.0f} s") from error
                time.sleep(0.02)
        yield


def _count(rebuilt: Rebuilt) -> str:
    directories = format_count(len(rebuilt.roots), "directory", "directories")
    return f"{format_count(rebuilt.num_found, 'run')} in {directories}"


def _tell_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")
