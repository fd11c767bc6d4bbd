"""``footplate report``: the page about a run."""

from __future__ import annotations

import click

from footplate.cli.names import find_run, run_argument
from footplate.cli.output import format_path, json_option, print_json, print_text, say
from footplate.cli.profile_options import with_examples

__all__ = ["command"]


@click.command("report")
@run_argument
@json_option
@with_examples("footplate report", "footplate report q3 > result.md")
def command(name: str | None, as_json: bool) -> None:
    """Write the page about RUN anew and print it; the newest run when none is named."""
    from footplate.record.state import get_status
    from footplate.runs.report import write_report

    found = find_run(name)
    path = write_report(found)
    if as_json:
        result = found.find_json("result.json") or {}
        print_json(
            {
                "run_id": found.id,
                "state": str(get_status(found).state),
                "report": str(path),
                "metrics": result.get("metrics") or {},
                "gates": result.get("gates") or [],
            }
        )
        return
    print_text(path.read_text(encoding="utf-8").rstrip())
    say(f"\nwritten to {format_path(path)}")
