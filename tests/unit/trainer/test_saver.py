"""When a training is saved: by steps, by the clock, at a stop; and what a failure to write costs."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from footplate.errors import RecordError
from footplate.profile.load import load_profile_text
from footplate.record.files import read_json
from footplate.record.journal import Journal, read_journal
from footplate.trainer.checkpoints import saver as saver_module
from footplate.trainer.checkpoints.saver import CheckpointSaver
from footplate.trainer.checkpoints.state_files import join_state, split_state, write_json_file, write_tensors
from footplate.trainer.distributed.world import World
from footplate.trainer.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return 0.0


class Checkpointer:
    """Takes and writes nothing; fails when it is told to."""

    def __init__(self, clock: Clock, stall_s: float = 0.0) -> None:
        self.steps: list[int] = []
        self.take_error: Exception | None = None
        self.write_error: Exception | None = None
        self._clock = clock
        self._stall_s = stall_s

    def check(self) -> None: ...

    def take(self, progress: Progress) -> Any:
        if self.take_error is not None:
            raise self.take_error
        self._clock.now += self._stall_s
        return SimpleNamespace(step=progress.step)

    def write(self, contents: Any) -> tuple[Path, int]:
        if self.write_error is not None:
            raise self.write_error
        self.steps.append(contents.step)
        return Path(f"step-{contents.step:08d}"), 100


Make = Callable[..., tuple[CheckpointSaver, Checkpointer]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(saver_module, "time", clock)
    return clock


@pytest.fixture
def make(clock: Clock, tmp_path: Path) -> Iterator[Make]:
    journals = []

    def build(training: str = "{}", world: World | None = None, stall_s: float = 0.0) -> Any:
        profile = load_profile_text(f"data: {{train_data: 'sklearn:iris'}}\ntraining: {training}\n")
        world = world or World()
        parts: Any = SimpleNamespace(profile=profile, world=world, device=torch.device("cpu"))
        best: Any = SimpleNamespace(step=None)
        journals.append(Journal(tmp_path / f"journal{world.rank}.jsonl"))
        taker = Checkpointer(clock, stall_s)
        saver = CheckpointSaver(taker, parts, journals[-1], by_first=lambda is_due: is_due, best=best)  # type: ignore[arg-type]
        return saver, taker

    yield build
    for journal in journals:
        journal.close()


def at(step: int, stopped_by: str = "") -> Progress:
    return Progress(num_train=100, step=step, stopped_by=stopped_by)


def list_events(name: str, rank: int = 0) -> list[dict[str, Any]]:
    entries = read_journal(Path(f"journal{rank}.jsonl"))
    return [dict(entry.data) for entry in entries if entry.kind == "event" and entry.data["name"] == name]


def test_it_saves_every_so_many_steps_and_at_a_stop(make: Make) -> None:
    saver, taken = make("{checkpointing: {frequency: 4}}")
    for step in range(1, 10):
        saver.save_if_due(at(step))
    saver.save_if_due(at(10, "preempted"))
    assert taken.steps == [4, 8, 10]
    assert saver.keeps_readings(at(10, "preempted"))
    assert [event["step"] for event in list_events("checkpoint")] == [4, 8, 10]
    assert list_events("checkpoint")[0]["bytes"] == 100


def test_without_a_frequency_it_goes_by_the_clock(make: Make, clock: Clock) -> None:
    saver, taken = make()
    for step in range(1, 100):
        clock.now += 10
        saver.save_if_due(at(step))
    saver.close()
    assert taken.steps == [30, 60, 90]


def test_expensive_ones_are_spaced_out_and_that_is_said(
    make: Make, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    saver, taken = make(stall_s=20.0)
    with caplog.at_level(logging.INFO):
        for step in range(1, 300):
            clock.now += 10
            saver.save_if_due(at(step))
    saver.close()
    assert taken.steps == [30, 130, 230]  # 20 s are 2 % of 1,000
    assert caplog.text.count("from now on") == 1


def test_a_preemption_that_saves_nothing_says_so(caplog: pytest.LogCaptureFixture) -> None:
    saver_module.Saver().save_if_due(at(7))
    assert not caplog.text
    saver_module.Saver().save_if_due(at(8, "preempted"))
    assert "nothing is saved" in caplog.text


def test_the_last_step_is_saved_after_a_minute(make: Make, clock: Clock) -> None:
    saver, taken = make("{checkpointing: {frequency: 50}}")
    clock.now += 30
    saver.save_if_due(at(7, "max_steps"))
    assert taken.steps == []
    clock.now += 40
    saver.save_if_due(at(7, "max_steps"))
    saver.close()
    assert taken.steps == [7]


def test_a_failure_is_told_and_tried_again_later_and_later(make: Make, clock: Clock) -> None:
    saver, taken = make("{checkpointing: {frequency: 1}}")
    taken.write_error = OSError(28, "No space left on device", "state")
    tried = []
    for step in range(1, 200):
        clock.now += 1
        before = len(list_events("checkpoint_failed"))
        saver.save_if_due(at(step))
        saver.close()
        if len(list_events("checkpoint_failed")) > before:
            tried.append(step)
    assert tried == [1, 31, 91]
    assert list_events("checkpoint_failed")[0]["reason"] == "state: No space left on device"
    taken.write_error = None
    saver.save_if_due(at(200, "preempted"))  # a stop does not wait for that
    assert taken.steps == [200]


@pytest.mark.parametrize("phase", ["take", "write"])
def test_processes_stay_in_step_when_the_first_one_cannot_save(phase: str, make: Make, run_ranks: Any) -> None:
    def work(world: Any) -> tuple[bool, list[str]]:
        saver, taken = make("{checkpointing: {frequency: 2}}", world)
        if world.is_first:
            setattr(taken, f"{phase}_error", RecordError("the disk is full"))
        saver.save_if_due(at(1))
        saver.save_if_due(at(2))
        saver.save_if_due(at(3, "preempted"))
        keeps = saver.keeps_readings(at(3, "preempted"))
        saver.close()
        return keeps, world.calls

    (first, calls), (second, others) = run_ranks(2, work)
    assert (first, second) == (False, False)
    assert calls == others
    assert len(list_events("checkpoint_failed")) == 2


def test_state_comes_back_from_its_files_as_it_was(tmp_path: Path) -> None:
    state = {
        "numbers": [0.1, 1e-300, math.inf, -0.0, 2**70, True, None],
        "words": {"a/b": "ü"},
        "tensors": [
            torch.arange(6, dtype=torch.int64).reshape(2, 3),
            torch.randn(3, 5).to(torch.bfloat16),
            torch.tensor(2.5, dtype=torch.float64),
            torch.tensor([True, False, True]),
            torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
            torch.empty(0, 3),
        ],
        "array": np.arange(3, dtype=np.int32),
        "scalar": np.float64(0.3),
    }
    value, tensors = split_state(state)
    entry = write_tensors(tmp_path / "t.safetensors", tensors, {"told": "yes"})
    write_json_file(tmp_path / "t.json", value)
    assert entry.bytes == (tmp_path / "t.safetensors").stat().st_size
    found = join_state(read_json(tmp_path / "t.json"), load_file(str(tmp_path / "t.safetensors")))
    assert found["numbers"] == state["numbers"]
    assert found["words"] == state["words"]
    assert found["scalar"] == 0.3
    assert found["array"].tolist() == [0, 1, 2]
    for tensor, wanted in zip(found["tensors"], state["tensors"], strict=True):  # type: ignore[call-overload]
        assert tensor.dtype == wanted.dtype
        assert torch.equal(tensor, wanted)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"a": {"b": {1, 2}}}, "state a/b is a set"),
        ({"a": {3: 1}}, "state a: only texts can be keys"),
        ({"a": [object()]}, "state a/0 is a object"),
    ],
)
def test_what_cannot_be_held_is_named(state: Any, told: str) -> None:
    with pytest.raises(RecordError, match=told):
        split_state(state)
