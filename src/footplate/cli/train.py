"""``footplate train``: one file, one command, here and now; everything about it is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from footplate.cli.output import EXIT_BAD_INPUT, format_path, json_option, print_json, say
from footplate.cli.profile_options import DEFAULT_PROFILE, allow_option, profile_argument, set_option, with_examples

if TYPE_CHECKING:
    from footplate.record.rundir import RunDir
    from footplate.record.state import Status
    from footplate.runs.launch import Launched
    from footplate.runs.plan import Plan

__all__ = ["command"]

_MAX_METRICS = 8


@click.command("train")
@profile_argument
@click.option("--config", type=click.Path(path_type=Path), help="The profile, as PROFILE.")
@set_option
@allow_option
@click.option("--name", default="", help="Name of the run.")
@click.option("--quiet", "-q", is_flag=True, help="Show errors only.")
@json_option
@with_examples("footplate train", "footplate train my.yaml --set training.learning_rate=3e-4")
def command(  # click passes one parameter for each option
    profile: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    allow: tuple[str, ...],
    name: str,
    quiet: bool,
    as_json: bool,
) -> int:
    """Train from PROFILE on this machine: checked first, recorded in a run directory."""
    from footplate.cli.progress import Progress
    from footplate.runs.launch import follow, launch

    planned = _prepare(_choose_file(profile, config), overrides, allow, name)
    if not quiet:
        _show_start(planned)
    planned.check()
    launched = launch(planned.job)
    if not quiet:
        _show_launch(launched)
    progress = Progress(quiet=quiet, hides_log=not planned.profile.entrypoint.is_set)
    try:
        status = follow(launched, progress.on_log, progress.on_entry)
    finally:
        progress.close()
    report = _write_report(planned, launched.run)
    if not quiet or status.state == "failed":
        _show_end(launched.run, status, report, progress.last_lines)
    if as_json:
        print_json(_to_json(launched.run, status, report))
    return _get_exit_code(status)


def _choose_file(profile: Path, config: Path | None) -> Path:
    if config is not None and profile != DEFAULT_PROFILE:
        raise click.UsageError(f"two profiles: {profile} and --config {config}; give one")
    return config or profile


def _prepare(file: Path, overrides: tuple[str, ...], allow: tuple[str, ...], name: str) -> Plan:
    from footplate.profile.load import load_profile
    from footplate.runs.inspect import inspect
    from footplate.runs.plan import plan

    loaded = load_profile(file, overrides=overrides)
    return plan(loaded, inspect(loaded), name=name, allow=allow)


def _show_start(planned: Plan) -> None:
    """Say what lint found, shortly: errors follow by themselves, advice is only counted."""
    from footplate.runs.plan_text import wrap

    for finding in planned.findings:
        allowed = finding.code in planned.allowed
        if finding.severity == "warning" or allowed:
            place = f", line {finding.line}" if finding.line else ""
            word = "allowed error" if allowed else "warning"
            for line in wrap(f"{word} ({finding.code}{place}): {finding.message}", hang=2):
                say(line)
    num_advice = sum(finding.severity == "advice" for finding in planned.findings)
    if num_advice:
        say(f"{num_advice} advice: `footplate validate {planned.profile.file}` shows it")


def _show_launch(launched: Launched) -> None:
    from footplate.runs.plan_text import wrap

    say(f"run {launched.run.id} in {format_path(launched.run.path)}")
    for note in launched.notes:
        for line in wrap(note, indent=2, hang=2):
            say(line)


def _write_report(planned: Plan, run: RunDir) -> Path | None:
    from footplate.errors import RecordError
    from footplate.runs.report import write_report

    if not planned.profile.post_training.report.enabled:
        return None
    try:
        return write_report(run)
    except RecordError as error:
        say(f"no report: {error.message}")  # the run itself has ended and is recorded
        return None


def _show_end(run: RunDir, status: Status, report: Path | None, last_lines: tuple[str, ...]) -> None:
    from footplate.runs.plan_text import wrap
    from footplate.runs.report import format_value

    result: Mapping[str, Any] = run.find_json("result.json") or {}
    say()
    if status.state == "failed" and last_lines:
        for line in last_lines:
            say(f"  {line}")
        say()
    for line in wrap(f"{run.id} {_describe_state(status, num_steps=result.get('steps'))}", hang=2):
        say(line)
    for name, value in _choose_metrics(result.get("metrics") or {}):
        say(f"  {name:<22} {format_value(value)}")
    for gate in result.get("gates") or ():
        word = "passed" if gate["passed"] else "NOT passed"
        say(f"  gate {gate['name']:<17} {format_value(gate['value'])}, limit {format_value(gate['limit'])}: {word}")
    say()
    for title, path in _list_places(run, report):
        say(f"  {title:<9} {format_path(path)}")
    say()
    for line in _suggest(run, status):
        say(f"  {line}")


def _describe_state(status: Status, *, num_steps: int | None) -> str:
    from footplate.cli.describe import describe_seconds
    from footplate.quantities import format_count

    seconds = describe_seconds(status)
    words = f"{status.state}" + (f" after {seconds}" if seconds else "")
    if status.state == "cancelled":
        if not num_steps:
            return f"{words}; nothing was trained yet"
        return f"{words}; what was trained in {format_count(num_steps, 'step')} is kept"
    if status.state != "succeeded":
        cause = f"{status.cause}: " if status.cause else ""
        return f"{words}: {cause}{'; '.join(status.evidence)}"
    return words


def _choose_metrics(metrics: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the metrics of the test, else of the validation, else all; a screen has room for a few."""
    from footplate.profile.metrics import get_rank

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
    if status.state == "cancelled":
        return [f"footplate report {short}    what there is of it", f"footplate rerun {short}     from the start"]
    return [f"footplate logs {short}      all it printed", f"footplate status {short}    how its end is known"]


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


def _get_exit_code(status: Status) -> int:
    from footplate.cli.describe import get_exit_code

    return EXIT_BAD_INPUT if status.cause == "config_error" else get_exit_code(status)
