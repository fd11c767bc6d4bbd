"""Gathers the facts a plan needs: the data, the network, the machine, the paths; bounded in time, cached by content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from footplate.errors import CommandError, InputError, RecordError
from footplate.profile.facts import DataFacts, DeviceFacts, Facts, Fault
from footplate.profile.model import Profile
from footplate.profile.secrets import resolve_secrets
from footplate.profile.sections.model import BUILT_IN_ARCHITECTURES
from footplate.record.exit_codes import CHECKPOINTED, INTERRUPTED
from footplate.record.home import get_home
from footplate.runs.launch import check_command
from footplate.runs.machine import get_device_facts, get_versions

__all__ = ["inspect"]

_SECTIONS = ("data", "model", "training", "transfer_learning", "reproducibility", "embedded_optimizations")
"""Sections of the profile that change what the worker sees."""
_STOPPED = (-signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL, CHECKPOINTED, INTERRUPTED)
"""How the worker ends when it is stopped from outside: that says nothing about data and model."""
_HINT_PLACE = "choose another resources.output_dir"


def inspect(profile: Profile, *, timeout_s: float = 60.0) -> Facts:
    """Return what there is to know before planning.

    The data and the network are looked at in a process of its own, for at most ``timeout_s`` seconds. What cannot be
    seen is named in ``Facts.not_checked``; what is wrong with what was seen is in ``Facts.problems``.
    """
    device = get_device_facts(profile.base_dir / profile.resources.output_dir)
    versions = get_versions()
    missing = tuple(_find_missing(profile))
    faults = tuple(_find_faults(profile))
    if profile.entrypoint.is_set:
        return Facts(device=device, versions=versions, missing_paths=missing, problems=faults)
    seen = {} if _is_data_missing(missing) else _look(profile, versions, timeout_s)
    facts = _build_facts(seen, device, versions, missing)
    return replace(facts, problems=(*facts.problems, *faults))


def _is_data_missing(missing: tuple[tuple[str, str], ...]) -> bool:
    return any(key.startswith("data.") for key, _ in missing)


def _find_missing(profile: Profile) -> Iterator[tuple[str, str]]:
    """Yield (key, path) of each file the profile names that is not there."""
    named = {
        "entrypoint.script": profile.entrypoint.script,
        "transfer_learning.pretrained_model_path": profile.transfer_learning.pretrained_model_path,
        "fault_tolerance.checkpoint_path": profile.fault_tolerance.checkpoint_path,
        "environment.requirements_file": profile.environment.requirements_file,
    }
    if not profile.entrypoint.is_set:
        named |= {key: text for key, text in _get_data_sources(profile).items() if _is_path(text)}
    for key, text in named.items():
        if text and not (profile.base_dir / text).exists():
            yield key, text


def _find_faults(profile: Profile) -> Iterator[Fault]:
    """Yield what a launch would stumble over: a command that cannot be started, a place where no run can be made."""
    entry = profile.entrypoint
    try:
        env = resolve_secrets(entry.env, base_dir=profile.base_dir)
        if entry.command:
            check_command(entry.command, profile.base_dir, env.get("PATH"))
    except InputError as error:
        yield Fault(
            "entrypoint.command" if isinstance(error, CommandError) else "entrypoint.env", error.message, error.hint
        )
    if entry.module and not _is_module_there(entry.module.partition(".")[0], profile.base_dir):
        hint = f"modules are looked for in {profile.base_dir} and in the installed packages"
        yield Fault("entrypoint.module", f"there is no module {entry.module}", hint)
    place = profile.base_dir / profile.resources.output_dir
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    if not there.is_dir():
        yield Fault("resources.output_dir", f"{there} is a file, and the runs need a directory", _HINT_PLACE)
    elif not os.access(there, os.W_OK | os.X_OK):
        yield Fault("resources.output_dir", f"{there} is not writable, and the runs need a place", _HINT_PLACE)


def _is_module_there(name: str, base_dir: Path) -> bool:
    """Return whether the outermost package of a module is there; nothing is imported."""
    if (base_dir / name).is_dir() or (base_dir / f"{name}.py").is_file():
        return True
    try:
        return find_spec(name) is not None
    except ValueError:  # a module without a specification, such as __main__
        return False


def _get_data_sources(profile: Profile) -> dict[str, str]:
    data = profile.data
    named = {"data.train_data": data.train_data, "data.val_data": data.val_data, "data.test_data": data.test_data}
    return {key: text for key, text in named.items() if text}


def _is_path(text: str) -> bool:
    """Return whether a data source is a file or folder here, not ``sklearn:digits`` or ``s3://…``."""
    return ":" not in text or Path(text).exists()


