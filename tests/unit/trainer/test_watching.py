"""What watches from beside the loop: stalls, heat and memory that is nearly used up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from footplate.record.cause import Cause, Ending, classify_ending
from footplate.record.journal import Journal, read_journal
from footplate.trainer.memory import limits as memory
from footplate.trainer.monitors import heat as heat_module
from footplate.trainer.monitors import stall as stall_module
from footplate.trainer.monitors.heat import HeatLimits, HeatWatch, find_sensor
from footplate.trainer.monitors.memory_guard import MemoryGuard
from footplate.trainer.monitors.stall import StallWatch, describe_place
from footplate.trainer.monitors.watchman import Look, Watchman
from footplate.trainer.progress import Progress

Train = Callable[..., Any]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.rank0.jsonl") as journal:
        yield journal


def read_events(journal: Journal) -> list[dict[str, Any]]:
    return [dict(entry.data) for entry in read_journal(journal.path) if entry.kind == "event"]


class Clock:
    """Stands for the module `time`; a wait moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stall_module, "time", clock)
    monkeypatch.setattr(heat_module, "time", clock)
    return clock


def test_a_stall_is_told_once_with_the_stacks_and_where_it_hangs(
    journal: Journal, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    watch = StallWatch(60, journal)
    progress = Progress(num_train=10, step=7)
    watch.on_start(progress)
    watch.on_step(progress)
    for now in (101, 130, 159, 161, 170, 220):
        clock.now = now
        watch.look()
    events = [event for event in read_events(journal) if event["name"] == "stall"]
    assert [(event["step"], event["waited_s"]) for event in events] == [(7, 60.0)]
    assert "test_a_stall_is_told_once" in caplog.text  # the stack of this very thread
    watch.on_step(Progress(num_train=10, step=8))
    clock.now = 230
    watch.look()
    clock.now = 291
    watch.look()
    assert [event["step"] for event in read_events(journal) if event["name"] == "stall"] == [7, 8]


def test_batches_of_an_evaluation_are_no_stall(journal: Journal, clock: Clock) -> None:
    watch = StallWatch(60, journal)
    watch.on_start(Progress(num_train=10))
    watch.on_step(Progress(num_train=10, step=1))
    for _ in range(10):
        clock.now += 50
        watch.beat()
        watch.look()
    assert read_events(journal) == []


def test_the_first_step_may_take_longer(journal: Journal, clock: Clock) -> None:
    watch = StallWatch(60, journal)
    watch.on_start(Progress(num_train=10))
    watch.look()
    clock.now += 299
    watch.look()
    assert read_events(journal) == []
    clock.now += 2
    watch.look()
    assert len(read_events(journal)) == 1


def test_one_that_waits_for_another_lets_that_one_speak_first(
    journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[tuple[str, int]] = []
    watch = StallWatch(60, journal, on_stall=lambda told, step: ended.append((told, step)))
    watch.on_start(Progress(num_train=10))
    watch.on_step(Progress(num_train=10, step=3))
    watch.look()
    monkeypatch.setattr(stall_module, "describe_place", lambda frame: stall_module._PLACES[0][0])
    clock.now += 80
    watch.look()
    assert ended == []
    clock.now += 20
    watch.look()
    assert [step for _, step in ended] == [3]
    assert "in the exchange with the other processes" in ended[0][0]


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("site-packages/torch/distributed/distributed_c10d.py", "the exchange with the other processes"),
        ("footplate/trainer/loading/feed.py", "data loading"),
        ("footplate/trainer/evaluate.py", "an evaluation"),
        ("footplate/trainer/stepper.py", "the forward pass"),
        ("elsewhere.py", "a place that is not known"),
    ],
)
def test_a_place_is_named_by_the_innermost_file_that_is_known(file: str, place: str) -> None:
    scope: dict[str, Any] = {}
    exec(compile("def call(inner): return inner()", f"/x/{file}", "exec"), scope)
    import sys

    assert scope["call"](lambda: describe_place(sys._getframe())) == place


def test_an_attempt_that_was_ended_for_a_stall_has_that_cause() -> None:
    told = "error: stalled: no step was finished for 60 s after step 7, in data loading"
    for line in (told, f"rank 2: {told}"):
        cause, evidence = classify_ending(Ending(exit_code=1, log_tail=f"step 7\n{line}\n"))
        assert cause is Cause.stalled
        assert "in data loading" in evidence


def test_it_pauses_above_the_limit_and_goes_on_five_degrees_below(journal: Journal, clock: Clock) -> None:
    degrees = iter([80.0, 92.0, 92.0, 91.0, 88.0, 86.0, 85.0, 84.0])
    beats: list[int] = []
    watch = HeatWatch(
        lambda: next(degrees), HeatLimits(pauses_above=90), journal, beat=lambda: beats.append(1), wait=clock.wait
    )
    watch.look()  # 80
    watch.on_step(Progress(num_train=1, step=1))
    assert watch.paused_s == 0
    watch.look()  # 92
    watch.on_step(Progress(num_train=1, step=2))
    assert next(degrees) == 84
    assert len(beats) == 4
    assert read_events(journal)[0] | {"name": "thermal_pause"} == {
        "name": "thermal_pause",
        "step": 2,
        "temperature_c": 92.0,
        "resumed_at_c": 85.0,
        "paused_s": 4.0,
    }
    watch.on_step(Progress(num_train=1, step=3))
    assert watch.paused_s == 4.0


