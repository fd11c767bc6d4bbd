"""What was written to a journal is read back, whatever happens to the bytes around it."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from footplate.errors import InputError, RecordError
from footplate.record import journal as journal_module
from footplate.record.journal import Entry, Journal, count_damaged, read_events, read_journal, read_metrics
from footplate.record.rundir import RunDir


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.rank0.jsonl"


def _read_steps(path: Path, offset: int = 0) -> list[int]:
    return [entry.data["step"] for entry in read_journal(path, offset)]


def test_every_kind_comes_back(path: Path) -> None:
    with Journal(path) as journal:
        journal.metrics(3, {"train/loss": 0.1, "val/accuracy": 1})
        journal.event("start", total_steps=10, device="cpu")
        journal.params({"lr": 1e-3, "layers": (1, 2)})
        journal.table("confusion", 3, [[1, 2], [3, 4]])
        journal.rewind(2)
    entries = list(read_journal(path))
    assert [(entry.kind, dict(entry.data)) for entry in entries] == [
        ("metrics", {"step": 3, "values": {"train/loss": 0.1, "val/accuracy": 1.0}}),
        ("event", {"name": "start", "total_steps": 10, "device": "cpu"}),
        ("params", {"values": {"lr": 1e-3, "layers": [1, 2]}}),
        ("table", {"name": "confusion", "step": 3, "value": [[1, 2], [3, 4]]}),
        ("rewind", {"step": 2}),
    ]
    assert entries[-1].offset_after == path.stat().st_size
    assert all(1.7e9 < entry.time < 1e11 for entry in entries)
    assert count_damaged(path) == 0


def test_each_line_is_plain_json(path: Path) -> None:
    with Journal(path) as journal:
        journal.metrics(1, {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1e300, "e": -0.0})
        journal.event("odd", value=math.nan, inner={"x": [math.inf]})

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    first, second = (json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines())
    assert first["values"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": 1e300, "e": -0.0}
    assert second["inner"] == {"x": ["Infinity"]}
    values = next(read_journal(path)).data["values"]
    assert math.isnan(values["a"])
    assert (values["b"], values["c"]) == (math.inf, -math.inf)


@given(
    values=st.dictionaries(st.text(max_size=20).filter(lambda text: text.isprintable()), st.floats(), max_size=4),
    step=st.integers(0, 2**60),
)
def test_names_and_numbers_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, float], step: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    with Journal(path) as journal:
        journal.metrics(step, values)
    (entry,) = read_journal(path)
    assert entry.data["step"] == step
    assert repr(entry.data["values"]) == repr(values)


@pytest.mark.parametrize("name", ['quote"', "back\\slash", "line\nend", "tab\t", "zero\0", "lone \ud800", "größe", ""])
def test_any_name_is_escaped(path: Path, name: str) -> None:
    with Journal(path) as journal:
        journal.metrics(1, {name: 1.0})
        journal.metrics(2, {name: 2.0})
    assert [entry.data["values"] for entry in read_journal(path)] == [{name: 1.0}, {name: 2.0}]


def test_numbers_of_other_libraries_are_numbers(path: Path) -> None:
    torch = pytest.importorskip("torch")
    with Journal(path) as journal:
        journal.metrics(
            np.int64(1), {"a": np.float32(0.5), "b": np.array(2.0), "c": torch.tensor(0.25), "d": True, "e": "3"}
        )
        journal.table("t", 1, np.array([[1, 2]]))
        journal.event("e", where=Path("/x"), when=torch.tensor([1.0]))
    entries = list(read_journal(path))
    assert entries[0].data["values"] == {"a": 0.5, "b": 2.0, "c": 0.25, "d": 1.0, "e": 3.0}
    assert entries[1].data["value"] == [[1, 2]]
    assert (entries[2].data["where"], entries[2].data["when"]) == ("/x", [1.0])


def test_what_is_no_number_is_named(path: Path) -> None:
    with Journal(path) as journal:
        with pytest.raises(InputError, match="metric 'loss' is not a number: 'high'"):
            journal.metrics(1, {"loss": "high"})  # type: ignore[dict-item]
        with pytest.raises(InputError, match="kind cannot be the name of a field"):
            journal.event("x", kind=1)
    assert list(read_journal(path)) == []


def test_a_closed_journal_says_so(path: Path) -> None:
    journal = Journal(path)
    journal.close()
    journal.close()
    with pytest.raises(RecordError, match="closed"):
        journal.metrics(1, {})


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"nowhere/j: the journal cannot be opened: No such file"):
        Journal(tmp_path / "nowhere" / "j")


def test_reading_goes_on_where_it_stopped(path: Path) -> None:
    assert list(read_journal(path)) == []
    with Journal(path) as journal:
        journal.metrics(1, {"a": 1})
        (first,) = read_journal(path)
        journal.metrics(2, {"a": 2})
        (second,) = read_journal(path, first.offset_after)
        assert second.data["step"] == 2
        assert list(read_journal(path, second.offset_after)) == []


def test_an_unfinished_last_line_is_left_until_it_is_whole(path: Path) -> None:
    with Journal(path) as journal:
        journal.metrics(1, {"a": 1})
        journal.metrics(2, {"a": 2})
    whole = path.read_bytes()
    for cut in range(1, len(whole) // 2):
        path.write_bytes(whole[:-cut])
        assert _read_steps(path) == [1]
        assert count_damaged(path) == 0


_ENTRIES = 4


def _write_entries(path: Path) -> list[int]:
    """Write entries numbered from 0 and return where each ends."""
    with Journal(path) as journal:
        for step in range(_ENTRIES):
            journal.metrics(step, {"train/loss": 0.5 / (step + 1), 'odd "name"': math.nan})
    return [entry.offset_after for entry in read_journal(path)]


@given(data=st.data())
def test_a_cut_at_any_byte_loses_only_the_line_it_hits(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    ends = _write_entries(path)
    cut = data.draw(st.integers(0, ends[-1]))
    os.truncate(path, cut)
    with Journal(path) as journal:
        journal.metrics(100, {"a": 1})
        journal.metrics(101, {"a": 1})
    # A line that lacks nothing but its end is whole again when the next one begins.
    assert _read_steps(path) == [step for step, end in enumerate(ends) if end - 1 <= cut] + [100, 101]
    assert count_damaged(path) <= 1


@given(data=st.data())
def test_a_wrong_byte_anywhere_loses_only_the_line_it_hits(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    ends = _write_entries(path)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    wrong = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    content[at] = wrong
    path.write_bytes(content)
    with Journal(path) as journal:
        journal.metrics(100, {"a": 1})
    hit = next(step for step, end in enumerate(ends) if at < end)
    others = [step for step in range(_ENTRIES) if step != hit]
    # A wrong byte in the place of a line's end harms neither of the lines it glues together.
    expected = range(_ENTRIES) if at == ends[hit] - 1 else others
    assert _read_steps(path) == [*expected, 100]


@given(junk=st.binary(max_size=60))
def test_junk_at_the_end_is_survived(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    _write_entries(path)
    with open(path, "ab") as file:
        file.write(junk)
    with Journal(path) as journal:
        journal.metrics(100, {"a": 1})
    assert _read_steps(path) == [*range(_ENTRIES), 100]


def test_lines_across_the_chunks_of_a_large_file_are_read(path: Path) -> None:
    with Journal(path) as journal:
        for step in range(300):
            journal.table("big", step, "x" * 10_000)
    assert _read_steps(path) == list(range(300))


def test_threads_never_mix_their_lines(path: Path) -> None:
    def write(start: int) -> None:
        for step in range(start, start + 500):
            journal.metrics(step, {"a": step})

    with Journal(path) as journal:
        threads = [threading.Thread(target=write, args=(500 * number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert sorted(_read_steps(path)) == list(range(2000))
    assert count_damaged(path) == 0


def test_a_signal_handler_may_write_too(path: Path) -> None:
    with Journal(path) as journal:
        before = signal.signal(signal.SIGALRM, lambda *_: journal.event("alarm"))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        for step in range(5000):
            journal.metrics(step, {"a": 1})
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    entries = list(read_journal(path))
    assert [entry.data["step"] for entry in entries if entry.kind == "metrics"] == list(range(5000))
    assert any(entry.kind == "event" for entry in entries)


@contextmanager
def _full_disk(path: Path, room: int = 0) -> Iterator[None]:
    """Let no file of this process grow beyond a size: a write there fails as it does on a full disk.

    It is over before the test is, as pytest's own report may go to a file.
    """
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


@pytest.mark.parametrize("room", [0, 1, 30, 100])
def test_a_full_disk_never_reaches_the_training_and_loses_nothing(path: Path, room: int) -> None:
    with Journal(path) as journal:
        journal.metrics(0, {"a": 1})
        with _full_disk(path, room):
            for step in range(1, 50):
                journal.metrics(step, {"a": 1})
            assert len(_read_steps(path)) < 50
        journal.metrics(50, {"a": 1})
        assert _read_steps(path) == list(range(51))
    assert count_damaged(path) <= 1


def test_what_waits_is_written_at_the_end(path: Path) -> None:
    journal = Journal(path)
    with _full_disk(path):
        journal.metrics(1, {"a": 1})
    journal.close()
    assert _read_steps(path) == [1]


def test_what_had_to_be_dropped_is_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_MAX_WAITING_BYTES", 1000)
    with Journal(path) as journal:
        with _full_disk(path):
            for step in range(100):
                journal.metrics(step, {"a": 1})
        journal.metrics(100, {"a": 1})
    entries = list(read_journal(path))
    kept = [entry.data["step"] for entry in entries if entry.kind == "metrics"]
    (dropped,) = [entry.data for entry in entries if entry.kind == "event"]
    assert dropped == {"name": "journal_dropped", "num_entries": 101 - len(kept)}
    assert kept == list(range(101 - len(kept), 101))


def test_closing_on_a_full_disk_is_quiet(path: Path) -> None:
    journal = Journal(path)
    with _full_disk(path):
        journal.metrics(1, {"a": 1})
        journal.close()


def test_the_last_value_of_a_step_counts_over_attempts_and_rewinds(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "x")
    with Journal(run.new_attempt().journal_path()) as journal:
        for step in range(1, 6):
            journal.metrics(step, {"loss": step, "early": step})
        journal.event("interrupted")
    second = run.new_attempt()
    with Journal(second.journal_path()) as journal:
        journal.rewind(3)
        journal.metrics(4, {"loss": 40})
        journal.metrics(4, {"loss": 41})
    with Journal(second.journal_path("system")) as journal:
        journal.metrics(90, {"system/cpu_percent": 5})
        journal.event("watched")
    metrics = {name: [(point.step, point.value) for point in points] for name, points in read_metrics(run).items()}
    assert metrics == {
        "early": [(1, 1.0), (2, 2.0), (3, 3.0)],
        "loss": [(1, 1.0), (2, 2.0), (3, 3.0), (4, 41.0)],
        "system/cpu_percent": [(90, 5.0)],
    }
    assert [event.data["name"] for event in read_events(run)] == ["interrupted", "watched"]


def test_a_metric_that_was_rewound_away_is_gone(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "x")
    assert read_metrics(run) == {}
    with Journal(run.new_attempt().journal_path()) as journal:
        journal.metrics(5, {"loss": 1})
        journal.rewind(0)
    assert read_metrics(run) == {}


def test_entries_can_be_compared(path: Path) -> None:
    assert Entry("event", 1.0, {"name": "x"}, 10) == Entry("event", 1.0, {"name": "x"}, 10)
