"""Checks of the data before anything is trained: an error says where the first bad value is, and how many there are."""

from __future__ import annotations

import numpy as np

from footplate.data import rows as rows_module
from footplate.data.rows import LARGEST, Rows, describe_shape
from footplate.errors import DataError
from footplate.profile.model import Profile

__all__ = [
    "check_finite",
    "check_input_shape",
    "check_lengths",
    "check_numeric",
    "check_quantities",
    "check_same_shape",
    "check_target_shape",
    "get_stride",
]


FULL_CHECK_BYTES = 8_000_000_000
"""Data up to this size are looked through number by number before the training starts."""


def check_lengths(name: str, inputs: Rows, targets: Rows) -> None:
    """Require as many targets as inputs, in every file, at least one, and at least one number in each."""
    pairs = zip(inputs.parts, inputs.names, targets.parts, targets.names, strict=True)
    for x, x_name, y, y_name in pairs:
        if len(x) != len(y):
            raise DataError(
                f"{x_name} has {len(x):,} samples, {y_name} has {len(y):,}",
                hint="there must be one target for each input",
            )
    if len(inputs) == 0:
        raise DataError(f"{name}: no samples", hint="the data are empty; check the path and how they were written")
    for rows in (inputs, targets):
        if 0 in rows.shape:
            raise DataError(
                f"{rows.names[0]}: each sample has shape {describe_shape(rows.shape)}, which holds no number",
                hint="check how the data were written",
            )


def check_numeric(inputs: Rows) -> None:
    """Require inputs that are numbers."""
    if inputs.dtype.kind not in "biuf":
        raise DataError(
            f"{inputs.names[0]}: inputs of type {inputs.dtype} cannot be trained on",
            hint="write them as numbers: float32, or uint8 for images",
        )


def check_quantities(targets: Rows) -> None:
    """Require regression targets that are numbers."""
    if targets.dtype.kind not in "biuf":
        raise DataError(
            f"{targets.names[0]}: the targets are text, not numbers", hint="train on classes: training.loss.type auto"
        )


def check_finite(rows: Rows, what: str) -> None:
    """Require that each number is one to float32, in constant memory; of very large data a part is looked at."""
    if rows.dtype.kind != "f":
        return
    bad, first = 0, None
    for start, chunk in rows.chunks(get_stride(rows)):
        if chunk.min() >= -LARGEST and chunk.max() <= LARGEST:  # never true for NaN; without a copy of the chunk
            continue
        wrong = ~(np.abs(chunk) <= LARGEST)
        bad += int(np.count_nonzero(wrong))
        if first is None and wrong.any():
            place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            first = f"{rows.locate(start + int(place[0]), *map(int, place[1:]))} is {chunk[place]}"
    if first is not None:
        raise DataError(
            f"{first}: {bad:,} of {len(rows) * max(1, int(np.prod(rows.shape))):,} numbers of the {what} are NaN, "
            f"infinite or too large for float32 ({LARGEST:.2g})",
            hint="a network learns nothing from them: leave these samples out, fill them in, or use a smaller unit",
        )


def get_stride(rows: Rows) -> int:
    """Return n where each n-th piece of very large data is looked at: 1 up to the limit."""
    limit = rows_module.LAZY_BYTES if rows.is_lazy else FULL_CHECK_BYTES
    return max(1, -(-rows.num_bytes // limit)) if rows.dtype.kind == "f" else 1


def check_same_shape(sets: dict[str, Rows], what: str) -> None:
    """Require inputs (or targets) of one shape in all sets."""
    train = sets["train"]
    for key, other in sets.items():
        if other.shape != train.shape:
            raise DataError(
                f"{other.names[0]}: {what} have shape {describe_shape(other.shape)}, "
                f"those of the training data {describe_shape(train.shape)}",
                hint=f"data.{key}_data must be of the same kind as data.train_data",
            )


def check_input_shape(profile: Profile, inputs: Rows) -> None:
    """Compare the inputs with ``data.input_shape``."""
    wanted = profile.data.input_shape
    if wanted is not None and tuple(wanted) != inputs.shape:
        raise DataError(
            f"{inputs.names[0]}: inputs have shape {describe_shape(inputs.shape)}, "
            f"data.input_shape says {describe_shape(wanted)}",
            hint=f"set data.input_shape to {describe_shape(inputs.shape)}, leave it out, or choose other data",
        )


def check_target_shape(profile: Profile, targets: Rows) -> None:
    """Compare regression targets with ``data.output_shape``; a single number may be written [] or [1]."""
    wanted = profile.data.output_shape
    if wanted is not None and (tuple(wanted) or (1,)) != (targets.shape or (1,)):
        raise DataError(
            f"{targets.names[0]}: targets have shape {describe_shape(targets.shape)}, "
            f"data.output_shape says {describe_shape(wanted)}",
            hint=f"set data.output_shape to {describe_shape(targets.shape)}, leave it out, or choose other targets",
        )