def _look(profile: Profile, versions: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
    """Return what the worker sees, from the cache when nothing has changed since."""
    cached = _get_cache_file(profile, versions)
    if cached is not None and (seen := _read_cache(cached)) is not None:
        return seen
    seen = _ask_worker(profile, timeout_s)
    if cached is not None and not seen.get("problems") and not seen.get("not_checked"):
        _write_cache(cached, seen)
    return seen


def _ask_worker(profile: Profile, timeout_s: float) -> dict[str, Any]:
    request = json.dumps({"profile_yaml": profile.to_yaml()})
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "footplate.worker", "inspect"],
            input=request,
            capture_output=True,
            text=True,
            cwd=profile.base_dir,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"not_checked": [f"data and model: looking at them took longer than {timeout_s:g} s"]}
    except OSError as error:
        return {"not_checked": [f"data and model: the worker could not be started: {error}"]}
    try:
        seen = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None
    except json.JSONDecodeError:
        seen = None
    if not isinstance(seen, dict):
        return _describe_death(profile, done.returncode, done.stderr)
    return seen


def _describe_death(profile: Profile, returncode: int, stderr: str) -> dict[str, Any]:
    """Return what is known when the worker ended without an answer: the user's own code that ends it is a problem."""
    last = (stderr.strip().splitlines() or ["it printed nothing"])[-1]
    message = f"the worker ended with {returncode}: {last}"
    named = {**_get_data_sources(profile), "model.architecture": profile.model.architecture}
    own = [key for key, text in named.items() if ":" in text and not text.startswith(("sklearn:", "hf:"))]
    if not own or returncode in _STOPPED:
        return {"not_checked": [f"data and model: {message}"]}
    told = f"{named[own[0]]} was looked at in a process of its own: {message}"
    return {"problems": [{"key": own[0], "message": told, "hint": "a training would end as well: mend the code"}]}


def _get_cache_file(profile: Profile, versions: Mapping[str, str]) -> Path | None:
    """Return where the facts are kept, or None when code of the user's decides them: it may change unseen."""
    if profile.model.architecture not in BUILT_IN_ARCHITECTURES or ":" in profile.training.optimizer:
        return None
    sources = _get_data_sources(profile)
    weights = profile.transfer_learning.pretrained_model_path
    named = [*(text for text in sources.values() if _is_path(text)), *([weights] if weights else [])]
    files = [stamp for text in named for stamp in _list_files(profile.base_dir / text)]
    if any(":" in text and not text.startswith("sklearn:") for text in sources.values() if not _is_path(text)):
        return None
    from footplate import __version__

    whole = profile.model_dump(mode="json")
    asked = {
        "profile": {name: whole[name] for name in _SECTIONS},
        "base_dir": str(profile.base_dir),
        "files": sorted(files),
        "footplate": [__version__, _stamp_source()],
        "python": sys.executable,
        "versions": dict(versions),
    }
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()
    return get_home() / "cache" / f"facts-{digest[:32]}.json"


def _list_files(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, size and time of change of a file, or of each file in a folder and below it."""
    names = [path]
    if path.is_dir():
        names = [Path(folder, name) for folder, _, files in os.walk(path, followlinks=True) for name in files]
    for entry in names:
        with contextlib.suppress(FileNotFoundError):  # a link to nothing, or gone meanwhile
            stat = entry.stat()
            yield str(entry), stat.st_size, stat.st_mtime_ns


def _stamp_source() -> int:
    """Return when the code that looks was last changed: an editable install keeps its version while it changes."""
    root = Path(__file__).resolve().parent.parent
    files = [*(root / "data").glob("*.py"), *(root / "profile").glob("*.py"), root / "worker.py"]
    return max((file.stat().st_mtime_ns for file in files if file.exists()), default=0)


def _read_cache(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # not there, or torn by a crash: looked at again and written anew
    return value if isinstance(value, dict) else None


def _write_cache(path: Path, seen: Mapping[str, Any]) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(seen), encoding="utf-8")
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)  # a full disk or a home that cannot be written costs the cache, nothing else


def _build_facts(
    seen: Mapping[str, Any],
    device: DeviceFacts,
    versions: Mapping[str, str],
    missing: tuple[tuple[str, str], ...],
) -> Facts:
    data = seen.get("data")
    not_checked = [str(text) for text in seen.get("not_checked", ())]
    if not seen and missing:
        not_checked.append(
            f"data and model: {', '.join(path for key, path in missing if key.startswith('data.'))} not there"
        )
    return Facts(
        data=_parse_data(data) if isinstance(data, dict) else None,
        device=device,
        num_parameters=seen.get("num_parameters"),
        has_layers=seen.get("has_layers"),
        versions={**versions, **{k: str(v) for k, v in seen.get("versions", {}).items() if v}},
        missing_paths=missing,
        problems=tuple(_parse_fault(value) for value in seen.get("problems", ())),
        not_checked=tuple(not_checked),
    )


def _parse_fault(value: Mapping[str, str] | Sequence[str]) -> Fault:
    if isinstance(value, Mapping):
        return Fault(value["key"], value["message"], value.get("hint", ""))
    key, text = value  # one text, "message; hint"
    message, _, hint = text.rpartition("; ")
    return Fault(key, message, hint) if message else Fault(key, text)


def _parse_data(value: Mapping[str, Any]) -> DataFacts:
    try:
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in value.items()}
        return DataFacts(**fields)
    except TypeError as error:
        raise RecordError(f"the worker's facts cannot be read: {error}", hint="is it the same Footplate?") from error
