"""footplate status: say how a run is doing, and how that is known."""

from __future__ import annotations

import re

import click

from footplate.cli.describe import describe_seconds, find_result, format_command, read_last_metrics, run_to_json
from footplate.cli.names import find_run, run_argument
from footplate.cli.output import (
    format_age,
    format_fact,
    format_path,
    json_option,
    print_json,
    print_text,
)
from footplate.cli.trackers import TRACKER, describe_trackers
from footplate.record.receipt import find_receipt
from footplate.record.run_info import read_run_info
from footplate.record.rundir import RunDir
from footplate.record.state import Status, get_status

__all__ = ["command"]

_COMMAND_LENGTH = 300
_SETS = ("train", "val", "test")
_OF_PARTS = re.compile(r"(checkpoint|rank\d+|grad_norm|weight_rms|update_ratio)/")
"""Metrics of single processes, layers and checkpoints, of which there are many."""
_MAX_EARLIER = 3


@click.command("status")
@run_argument
@json_option
def command(name: str | None, as_json: bool) -> None:
    """Say how a run is doing, and how that is known.

    RUN is a prefix of its id; without one it is the newest run.
    """
    run = find_run(name)
    status = get_status(run)
    last = read_last_metrics(run)
    if as_json:
        values = {name: {"step": step, "value": value} for name, (step, value) in last.items()}
        print_json(run_to_json(run, status) | {"last_metrics": values})
        return
    print_text(f"{run.id} {status.state}" + (f" (attempt {status.attempt})" if status.attempt > 1 else ""))
    for label, text in _list_facts(run, status, last):
        print_text(format_fact(label, text))


def _list_facts(run: RunDir, status: Status, last: dict[str, tuple[int, float]]) -> list[tuple[str, str]]:
    info = read_run_info(run)
    facts = [("cause", str(status.cause))] if status.cause else []
    facts.append(("evidence", "; ".join(status.evidence)))
    command = format_command(info.argv)
    if len(command) > _COMMAND_LENGTH:
        command = f"{command[:_COMMAND_LENGTH]}… ({len(info.argv):,} words, whole in --json)"
    facts.append(("command", command))
    words = describe_seconds(status)
    if status.started_at and words:
        facts.append(("started", f"{format_age(status.started_at)} on {status.host}, {words}"))
    facts += [("before", text) for text in _describe_earlier(run)]
    if status.last_checkpoint:
        facts.append(("checkpoint", status.last_checkpoint))
    if not status.state.is_final:
        facts.append(("heartbeat", format_age(status.heartbeat_at)))
    if info.parent:
        facts.append(("repeats", info.parent))
    if info.experiment:
        facts.append(("experiment", info.experiment))
    machine = {name: point for name, point in last.items() if name.startswith("system/")}
    shown = {name: point for name, point in last.items() if name not in machine}
    result = find_result(run)
    if any(name.startswith("test/") for name in result):
        shown = {name: point for name, point in shown.items() if not name.startswith("test/")}  # told as the result
    facts += [(label, _join(points, with_step=True)) for label, points in _group(shown).items()]
    if machine:
        facts.append(("machine", _join(machine, with_step=False)))
    if result:
        facts.append(("result", " · ".join(f"{name} {_format_number(value)}" for name, value in result.items())))
    facts += [(TRACKER, text) for text in describe_trackers(run)]
    facts.append(("place", format_path(run.path)))
    return facts


def _describe_earlier(run: RunDir) -> list[str]:
    """Return how the attempts before the last one have ended, at most three of them."""
    told = []
    for attempt in run.attempts()[:-1][-_MAX_EARLIER:]:
        receipt = find_receipt(attempt)
        if receipt is not None:
            told.append(f"attempt {attempt.number}: {receipt.evidence or 'its end was not recorded'}")
    return told


def _group(points: dict[str, tuple[int, float]]) -> dict[str, dict[str, tuple[int, float]]]:
    """Return a line for each set of data, and one for what a job of your own has named; the rest is in ``--json``."""
    groups: dict[str, dict[str, tuple[int, float]]] = {name: {} for name in (*_SETS, "metrics")}
    for name, point in points.items():
        prefix, _, rest = name.partition("/")
        if rest and prefix in _SETS:
            groups[prefix][rest] = point
        elif not _OF_PARTS.match(name):
            groups["metrics"][name] = point
    return {name: group for name, group in groups.items() if group}


def _join(points: dict[str, tuple[int, float]], *, with_step: bool) -> str:
    newest = max(step for step, _ in points.values())
    values = " · ".join(
        f"{name.removeprefix('system/')} {_format_number(value)}" for name, (_, value) in points.items()
    )
    return f"step {newest:,}: {values}" if with_step else values


def _format_number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)
