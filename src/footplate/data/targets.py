"""Targets: whether they are classes or quantities, the classes' names, and class numbers in the right range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from footplate.data.rows import Array, Rows, describe_shape
from footplate.data.sources import Source
from footplate.errors import DataError
from footplate.profile.model import Profile

__all__ = ["Classes", "find_classes", "to_class_numbers"]

_CLASS_LOSSES = ("cross_entropy", "binary_cross_entropy")
_MANY_CLASSES = 20
"""From so many different whole numbers on it is asked whether they are classes, if most occur once or twice."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Classes:
    """The classes in the order of their numbers: ``values[k]`` is how class k is stored."""

    values: Array
    names: tuple[str, ...]


def find_classes(profile: Profile, source: Source) -> Classes | None:
    """Return the classes of the training data, or None when the targets are quantities (regression)."""
    targets, loss = source.targets, profile.training.loss.type
    kind = targets.dtype.kind
    if kind not in "biufSU":
        raise DataError(
            f"{targets.names[0]}: targets of type {targets.dtype} cannot be trained on",
            hint="write them as numbers, or as text for classes",
        )
    single = targets.shape in ((), (1,))
    if loss in _CLASS_LOSSES:
        if not single:
            raise DataError(
                f"targets of shape {describe_shape(targets.shape)} with training.loss.type {loss}, "
                "which needs one class per sample",
                hint="give one class per sample, or use mse for quantities",
            )
    elif loss != "auto" or kind == "f" or not single:
        if kind in "SU":
            raise DataError(
                f"{targets.names[0]}: targets are text, training.loss.type {loss} needs numbers",
                hint="use cross_entropy for classes, or choose other targets with data.columns.targets",
            )
        return None
    labels = _read_labels(targets)
    values = np.unique(labels)
    if kind == "f":
        _check_whole(targets, labels, loss)
    if loss == "auto" and len(values) > _MANY_CLASSES and len(values) * 2 > len(labels):
        if kind in "SU":
            raise DataError(
                f"targets are text with {len(values):,} different values in {len(labels):,} samples: no classes",
                hint="choose other targets with data.columns.targets",
            )
        raise DataError(
            f"targets have {len(values):,} different values in {len(labels):,} samples: classes or quantities?",
            hint="set training.loss.type to mse (quantities) or cross_entropy (classes)",
        )
    return _name_classes(profile, source, values, labels)


def to_class_numbers(source: Source, classes: Classes) -> Rows:
    """Return the targets of a set as class numbers; a class the training data lack is an error with its place."""
    if source.targets.shape not in ((), (1,)):
        raise DataError(
            f"{source.targets.names[0]}: targets have shape {describe_shape(source.targets.shape)}, "
            "those of the training data are one class per sample",
            hint="give all sets in the same form",
        )
    labels = _read_labels(source.targets)
    if (labels.dtype.kind == "U") != (classes.values.dtype.kind == "U"):
        told = "text" if labels.dtype.kind == "U" else "numbers"
        raise DataError(
            f"{source.targets.names[0]}: the targets are {told}, those of the training data are not",
            hint="write both with the same types",
        )
    numbers = np.searchsorted(classes.values, labels).clip(0, len(classes.values) - 1)
    wrong = np.flatnonzero(classes.values[numbers] != labels)
    if len(wrong):
        raise DataError(
            f"{source.targets.locate(wrong[0])}: class {labels[wrong[0]]} is not among the "
            f"{len(classes.values)} classes of the training data ({_shorten(classes.names)}); "
            f"{len(wrong):,} such sample{'s' if len(wrong) > 1 else ''}",
            hint="leave these samples out, or add samples of the class to the training data",
        )
    return Rows(parts=(numbers.astype(np.int64),), names=(source.targets.names[0],))


def _read_labels(targets: Rows) -> Array:
    labels = np.concatenate([np.asarray(part).reshape(len(part)) for part in targets.parts])
    return labels.astype(str) if labels.dtype.kind == "S" else labels


def _check_whole(targets: Rows, labels: Array, loss: str) -> None:
    wrong = np.flatnonzero((labels != np.floor(labels)) | np.isinf(labels))
    if len(wrong):
        raise DataError(
            f"{targets.locate(wrong[0])}: target {labels[wrong[0]]:g} is no class, "
            f"and training.loss.type is {loss}; {len(wrong):,} such targets",
            hint="use mse for quantities; leave samples without a class out",
        )


def _name_classes(profile: Profile, source: Source, values: Array, labels: Array) -> Classes:
    """Decide the classes: those stored, or 0 … K-1 when ``data.output_shape`` says [K] and they fit."""
    loss, wanted = profile.training.loss.type, profile.data.output_shape
    declared = wanted[0] if wanted and len(wanted) == 1 else None
    whole = values.dtype.kind in "iuf"
    if whole and values[0] < 0 and list(values) != [-1, 1]:
        raise DataError(
            f"{source.targets.locate(int(np.flatnonzero(labels < 0)[0]))}: class {values[0]:g} is negative",
            hint="number the classes from 0, and leave samples without a class out",
        )
    binary = loss == "binary_cross_entropy"
    if binary and len(values) != 2:
        raise DataError(
            f"training.loss.type binary_cross_entropy needs 2 classes, the data have {len(values)}",
            hint="use cross_entropy",
        )
    if declared is not None and not (binary and declared == 1):
        values = _fit_declared(source, values, labels, declared)
    if len(values) < 2:
        raise DataError("all targets are the same class: there is nothing to learn", hint="check the targets")
    if source.class_names and values.dtype.kind in "iu" and values[-1] < len(source.class_names):
        return Classes(values=values, names=tuple(source.class_names[int(value)] for value in values))
    return Classes(values=values, names=tuple(f"{v:g}" if values.dtype.kind == "f" else str(v) for v in values))


def _fit_declared(source: Source, values: Array, labels: Array, declared: int) -> Array:
    """Return the values of exactly ``declared`` classes, or say which label does not fit."""
    whole = values.dtype.kind in "iuf"
    numbered_from_0 = whole and (values[0] == 0 or len(values) != declared)
    if len(values) == declared and not numbered_from_0:
        return values
    if whole and values[0] >= 0 and values[-1] < declared:
        return np.arange(declared, dtype=values.dtype)
    wrong = np.flatnonzero(labels >= declared) if whole else np.zeros(0, np.int64)
    if not len(wrong):
        raise DataError(
            f"data.output_shape is [{declared}], the data have {len(values)} classes ({_shorten(values)})",
            hint=f"set it to [{len(values)}] or leave it out",
        )
    raise DataError(
        f"{source.targets.locate(int(wrong[0]))}: class {labels[wrong[0]]:g} is out of range: "
        f"data.output_shape [{declared}] means classes 0 to {declared - 1}; {len(wrong):,} such samples",
        hint=f"set data.output_shape to [{len(values)}], or mend the labels",
    )


def _shorten(names: Sequence[object] | Array) -> str:
    shown = [str(name) for name in names[:6]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
