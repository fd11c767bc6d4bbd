"""Makes run directories as a job leaves them, with journals whose entries may have any time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from zlib import crc32

from footplate.record.files import write_json
from footplate.record.receipt import make_receipt, write_receipt
from footplate.record.run_info import RunInfo, write_run_info
from footplate.record.rundir import Attempt, RunDir

Trackers = Mapping[str, Mapping[str, object]]


def make_run(folder: Path, trackers: Trackers, *, name: str = "test", kind: str = "train") -> RunDir:
    """Return a new run without an attempt."""
    run = RunDir.create(folder / "runs", name)
    info = RunInfo(
        id=run.id,
        name=name,
        kind="train" if kind == "train" else "exec",
        created_at="2026-11-01T10:00:00+00:00",
        argv=("python", "train.py"),
        cwd=str(folder),
        host="here",
        user="somebody",
        version="0",
    )
    write_run_info(run, info)
    (run.path / "trackers.json").write_text(json.dumps(trackers))
    return run


def add_attempt(run: RunDir) -> Attempt:
    """Begin a further attempt; its wrapper is this process."""
    attempt = run.new_attempt()
    trackers = json.loads((run.path / "trackers.json").read_text())
    write_json(attempt.job_path, {"argv": ["true"], "cwd": str(run.path), "trackers": trackers})
    write_receipt(attempt, make_receipt(run, attempt.number))
    return attempt


def end(run: RunDir, attempt: Attempt, exit_code: int = 0) -> None:
    """Record the end of an attempt."""
    receipt = make_receipt(run, attempt.number)
    write_receipt(attempt, replace(receipt, exit_code=exit_code, ended_at="2026-11-01T11:00:00.000+00:00"))


def write_entries(path: Path, entries: Iterable[Mapping[str, object]]) -> None:
    """Append entries as the journal does."""
    with path.open("ab") as file:
        for entry in entries:
            body = json.dumps(entry, separators=(",", ":"))[:-1].encode()
            file.write(b'%b,"crc":"%08x"}\n' % (body, crc32(body)))
        file.flush()
        os.fsync(file.fileno())


def make_metrics(steps: Iterable[int], *, start: float | None = None, **values: float) -> list[dict[str, object]]:
    """Return an entry for each step: each value plus the step."""
    first = time.time() if start is None else start
    return [
        {
            "t": round(first + index * 0.01, 6),
            "kind": "metrics",
            "step": step,
            "values": {name.replace("__", "/"): value + step for name, value in values.items()},
        }
        for index, step in enumerate(steps)
    ]
