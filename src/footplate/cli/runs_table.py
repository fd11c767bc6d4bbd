"""The options by which `footplate runs` chooses runs, and the forms in which it writes them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from footplate.cli.output import format_age, format_path, print_table, print_text, say
from footplate.errors import InputError
from footplate.quantities import format_count, format_duration

if TYPE_CHECKING:
    from footplate.runs.summary import Summary
    from footplate.runs.table import Selection

__all__ = ["Choice", "choose", "table_options", "tell_missing", "write"]

_OPTIONS = ("where", "sort", "descending", "columns", "form", "output")
_DEFAULT_COLUMNS = ("id", "name", "experiment", "state", "cause", "created_at", "duration_s")
_TIMES = ("created_at", "started_at", "ended_at")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which runs are wanted, in which order, and how they are written."""

    where: str | None
    sort: str | None
    descending: bool
    columns: tuple[str, ...]
    form: str | None
    output: Path | None

    @property
    def is_plain(self) -> bool:
        """Whether nothing of it was asked for."""
        return not (self.where or self.sort or self.columns or self.form or self.output)


def table_options(function: F) -> F:
    """Add the options to a verb, as one parameter ``choice``."""

    @click.option("--where", help="A condition: metrics.val/loss < 0.1 and state = succeeded.")
    @click.option("--sort", help="By a value, the smallest first: metrics.test/accuracy, duration_s …")
    @click.option("--desc", "descending", is_flag=True, help="The largest first.")
    @click.option("--columns", help="What to show: id,params.training.learning_rate,metrics.val/loss.")
    @click.option(
        "--format", "form", type=click.Choice(["csv", "json", "parquet"]), help="Write the values of columns."
    )
    @click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to; its ending chooses the format.")
    @functools.wraps(function)
    def collect(**values: Any) -> Any:
        own = {name: values.pop(name) for name in _OPTIONS}
        own["columns"] = tuple(filter(None, (word.strip() for word in (own["columns"] or "").split(","))))
        return function(choice=Choice(**own), **values)

    return collect  # type: ignore[return-value]  # the same, for click


def choose(summaries: Sequence[Summary], choice: Choice) -> Selection:
    """Return the runs that are wanted, in their order; InputError tells all names that mean nothing."""
    from footplate.runs.query import check_name, parse_query
    from footplate.runs.table import select

    problems = [problem for name in choice.columns if (problem := check_name(name))]
    if problems:
        raise InputError("\n  ".join(["--columns names what no run has:", *problems]))
    query = parse_query(choice.where, now=time.time()) if choice.where else None
    return select(summaries, query, sort=choice.sort or "", descending=choice.descending)


def write(selection: Selection, choice: Choice, shown: Sequence[Summary]) -> None:
    """Write the runs in the form that was asked for, or as a table."""
    form = choice.form or (choice.output.suffix.removeprefix(".") if choice.output else "")
    if form:
        from footplate.runs.table import FORMATS, write_table

        if form not in FORMATS:
            raise InputError(f"-o {choice.output}: no such format", hint=f"end it in .{', .'.join(FORMATS)}")
        columns = choice.columns or _list_columns(shown)
        text = write_table(shown, columns, form, choice.output)
        if choice.output is None:
            print_text(text.rstrip("\n"))
        else:
            say(f"{format_count(len(shown), 'run')} written to {format_path(choice.output)}")
    else:
        columns = choice.columns
        rows = [[_show(name, summary.find(name)) for name in columns] for summary in shown]
        print_table([name.removeprefix("metrics.").removeprefix("params.") for name in columns], rows)
    tell_missing(selection)


def tell_missing(selection: Selection) -> None:
    """Say how many runs lack what the condition asks for."""
    if selection.num_without:
        said = format_count(selection.num_without, "run lacks", "runs lack")
        say(f"{said} a value that the condition asks for")


def _list_columns(shown: Sequence[Summary]) -> tuple[str, ...]:
    """Return the facts, and every parameter and final metric that any of the runs has."""
    params = dict.fromkeys(f"params.{name}" for summary in shown for name in summary.params)
    metrics = dict.fromkeys(f"metrics.{name}" for summary in shown for name in summary.metrics)
    return (*_DEFAULT_COLUMNS, *params, *metrics)


def _show(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in _TIMES:
        from datetime import UTC, datetime

        return format_age(datetime.fromtimestamp(value, UTC).isoformat())
    if name == "duration_s":
        return format_duration(float(value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
