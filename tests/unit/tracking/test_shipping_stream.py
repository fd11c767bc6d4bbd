"""What trackers are told: everything once, in the order of the journals, from any position."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from recorded import add_attempt, make_metrics, make_run, write_entries

from footplate.record.rundir import RunDir
from footplate.tracking.shipping import stream
from footplate.tracking.shipping.stream import Batch, Stream, count_waiting_bytes


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return make_run(tmp_path, {})


def read_all(run: RunDir, max_values: int = 7) -> list[Batch]:
    """Return all batches, each read by a stream that knows nothing but the position."""
    batches: list[Batch] = []
    positions: dict[str, int] = {}
    while True:
        batch = Stream(run, positions).read(max_values)
        if batch.positions == positions:
            return batches
        batches.append(batch)
        positions = dict(batch.positions)


def list_values(batches: list[Batch], name: str) -> list[tuple[int, float]]:
    return [
        (record.entry.data["step"], record.entry.data["values"][name])
        for batch in batches
        for record in batch.records
        if record.entry.kind == "metrics" and name in record.entry.data["values"]
    ]


def test_everything_is_read_once_whatever_the_size_of_the_batches(run: RunDir) -> None:
    attempt = add_attempt(run)
    write_entries(attempt.journal_path(), make_metrics(range(40), train__loss=0.5, train__lr=0.1))
    write_entries(attempt.journal_path("system"), make_metrics(range(5), system__cpu_percent=3.0))
    for max_values in (1, 7, 1000):
        batches = read_all(run, max_values)
        assert list_values(batches, "train/loss") == [(step, step + 0.5) for step in range(40)]
        assert list_values(batches, "system/cpu_percent") == [(step, step + 3.0) for step in range(5)]
        assert sum(batch.num_values for batch in batches) == 85


def test_a_stream_follows_what_is_written_and_goes_on_only_when_told(run: RunDir) -> None:
    attempt = add_attempt(run)
    stream = Stream(run, {})
    assert stream.read(10).records == ()
    write_entries(attempt.journal_path(), make_metrics(range(3), loss=0.0))
    assert stream.read(10).num_values == 3
    batch = stream.read(10)  # the tracker did not take it: it comes again
    assert batch.num_values == 3
    stream.advance(batch)
    assert stream.read(10).records == ()
    write_entries(attempt.journal_path(), make_metrics(range(3, 5), loss=0.0))
    assert [record.entry.data["step"] for record in stream.read(10).records] == [3, 4]
    assert count_waiting_bytes(run, batch.positions) > 0


def test_a_torn_line_at_the_end_waits_for_its_rest(run: RunDir) -> None:
    path = add_attempt(run).journal_path()
    write_entries(path, make_metrics(range(2), loss=0.0))
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    batch = Stream(run, {}).read(10)
    assert batch.num_values == 1
    path.write_bytes(whole)
    assert list_values([Stream(run, batch.positions).read(10)], "loss") == [(1, 1.0)]


@pytest.mark.parametrize("max_values", [1, 3, 1000])
def test_steps_that_a_resume_does_again_are_told_once_unless_they_changed(run: RunDir, max_values: int) -> None:
    write_entries(add_attempt(run).journal_path(), make_metrics(range(10), loss=0.5, speed=100.0))
    second = add_attempt(run).journal_path()
    write_entries(second, [{"t": 1.0, "kind": "rewind", "step": 4}])
    write_entries(second, make_metrics(range(5, 14), loss=0.5))
    write_entries(second, make_metrics(range(5, 14), speed=90.0))
    third = add_attempt(run).journal_path()
    write_entries(third, [{"t": 1.0, "kind": "rewind", "step": 11}])
    write_entries(third, make_metrics(range(12, 16), loss=0.5))
    batches = read_all(run, max_values)
    assert list_values(batches, "loss") == [(step, step + 0.5) for step in range(16)]
    speeds = list_values(batches, "speed")
    assert speeds == [(step, step + 100.0) for step in range(10)] + [(step, step + 90.0) for step in range(5, 14)]


@pytest.mark.parametrize("max_remembered", [1, 5, 24])
def test_steps_done_again_are_compared_whatever_there_is_room_to_remember(
    run: RunDir, max_remembered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_MAX_REMEMBERED", max_remembered)  # a number, which a test cannot fill in time
    write_entries(add_attempt(run).journal_path(), make_metrics(range(30), loss=0.5, speed=100.0))
    second = add_attempt(run).journal_path()
    write_entries(second, [{"t": 1.0, "kind": "rewind", "step": 0}])
    write_entries(second, make_metrics(range(1, 40), loss=0.5))
    write_entries(second, make_metrics(range(1, 40), speed=100.0))  # steps go back within the attempt
    for max_values in (4, 1000):
        batches = read_all(run, max_values)
        assert list_values(batches, "loss") == [(step, step + 0.5) for step in range(40)]
        assert list_values(batches, "speed") == [(step, step + 100.0) for step in range(40)]


def test_a_step_that_is_not_a_number_twice_is_told_once(run: RunDir) -> None:
    entry = {"t": 1.0, "kind": "metrics", "step": 3, "values": {"loss": "NaN"}}
    write_entries(add_attempt(run).journal_path(), [entry])
    second = add_attempt(run).journal_path()
    write_entries(second, [{"t": 2.0, "kind": "rewind", "step": 2}, entry])
    [(step, value)] = list_values(read_all(run), "loss")
    assert step == 3
    assert math.isnan(value)


def test_another_source_is_not_compared_with_one_that_was_rewound(run: RunDir) -> None:
    first = add_attempt(run)
    write_entries(first.journal_path("system"), make_metrics(range(5), system__cpu_percent=1.0))
    second = add_attempt(run)
    write_entries(second.journal_path(), [{"t": 1.0, "kind": "rewind", "step": 0}])
    write_entries(second.journal_path("system"), make_metrics(range(3, 6), system__cpu_percent=1.0))
    told = list_values(read_all(run), "system/cpu_percent")
    assert [step for step, _ in told] == [0, 1, 2, 3, 4, 3, 4, 5]


def test_a_clock_that_jumps_changes_neither_number_nor_order(run: RunDir) -> None:
    path = add_attempt(run).journal_path()
    write_entries(path, make_metrics(range(5), start=2_000_000_000.0, loss=0.0))
    write_entries(path, make_metrics(range(5, 9), start=1_000_000_000.0, loss=0.0))
    assert [step for step, _ in list_values(read_all(run), "loss")] == list(range(9))
