"""``footplate init``: writes a commented profile, filled from this machine and from the data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from footplate.cli.output import json_option, print_json, print_text, say
from footplate.cli.profile_options import DEFAULT_PROFILE, with_examples
from footplate.errors import DataError, InputError

if TYPE_CHECKING:
    from footplate.data.infer import TableDescription

__all__ = ["command"]

_NUMBER = re.compile(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", re.IGNORECASE)
_TEMPLATES = ("quickstart", "hpc", "workstation", "embedded", "script")


@click.command("init")
@click.argument("template", type=click.Choice(_TEMPLATES))
@click.option("--data", type=click.Path(path_type=Path), help="Your data: its task, columns and shapes are filled in.")
@click.option("--scripts", is_flag=True, help="Also write train.py, tools/validate_config.py, scripts/train_hpc.sh.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    default=DEFAULT_PROFILE,
    help="File to write; - prints it.",
    show_default=True,
)
@click.option("--force", is_flag=True, help="Write over files that exist.")
@json_option
@with_examples("footplate init quickstart --data passengers.csv", "footplate init hpc -o my_training.yaml --scripts")
def command(template: str, data: Path | None, scripts: bool, output: Path, force: bool, as_json: bool) -> None:
    """Write a commented profile from TEMPLATE, to be read and changed.

    quickstart: no code, small data. hpc, workstation, embedded: by the machine. script: your own code.
    """
    from footplate.data.infer import describe_table
    from footplate.profile.templates import render_scripts, render_template
    from footplate.runs.machine import get_device_facts

    table = None if data is None else describe_table(data)
    if table is not None and not table.inputs:
        raise _make_no_inputs(data, table)
    text = render_template(
        template, machine=get_device_facts(Path.cwd()), table=table, data_path="" if data is None else str(data)
    )
    is_printed = str(output) == "-"
    files = {} if is_printed else {output: text}
    if scripts:
        profile = DEFAULT_PROFILE if is_printed else output
        files |= {Path(name): script for name, script in render_scripts(profile).items()}
    _write(files, force=force)
    found = [] if table is None else list(table.to_lines())
    if as_json:
        print_json({"template": template, "files": [str(path) for path in files], "found": found})
        return
    if is_printed:
        print_text(text.rstrip("\n"))
    for line in found:
        say(line)
    if table is not None and _has_values_as_names(table):
        say("the column names look like values: is the header line missing?")
        say("  the first row was taken for it, and is not trained on")
    if files:
        _say_next(files, output, template)


def _make_no_inputs(data: Path | None, table: TableDescription) -> DataError:
    """Return the error for a table of which no column is left to learn from."""
    reasons = [f"{name} is {reason}" for name, reason in table.left_out]
    if any(re.fullmatch(r"such as -?\d+,\d+", column.detail.partition(", ")[2]) for column in table.columns):
        hint = "numbers have a decimal point in a csv: write 0.5, not 0,5"
    else:
        hint = "; ".join(reasons) or "a table needs the target and at least one other column"
    return DataError(f"{data}: no column to learn {table.target} from; nothing was written", hint=hint)


def _has_values_as_names(table: TableDescription) -> bool:
    names = [column.name for column in table.columns]
    return table.format == "csv" and 2 * sum(_NUMBER.fullmatch(name) is not None for name in names) > len(names)


def _write(files: Mapping[Path, str], *, force: bool) -> None:
    """Write all files or, when one of them exists, none."""
    there = [str(path) for path in files if path.exists() or path.is_symlink()]
    if there and not force:
        are = "exists" if len(there) == 1 else "exist"
        raise InputError(
            f"{', '.join(there)} {are} already; nothing was written", hint="give -o another name, or --force"
        )
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            if path.suffix in (".py", ".sh"):
                path.chmod(0o755)
        except OSError as error:
            raise InputError(
                f"{path} cannot be written: {error.strerror}", hint="choose another place: -o FILE"
            ) from error


def _say_next(files: Mapping[Path, str], output: Path, template: str) -> None:
    if files and output in files:
        say(f"wrote {output}: the template {template}, with a comment at each key")
    for path in files:
        if path != output:
            say(f"wrote {path}")
    name = "" if output in (DEFAULT_PROFILE, Path("-")) else f" {output}"
    say("\nnext")
    for verb, purpose in (("validate", "check it"), ("plan", "see what would run"), ("train", "train")):
        say(f"  footplate {verb + name:<{len(name) + 10}}{purpose}")
