"""footplate runs: list runs, newest first; make the index anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import click

from footplate.cli.describe import find_result, format_command, get_seconds, run_to_json
from footplate.cli.output import format_age, format_path, json_option, print_json, print_table, say
from footplate.cli.profile_options import with_examples
from footplate.cli.runs_table import Choice, choose, table_options, tell_missing, write
from footplate.errors import FootplateError, InputError
from footplate.profile.metrics import get_rank
from footplate.quantities import format_count, format_duration
from footplate.record.run_info import read_run_info
from footplate.record.rundir import RunDir
from footplate.record.state import RunState, Status, get_status
from footplate.runs.store import Store, StoredRun
from footplate.runs.summary import summarize

__all__ = ["command"]

_GONE = "gone"


@click.command("runs")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@click.option("--state", type=click.Choice([*RunState, _GONE]), help="Only runs in this state.")
@click.option("--rebuild", is_flag=True, help="Read the index anew from the run directories, those below DIR as well.")
@table_options
@json_option
@click.argument("directories", metavar="[DIR]...", nargs=-1, type=click.Path(path_type=Path))
@with_examples(
    "footplate runs --where 'metrics.val/loss < 0.1 and host ~ node'",
    "footplate runs --sort metrics.test/f1 --desc --columns id,metrics.test/f1",
    "footplate runs -o runs.csv",
)
def command(
    limit: int, state: str | None, rebuild: bool, choice: Choice, as_json: bool, directories: tuple[Path, ...]
) -> None:
    """List runs, newest first.

    A unique prefix of an id, or of its last six characters, is enough wherever a RUN is asked for. Conditions know
    metrics.NAME (the final value, or .min .max .first .last of its course), params.KEY of the profile, state, cause,
    name, experiment, kind, host, created_at (> -7d), duration_s (< 2h) …
    """
    if directories and not rebuild:
        raise InputError("directories are given only with --rebuild", hint=f"footplate runs --rebuild {directories[0]}")
    with Store() as store:
        if rebuild:
            _rebuild(store, directories)
        num_all = len(store.list())
        if choice.is_plain:
            shown = list(islice(_look(store, state), limit))
        elif (chosen := _choose(store, state, choice, None if choice.form or choice.output else limit)) is not None:
            shown = chosen
        else:
            return
    if as_json:
        print_json({"runs": [_to_json(line) for line in shown], "total": num_all})
        return
    if not shown:
        say("no runs" + (f" are {state}" if state else " yet: footplate run -- python train.py"))
        return
    _print(shown)
    if len(shown) < num_all and not state:
        say(f"{len(shown)} of {num_all} runs; --limit {num_all} shows all")


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One run as it is listed; a run whose directory is gone has no status."""

    stored: StoredRun
    status: Status | None

    @property
    def state(self) -> str:
        return self.status.state.value if self.status is not None else _GONE


def _choose(store: Store, state: str | None, choice: Choice, limit: int | None) -> list[_Line] | None:
    """Return the runs that a condition chooses, in their order; None when they were written in a form of their own."""
    lines = [line for line in _look(store, state) if line.status is not None]
    summaries = [summarize(RunDir(path=line.stored.path)) for line in lines]
    selection = choose(summaries, choice)
    wanted = selection.summaries if limit is None else selection.summaries[:limit]
    if choice.columns or choice.form or choice.output:
        write(selection, choice, wanted)
        return None
    tell_missing(selection)
    by_path = {line.stored.path: line for line in lines}
    return [by_path[summary.run.path] for summary in wanted]


def _rebuild(store: Store, directories: tuple[Path, ...]) -> None:
    rebuilt = store.rebuild(directories)
    say(
        f"index made anew: {format_count(rebuilt.num_found, 'run')}"
        f" in {format_count(len(rebuilt.roots), 'directory', 'directories')}"
    )
    if rebuilt.num_dropped:
        say(f"forgotten, because their directory is gone: {rebuilt.num_dropped:,}")
    for path in rebuilt.damaged:
        say(f"not readable, left as it is: {format_path(path)}")


def _look(store: Store, state: str | None) -> Iterator[_Line]:
    for stored in store.list():
        line = _Line(stored=stored, status=get_status(RunDir(path=stored.path)) if stored.exists else None)
        if state is None or line.state == state:
            yield line


def _print(lines: list[_Line]) -> None:
    results = [_find_shown_result(line) for line in lines]
    headers = ["RUN", "STATE", "STARTED", "TIME", *(["RESULT"] if any(results) else []), "COMMAND"]
    rows = []
    for line, result in zip(lines, results, strict=True):
        seconds = get_seconds(line.status) if line.status is not None else None
        row = [
            line.stored.id,
            line.state,
            format_age(line.stored.created_at),
            format_duration(seconds) if seconds is not None else "-",
        ]
        rows.append([*row, *([result] if any(results) else []), _find_command(line)])
    print_table(headers, rows)


def _find_shown_result(line: _Line) -> str:
    """Return the metric that says most about a run: of the test set where there is one."""
    metrics = dict(find_result(RunDir(path=line.stored.path))) if line.status is not None else {}
    names = sorted(metrics, key=lambda name: (not name.startswith("test/"), get_rank(name)))
    value = metrics[names[0]] if names else None
    return f"{names[0].rpartition('/')[2]} {value:.4g}" if isinstance(value, int | float) else ""


def _find_command(line: _Line) -> str:
    try:
        info = read_run_info(RunDir(path=line.stored.path))
    except FootplateError:
        return format_path(line.stored.path)
    return "train" if info.kind == "train" else " ".join(format_command(info.argv).split())


def _to_json(line: _Line) -> dict[str, object]:
    if line.status is None:
        return {
            "run_id": line.stored.id,
            "state": _GONE,
            "run_dir": str(line.stored.path),
            "name": line.stored.name,
            "kind": line.stored.kind,
            "experiment": line.stored.experiment,
            "created_at": line.stored.created_at,
        }
    return run_to_json(RunDir(path=line.stored.path), line.status)
