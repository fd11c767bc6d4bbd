"""What a person is told at once, beside the bar, when it happens in a training: an event as a line of a screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["tell_event"]


def tell_event(event: Mapping[str, Any]) -> str:
    """Return an event as a line for the screen; "" for one that waits for the log and the report."""
    words = _WORDS.get(str(event.get("name")))
    return words(event) if words is not None else ""


def _tell_end(event: Mapping[str, Any]) -> str:
    return f"{str(event['name']).replace('_', ' ')} at {_name_step(event)}"


def _tell_resume(event: Mapping[str, Any]) -> str:
    damaged = [f"{one['checkpoint']} is skipped: {one['reason']}" for one in event.get("skipped") or ()]
    found = "  begins anew: there is no checkpoint to go on from"
    if event.get("checkpoint"):
        found = f"  goes on from {_name_step(event)}"
    return "; ".join([found, *damaged])


def _tell_freeze(event: Mapping[str, Any]) -> str:
    trained, frozen = (int(event.get(f"{name}_parameters", 0)) for name in ("trained", "frozen"))
    rest = f"{frozen:,} are frozen" if frozen else "none is frozen"
    return f"  epoch {event.get('epoch', '?')}: {trained:,} parameters are trained, {rest}"


def _tell_shortage(event: Mapping[str, Any]) -> str:
    before, after = event.get("batch_size"), event.get("new_batch_size")
    what = f"out of memory at {_name_step(event)} with batches of {before}"
    if not isinstance(after, int):
        return what
    return f"{what}: on in batches of {after}, the effective batch stays the same"


def _tell_growth(event: Mapping[str, Any]) -> str:
    return f"batches of {event.get('new_batch_size')} are tried again at {_name_step(event)}"


def _tell_kept(event: Mapping[str, Any]) -> str:
    asked = event.get("batch_size")
    return f"  in batches of {event.get('new_batch_size')}, not {asked}: memory ran out in an earlier attempt"


def _tell_stall(event: Mapping[str, Any]) -> str:
    waited = float(event.get("waited_s", 0.0))
    return f"no step was finished for {waited:.0f} s after {_name_step(event)}, in {event.get('where', '?')}"


def _tell_heat(event: Mapping[str, Any]) -> str:
    degrees, limit = (float(event.get(f"{name}_c", 0.0)) for name in ("temperature", "threshold"))
    return f"{degrees:.0f} °C at {_name_step(event)}, above the threshold of {limit:g} °C"


def _tell_slow_rank(event: Mapping[str, Any]) -> str:
    return f"process {event.get('rank', '?')} is the slowest, {float(event.get('ratio', 1.0)):.2g} times the median"


def _tell_unsaved(event: Mapping[str, Any]) -> str:
    return f"no checkpoint of {_name_step(event)}: {event.get('reason', '?')}; earlier ones are kept"


def _name_step(event: Mapping[str, Any]) -> str:
    step = event.get("step")
    return f"step {step:,}" if isinstance(step, int) else "a step"


_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "early_stopping": _tell_end,
    "interrupted": _tell_end,
    "preempted": _tell_end,
    "resume": _tell_resume,
    "freeze": _tell_freeze,
    "out_of_memory": _tell_shortage,
    "batch_size_grown": _tell_growth,
    "batch_size_kept": _tell_kept,
    "stall": _tell_stall,
    "hot": _tell_heat,
    "slow_rank": _tell_slow_rank,
    "checkpoint_failed": _tell_unsaved,
}
