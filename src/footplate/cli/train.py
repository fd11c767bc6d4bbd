"""``footplate train``: one file, one command, here and now; everything about it is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from footplate.cli.output import json_option, say
from footplate.cli.profile_options import DEFAULT_PROFILE, allow_option, profile_argument, set_option, with_examples

if TYPE_CHECKING:
    from footplate.runs.plan import Plan

__all__ = ["command"]


@click.command("train")
@profile_argument
@click.option("--config", type=click.Path(path_type=Path), help="The profile, as PROFILE.")
@set_option
@allow_option
@click.option("--name", default="", help="Name of the run.")
@click.option("--quiet", "-q", is_flag=True, help="Show errors only.")
@json_option
@with_examples("footplate train", "footplate train my.yaml --set training.learning_rate=3e-4")
def command(
    profile: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    allow: tuple[str, ...],
    name: str,
    quiet: bool,
    as_json: bool,
) -> int:
    """Train from PROFILE on this machine: checked first, recorded in a run directory."""
    from footplate.cli.training_run import follow_training
    from footplate.runs.launch import launch

    planned = _prepare(_choose_file(profile, config), overrides, allow, name)
    if not quiet:
        _show_start(planned)
    planned.check()
    return follow_training(launch(planned.job), planned.profile, quiet=quiet, as_json=as_json)


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
