"""``footplate plan``: what would run, with its arithmetic; runs nothing unless it is asked to measure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from footplate.cli.output import EXIT_BAD_INPUT, EXIT_OK, json_option, print_json, print_text, say
from footplate.cli.profile_options import allow_option, profile_argument, set_option, with_examples

__all__ = ["command"]


@click.command("plan")
@profile_argument
@set_option
@allow_option
@click.option("--name", default="", help="Name of the run.")
@click.option("--measure", "wants_probe", is_flag=True, help="Run 50 real steps first: step time, finish time, energy.")
@json_option
@with_examples("footplate plan", "footplate plan my.yaml --set training.batch_size=256 --measure")
def command(
    profile: Path, overrides: tuple[str, ...], allow: tuple[str, ...], name: str, wants_probe: bool, as_json: bool
) -> int:
    """Show what `train` would do with PROFILE: data, length, memory, time, verdict, command."""
    from footplate.profile.load import load_profile
    from footplate.runs.inspect import inspect
    from footplate.runs.measure import measure
    from footplate.runs.plan import plan

    loaded = load_profile(profile, overrides=overrides)
    facts = inspect(loaded)
    planned = plan(loaded, facts, name=name, allow=allow)
    if wants_probe and not planned.errors:
        say("measuring: 50 real steps on this machine …")
        probe = measure(loaded)
        planned = plan(loaded, replace(facts, step_s=probe.step_s), name=name, allow=allow, measurement=probe)
    if as_json:
        print_json(planned.to_json())
    else:
        print_text(str(planned))
    if planned.errors:
        say(f"\nnot ready to train: {_count(len(planned.errors))} above must be mended first")
        return EXIT_BAD_INPUT
    return EXIT_OK


def _count(number: int) -> str:
    return "the error" if number == 1 else f"the {number} errors"
