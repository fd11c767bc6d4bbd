"""Finds the first bit in which two runs of the same training differ, and the checkpoint at which it began."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from footplate.errors import RecordError
from footplate.record.checkpoints import FOLDER, Checkpoint, get_folder, list_checkpoints
from footplate.record.files import read_json
from footplate.record.rundir import RunDir
from footplate.runs.tensor_files import TensorDifference, find_tensor_difference

__all__ = ["StateDifference", "find_difference"]

_TIMES = frozenset({"time", "train_s", "wall_s", "saved_at", "created_at", "written_at", "started_at"})
"""Keys of a checkpoint's description that tell times: no two runs have the same."""


@dataclass(frozen=True, kw_only=True)
class StateDifference:
    """Where two runs differ first."""

    step: int
    """Of the first checkpoint, or of the end, at which anything differs."""
    place: str
    """The file, such as ``checkpoints/step-00000040/model.safetensors``."""
    name: str
    """The tensor, or the value of the state."""
    told: str
    """How much, in words."""
    largest: float | None = None
    """Largest absolute difference of the tensor."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def find_difference(
    first: RunDir, second: RunDir, *, without: Collection[int] = ()
) -> tuple[tuple[str, ...], StateDifference | None]:
    """Compare the checkpoints of equal steps, in their order, and the final weights.

    ``without`` are steps at which one of them was asked to stop: an evaluation may be due there that is done later.
    Return what was compared, and the first difference or None.
    """
    compared = []
    theirs = {checkpoint.step: checkpoint for checkpoint in list_checkpoints(get_folder(second))}
    for checkpoint in list_checkpoints(get_folder(first)):
        step = checkpoint.step
        if step not in theirs or step in without:
            continue
        compared.append(f"{FOLDER}/{checkpoint.name}")
        found = _compare_checkpoints(checkpoint, theirs[step], (first.id, second.id))
        if found is not None:
            return tuple(compared), found
    step = int(first.read_json("result.json")["steps"])
    for file in ("last.safetensors", "model.safetensors"):
        place = f"artifacts/{file}"
        compared.append(place)
        found = _compare_tensors(first.path / place, second.path / place, place, step)
        if found is not None:
            return tuple(compared), found
    return tuple(compared), None


def _compare_checkpoints(first: Checkpoint, second: Checkpoint, runs: tuple[str, str]) -> StateDifference | None:
    """Compare the files that two manifests name; ``runs`` are the ids of the runs."""
    # Tensors first: that a weight differs tells more than that a number in the state does.
    for name in sorted({*first.files, *second.files}, key=lambda name: (not name.endswith(".safetensors"), name)):
        place, step = f"{FOLDER}/{first.name}/{name}", first.step
        for checkpoint, run in zip((first, second), runs, strict=True):
            if not (checkpoint.path / name).exists():
                return StateDifference(step=step, place=place, name="", told=f"{name} is not in {run}")
        compare = _compare_tensors if name.endswith(".safetensors") else _compare_values
        found = compare(first.path / name, second.path / name, place, step)
        if found is not None:
            return found
    return None


def _compare_tensors(first: Path, second: Path, place: str, step: int) -> StateDifference | None:
    found: TensorDifference | None = find_tensor_difference(first, second)
    if found is None:
        return None
    largest = None if math.isnan(found.largest) else found.largest
    return StateDifference(step=step, place=place, name=found.name, told=str(found), largest=largest)


def _compare_values(first: Path, second: Path, place: str, step: int) -> StateDifference | None:
    before, after = (dict(_flatten(read_json(path))) for path in (first, second))
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name) and name.rpartition(".")[2] not in _TIMES:
            told = f"{name}: {json.dumps(before.get(name))[:80]} became {json.dumps(after.get(name))[:80]}"
            return StateDifference(step=step, place=place, name=name, told=told)
    return None


def _flatten(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flatten(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _flatten(item, f"{name}[{number}]")
    elif isinstance(value, str | int | float | bool | None):
        yield name, "NaN" if isinstance(value, float) and math.isnan(value) else value
    else:
        raise RecordError(f"{name}: {type(value).__name__} in a checkpoint")
