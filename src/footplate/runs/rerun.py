"""Repeats a run: its exact code, its command, its profile; and says what is different today."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from footplate.errors import FootplateError, InputError, NotFoundError, RecordError
from footplate.quantities import format_count
from footplate.record.files import link_or_copy
from footplate.record.redact import read_redactor
from footplate.record.restart import RestartPolicy
from footplate.record.run_info import RunInfo, read_run_info
from footplate.record.rundir import RunDir
from footplate.record.snapshot import Snapshot, read_snapshot
from footplate.runs.code_tree import TREE, join_names, restore_tree
from footplate.runs.launch import RUN_DIR_TOKEN, JobSpec, Launched, PlaceCode, PlacedCode, check_command, launch
from footplate.tracking.shipping.logbook import read_settings

if TYPE_CHECKING:
    from footplate.runs.plan import Plan

__all__ = ["compare_data", "compare_environments", "read_job", "rerun"]


def rerun(
    run: RunDir, extra_args: Sequence[str] = (), *, overrides: Sequence[str] = (), allow: Sequence[str] = ()
) -> Launched:
    """Start a run again as a new run beside it, with ``extra_args`` after its own arguments.

    It runs in its recorded code, restored into the new run directory. ``overrides`` (``section.key=value``) change the
    recorded profile of a training; it is checked as before a training, and errors of the codes in ``allow`` pass. The
    notes say what could not be as it was.
    Raises NotFoundError when the run has no recorded code, InputError when it takes no arguments or no overrides or
    when its profile cannot work with them.
    """
    info = read_run_info(run)
    snapshot = read_snapshot(run)
    if not (run.path / snapshot.archive).is_file():
        raise NotFoundError(f"the recorded code of run {run.id} is gone: {run.path / snapshot.archive}")
    if extra_args and RUN_DIR_TOKEN in info.argv:
        raise InputError(
            f"run {run.id} is a training from a profile: it takes no further arguments",
            hint=f"footplate rerun {run.id} --set training.learning_rate=…",
        )
    if overrides and info.kind != "train":
        raise InputError(
            f"run {run.id} is a command of your own: there is no training profile whose keys --set could change",
            hint=f"what its command takes: footplate rerun {run.id} -- ARGS",
        )
    job = _make_job(run, info, extra_args)
    if overrides:
        job = _change_job(job, _plan_again(run, snapshot, info, overrides, allow))
    launched = launch(job, place_code=_make_place_code(run, snapshot))
    differences = compare_environments(run.find_json("env.json") or {}, launched.run.find_json("env.json") or {})
    return replace(launched, notes=(*launched.notes, *(f"not as it was: {line}" for line in differences)))


def compare_environments(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """Return in words what matters and is not the same in two recorded environments."""
    lines = []
    for label, get in _COMPARED.items():
        old, new = _look_up(before, get), _look_up(now, get)
        if old and new and old != new:
            lines.append(f"{label} {old} → {new}")
    old_packages, new_packages = before.get("packages") or {}, now.get("packages") or {}
    changed = [
        f"{name} {old_packages.get(name, 'not there')} → {new_packages.get(name, 'not there')}"
        for name in sorted({*old_packages, *new_packages})
        if old_packages.get(name) != new_packages.get(name)
    ]
    if changed and old_packages and new_packages:
        lines.append(f"packages: {join_names(changed)}")
    return tuple(lines)


def compare_data(
    before: Mapping[str, Any], now: Mapping[str, Any], *, base_before: Path, base_now: Path
) -> tuple[str, ...]:
    """Return in words which files differ between two fingerprints of data; sets of another source are left out.

    Paths below the base directories, in which the two trainings run, are the same file when they are so from there.
    """
    changes: dict[str, None] = {}  # one file may be in several sets
    same_hash = before.get("hashed") == now.get("hashed")
    for key, old_set in (before.get("sets") or {}).items():
        new_set = (now.get("sets") or {}).get(key) or {}
        if new_set.get("source") != old_set.get("source"):
            continue
        if old_set.get("version") != new_set.get("version"):
            changes[f"{old_set['source']} ({old_set.get('version')} → {new_set.get('version')})"] = None
        old, new = _list_files(old_set, base_before), _list_files(new_set, base_now, base_before)
        for name in sorted({*old, *new}):
            if name not in new or name not in old:
                changes[f"{name} ({'gone' if name in old else 'new'})"] = None
            elif same_hash and old[name].get("sha256") != new[name].get("sha256"):
                changes[f"{name} (sha256 differs)"] = None
            elif old[name].get("size") != new[name].get("size"):
                changes[f"{name} (size differs)"] = None
    return tuple(changes)


def _list_files(data_set: Mapping[str, Any], *bases: Path) -> dict[str, Mapping[str, Any]]:
    """Return the files of a set by their path from a base directory; a file elsewhere by its whole path."""
    files = {}
    for file in data_set.get("files") or ():
        path = Path(file["path"])
        for folder in (*bases, *(Path(os.path.realpath(base)) for base in bases)):
            if path.is_relative_to(folder):
                path = path.relative_to(folder)
                break
        files[str(path)] = file
    return files


_COMPARED = {
    "Python": ("python", "version"),
    "interpreter": ("python", "executable"),
    "system": ("platform", "name"),
    "host": ("platform", "host"),
    "CPU": ("cpu", "model"),
    "GPUs:": ("gpus", "name"),
}


def _look_up(environment: Mapping[str, Any], keys: tuple[str, str]) -> str:
    value = environment.get(keys[0])
    if isinstance(value, list):
        return ", ".join(str(item.get(keys[1], "?")) for item in value) or "none"
    return str(value.get(keys[1], "")) if isinstance(value, Mapping) else ""


def _make_job(run: RunDir, info: RunInfo, extra_args: Sequence[str]) -> JobSpec:
    recorded = read_job(run)
    argv = info.argv
    if RUN_DIR_TOKEN in argv:
        argv = (sys.executable, *argv[1:])  # this Python has Footplate; the recorded one may be gone
    return JobSpec(
        name=info.name,
        kind=info.kind,
        argv=(*argv, *extra_args),
        cwd=Path(info.cwd),
        output_dir=run.path.parent,
        env=recorded.get("env", {}),
        experiment=info.experiment,
        parent=run.id,
        profile_yaml=_read_text(run.path / "profile.yaml"),
        plan=run.find_json("plan.json") or {},
        sidecar_interval_s=recorded.get("sidecar_interval_s", 10.0),
        sampler_without=tuple(recorded.get("sampler_without", ())),
        redact=recorded.get("redact") or {},
        trackers=read_settings(run),
        num_processes=recorded.get("num_processes", 1),
        restart=None if recorded.get("restart") is None else RestartPolicy.from_json(recorded["restart"]),
        resume_args=tuple(recorded.get("resume_args", ())),
    )


def _plan_again(run: RunDir, snapshot: Snapshot, info: RunInfo, overrides: Sequence[str], allow: Sequence[str]) -> Plan:
    """Return the plan of a recorded training with other values; raises when it has errors.

    It is looked at in the recorded code, in a directory that is there only meanwhile.
    """
    from footplate.profile.load import load_profile_text  # pydantic is not loaded for a plain command
    from footplate.runs.inspect import inspect
    from footplate.runs.plan import plan

    text, name = _read_text(run.path / "profile.yaml"), str(run.path / "profile.yaml")
    load_profile_text(text, name=name, base_dir=Path(info.cwd), overrides=overrides)  # mistakes show at once
    allowed = (*(run.find_json("plan.json") or {}).get("allowed", ()), *allow)
    with tempfile.TemporaryDirectory(dir=run.path.parent, prefix=".rerun-") as folder:
        cwd, _, _ = restore_tree(run, snapshot, Path(folder) / TREE)
        profile = load_profile_text(text, name=name, base_dir=cwd, overrides=overrides)
        planned = plan(profile, inspect(profile), name=info.name, allow=allowed)
        planned.check()
    return planned


def _change_job(job: JobSpec, planned: Plan) -> JobSpec:
    """Return a recorded job as it is with a profile that was changed; its place and name stay."""
    changed = planned.job
    command = {"argv": list(planned.argv), "cwd": str(job.cwd)}
    return replace(
        changed,
        name=job.name,
        cwd=job.cwd,
        output_dir=job.output_dir,
        parent=job.parent,
        plan={**changed.plan, "command": command, "output_dir": str(job.output_dir)},
    )


def read_job(run: RunDir) -> Mapping[str, Any]:
    """Return the job.json of the first attempt; what it says beyond the command is the same for every attempt."""
    for attempt in run.attempts()[:1]:
        value = run.find_json(str(attempt.job_path.relative_to(run.path)))
        if isinstance(value, dict):
            return value
    return {}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""  # a plain command has no profile
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from error


def _make_place_code(source: RunDir, snapshot: Snapshot) -> PlaceCode:
    def place(run: RunDir, job: JobSpec) -> PlacedCode:
        shutil.copyfile(source.path / "code.json", run.path / "code.json")
        link_or_copy(source.path / snapshot.archive, run.path / snapshot.archive)
        cwd, linked, missing = restore_tree(run, snapshot, run.path / TREE)
        check_command(job.argv, cwd)
        notes = [f"code: {format_count(len(snapshot.files), 'file')} as in {source.id}"]
        if linked:
            notes.append(f"not in the snapshot, linked to where they lie now: {join_names(linked)}")
        if missing:
            notes.append(f"not in the snapshot, and gone: {join_names(missing)}")
        notes += _find_changed_data(source, job, cwd)
        return PlacedCode(cwd=cwd, notes=tuple(notes))

    return place


def _find_changed_data(source: RunDir, job: JobSpec, cwd: Path) -> list[str]:
    """Return a line about data that are not what the first training has recorded; nothing when it has not."""
    before = source.find_json("data.json")
    if not isinstance(before, dict) or job.kind != "train":
        return []
    from footplate.data.fingerprint import fingerprint  # numpy is not loaded for a plain command
    from footplate.profile.load import load_profile_text

    try:
        profile = load_profile_text(job.profile_yaml, name="profile.yaml", base_dir=cwd)
        now = fingerprint(profile)
    except FootplateError as error:
        return [f"data changed since: {error.message}"]
    except OSError as error:
        return [f"whether the data changed since is not known: {error}"]
    base_before = Path(read_job(source).get("cwd", "."))
    if (redactor := read_redactor(source)) is not None:  # what is recorded was cleaned
        now, cwd, base_before = (
            redactor.clean(now),
            Path(redactor.clean_text(str(cwd))),
            Path(redactor.clean_text(str(base_before))),
        )
    changes = compare_data(before, now, base_before=base_before, base_now=cwd)
    return [f"data changed since: {join_names(changes)}"] if changes else []
