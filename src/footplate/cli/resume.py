"""``footplate resume``: go on with a run that has ended before its time."""

from __future__ import annotations

import click

from footplate.cli.names import complete_run, find_run
from footplate.cli.output import json_option
from footplate.cli.profile_options import set_option, with_examples

__all__ = ["command"]


@click.command("resume", epilog="Exit code as of `footplate train`, or of `footplate run` for a command of your own.")
@set_option
@click.option(
    "--code",
    type=click.Choice(["recorded", "current"]),
    default="recorded",
    show_default=True,
    help="Which code runs when it changed since.",
)
@click.option("--quiet", "-q", is_flag=True, help="Show errors only.")
@json_option
@click.argument("name", metavar="RUN", shell_complete=complete_run)
@with_examples("footplate resume q3", "footplate resume q3 --set training.max_epochs=20")
def command(name: str, overrides: tuple[str, ...], code: str, quiet: bool, as_json: bool) -> int:
    """Go on with a run that failed, was cancelled, preempted or lost, from its newest whole checkpoint.

    It is the same run: a further attempt, with its own log, in the same code. --set changes what leaves it the same
    training: its length, workers, checkpoints, restarts.
    """
    from footplate.cli.follow import follow_and_tell
    from footplate.record.run_info import read_run_info
    from footplate.runs.resume import resume

    run = find_run(name)
    launched = resume(run, overrides=overrides, code="current" if code == "current" else "recorded")
    if read_run_info(run).kind != "train":
        return follow_and_tell(launched, quiet=quiet, as_json=as_json)
    from footplate.cli.training_run import follow_training
    from footplate.profile.load import load_profile

    return follow_training(launched, load_profile(run.path / "profile.yaml"), quiet=quiet, as_json=as_json)
