"""What is worth an alert, and what is the ordinary life of a training."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest

from footplate.record.journal_reader import Entry
from footplate.tracking.shipping.alert_rules import Watch
from footplate.tracking.shipping.shipper import Record


class Journal:
    """Makes records one after another."""

    def __init__(self, source: str = "rank0") -> None:
        self.source, self.offset, self.time = source, 0, 1000.0

    def add(self, kind: str, data: Mapping[str, Any], *, attempt: int = 1) -> Record:
        self.offset += 100
        self.time += 10.0
        entry = Entry(kind, self.time, dict(data), self.offset)
        return Record(attempt=attempt, source=self.source, entry=entry)

    def losses(self, *values: float, name: str = "train/loss") -> list[Record]:
        return [self.add("metrics", {"step": step, "values": {name: value}}) for step, value in enumerate(values)]


def look(records: list[Record], memory: dict[str, Any] | None = None, **settings: Any) -> list[tuple[str, str]]:
    watch = Watch({} if memory is None else memory, started_at=1000.0, **settings)
    return [(alert.rule, alert.text) for alert in watch.look(records)]


@pytest.mark.parametrize(
    ("event", "rule", "text"),
    [
        ({"name": "stall", "step": 5, "waited_s": 1234.5, "where": "read_batch"}, "stall", "for 1,234 s: it waits in"),
        ({"name": "hot", "step": 5, "temperature_c": 91.5, "threshold_c": 85.0}, "temperature", "91.5 °C, above 85 °C"),
        ({"name": "checkpoint_failed", "step": 5, "reason": "No space left"}, "disk", "No space left"),
        ({"name": "out_of_memory", "step": 5, "batch_size": 8, "new_batch_size": 4}, "memory", "batches of 4 instead"),
        ({"name": "out_of_memory", "step": 5, "batch_size": 1, "new_batch_size": None}, "memory", "cannot go on"),
    ],
)
def test_events_that_somebody_should_know(event: dict[str, Any], rule: str, text: str) -> None:
    ((found, words),) = look([Journal().add("event", event)])
    assert found == rule
    assert text in words


def test_events_of_every_day_are_none() -> None:
    journal = Journal()
    names = ("start", "evaluation", "best", "checkpoint", "finish", "early_stopping")
    assert not look([journal.add("event", {"name": name, "step": 1}) for name in names])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number(value: float) -> None:
    assert look(Journal().losses(2.3, value)) == [("nan", f"train/loss is {value}")]
    assert not look(Journal().losses(2.3, value, name="train/grad_norm"))


@pytest.mark.parametrize(
    ("losses", "diverges"),
    [
        ([2.3] * 5 + [2.0, 1.5, 1.2, 1.0, 0.9] * 3, False),
        ([2.3] * 5 + [2.3, 2.35, 2.31, 2.33, 2.3] * 3, False),  # it learns nothing, and loses nothing
        ([2.3, 2.2, 2.1, 2.0, 1.9, 1.5, 1.0, 0.8, 0.7, 0.6, 9.0, 0.6, 0.5, 0.5], False),  # one bad batch
        ([2.3, 2.2, 2.1, 2.0, 1.9, 1.5, 1.0, 0.8, 0.7, 0.6, 2.5, 3.0, 3.5, 4.0], True),
        ([2.3] * 5 + [4.0, 6.0, 8.0, 9.0, 10.0], True),
        ([-2.0, -2.1, -2.0, -2.2, -2.1, -1.0, -0.5, 0.1, 0.5, 1.0], False),  # a likelihood: no scale to measure by
    ],
)
def test_divergence_is_losing_what_was_learnt(losses: list[float], diverges: bool) -> None:
    assert ({rule for rule, _ in look(Journal().losses(*losses))} == {"divergence"}) is diverges


def test_a_resume_does_not_compare_with_what_was_gone_back_behind() -> None:
    journal = Journal()
    records = journal.losses(2.3, 2.0, 1.5, 1.0, 0.8, 0.7, 0.6)
    records.append(journal.add("rewind", {"step": 0}, attempt=2))
    records += journal.losses(2.3, 2.4, 2.3, 2.4, 2.3, 2.3)
    assert not look(records)


def test_a_disk_that_fills_and_a_gpu_that_is_held_down() -> None:
    journal = Journal("system")
    rows = [{"system/disk_free_gb": 50.0, "system/gpu0_thermal_throttled": 1.0}] * 2
    rows += [{"system/disk_free_gb": 1.5, "system/gpu0_thermal_throttled": 0.0}]
    rows += [{"system/gpu0_thermal_throttled": 1.0, "system/gpu0_power_throttled": 0.0}] * 3
    found = look([journal.add("metrics", {"step": step, "values": values}) for step, values in enumerate(rows)])
    assert found == [
        ("disk", "1.5 GB are free on the run's disk"),
        ("throttling", "a GPU is held down: gpu0_thermal_throttled"),
    ]


def test_the_cost_counts_from_the_launch() -> None:
    records = Journal().losses(*[1.0] * 5)  # 50 s
    assert not look(records, price=36.0, max_cost=0.5)
    assert look(records, price=36.0, max_cost=0.45) == [("cost", "0.50 spent so far, more than 0.45")]
    assert not look(records, price=None, max_cost=0.01)


def test_what_comes_again_is_passed_over_also_by_another_process() -> None:
    journal = Journal()
    records = [journal.add("event", {"name": "stall", "step": 1, "waited_s": 9, "where": ""})]
    records += journal.losses(2.0, math.nan)
    memory: dict[str, Any] = {}
    assert len(look(records, memory)) == 2
    assert not look(records, json.loads(json.dumps(memory)))
