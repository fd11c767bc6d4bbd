"""The part of a run's page about the machine: speed, memory, what was decided when it ran short, stalls, energy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from footplate.quantities import format_duration, format_size
from footplate.record.journal_reader import Entry, Point

__all__ = ["describe_machine"]


def describe_machine(
    metrics: Mapping[str, Sequence[Point]], events: Sequence[Entry], result: Mapping[str, Any]
) -> list[str]:
    """Return what is worth saying, a sentence each; what was not recorded is left out."""
    return [
        *_describe_speed(metrics),
        *_describe_memory(metrics, result),
        *_describe_shortages(events),
        *_describe_stalls(events),
        *_describe_energy(metrics),
    ]


def _describe_speed(metrics: Mapping[str, Sequence[Point]]) -> Iterable[str]:
    rates = [
        f"{_show_rate(statistics.median(values))} {unit}"
        for name, unit in (("samples_per_s", "samples/s"), ("tokens_per_s", "tokens/s"), ("steps_per_s", "steps/s"))
        if (values := _get_finite(metrics, f"train/{name}"))
    ]
    if rates:
        yield f"Speed: {', '.join(rates)} (median of the readings)."
    waited = _get_finite(metrics, "train/data_wait_share")
    if waited:
        share = statistics.fmean(waited)
        advice = "; see data.num_workers, pin_memory and faster storage" if share > 0.2 else ""
        yield f"Waiting for data: {share:.1%} of the time{advice}."
    used = _get_finite(metrics, "train/mfu")
    if used:
        yield f"Use of the GPU's peak (MFU): {statistics.median(used):.1%}."


def _show_rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _describe_memory(metrics: Mapping[str, Sequence[Point]], result: Mapping[str, Any]) -> Iterable[str]:
    memory = result.get("memory") or {}
    most = [f"{format_size(memory['peak_gb'] * 1e9)} of main memory"] if "peak_gb" in memory else []
    if "peak_gpu_gb" in memory:
        most.append(f"{format_size(memory['peak_gpu_gb'] * 1e9)} of GPU memory")
    if most:
        yield f"The training took at most {' and '.join(most)}."
    job = _get_finite(metrics, "system/process_memory_gb")
    if job:
        yield f"All processes of the job together were seen with at most {format_size(max(job) * 1e9)}."


def _describe_shortages(events: Sequence[Entry]) -> Iterable[str]:
    for event in _find(events, "out_of_memory"):
        where = "an evaluation after step" if event.get("during") == "evaluation" else "step"
        why = event.get("pressure") or "out of memory"
        after = event.get("new_batch_size")
        then = "it could not go on" if after is None else f"went on with {after}"
        yield f"In {where} {event['step']:,}: {why} with batches of {event['batch_size']}; {then}."
    for event in _find(events, "batch_size_grown"):
        yield f"From step {event['step']:,} on batches of {event['new_batch_size']} again."


def _describe_stalls(events: Sequence[Entry]) -> Iterable[str]:
    for event in _find(events, "stall"):
        waited = format_duration(float(event["waited_s"]))
        yield f"**Stalled** after step {event['step']:,} for at least {waited}, in {event['where']}."
    paused = [float(event["paused_s"]) for event in _find(events, "thermal_pause")]
    if paused:
        times = "once" if len(paused) == 1 else f"{len(paused)} times"
        yield f"Paused for heat {times}, {format_duration(sum(paused))} in all."


def _describe_energy(metrics: Mapping[str, Sequence[Point]]) -> Iterable[str]:
    used = {
        name.removeprefix("system/").removesuffix("_energy_j"): points
        for name, points in metrics.items()
        if name.startswith("system/") and name.endswith("_energy_j") and points
    }
    if used:
        parts = ", ".join(f"{name} {_add_up(points) / 3600:,.3g} Wh" for name, points in sorted(used.items()))
        yield f"Energy by the machine's counters: {parts}."


def _add_up(points: Sequence[Point]) -> float:
    """Return the joules of all attempts: the counter begins anew with each."""
    total, last = 0.0, 0.0
    for point in points:
        total += point.value - last if point.value >= last else point.value
        last = point.value
    return total


def _find(events: Sequence[Entry], name: str) -> list[Mapping[str, Any]]:
    return [entry.data for entry in events if entry.data.get("name") == name]


def _get_finite(metrics: Mapping[str, Sequence[Point]], name: str) -> list[float]:
    return [point.value for point in metrics.get(name, ()) if math.isfinite(point.value)]
