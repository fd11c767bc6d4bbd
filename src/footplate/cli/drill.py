"""``footplate drill``: prove that a training survives being killed, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from footplate.cli.output import EXIT_FAILED, EXIT_OK, format_fact, json_option, print_json, print_text, say
from footplate.cli.profile_options import profile_argument, set_option, with_examples

if TYPE_CHECKING:
    from footplate.runs.drill import DrillResult

__all__ = ["command"]


@click.command("drill", epilog="Exit code: 0 every bit is the same, 1 something differs.")
@profile_argument
@set_option
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Length; by default about half a minute.")
@click.option("--kills", type=click.IntRange(min=2), default=3, show_default=True, help="How often it is killed.")
@click.option("--seed", type=click.IntRange(min=0), help="Chooses the steps; by default another one each time.")
@click.option(
    "--mtbf-hours",
    type=click.FloatRange(min=0, min_open=True),
    default=24.0,
    show_default=True,
    help="Mean time between failures that the advice goes by.",
)
@click.option("--keep", is_flag=True, help="Keep the two runs, as experiment drill.")
@json_option
@with_examples("footplate drill", "footplate drill my.yaml --steps 200 --kills 5 --seed 1")
def command(  # noqa: PLR0913, PLR0917  # click passes one parameter for each option
    profile: Path,
    overrides: tuple[str, ...],
    steps: int | None,
    kills: int,
    seed: int | None,
    mtbf_hours: float,
    keep: bool,
    as_json: bool,
) -> int:
    """Train PROFILE whole, train it with kills at random steps, and compare every bit.

    It is killed by SIGKILL and by the preemption signal in turn, and resumed each time. What is measured on the way
    says how often to save a checkpoint and how early the signal must come.
    """
    from footplate.profile.load import load_profile
    from footplate.runs.drill import drill

    result = drill(
        load_profile(profile, overrides=overrides),
        num_steps=steps,
        num_kills=kills,
        seed=seed,
        mean_time_between_failures_s=mtbf_hours * 3600,
        keep=keep,
        tell=_tell,
    )
    if as_json:
        print_json(result.to_json())
    else:
        _show(result)
    return EXIT_OK if result.equal else EXIT_FAILED


def _tell(text: str) -> None:
    from footplate.runs.plan_text import wrap

    for line in wrap(text, hang=2):
        say(line)


def _show(result: DrillResult) -> None:
    from footplate.quantities import format_count, format_duration, format_size

    if result.difference is None:
        print_text(f"bit-equal: {format_count(len(result.kills), 'kill')} cost nothing but time")
    else:
        print_text(f"NOT equal from step {result.difference.step:,} on")
        print_text(format_fact("first", f"{result.difference.place}: {result.difference.told}"))
        if result.reason:
            print_text(format_fact("why", result.reason))
    print_text(format_fact("compared", _describe_compared(result)))
    for kill in result.kills:
        words = f"from step {kill.resumed_from:,}" if kill.resumed_from else "from the start"
        late = "" if kill.ended_after_s is None else f"; saved and ended after {kill.ended_after_s:.2f} s"
        print_text(format_fact(f"step {kill.step:,}", f"{kill.signal}, went on {words}{late}"))
    if result.checkpoint_stall_s is not None:
        words = f"{result.checkpoint_stall_s * 1e3:.3g} ms of training"
        if result.checkpoint_write_s is not None and result.checkpoint_bytes is not None:
            words += f"; {format_size(result.checkpoint_bytes)} on the disk after {result.checkpoint_write_s:.3g} s"
        print_text(format_fact("checkpoint", words))
    if result.advised_interval_s is not None:
        mean = format_duration(result.mean_time_between_failures_s)
        words = f"every {format_duration(result.advised_interval_s)}, which is {result.advised_steps:,} steps here"
        print_text(format_fact("advised", f"{words}: least lost with a failure every {mean}, at most 2 % of the time"))
        print_text(format_fact("", f"training.checkpointing.frequency: {result.advised_steps}"))
    if result.lead_time_s is not None:
        print_text(format_fact("lead time", f"send SIGUSR1 {result.lead_time_s:.0f} s or more before the end"))
    print_text(format_fact("seed", f"{result.seed}; the same kills again: --seed {result.seed} --steps {result.steps}"))
    if result.runs:
        print_text(format_fact("kept", " · ".join(result.runs)))


def _describe_compared(result: DrillResult) -> str:
    num_checkpoints = sum(place.startswith("checkpoints/") for place in result.compared)
    return f"{num_checkpoints} checkpoints (weights, optimiser, generators) and the final weights, bit by bit"
