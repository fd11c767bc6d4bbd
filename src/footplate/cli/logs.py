"""footplate logs: print what a run has printed, or go on printing it."""

from __future__ import annotations

import json
import time

import click

from footplate.cli.names import find_run, run_argument
from footplate.cli.output import json_option, print_text, say
from footplate.errors import InputError, NotFoundError
from footplate.record.rundir import Attempt, RunDir
from footplate.record.state import RunState, get_status
from footplate.runs.tail import LogTail

__all__ = ["command"]

_POLL_S = 0.1
_STATUS_EVERY_S = 0.5


@click.command("logs")
@run_argument
@click.option("--follow", "-f", is_flag=True, help="Go on until the run has ended.")
@click.option("--tail", "num_lines", type=click.IntRange(min=0), metavar="N", help="Begin with the last N lines.")
@click.option("--attempt", metavar="N|all", help="Which attempt; by default the newest.")
@click.option("--rank", type=click.IntRange(min=0), default=0, show_default=True, help="Which process of the run.")
@json_option
def command(
    name: str | None, follow: bool, num_lines: int | None, attempt: str | None, rank: int, as_json: bool
) -> None:
    """Print what a run has printed, byte for byte.

    RUN is a prefix of its id; without one it is the newest run. With --json each line is an object of its own.
    """
    run = find_run(name)
    attempts = _choose(run, attempt)
    if not follow and not any(one.log_path(rank).exists() for one in attempts):
        raise _explain_missing(run, attempts, rank)
    if num_lines is not None:
        attempts = attempts[-1:]
    printers = [_LogPrinter(one, rank, as_json=as_json, num_lines=num_lines) for one in attempts]
    for printer in printers[:-1]:
        printer.print_new(final=True)
    if not follow:
        printers[-1].print_new(final=True)
        return
    _follow(run, printers[-1], is_pinned=attempt is not None and attempt != "all")


def _choose(run: RunDir, wanted: str | None) -> list[Attempt]:
    attempts = run.attempts()
    if not attempts:
        raise NotFoundError(f"run {run.id} has not been started yet", hint=f"footplate status {run.id}")
    if wanted is None:
        return attempts[-1:]
    if wanted == "all":
        return attempts
    chosen = [one for one in attempts if str(one.number) == wanted]
    if not chosen:
        numbers = ", ".join(str(one.number) for one in attempts)
        raise InputError(f"run {run.id} has no attempt {wanted}", hint=f"there is: {numbers}; or all")
    return chosen


def _explain_missing(run: RunDir, attempts: list[Attempt], rank: int) -> NotFoundError:
    ranks = sorted(
        {path.name.split(".")[1].removeprefix("rank") for one in attempts for path in one.path.glob("log.*")}
    )
    if ranks:
        return NotFoundError(f"run {run.id} has no log of rank {rank}", hint=f"there is: {', '.join(ranks)}")
    status = get_status(run)
    return NotFoundError(f"run {run.id} has no log: {'; '.join(status.evidence)}", hint=f"footplate status {run.id}")


class _LogPrinter:
    """Prints what was added to one log."""

    def __init__(self, attempt: Attempt, rank: int, *, as_json: bool, num_lines: int | None = None) -> None:
        self.attempt = attempt
        self.rank = rank
        self.as_json = as_json
        self._tail = LogTail(attempt.log_path(rank), num_lines=num_lines)
        self._begun: list[str] = []  # the parts of a line that has no end yet

    def print_new(self, *, final: bool = False) -> None:
        """Print what is new; with ``final`` also a last line that has no end."""
        for text in self._tail.read(final=final):
            if self.as_json:
                *lines, rest = text.split("\n")
                for line in lines:
                    self._print_line(line)
                self._begun.append(rest)
            else:
                click.echo(text.encode("utf-8", "surrogateescape"), nl=False)
        if final and any(self._begun):
            self._print_line("")

    def _print_line(self, end: str) -> None:
        line = "".join([*self._begun, end]).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        self._begun.clear()
        value = {"attempt": self.attempt.number, "rank": self.rank, "line": line}
        print_text(json.dumps(value, ensure_ascii=False))


def _follow(run: RunDir, printer: _LogPrinter, *, is_pinned: bool) -> None:
    """Print until the run has ended, over new attempts too unless one was asked for; Ctrl-C ends only this."""
    look_at = 0.0
    while True:
        now = time.monotonic()
        ended = False
        if now >= look_at:
            look_at = now + _STATUS_EVERY_S
            newest = (run.attempts() or [printer.attempt])[-1]  # it may be removed meanwhile
            status = get_status(run)
            # Preempted, and nobody here starts it again: nothing more comes.
            is_over = status.state.is_final or (status.state is RunState.queued and status.ended_at is not None)
            ended = is_over or (is_pinned and newest.number != printer.attempt.number)
            if not ended and newest.number != printer.attempt.number:
                printer.print_new(final=True)
                printer = _LogPrinter(newest, printer.rank, as_json=printer.as_json)
        printer.print_new(final=ended)  # after the look: what was written before the end is there now
        if ended:
            break
        time.sleep(_POLL_S)
    status = get_status(run)
    say(f"{run.id} {status.state}: {'; '.join(status.evidence)}")
