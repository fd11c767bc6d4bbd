"""Writes the page about a run into its directory, or elsewhere."""

from __future__ import annotations

import shutil
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from footplate.errors import RecordError
from footplate.record.redact import Redactor, read_redactor
from footplate.record.rundir import RunDir
from footplate.tracking.charts.chart import Chart
from footplate.tracking.charts.svg import render_svg
from footplate.tracking.report.html import render_html
from footplate.tracking.report.markdown import name_chart, render_markdown
from footplate.tracking.report.pdf import render_pdf
from footplate.tracking.report.sections import describe_run
from footplate.tracking.report.seen import read_run

__all__ = ["FORMATS", "Format", "render_report", "write_report"]

Format = Literal["markdown", "html", "pdf"]
FORMATS: tuple[Format, ...] = get_args(Format)
_ENDINGS: dict[Format, str] = {"markdown": ".md", "html": ".html", "pdf": ".pdf"}


def write_report(run: RunDir, *, form: Format = "markdown", path: Path | None = None, with_plots: bool = False) -> Path:
    """Write the page anew and return its path; by default ``report.*`` in the run directory.

    HTML and PDF have charts; markdown has them, in a folder beside it, ``with_plots``. RecordError when it cannot be
    written, MissingExtraError where a PDF needs a library that is not there.
    """
    target = path or run.path / f"report{_ENDINGS[form]}"
    try:
        target.write_bytes(render_report(run, form, target.with_name(f"{target.stem}_files") if with_plots else None))
    except OSError as error:
        raise RecordError(
            f"{target}: the report cannot be written: {error.strerror}", hint="is the disk full?"
        ) from error
    return target


def render_report(run: RunDir, form: Format = "markdown", plots: Path | None = None) -> bytes:
    """Return the page as it is written to a file; the charts of markdown go to the folder ``plots``."""
    seen = read_run(run)
    blocks = describe_run(seen)
    if (redactor := read_redactor(run)) is not None:
        blocks = [_clean(block, redactor) for block in blocks]
    if form == "html":
        return render_html(seen, blocks).encode()
    if form == "pdf":
        return render_pdf(blocks)
    if plots is None:
        return render_markdown(blocks).encode()
    folder = plots
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    placed: list[str] = []

    def place(chart: Chart) -> str:
        placed.append(name_chart(chart, len(placed) + 1))
        (folder / placed[-1]).write_text(render_svg(chart, with_style=True), encoding="utf-8")
        return f"{folder.name}/{placed[-1]}"

    return render_markdown(blocks, place).encode()


def _clean(value: Any, redactor: Redactor) -> Any:
    """Return a block with the texts in it cleaned."""
    if isinstance(value, (str, dict)):
        return redactor.clean(value)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(_clean(item, redactor) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _clean(getattr(value, one.name), redactor) for one in fields(value)})
    return value
