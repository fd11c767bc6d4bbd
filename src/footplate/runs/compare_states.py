"""Finds the first bit in which two runs of the same training differ, and the checkpoint at which it began."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from footplate.errors import RecordError
from footplate.record.checkpoints import get_folder, list_checkpoints
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
    theirs = {checkpoint.name for checkpoint in list_checkpoints(get_folder(second))}
    for checkpoint in list_checkpoints(get_folder(first)):
        name, step = checkpoint.name, checkpoint.step
        if name not in theirs or step in without:
            continue
        compared.append(f"checkpoints/{name}")
        found = _compare_folders(first.path, second.path, f"checkpoints/{name}", step)
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


def _compare_folders(first: Path, second: Path, folder: str, step: int) -> StateDifference | None:
    names = {path.relative_to(base / folder) for base in (first, second) for path in (base / folder).rglob("*.*")}
    # Tensors first: that a weight differs tells more than that a number in the state does.
    for name in sorted(names, key=lambda path: (path.suffix != ".safetensors", path)):
        place = f"{folder}/{name}"
        if name.name == "manifest.json":
            continue
        if missing := [base for base in (first, second) if not (base / place).exists()]:
            told = f"{name.name} is not in {missing[0].name}"
            return StateDifference(step=step, place=place, name="", told=told)
        if name.suffix == ".safetensors":
            found = _compare_tensors(first / place, second / place, place, step)
        else:
            found = _compare_values(first / place, second / place, place, step)
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
