"""Shows a training that was started until it has ended, over all its attempts, and what came out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from footplate.cli.describe import describe_seconds, get_exit_code
from footplate.cli.output import EXIT_BAD_INPUT, format_path, print_json, say
from footplate.cli.progress import Progress
from footplate.cli.trackers import TRACKER, describe_trackers
from footplate.errors import MissingExtraError, RecordError
from footplate.profile.metrics import get_rank
from footplate.quantities import format_count
from footplate.record.state import RunState, get_status
from footplate.runs.launch import Launched, follow
from footplate.runs.plan_text import wrap

if TYPE_CHECKING:
    from footplate.profile.model import Profile
    from footplate.record.rundir import Attempt, RunDir
    from footplate.record.state import Status

__all__ = ["describe_end", "follow_training"]

_MAX_METRICS = 8
_TOLD_BEFORE = ("data:", "device:", "model:", "length:", "step ", " " * 8)
"""How lines of the log begin that say what the screen has shown."""
_OF_LAUNCHER = re.compile(r"[EWI]\d{4} [\d:.]+ +\d+ torch/distributed/elastic/")
"""torchrun's own words: that it ends the other processes, and a traceback of itself."""
_MAX_LAST_LINES = 20


def follow_training(launched: Launched, profile: Profile, *, quiet: bool, as_json: bool) -> int:
    """Follow a training, say what came out, and return the exit code; Ctrl-C is passed on to it."""
    run = launched.run
    if not quiet:
        _show_launch(launched)
    progress = Progress(quiet=quiet, hides_log=not profile.entrypoint.is_set)

    def show_attempt(attempt: Attempt) -> None:
        progress.close()
        if not quiet:
            for line in _describe_attempt(run, attempt):
                say(line)

    try:
        status = follow(launched, progress.on_log, progress.on_entry, on_attempt=show_attempt)
    finally:
        progress.close()
    report = _write_report(profile, run)
    if not quiet or status.state == "failed":
        _show_end(run, status, report, progress.last_lines)
    if as_json:
        print_json(_to_json(run, status, report))
    return EXIT_BAD_INPUT if status.cause == "config_error" else get_exit_code(status)


def _show_launch(launched: Launched) -> None:
    say(f"run {launched.run.id} in {format_path(launched.run.path)}")
    for note in launched.notes:
        for line in wrap(note, indent=2, hang=2):
            say(line)


def _describe_attempt(run: RunDir, attempt: Attempt) -> list[str]:
    """Return why there is a further attempt, and when it starts."""
    status = get_status(run)
    if status.attempt == attempt.number and status.state is RunState.queued:
        when, *before = status.evidence
        return [line for text in (*before, when) for line in wrap(text, hang=2)]
    return [f"attempt {attempt.number}"]


def _write_report(profile: Profile, run: RunDir) -> Path | None:
    from footplate.tracking.report.write import write_report

    settings = profile.post_training.report
    if not settings.enabled:
        return None
    try:
        return write_report(run, form=settings.format, with_plots=settings.include_plots)
    except (RecordError, MissingExtraError) as error:
        say(
            f"no report: {error.message}" + (f"; {error.hint}" if error.hint else "")
        )  # the run itself has ended and is recorded
        return None


def _show_end(run: RunDir, status: Status, report: Path | None, last_lines: tuple[str, ...]) -> None:
    from footplate.tracking.report.values import format_value

    result: Mapping[str, Any] = run.find_json("result.json") or {}
    say()
    last_words = _choose_last_words(last_lines) if status.state == "failed" else ()
    for line in last_words:
        indent = len(line) - len(line.lstrip())
        for piece in wrap(line.strip(), indent=indent + 2, hang=2) or [""]:
            say(piece)
    if last_words:
        say()
    told = describe_end(status, num_steps=result.get("steps"))
    if last_words and last_words[0].startswith("error: "):  # it was just shown
        told = told.replace(f"; {last_words[0].removeprefix('error: ')}", "")
    for line in wrap(f"{run.id} {told}", hang=2):
        say(line)
    for name, value in _choose_metrics(result.get("metrics") or {}):
        say(f"  {name:<22} {format_value(value)}")
    for gate in result.get("gates") or ():
        word = "passed" if gate["passed"] else "NOT passed"
        say(f"  gate {gate['name']:<17} {format_value(gate['value'])}, limit {format_value(gate['limit'])}: {word}")
    say()
    for title, path in _list_places(run, report):
        say(f"  {title:<9} {format_path(path)}")
    for text in describe_trackers(run):
        for line in wrap(f"{TRACKER:<9} {text}", indent=2, hang=10):
            say(line)
    say()
    for line in _suggest(run, status):
        say(f"  {line}")


def _choose_last_words(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return what the log says about the end; what tells of the start and the steps was on the screen."""
    told = list(itertools.takewhile(lambda line: not _OF_LAUNCHER.match(line), lines)) or list(lines)
    for number, line in enumerate(told):
        if line.startswith(("error:", "Traceback ")):
            return tuple(told[number:][-_MAX_LAST_LINES:])
    return tuple(line for line in told if not line.startswith(_TOLD_BEFORE))[-_MAX_LAST_LINES:]


def describe_end(status: Status, *, num_steps: int | None) -> str:
    """Return in words how a training has ended, and what of it is kept when it was cancelled."""
    seconds = describe_seconds(status)
    words = f"{status.state}" + (f" after {seconds}" if seconds else "")
    if status.state == "cancelled":
        if not num_steps:
            kept = status.last_checkpoint or "nothing of it"
            return f"{words}; {kept} is kept"
        return f"{words}; what was trained in {format_count(num_steps, 'step')} is kept"
    if status.state != "succeeded":
        cause = f"{status.cause}: " if status.cause else ""
        return f"{words}: {cause}{'; '.join(status.evidence)}"
    return words


def _choose_metrics(metrics: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the metrics of the test, else of the validation, else all; a screen has room for a few."""
    for prefix in ("test/", "val/", ""):
        chosen = [(name, value) for name, value in metrics.items() if name.startswith(prefix)]
        if chosen:
            return sorted(chosen, key=lambda item: get_rank(item[0]))[:_MAX_METRICS]
    return []


def _list_places(run: RunDir, report: Path | None) -> list[tuple[str, Path]]:
    places = [("run", run.path)]
    weights = run.artifacts / "model.safetensors"
    if weights.exists():
        places.append(("weights", weights))
    if report is not None:
        places.append(("report", report))
    attempts = run.attempts()
    if attempts and attempts[-1].log_path().exists():
        places.append(("log", attempts[-1].log_path()))
    return places


def _suggest(run: RunDir, status: Status) -> list[str]:
    short = run.id[-6:]
    if status.state == "succeeded":
        return [
            f"footplate report {short}    the page about it",
            f"footplate rerun {short}     the same again, exactly",
        ]
    go_on = f"footplate resume {short}    go on from where it stopped"
    if status.state == "cancelled":
        return [f"footplate report {short}    what there is of it", go_on]
    return [f"footplate logs {short}      all it printed", f"footplate status {short}    how its end is known", go_on]


def _to_json(run: RunDir, status: Status, report: Path | None) -> dict[str, object]:
    result = run.find_json("result.json") or {}
    return {
        "run_id": run.id,
        "state": str(status.state),
        "cause": str(status.cause) if status.cause else None,
        "run_dir": str(run.path),
        "metrics": result.get("metrics") or {},
        "report": str(report) if report else None,
        "exit_code": status.exit_code,
    }
