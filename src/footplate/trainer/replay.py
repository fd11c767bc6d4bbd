"""Does one step of a recorded training again: silently up to it, then with a close look, perhaps in the debugger."""

from __future__ import annotations

import json
import logging
import math
import pdb
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from footplate.data.load import LoadedData
from footplate.errors import InputError
from footplate.profile.load import load_profile
from footplate.profile.mesh import get_declared_mesh
from footplate.profile.model import Profile
from footplate.record.journal_reader import read_events, read_metrics
from footplate.record.rundir import RunDir
from footplate.trainer.assemble import Parts, assemble
from footplate.trainer.checkpoints.checkpoint import restore_before
from footplate.trainer.close_look import look_at_step
from footplate.trainer.loading.feed import Step
from footplate.trainer.memory.rewind import Rewinder
from footplate.trainer.optim import set_learning_rate
from footplate.trainer.progress import Progress

__all__ = ["load_replayed", "read_batch_sizes", "replay_step"]

_SAME = 1e-5
"""Relative difference up to which two losses are the same: another device, or batches that are cut otherwise."""
_log = logging.getLogger("footplate")


def load_replayed(run: RunDir) -> Profile:
    """Return the profile of a run for one process on this machine: the same batches, the device that is here."""
    file = run.path / "profile.yaml"
    profile = load_profile(file)
    overrides: dict[str, object] = {"data.num_workers": 0}
    if profile.device != "cpu":
        overrides["device"] = "auto"
    if profile.resources.num_gpus:
        overrides |= {"resources.num_gpus": None, "distributed.world_size": profile.resources.num_gpus}
    return load_profile(file, overrides=[f"{key}={json.dumps(value)}" for key, value in overrides.items()])


def replay_step(profile: Profile, data: LoadedData, run: RunDir, number: int, *, debug: bool) -> dict[str, Any]:
    """Bring the training to the state before step ``number`` (from 1), do that step, and return what was seen.

    It goes on from the newest checkpoint before that step, else from the start. Nothing is written into the run. The
    batches of all processes of a distributed training are taken by this one. With ``debug`` the debugger stops before
    the forward pass. InputError when the training never reaches that step.
    """
    parts = assemble(profile, data)
    if not 1 <= number <= parts.horizon.total_steps:
        raise InputError(f"--step {number}: this training has steps 1 to {parts.horizon.total_steps:,}")
    progress = Progress(num_train=len(parts.train))
    parts.stepper.model.train()
    found = restore_before(parts, progress, run, number - 1)
    checkpoint = None if found is None else found.name
    progress.stopped_by = ""  # a checkpoint of the end, or of a request to stop
    first = progress.step + 1
    get_size = read_batch_sizes(run, profile.training.batch_size)
    _log.info("from %s, then %s steps up to step %s", checkpoint or "the start", f"{number - first:,}", f"{number:,}")
    sums = []
    try:
        while progress.step < number - 1:
            step = _take(parts, progress)
            sums.append(_add_up(parts.stepper.take_step(step, get_size(progress.step + 1)).losses))
            progress.count(num_samples=step.num_samples)
        step, size = _take(parts, progress), get_size(number)
        if debug:
            _stop(parts, step, size)
        seen = look_at_step(parts.stepper, step, size, parts.model)
    finally:
        parts.train.close()
    sums.append((seen["loss"] * seen["loss_weight"], seen["loss_weight"]))
    return {
        "run_id": run.id,
        "step": number,
        "epoch": progress.epoch,
        "checkpoint": checkpoint,
        "first_step": first,
        "learning_rate": parts.get_learning_rate(progress.step),
        "num_processes": get_declared_mesh(profile).data,
        **seen,
        "recorded": _compare(run, number, profile.training.log_frequency, sums),
    }


def read_batch_sizes(run: RunDir, asked: int) -> Callable[[int], int]:
    """Return what gives the batch size of a step, from 1, as the journal tells it: memory may have run short."""
    changes: list[tuple[int, int]] = []
    begun = 0
    for entry in read_events(run):
        data, name = entry.data, entry.data.get("name")
        if name == "resume":
            begun = int(data["step"])
            changes = [(step, size) for step, size in changes if step <= begun]
        elif name == "batch_size_kept":
            changes.append((begun + 1, int(data["new_batch_size"])))
        elif name in ("out_of_memory", "batch_size_grown") and not data.get("during") and data.get("new_batch_size"):
            changes = [(step, size) for step, size in changes if step < int(data["step"])]
            changes.append((int(data["step"]), int(data["new_batch_size"])))
    return lambda step: next((size for start, size in reversed(changes) if start <= step), asked)


def _take(parts: Parts, progress: Progress) -> Step:
    """Return the next step's samples, with learning rate and frozen layers as the training has them."""
    if parts.freezer is not None:
        parts.freezer.apply(progress.epoch)
    set_learning_rate(parts.stepper.optimizer, parts.get_learning_rate(progress.step))
    seed = parts.profile.reproducibility.seed
    return parts.train.take(seed, progress.epoch, progress.position, parts.horizon.effective_batch)


def _stop(parts: Parts, step: Step, batch_size: int) -> None:
    """Stop in the debugger before the forward pass of the first batch; afterwards all is as it was before it."""
    rewinder = Rewinder(parts.stepper.model, parts.device, with_foreign=True)
    rewinder.mark()
    model, loss_function = parts.stepper.model, parts.task.compute_loss
    batch = next(iter(step.split(batch_size)))
    _log.info("at hand: batch.inputs, batch.targets, model, loss_function; s steps into the network, c goes on")
    pdb.set_trace()  # what --pdb asks for
    loss = loss_function(model(batch.inputs), batch.targets)
    del loss
    rewinder.rewind()


def _add_up(losses: Sequence[tuple[Tensor, int | Tensor]]) -> tuple[float, float]:
    """Return the sum of what a step's losses weigh in, and the weight."""
    return sum(float(loss) * float(weight) for loss, weight in losses), sum(float(weight) for _, weight in losses)


def _compare(run: RunDir, number: int, frequency: int, sums: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return what the journal has recorded for this step beside what the replay gives for the same steps.

    The journal keeps the mean loss of the steps since its last entry; ``sums`` are those of the last steps done.
    """
    point = next((point for point in read_metrics(run).get("train/loss", []) if point.step == number), None)
    if point is None:
        why = (
            f"it records every {frequency} steps" if number % frequency else "the training ended before it was recorded"
        )
        return {"loss": None, "note": f"the journal has no loss of step {number:,}: {why}"}
    some = sums[-frequency:]
    if len(some) < min(frequency, number):
        first = number - frequency + 1
        return {"loss": point.value, "note": f"that is the mean from step {first:,} on; the replay began later"}
    weight = sum(one for _, one in some)
    mean = sum(total for total, _ in some) / max(weight, 1.0)
    same = math.isclose(mean, point.value, rel_tol=_SAME) or (math.isnan(mean) and math.isnan(point.value))
    return {
        "loss": point.value,
        "replayed": mean,
        "same": same,
        "difference": abs(mean - point.value),
        "note": "" if frequency == 1 else f"means of the last {len(some)} steps",
    }
