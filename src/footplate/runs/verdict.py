"""Decides in words how a training is best run: the mode, one device or several, which device, and why.

The criteria: what is short or has never run belongs to the interactive mode, where it can still be changed; what is
long and stable belongs to a batch job, which holds its machine only as long as it trains; data that must stay where
they are need the federated mode. One device is enough until the model does not fit or the training takes too long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from footplate.profile.facts import Facts
from footplate.profile.model import Profile
from footplate.profile.size import find_memory_limit, has_apple_gpu, is_built_without_cuda
from footplate.quantities import format_duration, format_size

__all__ = ["BATCH_LIMIT_S", "DISTRIBUTED_LIMIT_S", "Verdict", "get_verdict"]

BATCH_LIMIT_S = 3600.0
"""A training up to this long is waited for; a longer one is a batch job."""
DISTRIBUTED_LIMIT_S = 24 * 3600.0
"""A training longer than this on one device is worth spreading over several."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How the training is best run, and why."""

    mode: Literal["standard", "batch", "federated"]
    """standard: here and now, interactively; batch: a job that ends by itself; federated: where the data are."""
    parallelism: Literal["single", "distributed"]
    """One device, or several that share one training."""
    device: Literal["cpu", "cuda", "mps", "unknown"]
    """What each process computes on."""
    reasons: tuple[str, ...]
    """One sentence each for mode, parallelism and device, with its numbers."""
    not_known: tuple[str, ...] = ()
    """What would have made the decision surer, each with the way to know it."""

    def to_json(self) -> dict[str, object]:
        """Return the verdict as plain data."""
        return {
            "mode": self.mode,
            "parallelism": self.parallelism,
            "device": self.device,
            "reasons": list(self.reasons),
            "not_known": list(self.not_known),
        }


def get_verdict(
    profile: Profile, facts: Facts, *, total_steps: int | None = None, memory_gb: float | None = None
) -> Verdict:
    """Decide from what was asked, what was seen, the length in optimiser steps and the memory one device needs."""
    not_known: list[str] = []
    device, device_reason = _choose_device(profile, facts)
    duration_s = facts.step_s * total_steps if facts.step_s is not None and total_steps else None
    mode, mode_reason = _choose_mode(profile, facts, total_steps, duration_s)
    room = find_memory_limit(profile, facts, device)
    parallelism, parallel_reason = _choose_parallelism(profile, duration_s, memory_gb, room)
    if duration_s is None:
        not_known.append(_get_unknown_duration(profile))
    if memory_gb is None:
        not_known.append("memory per device: " + _get_unknown_memory(profile))
    if facts.data is None and not profile.entrypoint.is_set:
        not_known.append("size of the data: it could not be looked at")
    if facts.device is None:
        not_known.append("the machine: it could not be looked at")
    return Verdict(
        mode=mode,
        parallelism=parallelism,
        device=device,
        reasons=(mode_reason, parallel_reason, device_reason),
        not_known=tuple(not_known),
    )


def _choose_mode(
    profile: Profile, facts: Facts, total_steps: int | None, duration_s: float | None
) -> tuple[Literal["standard", "batch", "federated"], str]:
    if profile.federated.enabled:
        return "federated", "Federated: `federated.enabled` says that the data must stay at their sites."
    if duration_s is not None and facts.step_s is not None:
        sum_text = f"{total_steps:,} steps × {format_duration(facts.step_s)} = {format_duration(duration_s)}"
        if duration_s > BATCH_LIMIT_S:
            return "batch", f"Batch: {sum_text}, more than the {format_duration(BATCH_LIMIT_S)} one waits for."
        return "standard", f"Standard (here, now): {sum_text}, within {format_duration(BATCH_LIMIT_S)}."
    wall_time = profile.resources.wall_time
    if profile.resources.queue or profile.resources.num_nodes > 1:
        asked = f"queue {profile.resources.queue!r}" if profile.resources.queue else "several machines"
        return "batch", f"Batch: the profile asks for {asked}."
    if wall_time is not None and wall_time > BATCH_LIMIT_S:
        limit = format_duration(BATCH_LIMIT_S)
        return "batch", f"Batch: `resources.wall_time` of {format_duration(wall_time)} says longer than {limit}."
    if profile.entrypoint.is_set:
        return "standard", "Standard (here, now): how long your code takes is not known yet; try it where you see it."
    if total_steps is None:
        return "standard", "Standard (here, now): the length is not known yet; try it where you can still change it."
    return "standard", f"Standard (here, now): {total_steps:,} steps whose time is not measured yet; a first try."


def _choose_parallelism(
    profile: Profile, duration_s: float | None, memory_gb: float | None, room: tuple[float, str, str] | None
) -> tuple[Literal["single", "distributed"], str]:
    num_gpus = profile.resources.num_gpus or 0
    if memory_gb is not None and room is not None and memory_gb > room[0]:
        needed = f"{format_size(memory_gb * 1e9)} needed on one device, {format_size(room[0] * 1e9)} there ({room[2]})"
        return "distributed", f"Distributed: {needed}; several devices share the model."
    if duration_s is not None and duration_s > DISTRIBUTED_LIMIT_S:
        limit = format_duration(DISTRIBUTED_LIMIT_S)
        return "distributed", f"Distributed: {format_duration(duration_s)} on one device is more than {limit}."
    if profile.distributed.enabled or num_gpus > 1 or profile.resources.num_nodes > 1:
        count = profile.distributed.world_size or max(num_gpus, profile.resources.num_nodes)
        devices = f"{count} devices" if count > 1 else "several devices"
        return "distributed", f"Distributed: the profile asks for {devices}."
    if memory_gb is not None and room is not None:
        fits = f"{format_size(memory_gb * 1e9)} needed of the {format_size(room[0] * 1e9)} there ({room[2]})"
        return "single", f"Single device: {fits}."
    return "single", "Single device: nothing asks for more than one."


def _choose_device(profile: Profile, facts: Facts) -> tuple[Literal["cpu", "cuda", "mps", "unknown"], str]:
    wanted, machine = profile.device, facts.device
    if wanted in ("cpu", "cuda", "mps"):
        return wanted, f"Device {wanted}: `device: {wanted}` in the profile."
    if wanted != "auto":
        return "unknown", f"Device not known: `device: {wanted}` is not tried yet."
    if profile.resources.num_gpus == 0:
        return "cpu", "Device cpu: `resources.num_gpus: 0`."
    if machine is None:
        return "unknown", "Device not known: the machine could not be looked at; the first of cuda, mps, cpu there."
    if machine.gpus:
        name, memory_gb = machine.gpus[0]
        if is_built_without_cuda(facts):
            return "cpu", f"Device cpu: {name} is there, but PyTorch {facts.versions['pytorch']} is built without CUDA."
        return "cuda", f"Device cuda: {len(machine.gpus)} × {name} with {format_size(memory_gb * 1e9)}."
    if has_apple_gpu(machine):
        return "mps", "Device mps: the GPU of Apple silicon."
    cores = f"{machine.num_cpus} cores" if machine.num_cpus > 1 else "1 core"
    return "cpu", f"Device cpu: no GPU on {machine.host}; {cores}, {format_size(machine.memory_gb * 1e9)} of memory."


def _get_unknown_duration(profile: Profile) -> str:
    if profile.entrypoint.is_set:
        return "time: your own code is not measured before it runs"
    return "time: `footplate plan --measure` runs 50 real steps and tells"


def _get_unknown_memory(profile: Profile) -> str:
    if profile.entrypoint.is_set:
        return "your own code is not looked into"
    return "the data or the model could not be looked at"
