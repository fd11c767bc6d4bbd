"""footplate run: run your own command and record it."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

import click

from footplate.cli.follow import follow_and_tell
from footplate.cli.names import decode_word
from footplate.cli.output import json_option
from footplate.runs.launch import JobSpec, launch

__all__ = ["command", "get_default_name"]

# Programs that run another file: the run is named after that.
_STARTERS = ("python", "bash", "sh", "zsh", "fish", "node", "perl", "ruby", "julia", "Rscript", "torchrun", "time")


@click.command(
    "run",
    context_settings={"allow_interspersed_args": False},
    epilog="Ctrl-C stops the command and records that; a second one kills it. Files that the command writes to the "
    "directory in $FOOTPLATE_OUTPUT_DIR are kept as artifacts. It reads the terminal, or what is piped in. Exit code: "
    "0 done, 1 the command failed, 2 bad input, 75 checkpointed, 130 interrupted; the command's own code is shown, and "
    "in --json.",
)
@click.option("--name", help="Name of the run; by default the script's.")
@click.option("--experiment", default="", help="Name of the set of runs this one belongs to.")
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    help="Where the run directory is made.  [default: runs]",
)
@click.option("--quiet", "-q", is_flag=True, help="Print only what the command prints.")
@json_option
@click.argument("argv", metavar="-- COMMAND...", nargs=-1, type=click.Path())  # a path: shells complete it
def command(
    name: str | None, experiment: str, output_dir: Path, quiet: bool, as_json: bool, argv: tuple[str, ...]
) -> int:
    """Run a command, any command, and record it.

    Recorded are its code, log, system metrics, artifacts, and how it ended.

      footplate run -- python train.py --epochs 3
    """
    job = JobSpec(
        name=decode_word(name or get_default_name(argv)),
        kind="exec",
        argv=tuple(map(decode_word, argv)),
        cwd=Path.cwd(),
        output_dir=output_dir.resolve(),
        experiment=decode_word(experiment),
        trackers={"mlflow": {}} if os.environ.get("MLFLOW_TRACKING_URI") else {},
    )
    return follow_and_tell(launch(job), quiet=quiet, as_json=as_json)


def get_default_name(argv: tuple[str, ...]) -> str:
    """Return what a command is called: ``train`` for ``python -u train.py --lr 1``."""
    if not argv:
        return "run"
    program = PurePath(argv[0]).name
    if not program.startswith(_STARTERS):
        return PurePath(program).stem
    words = list(argv[1:])
    while words:
        word = words.pop(0)
        if word == "-c":
            break
        if word == "-m" and words:
            return words[0].rpartition(".")[2]
        if not word.startswith("-"):
            return PurePath(word).stem
    return program
