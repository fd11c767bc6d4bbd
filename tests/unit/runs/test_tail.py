"""Tails: what is new, from the place that was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from footplate.runs.tail import LogTail


def read(path: Path, num_lines: int | None) -> str:
    return "".join(LogTail(path, num_lines=num_lines).read(final=True))


@pytest.mark.parametrize(
    ("num_lines", "text"), [(None, "a\nb\nc\n"), (0, ""), (1, "c\n"), (2, "b\nc\n"), (3, "a\nb\nc\n"), (9, "a\nb\nc\n")]
)
def test_begins_with_the_last_lines(tmp_path: Path, num_lines: int | None, text: str) -> None:
    (tmp_path / "log").write_text("a\nb\nc\n")
    assert read(tmp_path / "log", num_lines) == text


def test_a_last_line_without_an_end_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a\nb\nc")
    assert read(tmp_path / "log", 1) == "c"
    assert read(tmp_path / "log", 2) == "b\nc"


def test_looks_for_the_lines_over_the_parts_of_a_large_log(tmp_path: Path) -> None:
    long = "x" * 700_000
    (tmp_path / "log").write_text(f"{long}\n{long}\n{long}\n\n")
    assert read(tmp_path / "log", 3) == f"{long}\n{long}\n\n"
    assert read(tmp_path / "log", 4) == f"{long}\n{long}\n{long}\n\n"


def test_a_log_that_is_not_there_yet_begins_at_its_beginning(tmp_path: Path) -> None:
    tail = LogTail(tmp_path / "log", num_lines=1)
    assert list(tail.read()) == []
    (tmp_path / "log").write_text("a\nb\n")
    assert "".join(tail.read()) == "a\nb\n"
