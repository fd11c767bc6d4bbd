"""What a checkpoint of a training holds, how it is written while the training goes on, and how it comes back."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from footplate.errors import InputError, RecordError
from footplate.profile.model import get_model_section
from footplate.record.checkpoints import (
    Checkpoint,
    FileEntry,
    begin_checkpoint,
    check_checkpoint,
    commit_checkpoint,
    discard_unfinished,
    find_newest_valid,
    get_folder,
    hash_and_sync,
    list_checkpoints,
    make_manifest,
    open_checkpoint,
    prune_checkpoints,
)
from footplate.record.files import read_json, write_json
from footplate.record.journal import Journal
from footplate.record.rundir import RunDir
from footplate.trainer.assemble import Parts
from footplate.trainer.checkpoints.random_state import get_random_state, seed_after_resume, set_random_state
from footplate.trainer.checkpoints.rest_state import (
    check_optimizer,
    get_network_rest,
    get_optimizer_rest,
    set_network_rest,
    set_optimizer_rest,
)
from footplate.trainer.checkpoints.sharded_state import LocalState, copy_state, load_state
from footplate.trainer.checkpoints.state_files import (
    join_state,
    load_tensors,
    split_state,
    write_json_file,
    write_tensors,
)
from footplate.trainer.hooks import BestWeights
from footplate.trainer.progress import Progress

__all__ = ["Checkpointer", "Contents", "Stateful", "Watched", "restore", "restore_before", "resume"]

_KEPT_AT_LEAST = 2
_OTHERS_LIMIT_S = 600.0
"""How long the first process waits until the others have written their parts."""
_POLL_S = 0.01
_BEST = "best.safetensors"
_SETTINGS = (
    "learning_rate",
    "momentum",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "max_grad_norm",
    "scheduler",
    "label_smoothing",
    "mixed_precision",
)
_log = logging.getLogger("footplate")


class Stateful(Protocol):
    """What a training that goes on must bring back."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What is saved beside weights, optimiser, progress and random numbers."""

    shared: Mapping[str, Stateful] = field(default_factory=dict)
    """By name, what is the same in all processes: the first one saves it."""
    own: Mapping[str, Stateful] = field(default_factory=dict)
    """By name, what each process has of its own."""
    best: BestWeights | None = None
    """Its weights are a file of the checkpoint, as they were at that step."""
    check: Callable[[], None] = lambda: None
    """Called before each checkpoint, by all processes: raises when the training has gone wrong."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What one process has to write: copies, which the training does not touch any more."""

    step: int
    epoch: int
    position: int
    is_best: bool
    under_way: Path
    network: LocalState
    """Weights and optimiser state."""
    states: Mapping[str, tuple[Any, Mapping[str, Tensor]]]
    """By file: values and tensors."""
    best: Mapping[str, Tensor] | None
    """Best weights that wait for their file; None when it is linked already, or when there are none."""