def test_a_pause_ends_when_someone_asks_to_stop_and_in_time_for_the_other_processes(
    journal: Journal, clock: Clock
) -> None:
    limits = HeatLimits(pauses_above=90, longest_pause_s=10)
    watch = HeatWatch(lambda: 95.0, limits, journal, wait=clock.wait)
    watch.look()
    watch.on_step(Progress(num_train=1, step=1))
    watch.on_step(Progress(num_train=1, step=2))
    assert watch.paused_s == 20
    stopped = HeatWatch(lambda: 95.0, HeatLimits(pauses_above=90), journal, should_stop=lambda: True, wait=clock.wait)
    stopped.look()
    stopped.on_step(Progress(num_train=1, step=1))
    assert stopped.paused_s == 0


def test_heat_is_warned_of_once(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    degrees = iter([70.0, 81.0, 82.0, 79.0, 81.0, 74.0, 81.0])
    watch = HeatWatch(lambda: next(degrees), HeatLimits(warns_above=80), journal)
    for _ in range(7):
        watch.look()
    assert [event["temperature_c"] for event in read_events(journal)] == [81.0, 81.0]
    assert "monitoring.temperature_threshold_celsius: 80" in caplog.text


def test_the_hottest_zone_of_a_board_counts(tmp_path: Path) -> None:
    for number, text in enumerate(("45000", "61500", "asleep")):
        (tmp_path / f"thermal_zone{number}").mkdir()
        (tmp_path / f"thermal_zone{number}" / "temp").write_text(text)
    sensor = find_sensor(torch.device("cpu"), zones=tmp_path)
    assert sensor is not None
    assert sensor() == 61.5


def test_a_training_that_is_too_hot_pauses(train: Train, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    degrees = iter([95.0, 95.0, 94.0])
    hot = threading.Event()

    def read() -> float:
        hot.set()
        return next(degrees, 60.0)

    monkeypatch.setattr("footplate.trainer.monitors.find_sensor", lambda device: read)
    monkeypatch.setattr(HeatWatch, "on_step", lambda self, progress: (hot.wait(120), _ON_STEP(self, progress)))
    monkeypatch.setattr(clock, "sleep", clock.wait, raising=False)
    trained = train(
        "power_management.enable_thermal_throttling=true",
        "power_management.max_temperature_celsius=90",
        "monitoring.health_check_interval=0.5",
    )
    pauses = trained.get_events("thermal_pause")
    assert len(pauses) == 1
    assert pauses[0]["temperature_c"] == 95
    assert trained.result["stopped_by"] == "max_epochs"


_ON_STEP = HeatWatch.on_step


def test_a_look_that_fails_is_told_once_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    seen = threading.Event()
    calls = []

    def fail() -> None:
        calls.append(1)
        raise OSError("no such sensor")

    def count() -> None:
        calls.append(2)
        if calls.count(2) > 3:
            seen.set()

    looks = [Look(name="heat", interval_s=0.01, run=fail), Look(name="rest", interval_s=0.01, run=count)]
    watchman = Watchman(looks)
    with caplog.at_level(logging.ERROR, "footplate"):
        watchman.on_start(Progress(num_train=1))
        assert seen.wait(120)
        watchman.close()
    assert calls.count(1) == 1
    assert "heat is not watched any more: no such sensor" in caplog.text


class Answers:
    """Stands for the recovery."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ready = True

    def can_answer(self, *, after_steps: int) -> bool:
        return self.ready and after_steps > 0

    def ask_smaller(self, reason: str) -> None:
        self.asked.append(reason)


def make_group(folder: Path, version: int, *, limit: int, used: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    limit_name, used_name = (
        ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    )
    (folder / limit_name).write_text(f"{limit}\n")
    (folder / used_name).write_text(f"{used}\n")
    prefix = "" if version == 2 else "total_"
    (folder / "memory.stat").write_text(
        f"anon 5\n{prefix}inactive_file {cached // 2}\n{prefix}active_file {cached - cached // 2}\n"
        + ("" if version == 2 else "inactive_file 0\nactive_file 0\n")
    )


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "meminfo").write_text("MemTotal: 16000000 kB\nMemFree: 1 kB\nMemAvailable: 12000000 kB\n")
    (folder / "self" / "statm").write_text("1000 500 100 0 0 0 0\n")
    return folder


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_group_above_counts_and_pages_of_files_do_not(tmp_path: Path, proc: Path, version: int) -> None:
    root = tmp_path / "cgroup"
    top = root if version == 2 else root / "memory"
    line = "0::/job/step\n" if version == 2 else "4:memory:/job/step\n"
    (proc / "self" / "cgroup").write_text(line)
    make_group(top / "job" / "step", version, limit=2**62, used=900, cached=0)
    make_group(top / "job", version, limit=1000, used=1000, cached=400)
    limits = memory.find_limits(proc=proc, root=root)
    assert [(limit.limit_bytes, limit.read_used()) for limit in limits] == [(1000, 600), (16384000000, 4096000000)]
    recovery: Any = Answers()
    guard = MemoryGuard(recovery, limits, proc=proc)
    guard.look()
    assert recovery.asked == []
    make_group(top / "job", version, limit=1000, used=1000, cached=80)
    guard.look()
    assert len(recovery.asked) == 1
    assert str(top / "job") in recovery.asked[0]
    recovery.ready = False
    guard.look()
    assert len(recovery.asked) == 1


def test_what_others_hold_of_the_machine_is_no_reason(tmp_path: Path, proc: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/\n")
    (proc / "meminfo").write_text("MemTotal: 16000 kB\nMemAvailable: 160 kB\n")
    limits = memory.find_limits(proc=proc, root=tmp_path / "none")
    recovery: Any = Answers()
    MemoryGuard(recovery, limits, proc=proc).look()
    assert recovery.asked == []
    (proc / "self" / "statm").write_text("9000 3000 100 0 0 0 0\n")
    MemoryGuard(recovery, limits, proc=proc).look()
    assert len(recovery.asked) == 1
