"""What a run's page says about speed, memory and stalls."""

from __future__ import annotations

from typing import Any

from footplate.record.journal_reader import Entry, Point
from footplate.tracking.report.machine import describe_machine


def make_events(*events: dict[str, Any]) -> list[Entry]:
    return [Entry(time=0.0, kind="event", data=event, offset_after=0) for event in events]


def make_points(*values: float) -> list[Point]:
    return [Point(step=step, value=value, time=0.0) for step, value in enumerate(values)]


def test_everything_that_was_recorded_is_said() -> None:
    metrics = {
        "train/samples_per_s": make_points(100, 300, 200),
        "train/data_wait_share": make_points(0.3, 0.5),
        "train/mfu": make_points(0.41),
        "system/process_memory_gb": make_points(1.5, 2.5),
        "system/gpu0_energy_j": make_points(0, 3600, 0, 1800),
    }
    events = make_events(
        {"name": "out_of_memory", "step": 5, "batch_size": 64, "new_batch_size": 32},
        {"name": "out_of_memory", "step": 9, "batch_size": 8, "new_batch_size": 4, "during": "evaluation"},
        {"name": "out_of_memory", "step": 1200, "batch_size": 1, "new_batch_size": None, "pressure": "9 GB are used"},
        {"name": "batch_size_grown", "step": 205, "batch_size": 32, "new_batch_size": 64},
        {"name": "stall", "step": 7, "waited_s": 61.0, "where": "data loading"},
        {"name": "thermal_pause", "step": 8, "paused_s": 30.0},
    )
    assert describe_machine(metrics, events, {"memory": {"peak_gb": 2.1, "peak_gpu_gb": 30}}) == [
        "Speed: 200 samples/s (median of the readings).",
        "Waiting for data: 40.0% of the time; see data.num_workers, pin_memory and faster storage.",
        "Use of the GPU's peak (MFU): 41.0%.",
        "The training took at most 2.1 GB of main memory and 30 GB of GPU memory.",
        "All processes of the job together were seen with at most 2.5 GB.",
        "In step 5: out of memory with batches of 64; went on with 32.",
        "In an evaluation after step 9: out of memory with batches of 8; went on with 4.",
        "In step 1,200: 9 GB are used with batches of 1; it could not go on.",
        "From step 205 on batches of 64 again.",
        "**Stalled** after step 7 for at least 1 min 1 s, in data loading.",
        "Paused for heat once, 30 s in all.",
        "Energy by the machine's counters: gpu0 1.5 Wh.",
    ]


def test_what_was_not_recorded_is_left_out() -> None:
    assert describe_machine({}, [], {}) == []
