"""footplate rm: remove runs and their directories."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from footplate.cli.names import complete_run
from footplate.cli.output import format_path, json_option, print_json, say
from footplate.errors import InputError, NotFoundError, RecordError
from footplate.quantities import format_count, format_size
from footplate.record.rundir import RunDir
from footplate.record.state import RunState, get_status
from footplate.runs.store import Store

__all__ = ["command"]


@click.command("rm")
@click.argument("names", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_run)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
def command(names: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Remove runs with everything in their directories: logs, code, artifacts.

    A run that is running is not removed.
    """
    with Store() as store:
        doomed = list({run.id: run for run in (_find(store, name) for name in names)}.values())
        reasons = [reason for run in doomed if (reason := _find_reason_to_keep(run))]
        if reasons:
            raise InputError("\n  ".join(["nothing was removed:", *reasons]), hint="stop it first, or wait for its end")
        total = sum(run.num_bytes for run in doomed)
        if not yes:
            _ask(doomed, total)
        for run in doomed:
            if run.path is not None:
                _remove(run.path)
            store.remove(run.id)
    if as_json:
        print_json({"removed": [run.id for run in doomed], "bytes": total})
    else:
        say(f"removed {', '.join(run.id for run in doomed)}: {format_size(total)} freed")


@dataclass(frozen=True, kw_only=True)
class _Doomed:
    """A run that is to be removed; without a path when only the index still knows it."""

    id: str
    path: Path | None
    num_bytes: int = 0


def _find(store: Store, name: str) -> _Doomed:
    try:
        path = store.find(name).path.resolve()
    except NotFoundError:
        if os.sep in name:
            raise
        stored = store.locate(name)  # raises the same when the index does not know it either
        return _Doomed(id=stored.id, path=None)
    return _Doomed(id=path.name, path=path, num_bytes=_measure(path))


def _find_reason_to_keep(doomed: _Doomed) -> str:
    if doomed.path is None:
        return ""
    run = RunDir(path=doomed.path)
    status = get_status(run)
    evidence = "; ".join(status.evidence)
    if status.state in (RunState.running, RunState.starting):
        return f"{run.id} is {status.state}: {evidence}"
    if status.state is RunState.unknown and status.host:
        return f"{run.id} may be running: {evidence}"
    return ""


def _measure(path: Path) -> int:
    num_bytes = 0
    for folder, _, files in os.walk(path):
        for file in files:
            try:
                num_bytes += os.lstat(os.path.join(folder, file)).st_size
            except FileNotFoundError:
                continue
    return num_bytes


def _ask(doomed: list[_Doomed], total: int) -> None:
    if not sys.stdin.isatty():
        raise InputError("removing needs a yes, and there is no terminal to ask on", hint="footplate rm --yes …")
    for run in doomed:
        say(f"  {run.id}  {format_size(run.num_bytes)}  {format_path(run.path) if run.path else '(directory is gone)'}")
    click.confirm(f"remove {format_count(len(doomed), 'run')}, {format_size(total)}?", abort=True, err=True)


def _remove(path: Path) -> None:
    # Renamed first: a run is there whole or not at all, also when this is killed half way.
    trash = path.with_name(f".trash-{path.name}-{os.getpid()}")
    try:
        path.rename(trash)
        shutil.rmtree(trash)
    except OSError as error:
        place = error.filename or path
        raise RecordError(f"cannot remove {place}: {error.strerror}", hint=f"what is left lies in {trash}") from error
