"""footplate rerun: run a recorded run again, with its exact code."""

from __future__ import annotations

import click

from footplate.cli.follow import follow_and_tell
from footplate.cli.names import complete_run, decode_word, find_run
from footplate.cli.output import json_option
from footplate.cli.profile_options import allow_option, set_option
from footplate.runs.rerun import rerun

__all__ = ["command"]


@click.command(
    "rerun",
    epilog="Files that were not in the snapshot (ignored data, big files) are linked from where they lie now, and "
    "named. Exit code as of `footplate run`.",
)
@set_option
@allow_option
@click.option("--quiet", "-q", is_flag=True, help="Print only what the command prints.")
@json_option
@click.argument("name", metavar="RUN", shell_complete=complete_run)
@click.argument("extra_args", metavar="[-- ARGS...]", nargs=-1, type=click.UNPROCESSED)
def command(  # click passes one parameter for each option
    name: str,
    extra_args: tuple[str, ...],
    overrides: tuple[str, ...],
    allow: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> int:
    """Run a recorded run again: its exact code, command, place and profile, as a new run.

    ARGS are added to the command: footplate rerun q3 -- --lr 1e-4

    A training takes other values: footplate rerun q3 --set training.learning_rate=1e-4
    """
    launched = rerun(find_run(name), tuple(map(decode_word, extra_args)), overrides=overrides, allow=allow)
    return follow_and_tell(launched, quiet=quiet, as_json=as_json)
