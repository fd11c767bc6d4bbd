"""The report as HTML, PDF and markdown with charts: whole, self-contained, and what is in it is text."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pypdf import PdfReader
from recorded import add_attempt, end, make_metrics, make_run, write_entries

from footplate.record.rundir import RunDir
from footplate.tracking.report.write import render_report, write_report

EVIL = '<script>alert("x")</script>'


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = make_run(tmp_path, {}, name="digits")
    (run.path / "profile.yaml").write_text(f"notes: '{EVIL}'\ntraining: {{learning_rate: 0.1}}\n")
    attempt = add_attempt(run)
    steps = range(1, 61)
    write_entries(attempt.journal_path(), make_metrics(steps, train__loss=1.0, train__lr=0.1, train__grad_norm=2.0))
    write_entries(attempt.journal_path(), make_metrics(range(10, 61, 10), val__loss=1.5, val__accuracy=0.5))
    write_entries(attempt.journal_path("system"), make_metrics(range(30), system__cpu_percent=40.0))
    layer = {"low": -1.0, "high": 1.0, "counts": [1, 5, 2], "num_not_finite": 0}
    write_entries(
        attempt.journal_path(),
        [
            {"t": 1.0, "kind": "table", "name": "weights", "step": 60, "value": {"layers.0": layer}},
            {"t": 2.0, "kind": "event", "name": "best", "step": 50, "metric": "val/loss", "value": 1.5},
            {"t": 3.0, "kind": "event", "name": "out_of_memory", "step": 30, "batch_size": 64, "new_batch_size": 32},
            {"t": 4.0, "kind": "event", "name": "told", "step": 60, "text": EVIL},
        ],
    )
    run.write_json(
        "result.json",
        {
            "task": "classification",
            "metrics": {"test/accuracy": 0.75, "val/loss": 1.5, f"test/{EVIL}": 1.0},
            "gates": [{"name": "latency", "limit": 5.0, "value": 9.0, "passed": False}],
            "tables": {"confusion": [[3, 1], [0, 4]], "classes": ["cat", EVIL]},
        },
    )
    end(run, attempt)
    return run


class _Page(HTMLParser):
    """Collects the tags and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href")]
        self.ids |= {value or "" for name, value in attributes if name == "id"}


def test_the_html_page_needs_nothing_and_runs_nothing(run: RunDir) -> None:
    text = render_report(run, "html").decode()
    page = _Page(text)
    assert "script" not in page.tags
    assert EVIL not in text
    assert "&lt;script&gt;" in text
    assert all(address.startswith("#") and address[1:] in page.ids for address in page.addresses)
    assert not re.findall(r"@import|url\(", text)
    assert re.findall(r"https?://[^\"'\s]+", text) == ["http://www.w3.org/2000/svg"] * page.tags.count("svg")
    assert "default-src 'none'" in text
    assert len(text) < 1_000_000


def test_the_html_page_has_the_charts_that_fit(run: RunDir) -> None:
    text = render_report(run, "html").decode()
    titles = re.findall(r'aria-label="([^"]*)"', text)
    assert titles == [
        "Sections",
        "Loss",
        "accuracy (val)",
        "Learning rate",
        "Norm of the gradients",
        "Load, %",
        "Weights of layers.0",
        "Confusion matrix",
    ]
    assert ">best</text>" in text
    assert "out of memory, step 30" in text
    assert '<div class="card"><b>0.75</b><span>test/accuracy</span></div>' in text


def test_the_markdown_page_has_charts_beside_it_when_they_are_wanted(run: RunDir, tmp_path: Path) -> None:
    path = write_report(run, path=tmp_path / "page.md", with_plots=True)
    text = path.read_text()
    names = re.findall(r"!\[[^\]]*\]\((page_files/[^)]+\.svg)\)", text)
    assert len(names) == 7
    assert all((tmp_path / name).read_text().startswith("<svg") for name in names)
    assert "| **cat** | 3 | 1 |" in text
    assert "page_files" not in write_report(run, path=tmp_path / "page.md").read_text()


def test_the_pdf_page_can_be_read_again(run: RunDir) -> None:
    reader = PdfReader(io.BytesIO(render_report(run, "pdf")))
    text = "\n".join(page.extract_text() for page in reader.pages)
    for words in ("Run digits-", "test/accuracy", "0.75", "Loss", "Confusion matrix", "latency", "learning_rate"):
        assert words in text, words
    assert f"1 / {len(reader.pages)}" in text
    assert {str(one.title) for one in reader.outline if not isinstance(one, list)} | {
        str(one.title) for part in reader.outline if isinstance(part, list) for one in part
    } >= {"Result", "Curves", "Files"}


def test_a_million_values_make_a_small_page(tmp_path: Path) -> None:
    run = make_run(tmp_path, {})
    attempt = add_attempt(run)
    write_entries(attempt.journal_path(), make_metrics(range(20_000), train__loss=1.0, train__lr=0.1, own=3.0))
    text = render_report(run, "html")
    assert len(text) < 200_000


def test_a_run_of_a_command_and_one_that_was_hardly_recorded_have_a_page(tmp_path: Path) -> None:
    run = make_run(tmp_path, {}, kind="exec")
    for form in ("html", "pdf", "markdown"):
        assert render_report(run, form)  # type: ignore[arg-type]
    attempt = add_attempt(run)
    write_entries(attempt.journal_path(), make_metrics(range(9), reward=1.0))
    (run.path / "result.json").write_text("{ half")
    end(run, attempt, exit_code=1)
    text = render_report(run, "html").decode()
    assert 'aria-label="reward"' in text
    assert 'class="state failed"' in text
