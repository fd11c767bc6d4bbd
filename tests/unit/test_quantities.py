"""Counts, sizes and times read well."""

from __future__ import annotations

import pytest

from footplate.quantities import format_count, format_duration, format_size


def test_counts_have_their_word() -> None:
    assert format_count(1, "step") == "1 step"
    assert format_count(1540, "step") == "1,540 steps"
    assert format_count(1.389, "epoch") == "1.39 epochs"
    assert format_count(2, "class", "classes") == "2 classes"


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (51_900, "51.9 kB"),
        (999_600, "1 MB"),
        (1.84e9, "1.84 GB"),
        (79.6e9, "79.6 GB"),
        (5e12, "5 TB"),
    ],
)
def test_sizes_read_well(num_bytes: float, text: str) -> None:
    assert format_size(num_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 ms"),
        (0.0042, "4.2 ms"),
        (0.9999, "1 s"),
        (12.34, "12.3 s"),
        (59.9, "1 min"),
        (200, "3 min 20 s"),
        (3599.9, "1 h"),
        (42_000, "11 h 40 min"),
        (9.5 * 86400, "9 days 12 h"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
