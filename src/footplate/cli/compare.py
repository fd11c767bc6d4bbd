"""footplate compare: what differs between runs."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from footplate.cli.names import complete_run
from footplate.cli.output import format_path, json_option, print_json, print_table, print_text, say
from footplate.cli.profile_options import with_examples
from footplate.errors import InputError
from footplate.quantities import format_count, format_duration
from footplate.record.rundir import RunDir
from footplate.runs.store import Store

if TYPE_CHECKING:
    from footplate.runs.compare import Comparison, Difference

__all__ = ["command"]

_MAX_RUNS = 20
_MAX_SHOWN = 40
_SIDE_BY_SIDE = 3
"""So many runs have a column each in 80 columns; more have a line each."""
_TITLES = {
    "result": "Result",
    "profile": "Profile",
    "code": "Code",
    "data": "Data",
    "environment": "Environment",
}


@click.command("compare")
@click.argument("names", metavar="RUN...", nargs=-1, shell_complete=complete_run)
@click.option("--experiment", help="The runs of this experiment, the newest 20.")
@click.option("--html", "as_html", is_flag=True, help="Write a page with the curves over each other.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to; by default compare.html.")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@json_option
@with_examples("footplate compare q3 q7", "footplate compare --experiment wings --open")
def command(
    names: tuple[str, ...], experiment: str | None, as_html: bool, output: Path | None, opens: bool, as_json: bool
) -> None:
    """Say what differs between runs: result, profile, code, data, environment.

    What is the same is counted, not listed. Of a metric the best value is marked with *.
    """
    from footplate.runs.compare import compare

    comparison = compare(_find(names, experiment))
    path = None
    if as_html or output or opens:
        from footplate.runs.compare_page import write_page

        path = write_page(comparison, output or Path("compare.html"))
    if as_json:
        print_json(_to_json(comparison, path))
    elif path is None:
        _print(comparison)
    if path is not None:
        if not as_json:
            say(f"written to {format_path(path)}")
        if opens and not webbrowser.open(path.absolute().as_uri()):
            say(f"no browser could be opened; open it yourself: {path.absolute().as_uri()}")


def _find(names: tuple[str, ...], experiment: str | None) -> list[RunDir]:
    if bool(names) == bool(experiment):
        raise InputError("name two runs or more, or an experiment", hint="footplate compare q3 q7")
    with Store() as store:
        if names:
            found = [store.find(name) for name in names]
        else:
            stored = [one for one in store.list() if one.experiment == experiment and one.exists]
            found = [RunDir(path=one.path) for one in stored[:_MAX_RUNS]]
            if not found:
                known = sorted({one.experiment for one in store.list() if one.experiment})
                hint = f"there are {', '.join(known[:8])}" if known else "footplate run --experiment NAME …"
                raise InputError(f"there is no run of experiment {experiment!r}", hint=hint)
    if len(found) > _MAX_RUNS:
        raise InputError(f"{len(found)} runs are too many to be compared", hint=f"at most {_MAX_RUNS}")
    return found


def _print(comparison: Comparison) -> None:
    shorts = [run_id[-6:] for run_id in comparison.ids]
    for section, title in _TITLES.items():
        found = [one for one in comparison.differences if one.section == section]
        if not found:
            continue
        print_text(title)
        rows = [[one.name, *_show_values(one)] for one in found[:_MAX_SHOWN]]
        if len(shorts) <= _SIDE_BY_SIDE:
            print_table(["", *comparison.ids], rows)
        else:
            columns = list(zip(*rows, strict=True))
            print_table(
                ["RUN", *columns[0]], [[short, *values] for short, values in zip(shorts, columns[1:], strict=True)]
            )
        if found[_MAX_SHOWN:]:
            print_text(f"… and {len(found) - _MAX_SHOWN} more: --json has all")
        print_text("")
    same = [
        f"{title.lower()} ({count})"
        for section, title in _TITLES.items()
        if (count := _count_equal(comparison, section))
    ]
    say(f"the same in all {len(shorts)}: {', '.join(same) if same else 'nothing'}")


def _count_equal(comparison: Comparison, section: str) -> str:
    count = comparison.num_equal.get(section, 0)
    return format_count(count, "value") if count else ""


def _show_values(one: Difference) -> list[str]:
    return [_show(one.name, value) + ("*" if index == one.best else "") for index, value in enumerate(one.values)]


def _show(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name == "duration_s":
        return format_duration(float(value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _to_json(comparison: Comparison, path: Path | None) -> dict[str, Any]:
    return {
        "runs": list(comparison.ids),
        "differences": [
            {"section": one.section, "name": one.name, "values": list(one.values), "best": one.best}
            for one in comparison.differences
        ],
        "equal": dict(comparison.num_equal),
        "page": None if path is None else str(path),
    }