class Checkpointer:
    """Takes checkpoints of one training: ``take`` on the training's thread, ``write`` on any."""

    def __init__(self, parts: Parts, run: RunDir, watched: Watched, *, attempt: int) -> None:
        self._parts = parts
        self._folder = get_folder(run)
        self._watched = watched
        self._attempt = attempt
        self._buffers: dict[str, Tensor] = {}
        self._is_abandoned = threading.Event()
        self._about = {"identity": _get_identity(parts, run), "settings": _get_settings(parts)}
        saving = parts.profile.training.checkpointing
        self._keep_last_n = max(_KEPT_AT_LEAST, saving.keep_last_n)
        self._optimizer = parts.stepper.optimizer if saving.save_optimizer_state else None

    def check(self) -> None:
        """Raise InputError when the optimiser keeps what cannot be saved: early, and not when the machine is lost."""
        if self._optimizer is not None:
            check_optimizer(self._optimizer, self._parts.profile.training.optimizer)

    def abandon(self) -> None:
        """Wait for other processes no more: this one has failed, and they may be gone."""
        self._is_abandoned.set()

    def take(self, progress: Progress) -> Contents:
        """Copy everything to main memory; all processes must call it after the same step.

        The copies are made into memory that is kept for the next time: fresh memory costs more than the copying.
        """
        parts = self._parts
        self._watched.check()
        under_way = self._begin(progress.step)
        best = self._watched.best
        states = {f"training.rank{parts.world.rank}": self._get_own_state()}
        if parts.world.is_first:
            states["training"] = self._get_shared_state(progress)
        contents = Contents(
            step=progress.step,
            epoch=progress.epoch,
            position=progress.position,
            is_best=best is not None and best.step == progress.step,
            under_way=under_way,
            network=copy_state(parts.model, self._optimizer, parts.stepper.parallel, self._copy),
            states={
                name: (value, {place: self._copy(f"{name}/{place}", tensor) for place, tensor in tensors.items()})
                for name, (value, tensors) in states.items()
            },
            best=None if best is None else best.hand_over(under_way / _BEST),
        )
        if parts.device.type == "cuda":
            torch.cuda.synchronize(parts.device)
        return contents

    def write(self, contents: Contents) -> tuple[Path | None, int]:
        """Write what this process has to write; the first one commits the checkpoint when all others have.

        Return the checkpoint's folder (None in other processes) and the number of bytes written here. Raises OSError
        or RecordError when it cannot be written; there is then no new checkpoint, and no half one.
        """
        try:
            files = self._write_files(contents)
            num_bytes = sum(entry.bytes for entry in files.values())
            world = self._parts.world
            if not world.is_first:
                told = {name: asdict(entry) for name, entry in files.items()}
                write_json(_get_word(contents.under_way, world.rank), told)
                return None, num_bytes
            files |= self._wait_for_others(contents.under_way)
            manifest = make_manifest(
                contents.under_way,
                files,
                step=contents.step,
                epoch=contents.epoch,
                position=contents.position,
                attempt=self._attempt,
                world_size=world.size,
                is_best=contents.is_best,
                origin=self._parts.profile.fault_tolerance.checkpoint_path,
            )
            path = commit_checkpoint(contents.under_way, manifest).path
        except BaseException:
            shutil.rmtree(contents.under_way, ignore_errors=True)
            raise
        for problem in prune_checkpoints(self._folder, self._keep_last_n):
            _log.warning("an old checkpoint cannot be removed: %s", problem)
        return path, num_bytes

    def _begin(self, step: int) -> Path:
        """Make the folder in the first process; the others learn that it is there."""
        failure = None
        under_way = self._folder / ""
        if self._parts.world.is_first:
            try:
                under_way = begin_checkpoint(self._folder, step)
            except OSError as error:
                failure = f"{error.filename or self._folder}: {error.strerror}"
        under_way, failure = self._parts.world.broadcast((under_way, failure))
        if failure is not None:
            raise RecordError(f"a checkpoint cannot be begun: {failure}")
        return under_way

    def _get_shared_state(self, progress: Progress) -> tuple[Any, dict[str, Tensor]]:
        return split_state(
            {
                **self._about,
                "progress": progress.state_dict(),
                "precision": self._parts.precision.state_dict(),
                "network": get_network_rest(self._parts.model),
                "optimizer": None if self._optimizer is None else get_optimizer_rest(self._optimizer),
                "parts": {name: one.state_dict() for name, one in self._watched.shared.items()},
            }
        )

    def _get_own_state(self) -> tuple[Any, dict[str, Tensor]]:
        own = {name: one.state_dict() for name, one in self._watched.own.items()}
        return split_state({"random": get_random_state(), "parts": own})

    def _copy(self, key: str, tensor: Tensor) -> Tensor:
        """Return a copy in main memory, in the same place each time."""
        source = tensor.detach()
        kept = self._buffers.get(key)
        if kept is None or kept.shape != source.shape or kept.dtype != source.dtype:
            kept = torch.empty(source.shape, dtype=source.dtype, pin_memory=source.is_cuda)
            self._buffers[key] = kept
        return kept.copy_(source, non_blocking=source.is_cuda)

    def _write_files(self, contents: Contents) -> dict[str, FileEntry]:
        folder, network = contents.under_way, contents.network
        files = {network.file_name: write_tensors(folder / network.file_name, network.tensors, network.metadata)}
        for name, (value, tensors) in contents.states.items():
            files[f"{name}.json"] = write_json_file(folder / f"{name}.json", value)
            files[f"{name}.safetensors"] = write_tensors(folder / f"{name}.safetensors", tensors)
        if contents.best is not None:
            files[_BEST] = write_tensors(folder / _BEST, contents.best)
        elif (folder / _BEST).exists() and self._parts.world.is_first:
            files[_BEST] = hash_and_sync(folder / _BEST)
        return files

    def _wait_for_others(self, under_way: Path) -> dict[str, FileEntry]:
        """Return what the other processes have written; RecordError when one has not within the limit."""
        files: dict[str, FileEntry] = {}
        limit = time.monotonic() + _OTHERS_LIMIT_S
        for rank in range(1, self._parts.world.size):
            word = _get_word(under_way, rank)
            while not word.exists():
                if time.monotonic() > limit or not under_way.exists() or self._is_abandoned.is_set():
                    raise RecordError(f"process {rank} has not written its part of {under_way.name}")
                time.sleep(_POLL_S)
            files |= {name: FileEntry(**entry) for name, entry in read_json(word).items()}
            word.unlink()
        return files


