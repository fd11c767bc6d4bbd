"""Goes on with a run that has ended before its time: the next attempt of the same run, from its newest checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from footplate.errors import FootplateError, InputError, NotFoundError, RecordError
from footplate.record.checkpoints import FOLDER, find_newest_valid, get_folder, list_checkpoints, open_checkpoint
from footplate.record.files import write_json, write_text
from footplate.record.job import move_sidecars
from footplate.record.receipt import find_receipt, make_attempt, make_receipt
from footplate.record.run_info import RunInfo, read_run_info
from footplate.record.rundir import Attempt, RunDir
from footplate.record.snapshot import read_snapshot, take_snapshot
from footplate.record.state import MAX_HANDOVER_S, RunState, Status, get_status
from footplate.runs.code_tree import TREE, find_changes, join_names, restore_tree
from footplate.runs.launch import RUN_DIR_TOKEN, Launched, check_command, get_environment, make_shipping
from footplate.runs.rerun import read_job
from footplate.runs.start import EarlySignals, record_failure
from footplate.tracking.shipping.logbook import read_settings

if TYPE_CHECKING:
    from footplate.profile.model import Profile

__all__ = ["RESUME_KEYS", "Code", "resume"]

Code = Literal["recorded", "current"]
RESUME_KEYS = (
    "training.max_epochs",
    "training.max_steps",
    "training.log_frequency",
    "training.save_frequency",
    "training.checkpointing",
    "training.early_stopping",
    "training.batch_size",
    "training.gradient_accumulation_steps",
    "data.num_workers",
    "data.pin_memory",
    "data.prefetch_factor",
    "data.persistent_workers",
    "distributed",
    "resources",
    "fault_tolerance",
    "logging",
    "monitoring",
    "post_training",
)
"""Keys, and sections, that another attempt may have otherwise than the first one."""
_CHECKPOINT_KEY = "fault_tolerance.checkpoint_path"


def resume(
    run: RunDir, *, overrides: Sequence[str] = (), code: Code = "recorded", env: Mapping[str, str] | None = None
) -> Launched:
    """Start the next attempt of a run that has ended, or whose wrapper is gone; the notes say from where it goes on.

    It runs in the place where the run was started. When the code there has changed since, the recorded code is
    restored into the run directory and runs there, unless ``code`` is ``current``, which records it anew.
    ``overrides`` (``section.key=value``) change the profile where that leaves the training the same one;
    ``env`` is added to the recorded environment.
    Raises InputError when the run is alive, has succeeded, or cannot be changed like that. Of two calls at the same
    time one starts the attempt.
    """
    info = read_run_info(run)
    last = _find_last(run)
    _check_state(run, get_status(run), last, overrides)
    profile = _read_profile(run, info, overrides)
    attempt = make_attempt(run, make_receipt(run, last.number + 1))
    if attempt is None:
        raise InputError(f"run {run.id} is being resumed by another process", hint=f"footplate logs -f {run.id}")
    try:
        with EarlySignals() as early:
            cwd, notes = _place_code(run, info, last, code)
            job = _make_job(run, info, cwd, profile)
            job["env"] = {**job.get("env", {}), **(env or {})}
            job["sidecars"] = move_sidecars(job.get("sidecars", []), run.get_attempt(1), attempt)
            environment = get_environment(job["env"], cwd)
            check_command(job["argv"], cwd, environment.get("PATH"))
            write_json(attempt.job_path, job)
            _set_aside(run, last, profile if overrides else None)
            notes = (*_describe_start(run, info, attempt), *notes)
            process = early.start_wrapper(run, attempt, environment, with_stdin=info.kind == "exec")
    except BaseException as error:
        record_failure(run, attempt, error)
        raise
    return Launched(run=run, attempt=attempt, process=process, notes=notes)


def _find_last(run: RunDir) -> Attempt:
    attempts = run.attempts()
    if not attempts or not any(attempt.job_path.exists() for attempt in attempts):
        raise NotFoundError(f"run {run.id} was never started", hint=f"footplate rerun {run.id}")
    return attempts[-1]


def _check_state(run: RunDir, status: Status, last: Attempt, overrides: Sequence[str]) -> None:
    """Raise an InputError when something is at the run, or when there is nothing left to do."""
    if status.state is RunState.succeeded:
        if any(word.startswith(("training.max_epochs=", "training.max_steps=")) for word in overrides):
            return
        raise InputError(
            f"run {run.id} has succeeded: there is nothing to go on with",
            hint=f"footplate resume {run.id} --set training.max_epochs=… trains it longer; footplate rerun repeats it",
        )
    if status.state.is_final:
        return
    if status.state is RunState.queued and status.ended_at is not None:
        return  # preempted, and nobody starts it again
    if find_receipt(last) is None and time.time() - last.path.stat().st_mtime > MAX_HANDOVER_S:
        return  # what made it was killed on the way
    if status.orphan_pid is not None:
        hint = f"stop it first: kill {status.orphan_pid}"
    elif status.state is RunState.unknown:
        hint = "ask again on the machine it ran on"
    else:
        hint = f"footplate logs -f {run.id}"
    raise InputError(f"run {run.id} is {status.state}: {'; '.join(status.evidence)}", hint=hint)


def _read_profile(run: RunDir, info: RunInfo, overrides: Sequence[str]) -> Profile | None:
    """Return the profile of a training, with other values where that is allowed; None for a command of the user's.

    InputError for keys that must stay.
    """
    if info.kind != "train":
        if overrides:
            raise InputError(
                f"run {run.id} is a command of your own: there is no training profile whose keys --set could change"
            )
        return None
    from footplate.profile.load import load_profile_text  # pydantic is not loaded for a plain command

    for word in overrides:
        name = word.partition("=")[0].strip()
        if not any(name == allowed or name.startswith(f"{allowed}.") for allowed in RESUME_KEYS):
            raise InputError(
                f"--set {name}: with another value it would be another training",
                hint=f"footplate rerun {run.id} --set {word}; a resume takes: {', '.join(RESUME_KEYS)}",
            )
    file = run.path / "profile.yaml"
    text = file.read_text(encoding="utf-8")
    before = load_profile_text(text, name=str(file), base_dir=Path(info.cwd))
    after = load_profile_text(text, name=str(file), base_dir=Path(info.cwd), overrides=overrides)
    named = after.fault_tolerance.checkpoint_path
    if named is not None and named != before.fault_tolerance.checkpoint_path:
        place = json.dumps(str(_find_checkpoint(Path(info.cwd, named))))
        words = [*overrides, f"{_CHECKPOINT_KEY}={place}"]
        after = load_profile_text(text, name=str(file), base_dir=Path(info.cwd), overrides=words)
    sizes = [_get_step_size(profile) for profile in (before, after)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"a step of {sizes[1]:,} samples instead of {sizes[0]:,} would be another training",
            hint="batch_size × gradient_accumulation_steps × processes must stay what it was",
        )
    return after


def _find_checkpoint(path: Path) -> Path:
    """Return the absolute place of a checkpoint or run: the attempt may run elsewhere. InputError when it is none."""
    folder = path if path.name == FOLDER else path / FOLDER
    if not list_checkpoints(folder):
        try:
            open_checkpoint(path)
        except FootplateError as error:
            raise InputError(f"--set {_CHECKPOINT_KEY}: {error.message}", hint=error.hint) from error
    return path.absolute()


def _get_step_size(profile: Profile) -> int:
    from footplate.profile.mesh import get_declared_mesh

    training = profile.training
    return training.batch_size * training.gradient_accumulation_steps * get_declared_mesh(profile).data


def _place_code(run: RunDir, info: RunInfo, last: Attempt, code: Code) -> tuple[Path, tuple[str, ...]]:
    """Return where the attempt runs, and what is to be said about its code."""
    cwd = Path(str(read_job(run).get("cwd") or info.cwd))
    if run.find_json("code.json") is None:
        return cwd, ("whether the code changed since is not known: none was recorded",)
    snapshot = read_snapshot(run)
    changes = find_changes(snapshot, cwd, run)
    if not changes:
        return cwd, ()
    said = f"the code changed since: {join_names(changes)}"
    if code == "current":
        if not cwd.is_dir():
            raise InputError(f"the working directory is gone: {cwd}", hint="resume with --code recorded")
        shutil.copyfile(run.path / "code.json", last.path / "code.json")
        take_snapshot(cwd, run)
        return cwd, (said, "it runs as it is now, and is recorded anew")
    tree = run.path / TREE
    if tree.exists() and not find_changes(snapshot, tree / snapshot.cwd, run):
        return tree / snapshot.cwd, (said, "it runs as it was recorded; --code current takes it as it is now")
    shutil.rmtree(tree, ignore_errors=True)
    place, _, missing = restore_tree(run, snapshot, tree)
    gone = (f"not in the snapshot, and gone: {join_names(missing)}",) if missing else ()
    return place, (said, "it runs as it was recorded; --code current takes it as it is now", *gone)


def _make_job(run: RunDir, info: RunInfo, cwd: Path, profile: Profile | None) -> dict[str, Any]:
    """Return the job of the next attempt; that of a training follows from its profile."""
    job: dict[str, Any] = {**read_job(run), "cwd": str(cwd)}
    argv = info.argv
    if profile is not None:
        from footplate.runs.plan import get_command, get_num_started, get_redact, get_restart, get_trackers

        argv = get_command(profile)  # with this Python, which has Footplate; the recorded one may be gone
        job["num_processes"] = get_num_started(profile)
        job |= make_shipping(run, info.kind, get_trackers(profile), read_settings(run))
        job["redact"] = get_redact(profile)
        job["restart"] = get_restart(profile).to_json() if job.get("restart") is not None else None
    words = [str(run.path) if word == RUN_DIR_TOKEN else word for word in argv]
    job["argv"] = [*words, *job.get("resume_args", [])]
    return job


def _set_aside(run: RunDir, last: Attempt, changed: Profile | None) -> None:
    """Move what the last attempt has left of a result, and the profile where it changes, to that attempt."""
    try:
        if (run.path / "result.json").exists():
            os.replace(run.path / "result.json", last.path / "result.json")
        if changed is not None:
            shutil.copyfile(run.path / "profile.yaml", last.path / "profile.yaml")
            write_text(run.path / "profile.yaml", changed.to_yaml())
    except OSError as error:
        raise RecordError(f"{error.filename}: cannot be set aside: {error.strerror}") from error


def _describe_start(run: RunDir, info: RunInfo, attempt: Attempt) -> tuple[str, ...]:
    if info.kind != "train":
        return (f"attempt {attempt.number}: the command is started again",)
    found, skipped = find_newest_valid(get_folder(run))
    notes = tuple(f"not taken: {name}: {why}" for name, why in skipped)
    if found is None:
        return (f"attempt {attempt.number}: there is no checkpoint to go on from; it starts anew", *notes)
    return (f"attempt {attempt.number} goes on from {found.name}", *notes)
