"""What arrays, images, text and jsonl hold, guessed from headers and a bounded look."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from footplate.data.description import ColumnDescription, TableDescription
from footplate.data.images import ImageFolder, open_images
from footplate.data.json_lines import LABEL_FIELDS
from footplate.data.rows import Array, Rows, describe_shape
from footplate.data.source import Source
from footplate.data.tasks import find_task
from footplate.data.text import NUM_BYTES, open_text, open_tokens
from footplate.errors import DataError
from footplate.profile.facts import TaskKind
from footplate.profile.load import load_profile_text
from footplate.profile.sections.data import Data

__all__ = ["describe_arrays", "describe_images", "describe_lines", "describe_stream", "sample_lines"]

_MAX_LINES = 10_000
_MAX_TARGETS = 50
"""Positions and pixels of so many targets are looked at for their classes."""
_LONGEST_BLOCK = 256


def describe_arrays(
    path: str,
    form: str,
    columns: tuple[ColumnDescription, ...],
    inputs: tuple[str, tuple[int, ...]],
    target: tuple[str, tuple[int, ...], np.dtype[Any], str, Array | None],
    left_out: tuple[tuple[str, str], ...],
) -> TableDescription:
    """Describe an array of inputs (name, shape) and one of targets (name, shape, type, why it, values if few)."""
    name, shape, dtype, reason, values = target
    task, why, num_classes, must_say = _guess_task(inputs[1][1:], shape, dtype, values)
    output: tuple[int, ...] | None = None
    if num_classes:
        output = (num_classes,)
    elif task in ("regression", "multi_label"):
        output = shape[1:] or (1,)
    return TableDescription(
        path=path,
        format=form,
        columns=columns,
        target=name,
        target_reason=reason,
        task=task,
        task_reason=why,
        loss="auto",
        inputs=(inputs[0],),
        left_out=left_out,
        num_rows_seen=shape[0],
        is_complete=True,
        missing="error",
        input_shape=inputs[1][1:] or (1,),
        output_shape=output,
        num_classes=num_classes,
        must_say_task=must_say,
    )


def _guess_task(
    input_shape: tuple[int, ...], shape: tuple[int, ...], dtype: np.dtype[Any], values: Array | None
) -> tuple[TaskKind, str, int | None, bool]:
    """Return the task, the reason, the number of classes, and whether the data leave the task open."""
    single = shape[1:] in ((), (1,))
    if single or dtype.kind == "f":
        if dtype.kind == "f":
            return "regression", f"targets are {dtype} of shape {describe_shape(shape[1:])}", None, False
        num_classes = None if values is None else len(np.unique(values))
        why = "targets are whole numbers or text"
        return (
            "classification",
            why + (f" with {num_classes} different values" if num_classes else ""),
            num_classes,
            False,
        )
    if values is None:
        return (
            "regression",
            f"targets are {dtype} of shape {describe_shape(shape[1:])}, too many to look at",
            None,
            True,
        )
    source = Source(
        name="targets",
        inputs=Rows(parts=(np.broadcast_to(np.zeros((), np.float32), (len(values), *input_shape)),), names=("inputs",)),
        targets=Rows(parts=(values,), names=("targets",)),
    )
    try:
        task, must_say = find_task(load_profile_text("{}"), source), False
    except DataError:
        is_one_hot = bool((np.asarray(values).sum(axis=1) == 1).all())
        task, must_say = ("classification" if is_one_hot else "multi_label"), True
    why = {
        "classification": "each target holds exactly one 1",
        "multi_label": "targets are 0 and 1 for each label",
        "sequence": "one whole number for each position of the input",
        "segmentation": "one whole number for each pixel of the input",
    }.get(task, f"targets are {dtype} of shape {describe_shape(shape[1:])}")
    num_classes = None
    if task in ("classification", "multi_label"):
        num_classes = shape[1]
    elif task in ("sequence", "segmentation"):
        found = np.unique(values)
        num_classes = len(found[found >= 0]) if found.dtype.kind in "iu" else len(found)
    return task, why, num_classes, must_say


def describe_images(path: str, folder: ImageFolder) -> TableDescription:
    """Describe a folder of images by their headers, and by some of their masks."""
    source = open_images(path, folder)
    inputs = source.inputs if isinstance(source.inputs, Rows) else source.targets
    if folder.masks:
        found = np.unique(source.targets.take(np.arange(min(_MAX_TARGETS, len(source.targets)))))
        target, reason = "masks", "the folders are called images and masks"
        task: TaskKind = "segmentation"
        why = f"each image has a mask; {len(found)} different numbers in those looked at"
        num_classes = None
    else:
        target, reason, task = "class", "each folder is one", "classification"
        why = f"{len(folder.classes)} folders: {', '.join(folder.classes[:4])}" + (
            " …" if len(folder.classes) > 4 else ""
        )
        num_classes = len(folder.classes)
    detail = f"{len(inputs):,} of {describe_shape(inputs.shape)} {inputs.dtype}"
    return TableDescription(
        path=path,
        format="image_folder",
        columns=(ColumnDescription(name="images", kind="array", detail=detail),),
        target=target,
        target_reason=reason,
        task=task,
        task_reason=why,
        loss="auto",
        inputs=("images",),
        left_out=(),
        num_rows_seen=len(inputs),
        is_complete=True,
        missing="error",
        input_shape=inputs.shape,
        output_shape=(num_classes,) if num_classes else None,
        num_classes=num_classes,
    )


def describe_stream(path: str, form: str, files: Sequence[Path]) -> TableDescription:
    """Describe text or tokens, from which a language model learns."""
    size = sum(file.stat().st_size for file in files)
    return _describe_blocks(path, form, files, 1 if form == "text" else 2, size)


def _describe_blocks(path: str, form: str, files: Sequence[Path], width: int, size: int) -> TableDescription:
    length = max(8, min(_LONGEST_BLOCK, 1 << max(0, (size // width // 32).bit_length() - 1)))  # some tens of blocks
    vocab_size, num_tokens = NUM_BYTES, size
    if form != "jsonl":
        opened = (open_text if form == "text" else open_tokens)(path, files, Data(sequence_length=length))
        vocab_size, num_tokens = opened.vocab_size, len(opened.targets) * length
    unit = "tokens" if form == "tokens" else "bytes"
    return TableDescription(
        path=path,
        format=form,
        columns=(ColumnDescription(name="text", kind="array", detail=f"about {num_tokens:,} {unit}"),),
        target="the next token",
        target_reason=f"it is {'tokens' if form == 'tokens' else 'text'} without labels",
        task="language_model",
        task_reason=f"{vocab_size:,} different tokens" + (": the bytes of the text" if form != "tokens" else ""),
        loss="auto",
        inputs=("text",),
        left_out=(),
        num_rows_seen=max(1, num_tokens // length),
        is_complete=True,
        missing="error",
        input_shape=(length,),
        output_shape=None,
        num_classes=None,
        vocab_size=vocab_size,
        sequence_length=length,
    )


def describe_lines(path: str, files: Sequence[Path]) -> TableDescription | None:
    """Describe jsonl that holds text or lists; None where its lines are the rows of a table."""
    objects = _read_lines(files[0])
    if not objects:
        raise DataError(f"{files[0]}: no lines", hint="the data are empty; check how they were written")
    first, is_complete = objects[0], len(objects) < _MAX_LINES and len(files) == 1
    label = next((name for name in LABEL_FIELDS if name in first), "")
    if isinstance(first.get("text"), str):
        if not label:
            return _describe_blocks(path, "jsonl", files, 1, sum(file.stat().st_size for file in files))
        return _describe_labelled_text(path, objects, label, is_complete=is_complete)
    if not label or not isinstance(first.get("x"), list):
        return None
    try:
        inputs, targets = (np.array([line.get(name) for line in objects]) for name in ("x", label))
    except ValueError as error:
        raise DataError(f"{files[0]}: lists of different lengths", hint="fill them up to one length") from error
    columns = tuple(
        ColumnDescription(name=name, kind="array", detail=f"{describe_shape(array.shape[1:])} {array.dtype}")
        for name, array in (("x", inputs), (label, targets))
    )
    target = (label, targets.shape, targets.dtype, "its name says so", targets)
    return describe_arrays(path, "jsonl", columns, ("x", inputs.shape), target, ())


def _describe_labelled_text(
    path: str, objects: Sequence[dict[str, Any]], label: str, *, is_complete: bool
) -> TableDescription:
    sizes = sorted(len(str(line.get("text", "")).encode()) for line in objects)
    usual = sizes[int(len(sizes) * 0.95)] if sizes else 1
    length = max(8, min(1024, 1 << max(1, usual - 1).bit_length()))
    labels = np.array([str(line.get(label)) for line in objects])
    num_classes = len(np.unique(labels))
    return TableDescription(
        path=path,
        format="jsonl",
        columns=(ColumnDescription(name="text", kind="array", detail=f"{sizes[0]:,} to {sizes[-1]:,} bytes"),),
        target=label,
        target_reason="its name says so",
        task="classification",
        task_reason=f"{num_classes:,} different values",
        loss="auto",
        inputs=("text",),
        left_out=(),
        num_rows_seen=len(objects),
        is_complete=is_complete,
        missing="error",
        input_shape=(length,),
        output_shape=(num_classes,) if is_complete else None,
        num_classes=num_classes,
        vocab_size=NUM_BYTES,
        sequence_length=length,
    )


def sample_lines(path: Path) -> tuple[list[str], list[list[str]], bool]:
    """Return names, cells by column, and whether these are all, of jsonl whose lines are rows of a table."""
    objects = _read_lines(path)
    names = list(objects[0])
    cells = [[_write_cell(line.get(name)) for line in objects] for name in names]
    return names, cells, len(objects) < _MAX_LINES


def _read_lines(path: Path) -> list[dict[str, Any]]:
    objects = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(islice(file, _MAX_LINES), start=1):
                if line.strip():
                    objects.append(json.loads(line))
                    if not isinstance(objects[-1], dict):
                        raise DataError(f"{path.name} line {number}: is no object", hint='each line is one: {"x": 1}')
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as jsonl: {error}", hint="each line is one object") from error
    return objects


def _write_cell(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
