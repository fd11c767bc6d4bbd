"""Rules about devices, memory, time and space."""

# ruff: noqa: D401  the docstring of a check is the text of its documentation page

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from footplate.profile.facts import Facts
from footplate.profile.findings import Severity
from footplate.profile.lint.rule import Check, Hit, Rule, find_horizon
from footplate.profile.mesh import get_num_processes
from footplate.profile.model import Profile
from footplate.profile.size import (
    MemoryEstimate,
    estimate_memory,
    find_device_kind,
    find_memory_limit,
    has_apple_gpu,
    is_built_without_cuda,
)
from footplate.quantities import format_duration, format_size

__all__ = ["RULES"]

_NUM_WEIGHT_FILES = 2  # the best and the last
_NEARLY_FULL = 0.9
_ROOM_USED = 0.8  # share of the room left that an advised batch may take, for the estimate is one


def check_gpu_missing(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """More GPUs are asked for than there are.

    A training that asks for a GPU does not fall back to the CPU by itself: it would be many times slower than whoever
    started it believes.

    To mend it, train where the GPUs are, or ask for those that are there: `resources.num_gpus: 0` and `device: auto`
    train on the CPU.
    """
    if facts.device is None:
        return
    there = len(facts.device.gpus) or int(has_apple_gpu(facts.device))
    asked = profile.resources.num_gpus or 0
    has = f"{facts.device.host} has {there or 'none'}"
    if asked > there:
        yield Hit(
            path="resources.num_gpus",
            also=("device",),
            message=f"{asked} GPU{'s' if asked > 1 else ''} asked for, {has}",
            fix=f"set resources.num_gpus: {there}, or train where the GPUs are",
        )
    elif (asked or profile.device == "cuda") and facts.device.gpus and is_built_without_cuda(facts):
        torch = facts.versions["pytorch"]
        yield Hit(
            path="resources.num_gpus" if asked else "device",
            message=f"a GPU is asked for and there, but torch {torch} is built without CUDA",
            fix="pip install torch from the index for your CUDA (https://pytorch.org/get-started)",
        )
    elif profile.device == "cuda" and not facts.device.gpus:
        yield Hit(
            path="device",
            message=f"cuda is asked for, but {facts.device.host} has no NVIDIA GPU",
            fix="set device: auto, or train where a GPU is",
        )
    elif profile.device == "mps" and not has_apple_gpu(facts.device):
        yield Hit(
            path="device",
            message=f"mps is asked for, but {facts.device.host} has no Apple silicon",
            fix="set device: auto, or train where that is",
        )


def check_device_conflict(profile: Profile, _: Facts) -> Iterator[Hit]:
    """Device and number of GPUs contradict each other.

    `device: cpu` with GPUs leaves them idle, `device: cuda` with `num_gpus: 0` has nothing to compute on.

    To mend it, leave `device: auto` and let `num_gpus` decide.
    """
    asked = profile.resources.num_gpus
    if (profile.device == "cuda" and asked == 0) or (profile.device == "cpu" and asked):
        yield Hit(
            path="device",
            also=("resources.num_gpus",),
            message=f"{profile.device} contradicts resources.num_gpus: {asked}",
            fix="set device: auto",
        )


def check_gpus_idle(profile: Profile, _: Facts) -> Iterator[Hit]:
    """GPUs are asked for that would stay idle.

    One process computes on one GPU. Several GPUs share a training only when `distributed` is on.

    To mend it, ask for one GPU, or set `distributed.enabled: true`.
    """
    asked = profile.resources.num_gpus or 0
    used = get_num_processes(profile)
    if asked > used and not profile.distributed.enabled:
        yield Hit(
            path="resources.num_gpus",
            message=f"{asked} GPUs asked for, {used} used: distributed training is off",
            fix="set resources.num_gpus: 1, or distributed.enabled: true",
        )


def check_gpu_type(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """The GPU is another one than the profile was written for.

    Batch size, precision and time of a profile fit the GPU it was tried on.

    To mend it, train where that GPU is, or correct `metadata.gpu_type` and what depends on it.
    """
    words = [word for word in re.findall(r"[a-z]*\d+[a-z]*", profile.metadata.gpu_type.lower()) if word[-2:] != "gb"]
    if facts.device is None or not facts.device.gpus or not words:
        return
    names = sorted({name for name, _ in facts.device.gpus})
    if not any(words[0] in name.lower().replace(" ", "") for name in names):
        yield Hit(
            path="metadata.gpu_type",
            message=f"written for {profile.metadata.gpu_type}; {facts.device.host} has {', '.join(names)}",
            fix=f"set metadata.gpu_type: {names[0]}, and look at batch size and memory again",
        )


def check_world_size(profile: Profile, _: Facts) -> Iterator[Hit]:
    """The number of processes disagrees with the number of GPUs.

    One process computes on one GPU. With more processes than GPUs two share one, with fewer some stay idle.

    To mend it, leave `world_size` out: it is then the number of GPUs.
    """
    world_size, num_gpus = profile.distributed.world_size, profile.resources.num_gpus
    if profile.distributed.enabled and world_size is not None and num_gpus and world_size != num_gpus:
        yield Hit(
            path="distributed.world_size",
            also=("resources.num_gpus",),
            message=f"{world_size} processes, but {num_gpus} GPUs; one process computes on one GPU",
            fix=f"set distributed.world_size: {num_gpus} (or null)",
        )


def check_nccl(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """Processes are to talk by nccl, but they have no GPUs.

    nccl moves data between NVIDIA GPUs. Processes on CPUs talk by gloo.

    To mend it, set `distributed.backend: auto`.
    """
    if not profile.distributed.enabled or profile.distributed.backend != "nccl":
        return
    if find_device_kind(profile, facts) == "cpu":
        yield Hit(
            path="distributed.backend",
            also=("resources.num_gpus", "device"),
            message="nccl needs NVIDIA GPUs, and this training computes on the CPU",
            fix="set distributed.backend: auto",
        )


def check_machine(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """More cores or memory are declared than the machine has.

    More threads than cores wait for each other. Memory that is declared and not there makes every check that compares
    with it worthless.

    To mend it, declare what is there, or leave the key out: then the machine's own numbers count.
    """
    device, asked = facts.device, profile.resources
    if device is None:
        return
    gpu_gb = min((memory for _, memory in device.gpus), default=None)
    pairs = (
        ("num_cpus", asked.num_cpus, float(device.num_cpus), "cores"),
        ("memory_gb", asked.memory_gb, device.memory_gb, "GB of memory"),
        ("memory_per_gpu_gb", asked.memory_per_gpu_gb, gpu_gb, "GB a GPU"),
    )
    for name, wanted, there, unit in pairs:
        if wanted is not None and there is not None and wanted > there * 1.05:
            yield Hit(
                path=f"resources.{name}",
                message=f"{wanted:g} {unit} declared, {device.host} has {there:.4g}",
                fix=f"set resources.{name}: {int(there)}, or leave it out",
            )


def check_memory(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """The training needs more memory than the device has.

    The estimate adds up weights, gradients, the optimiser's state and the activations of one batch. It is an estimate:
    a training a little above the limit may run, one far above it does not.

    To mend it, in this order: a smaller batch, with more accumulation so that the effective batch stays; gradient
    checkpointing; mixed precision; a smaller network.
    """
    estimate = estimate_memory(profile, facts)
    limit = find_memory_limit(profile, facts, find_device_kind(profile, facts))
    if estimate is None or limit is None:
        return
    limit_gb, path, source = limit
    if estimate.total_gb <= _NEARLY_FULL * limit_gb:
        return
    is_over = estimate.total_gb > limit_gb
    yield Hit(
        path="training.batch_size",
        also=(path,),
        message=f"{estimate.to_text()}; {source} has {limit_gb:.4g} GB",
        fix=_advise_memory(profile, estimate, limit_gb),
        severity=Severity.error if is_over else Severity.warning,
    )


def check_wall_time(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """The training takes longer than `wall_time` allows.

    The estimate is the number of steps times the measured time of one; evaluation comes on top.

    To mend it, allow more time, or train fewer steps.
    """
    wall_time = profile.resources.wall_time
    if wall_time is None or facts.step_s is None:
        return
    horizon = find_horizon(profile, facts)
    needed = horizon.total_steps * facts.step_s
    if needed > wall_time:
        yield Hit(
            path="resources.wall_time",
            message=(
                f"{horizon.total_steps:,} steps × {format_duration(facts.step_s)} = {format_duration(needed)}, "
                f"more than the {format_duration(wall_time)} allowed"
            ),
            fix=f"set resources.wall_time: {_show_clock(1.2 * needed)}, or training.max_steps: "
            f"{int(wall_time / 1.2 / facts.step_s)}",
        )


def check_checkpoint_interval(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """Checkpoints are further apart than the time there is.

    A cluster warns a job some time before it stops it (`signal` in the options of a backend, `USR1@120` = 120 seconds).
    When the next checkpoint is further away than that, all since the last one is lost; when it is further away than
    `wall_time`, no checkpoint is ever saved.

    To mend it, save more often.
    """
    saving = profile.training.checkpointing
    path = "training.checkpointing.frequency" if saving.frequency is not None else "training.save_frequency"
    frequency = saving.frequency or profile.training.save_frequency
    if not saving.enabled or frequency is None or facts.step_s is None:
        return
    interval = frequency * facts.step_s
    limits = [*_find_lead_times(profile.backends)]
    if profile.resources.wall_time is not None:
        limits.append(("resources.wall_time", profile.resources.wall_time))
    for limit_path, limit in limits:
        if interval > limit:
            yield Hit(
                path=path,
                also=(limit_path,),
                message=(
                    f"{frequency:,} steps × {format_duration(facts.step_s)} = {format_duration(interval)} between two "
                    f"checkpoints, {limit_path} gives {format_duration(limit)}"
                ),
                fix=f"set {path}: {max(1, int(0.5 * limit / facts.step_s))}",
            )


def check_disk(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """There is no room for the weights.

    The best and the last weights are written to the run directory.

    To mend it, make room, or set `resources.output_dir` to a larger disk.
    """
    estimate = estimate_memory(profile, facts)
    if estimate is None or facts.device is None or facts.device.disk_free_gb is None:
        return
    needed = _NUM_WEIGHT_FILES * estimate.weights_gb
    if needed > facts.device.disk_free_gb:
        yield Hit(
            path="resources.output_dir",
            message=(
                f"{_NUM_WEIGHT_FILES} files of weights × {format_size(estimate.weights_gb * 1e9)} = "
                f"{format_size(needed * 1e9)}, {format_size(facts.device.disk_free_gb * 1e9)} are free"
            ),
            fix="make room, or set resources.output_dir to a larger disk",
        )


def _advise_memory(profile: Profile, estimate: MemoryEstimate, limit_gb: float) -> str:
    """Return the batch that fits with the accumulation that keeps the effective batch, else what is left to do."""
    training = profile.training
    room = limit_gb * 1e9 - estimate.state_bytes - estimate.framework_gb * 1e9
    if room <= 0 or not estimate.activation_bytes:
        return "choose a smaller network (model.hidden_size, model.num_layers) or a larger device"
    batch = int(_ROOM_USED * room / estimate.activation_bytes)
    if batch >= 1:
        batch = 2 ** (batch.bit_length() - 1)
        accumulation = -(-training.batch_size * training.gradient_accumulation_steps // batch)
        return f"set training.batch_size: {batch} and gradient_accumulation_steps: {accumulation}"
    if not profile.embedded_optimizations.gradient_checkpointing:
        return "set embedded_optimizations.gradient_checkpointing: true, which keeps less of each layer"
    if not training.mixed_precision.enabled:
        return "set training.mixed_precision.enabled: true, which halves the activations"
    return "choose a smaller network (model.hidden_size, model.num_layers) or a larger device"


def _find_lead_times(backends: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield (key, seconds) of each backend that says how long before the end it warns: ``signal: B:USR1@120``."""
    for name, options in backends.items():
        signal = options.get("signal") if isinstance(options, Mapping) else None
        if isinstance(signal, str) and (match := re.search(r"@(\d+)$", signal)):
            yield f"backends.{name}.signal", float(match[1])


def _show_clock(seconds: float) -> str:
    whole = int(seconds) + 59
    return f"{whole // 3600:02d}:{whole % 3600 // 60:02d}:00"


def _rule(code: str, title: str, severity: Severity, check: Check, needs: tuple[str, ...] = (), *keys: str) -> Rule:
    built_in = any(need in ("data", "memory") for need in needs)
    return Rule(code=code, title=title, severity=severity, check=check, needs=needs, keys=keys, built_in_only=built_in)


_TIMED = ("data", "step_s")
_SAVED = ("training.checkpointing.frequency", "training.save_frequency")

RULES = (
    _rule("gpu-missing", "A GPU is asked for that is not there", Severity.error, check_gpu_missing),
    _rule("device-conflict", "Device and GPUs contradict each other", Severity.error, check_device_conflict),
    _rule("gpus-idle", "GPUs would stay idle", Severity.warning, check_gpus_idle),
    _rule("gpu-type", "Another GPU than the profile was written for", Severity.advice, check_gpu_type),
    _rule("world-size", "Processes and GPUs disagree", Severity.error, check_world_size),
    _rule("nccl-without-gpu", "nccl without GPUs", Severity.error, check_nccl),
    _rule("machine-too-small", "More is declared than the machine has", Severity.warning, check_machine),
    _rule("memory", "The training does not fit the memory", Severity.error, check_memory, ("data", "memory")),
    _rule(
        "wall-time",
        "The training takes longer than allowed",
        Severity.warning,
        check_wall_time,
        _TIMED,
        "resources.wall_time",
    ),
    _rule(
        "checkpoint-interval",
        "Checkpoints are further apart than the time there is",
        Severity.warning,
        check_checkpoint_interval,
        _TIMED,
        *_SAVED,
    ),
    _rule("disk-space", "There is no room for the weights", Severity.error, check_disk, ("device", "memory")),
)
