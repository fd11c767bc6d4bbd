"""Sizes, durations, ages and tables as people read them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from footplate.cli.output import format_age, format_fact, format_path, print_table


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, "-"),
        ("2026-01-01T12:00:00+00:00", "0 s ago"),
        ("2026-01-01T12:00:05+00:00", "0 s ago"),
        ("2026-01-01T11:58:01+00:00", "1 min ago"),
        ("2026-01-01T10:00:00+00:00", "2 h ago"),
        ("2025-12-25T12:00:00+00:00", "7 d ago"),
    ],
)
def test_ages(moment: str | None, text: str) -> None:
    assert format_age(moment, now=datetime(2026, 1, 1, 12, tzinfo=UTC)) == text


def test_a_path_below_is_shown_relative(tmp_path: Path) -> None:
    assert format_path(tmp_path / "runs" / "a") == "runs/a"
    assert format_path(Path("/etc/hosts")) == "/etc/hosts"


def test_a_table_is_aligned_and_cut_to_the_width(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["a", "1", "short"], ["long name", "100", "a text that is too long to be shown"]]
    print_table(["NAME", "N", "TEXT"], rows, right=[1], width=30)
    assert capsys.readouterr().out.splitlines() == [
        "NAME         N  TEXT",
        "a            1  short",
        "long name  100  a text that i…",
    ]
    print_table(["NAME", "N", "TEXT"], rows)
    assert "too long to be shown" in capsys.readouterr().out


def test_a_fact_is_wrapped_beside_its_label() -> None:
    lines = format_fact("evidence", "word " * 30).splitlines()
    assert lines[0].startswith("  evidence    word word")
    assert lines[1].startswith("              word word")
    assert max(map(len, lines)) <= 80
