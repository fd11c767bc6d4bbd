"""Sets up what deals with memory: an estimate before the start, the batch size to begin with, and advice at the end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from footplate.errors import RecordError
from footplate.profile.facts import Facts
from footplate.profile.model import Profile
from footplate.profile.size import MemoryEstimate, estimate_memory
from footplate.quantities import format_size
from footplate.record.cause import Cause
from footplate.record.exit_codes import OUT_OF_MEMORY
from footplate.record.journal import Journal
from footplate.record.receipt import find_receipt
from footplate.record.rundir import RunDir
from footplate.trainer.architectures import count_model_parameters
from footplate.trainer.assemble import Parts
from footplate.trainer.evaluate import Judge
from footplate.trainer.memory.limits import MemoryLimit, find_limits
from footplate.trainer.memory.note import NAME, MemoryNote, find_note
from footplate.trainer.memory.recovery import EvaluationSize, Recovery, Surroundings
from footplate.trainer.progress import Progress

__all__ = ["get_advice", "guard_judge", "make_recovery", "make_surroundings"]

_log = logging.getLogger("footplate")


def make_surroundings(parts: Parts, progress: Progress, journal: Journal, run: Path) -> Surroundings:
    """Return what those that deal with memory must know of this training; ``run`` is its run directory."""
    profile = parts.profile
    estimate = _estimate(parts)
    return Surroundings(
        progress=progress,
        device=parts.device,
        journal=journal,
        note_path=run / NAME,
        limits=find_limits(),
        has_users_code=any(
            ":" in name for name in (profile.model.architecture, profile.training.optimizer, profile.training.loss.type)
        ),
        advice=lambda size: get_advice(profile, estimate, size),
    )


def make_recovery(parts: Parts, around: Surroundings) -> Recovery:
    """Return what takes the steps, beginning with the batch size that an earlier attempt has found to fit.

    Says before the start when the memory will probably not suffice. All processes must call it.
    """
    _warn_of_size(parts, around)
    asked = parts.profile.training.batch_size
    recovery = Recovery(parts.stepper, asked, around)
    note = parts.world.broadcast(_find_note(around, asked) if parts.world.is_first else None)  # it may change the file
    recovery.batch_size = asked if note is None else min(asked, note.batch_size)
    if note is not None and recovery.batch_size < asked:
        around.tell("batch_size_kept", step=note.step, batch_size=asked, new_batch_size=recovery.batch_size)
        _log.info(
            "memory: batches of %d instead of %d samples, because %s",
            recovery.batch_size,
            asked,
            "the last attempt was killed" if note.step is None else f"step {note.step:,} of an attempt did not fit",
        )
    return recovery


def _find_note(around: Surroundings, asked: int) -> MemoryNote | None:
    """Return what the attempts before have left: their own word, or half of it when the last one was killed."""
    if around.note_path is None or around.journal is None:
        return None
    note = find_note(around.note_path)
    if _was_killed(around.note_path.parent, around.journal.path.parent):
        size = asked if note is None else note.batch_size
        note = MemoryNote(batch_size=-(-size // 2), step=None, rank=0, asked_bytes=None, free_bytes=None)
        note.write(around.note_path)
    return note


def _was_killed(run: Path, folder: Path) -> bool:
    """Return whether the kernel killed the attempt before this one because it took too much memory."""
    number = int(folder.name) if folder.name.isdecimal() else 1
    if number == 1:
        return False
    try:
        receipt = find_receipt(RunDir(path=run).get_attempt(number - 1))
    except RecordError:  # damaged: it says nothing
        return False
    return receipt is not None and receipt.cause == Cause.out_of_memory and receipt.exit_code != OUT_OF_MEMORY


def guard_judge(judge: Judge, around: Surroundings, parts: Parts) -> Judge:
    """Return a judge that goes on in smaller batches when the memory does not suffice, and says so in the journal."""
    training_size = parts.profile.training.batch_size
    return replace(judge, size=EvaluationSize(judge.batch_size, around, training_size=training_size))


def get_advice(profile: Profile, estimate: MemoryEstimate | None, batch_size: int) -> str:
    """Return what to try when batches of ``batch_size`` do not fit, in this order, leaving out what is done already."""
    training, embedded = profile.training, profile.embedded_optimizations
    effective = training.batch_size * training.gradient_accumulation_steps
    steps = []
    if batch_size > 1:
        half = -(-batch_size // 2)
        steps.append(
            f"training.batch_size: {half} with gradient_accumulation_steps: {-(-effective // half)} "
            "(the same effective batch)"
        )
    if not embedded.gradient_checkpointing:
        steps.append("embedded_optimizations.gradient_checkpointing: true (activations are computed twice)")
    if not training.mixed_precision.enabled:
        steps.append("training.mixed_precision: {enabled: true, precision: bf16} (activations of half the size)")
    kept = ""
    if estimate is not None:
        size = format_size(estimate.num_parameters * estimate.bytes_per_parameter)
        parts = ", ".join(name for name, _ in estimate.parameter_parts)
        kept = f" ({estimate.num_parameters:,} parameters take {size}: {parts})"
    steps.append(f"a smaller model{kept}")
    return "try, in this order: " + "; ".join(steps)


def _estimate(parts: Parts) -> MemoryEstimate | None:
    profile = parts.profile.model_copy(update={"device": parts.device.type})
    return estimate_memory(profile, Facts(data=parts.data.facts, num_parameters=count_model_parameters(parts.model)))


def _warn_of_size(parts: Parts, around: Surroundings) -> None:
    """Say with its arithmetic that the training probably does not fit."""
    estimate, limit = _estimate(parts), _find_limit(parts.device, around.limits)
    if estimate is None or limit is None or parts.stepper.parallel.is_sharded:
        return
    size, name = limit
    if estimate.total_gb * 1e9 <= size:
        return
    around.tell("memory_estimate", estimate_gb=estimate.total_gb, limit_gb=size / 1e9, limit=name)
    _log.warning(
        "memory: %s, and %s has %s; batches are made smaller when it does not suffice",
        estimate.to_text(),
        name,
        format_size(size),
    )


def _find_limit(device: torch.device, limits: Sequence[MemoryLimit]) -> tuple[int, str] | None:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory, "the GPU"
    smallest = min(limits, key=lambda limit: limit.limit_bytes, default=None)
    return None if smallest is None else (smallest.limit_bytes, smallest.name)