def resume(parts: Parts, progress: Progress, run: RunDir, journal: Journal, watched: Watched) -> int:
    """Go on from where an earlier attempt, or the profile's checkpoint, stands, if there is any; return the attempt.

    That is the newest valid checkpoint of the run where an earlier attempt has left any, else the one that
    `fault_tolerance.checkpoint_path` names; what is damaged is skipped, and said. All processes must call it.
    """
    attempt = int(os.environ.get("FOOTPLATE_ATTEMPT", "1"))
    found = None
    if parts.world.is_first:
        for problem in discard_unfinished(get_folder(run)):
            _log.warning("resume: what was never finished cannot be removed: %s", problem)
        found = _find_start(parts, run, attempt=attempt)
    checkpoint, skipped = parts.world.broadcast(found) or (None, [])
    for name, reason in skipped:
        _log.warning("resume: %s is skipped: %s", name, reason)
    told = [{"checkpoint": name, "reason": reason} for name, reason in skipped]
    if checkpoint is None:
        if attempt > 1:
            journal.rewind(0)
            journal.event("resume", step=0, checkpoint=None, skipped=told)
            _log.info("resume: attempt %d begins anew: there is no checkpoint to go on from", attempt)
        return attempt
    restore(checkpoint, parts, progress, run, watched)
    if progress.step >= parts.horizon.total_steps:
        progress.stopped_by = parts.horizon.ends_by
    elif progress.stopped_by != "early_stopping" or not parts.profile.training.early_stopping.enabled:
        progress.stopped_by = ""  # the training was made longer since
    journal.rewind(progress.step)
    journal.event("resume", step=progress.step, checkpoint=str(checkpoint.path), skipped=told)
    _log.info("resume: attempt %d goes on from %s, step %s", attempt, checkpoint.name, f"{progress.step:,}")
    return attempt


def restore(
    checkpoint: Checkpoint, parts: Parts, progress: Progress, run: RunDir, watched: Watched | None = None
) -> None:
    """Bring a training to where a checkpoint stands: weights, optimiser, progress, random numbers, what is watched.

    Raises InputError, with the differences, when it is the checkpoint of another training.
    """
    watched = watched or Watched()
    shared = _read_state(checkpoint.path, "training")
    _check_identity(checkpoint, shared["identity"], _get_identity(parts, run))
    settings = _get_settings(parts)
    for key in settings:
        if key in shared["settings"] and shared["settings"][key] != settings[key]:
            told = shared["settings"][key], settings[key], checkpoint.name
            _log.warning("resume: %s is not %s any more, but %s: it goes another way than before %s", key, *told)
    progress.load_state_dict(shared["progress"])
    if shared["optimizer"] is None:
        _log.warning("resume: %s holds no optimiser state: its moments begin anew", checkpoint.name)
    else:
        set_optimizer_rest(parts.stepper.optimizer, shared["optimizer"])
    load_state(checkpoint.path, parts.model, parts.stepper.optimizer)
    set_network_rest(parts.model, shared["network"])
    parts.precision.load_state_dict(shared["precision"])
    for name, one in watched.shared.items():
        if name in shared["parts"]:
            one.load_state_dict(shared["parts"][name])
    if watched.best is not None and (checkpoint.path / _BEST).exists() and parts.world.is_first:
        watched.best.take_back(checkpoint.path / _BEST)
    _restore_own(checkpoint, parts, progress, watched)


def restore_before(parts: Parts, progress: Progress, run: RunDir, step: int) -> Checkpoint | None:
    """Bring a training to the newest valid checkpoint of a run of at most ``step`` steps; None when there is none."""
    for checkpoint in reversed(list_checkpoints(get_folder(run))):
        if checkpoint.step <= step and not check_checkpoint(checkpoint):
            restore(checkpoint, parts, progress, run)
            return checkpoint
    return None


def _restore_own(checkpoint: Checkpoint, parts: Parts, progress: Progress, watched: Watched) -> None:
    """Give each process what it had of its own; with another number of processes what they had is shared out."""
    rank, size = parts.world.rank, parts.world.size
    for number in range(rank, checkpoint.world_size, size):
        own = _read_state(checkpoint.path, f"training.rank{number}")
        for name, one in watched.own.items():
            if name in own["parts"]:
                one.load_state_dict(own["parts"][name])
        if size == checkpoint.world_size:
            set_random_state(own["random"])
    if size != checkpoint.world_size:
        _log.info("resume: %d process(es) instead of %d; their random numbers begin anew", size, checkpoint.world_size)
        seed_after_resume(parts.profile.reproducibility.seed, parts.data_world.rank, progress.step)


