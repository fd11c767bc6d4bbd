"""``footplate report``: the page about a run."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from footplate.cli.names import find_run, run_argument
from footplate.cli.output import format_path, json_option, print_json, print_text, say
from footplate.cli.profile_options import with_examples

if TYPE_CHECKING:
    from footplate.tracking.report.write import Format

__all__ = ["command"]

_BY_ENDING: dict[str, Format] = {".md": "markdown", ".html": "html", ".htm": "html", ".pdf": "pdf"}


@click.command("report")
@run_argument
@click.option("--format", "form", type=click.Choice(["markdown", "html", "pdf"]), help="By default markdown.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to; its ending chooses the format.")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser, as HTML.")
@json_option
@with_examples("footplate report", "footplate report q3 --open", "footplate report q3 -o result.pdf")
def command(name: str | None, form: Format | None, output: Path | None, opens: bool, as_json: bool) -> None:
    """Write the page about RUN anew; the newest run when none is named.

    Markdown is printed too; HTML is one file with charts, that needs nothing else; PDF needs the extra plots.
    """
    from footplate.record.state import get_status
    from footplate.tracking.report.write import write_report

    found = find_run(name)
    chosen = form or (_BY_ENDING.get(output.suffix.lower()) if output else None) or ("html" if opens else "markdown")
    path = write_report(found, form=chosen, path=output)
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
    elif chosen == "markdown":
        print_text(path.read_text(encoding="utf-8").rstrip())
    if not as_json:
        say(f"written to {format_path(path)}" if chosen != "markdown" else f"\nwritten to {format_path(path)}")
    if opens and not webbrowser.open(path.absolute().as_uri()):
        say(f"no browser could be opened; open it yourself: {path.absolute().as_uri()}")
