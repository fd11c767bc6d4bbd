"""What a terminal shows of a training: a bar that counts this attempt's speed, and what a person must know at once."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from footplate.cli.happenings import tell_event
from footplate.cli.progress import Progress
from footplate.cli.training_run import _choose_last_words
from footplate.record.journal_reader import Entry

_EVENTS: dict[str, tuple[dict[str, Any], str]] = {
    "goes on": ({"name": "resume", "step": 1203, "checkpoint": "x/step-00001203"}, "  goes on from step 1,203"),
    "begins anew": ({"name": "resume", "step": 0, "checkpoint": None}, "  begins anew: there is no checkpoint"),
    "a damaged one": (
        {"name": "resume", "step": 5, "checkpoint": "x", "skipped": [{"checkpoint": "step-9", "reason": "too short"}]},
        "  goes on from step 5; step-9 is skipped: too short",
    ),
    "shortage": (
        {"name": "out_of_memory", "step": 7, "batch_size": 32, "new_batch_size": 16},
        "out of memory at step 7 with batches of 32: on in batches of 16, the effective batch stays the same",
    ),
    "shortage that ends it": (
        {"name": "out_of_memory", "step": 7, "batch_size": 1, "new_batch_size": None},
        "out of memory at step 7 with batches of 1",
    ),
    "frozen": (
        {"name": "freeze", "epoch": 2, "trained_parameters": 4355, "frozen_parameters": 9664},
        "  epoch 2: 4,355 parameters are trained, 9,664 are frozen",
    ),
    "nothing frozen": ({"name": "freeze", "epoch": 4, "trained_parameters": 9}, "none is frozen"),
    "unsaved": (
        {"name": "checkpoint_failed", "step": 50, "reason": "No space left on device"},
        "no checkpoint of step 50: No space left on device; earlier ones are kept",
    ),
    "preempted": ({"name": "preempted", "step": 50}, "preempted at step 50"),
    "heat": ({"name": "hot", "step": 50, "temperature_c": 91.4, "threshold_c": 85.0}, "91 °C at step 50"),
}


@pytest.mark.parametrize("case", _EVENTS.values(), ids=_EVENTS.keys())
def test_an_event_is_told_as_a_line(case: tuple[dict[str, Any], str]) -> None:
    event, expected = case
    assert expected in tell_event(event)


@pytest.mark.parametrize("name", ["best", "evaluation", "checkpoint", "something_of_yours"])
def test_what_is_usual_is_left_to_the_report(name: str) -> None:
    assert tell_event({"name": name, "step": 3}) == ""


def test_the_speed_of_a_resumed_training_is_that_of_its_own_steps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """203 steps that an earlier attempt has done in a minute are not done in no time by this one."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress()
    progress.on_entry(
        Entry(
            offset_after=0,
            time=0.0,
            kind="event",
            data={"name": "start", "total_steps": 500, "processes": 2, "device": "cpu"},
        )
    )
    progress.on_entry(
        Entry(offset_after=0, time=1.0, kind="event", data={"name": "resume", "step": 203, "checkpoint": "x"})
    )
    bar = progress._bar
    assert bar is not None
    assert bar.n == bar.initial == bar.last_print_n == 203
    assert bar.format_dict["rate"] is None, "no step of this attempt is done yet"
    progress.close()
    told = capsys.readouterr().err
    assert "500 steps · on cpu in 2 processes" in told
    assert "goes on from step 203" in told


def test_the_last_words_begin_at_the_error() -> None:
    start = ("data:   x", "        train   9 × [2]", "device: cpu", "length: 4 steps", "step 2/4  train/loss 1")
    assert _choose_last_words((*start, "error: no", "  hint: yes")) == ("error: no", "  hint: yes")
    assert _choose_last_words((*start, "Traceback (most recent call last):", "KeyError: 1"))[0].startswith("Traceback")
    assert _choose_last_words(start) == (), "it was killed: the screen has shown all of this"
    assert _choose_last_words((*start, "Killed")) == ("Killed",)


def test_the_last_words_are_the_processes_and_not_the_launcher_s() -> None:
    launcher = (
        "E1121 11:19:45.641000 26468 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1)",
        "Traceback (most recent call last):",
        *(f'  File "torch/distributed/run.py", line {line}' for line in range(50)),
    )
    words = ("error: loss became NaN at step 812", "rank 1: loss became NaN at step 812; see log.rank1.txt")
    assert _choose_last_words((*words, *launcher)) == words
    assert len(_choose_last_words(("Traceback (most recent call last):", *["  line"] * 90, "KeyError: 1"))) == 20