def _find_start(parts: Parts, run: RunDir, *, attempt: int) -> tuple[Checkpoint | None, list[tuple[str, str]]]:
    settings = parts.profile.fault_tolerance
    skipped: list[tuple[str, str]] = []
    if attempt > 1 and settings.resume_from_checkpoint:
        named = settings.checkpoint_path
        # Those of an attempt that went on from elsewhere are of another course.
        found, skipped = find_newest_valid(get_folder(run), lambda one: named is None or one.origin == named)
        if found is not None:
            return found, skipped
    if settings.checkpoint_path is None:
        return None, skipped
    path = parts.profile.base_dir / settings.checkpoint_path
    key = "fault_tolerance.checkpoint_path"
    if (path / "checkpoints").is_dir() or path.name == "checkpoints":  # a run, or its folder of checkpoints
        found, unusable = find_newest_valid(path if path.name == "checkpoints" else path / "checkpoints")
        if found is None:
            told = "; ".join(f"{name}: {reason}" for name, reason in unusable)
            raise InputError(f"{key}: {path} holds no valid checkpoint" + (f": {told}" if told else ""))
        return found, [*skipped, *unusable]
    checkpoint = open_checkpoint(path)
    if wrong := check_checkpoint(checkpoint):
        raise InputError(f"{key}: {path}: {wrong}", hint="name another one, or take the key out")
    return checkpoint, skipped


def _get_identity(parts: Parts, run: RunDir) -> dict[str, Any]:
    """Return what makes a training this one: with another value it would be another."""
    profile = parts.profile
    sets: Mapping[str, Any] = (run.find_json("data.json") or {}).get("sets", {})
    stream = parts.data.train_sha256
    return {
        **({"samples of the stream, sha256": stream} if stream else {}),
        "data": {name: _get_hashes(one) for name, one in sets.items()},
        "model": get_model_section(profile).model_dump(mode="json", exclude_defaults=True),
        "task": parts.task.kind,
        "loss": parts.task.loss_name,
        "optimizer": profile.training.optimizer,
        "seed": profile.reproducibility.seed,
        "samples": len(parts.train),
        "samples of a step": parts.horizon.effective_batch,
    }


def _get_settings(parts: Parts) -> dict[str, Any]:
    """Return what may be otherwise, by its key: the training goes on, but not as it would have."""
    profile = parts.profile
    training = profile.training.model_dump(mode="json", include=set(_SETTINGS))
    settings = {f"training.{name}": value for name, value in training.items()}
    settings["data.augmentation"] = profile.data.augmentation.model_dump(mode="json")
    if profile.training.scheduler.type != "constant":
        settings["the number of steps, which the learning rate follows,"] = parts.horizon.total_steps
    return settings


def _check_identity(checkpoint: Checkpoint, saved: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    differences = [
        f"{name}: {saved.get(name)!r} there, {here[name]!r} here"
        for name in here
        if name != "data" and saved.get(name) != here[name]
    ]
    if saved["data"] and here["data"]:
        changed = [name for name in here["data"] if saved["data"].get(name) != here["data"][name]]
        differences += [f"data.{name}_data: other files, or other content" for name in changed if name == "train"]
        for name in changed:
            if name != "train":
                _log.warning("resume: data.%s_data has changed since %s was saved", name, checkpoint.name)
    if differences:
        raise InputError(
            f"{checkpoint.path} is the checkpoint of another training: {'; '.join(differences)}",
            hint="train anew, or start from its weights alone with transfer_learning.pretrained_model_path",
        )


def _get_hashes(described: Mapping[str, Any]) -> list[str]:
    """Return what tells whether the files of a set are the same, wherever they lie and whenever they were copied."""
    files = described.get("files", [])
    return [f"{one['size']} {one['sha256'] if 'times' not in one.get('hash_of', '') else ''}".strip() for one in files]


def _read_state(folder: Path, name: str) -> Mapping[str, Any]:
    state: Mapping[str, Any] = join_state(
        read_json(folder / f"{name}.json"), load_tensors(folder / f"{name}.safetensors")
    )
    return state


def _get_word(under_way: Path, rank: int) -> Path:
    return under_way / f"written.rank{rank}.json"
