"""What the command line writes: data to stdout, talk to stderr, errors with a hint."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from footplate.errors import FootplateError

__all__ = [
    "EXIT_BAD_INPUT",
    "EXIT_CHECKPOINTED",
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "format_age",
    "format_fact",
    "format_path",
    "json_option",
    "print_json",
    "print_table",
    "print_text",
    "say",
    "show_bug",
    "show_error",
]

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_CHECKPOINTED = 75
EXIT_INTERRUPTED = 130

_WIDTH = 80
_LABEL_WIDTH = 12

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Add ``--json`` to a verb, as the parameter ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")(function)


def say(text: str = "") -> None:
    """Tell the person something; it goes to stderr so that stdout stays data."""
    click.echo(text, err=True)


def print_text(text: str) -> None:
    """Print a result for a reader on stdout."""
    click.echo(text)


def print_json(value: object) -> None:
    """Print a result for a program on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), width: int | None = None
) -> None:
    """Print rows under headers, as wide as the terminal at most; the last column is cut to fit.

    ``right`` are the numbers of the columns that are aligned to the right. Into a pipe nothing is cut.
    """
    if width is None and sys.stdout.isatty():
        width = max(40, shutil.get_terminal_size((80, 24)).columns)
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        cells = [
            cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])
            for column, cell in enumerate(line)
        ]
        text = "  ".join(cells).rstrip()
        click.echo(text if width is None or len(text) <= width else text[: width - 1] + "…")


def format_fact(label: str, text: str) -> str:
    """Return a text behind its label, wrapped to 80 columns with the label standing out."""
    indent = " " * (_LABEL_WIDTH + 2)
    lines = textwrap.wrap(text, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join([f"  {label:<{_LABEL_WIDTH}}{lines[0]}", *(indent + line for line in lines[1:])])


def show_error(error: FootplateError, *, as_json: bool = False) -> None:
    """Show what went wrong and what to do about it, on stderr; for a program on stdout as well."""
    first, *rest = str(error).splitlines() or [""]
    lines = [f"error: {first}", *rest]
    lines += [f"  {note}" for note in getattr(error, "__notes__", ())]
    lines += [f"  hint: {line}" for line in error.hint.splitlines()]
    for line in lines:
        click.echo(_wrap(line) if sys.stderr.isatty() else line, err=True)
    if as_json:
        print_json({"error": to_json(error)})


def _wrap(line: str) -> str:
    """Break a line for the terminal, its further lines indented; paths and words stay whole."""
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    width = max(40, shutil.get_terminal_size((_WIDTH, 24)).columns)
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def to_json(error: FootplateError) -> Mapping[str, object]:
    """Return an error as the JSON that ``--json`` prints: message, hint, problems."""
    return {"message": error.message, "hint": error.hint, "problems": list(getattr(error, "problems", ()))}


def show_bug(error: BaseException) -> None:
    """Show an error that nobody expected, with all that is needed to report it."""
    click.echo(f"error: this is a bug in Footplate: {type(error).__name__}: {error}", err=True)
    click.echo("  hint: please report it with the lines below", err=True)
    click.echo("".join(traceback.format_exception(error)), err=True, nl=False)


def format_age(moment: str | None, *, now: datetime | None = None) -> str:
    """Return how long ago a recorded time was: ``3 min ago``; a dash when there is none."""
    if not moment:
        return "-"
    seconds = (now or datetime.now(UTC)).timestamp() - datetime.fromisoformat(moment).timestamp()
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{max(int(seconds), 0) // unit} {name} ago"
    return f"{int(seconds) // 86400} d ago"


def format_path(path: Path) -> str:
    """Return a path as it is shortest to type: relative to the current directory when it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
