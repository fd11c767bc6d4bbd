"""Targets: whether they are classes or quantities, the classes' names, and class numbers in the right range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from footplate.data.rows import Array, Rows, describe_shape
from footplate.data.source import Source
from footplate.data.tasks import is_one_hot
from footplate.errors import DataError
from footplate.profile.facts import TaskKind
from footplate.profile.model import Profile

__all__ = ["Classes", "find_classes", "to_class_numbers"]

_MANY_CLASSES = 20
"""From so many different whole numbers on it is asked whether they are classes, if most occur once or twice."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Classes:
    """The classes in the order of their numbers: ``values[k]`` is how class k is stored."""

    values: Array
    names: tuple[str, ...]
    one_hot: bool = False
    """Whether a target is stored as one number 0 or 1 for each class."""
    ignored: tuple[int, ...] = ()
    """Numbers that are no class, where targets have one class for each position."""


def find_classes(profile: Profile, source: Source, task: TaskKind) -> Classes | None:
    """Return the classes (or labels) of the training data, or None when the targets are quantities or tokens.

    One class for each position is `find_position_classes`'s.
    """
    targets, loss = source.targets, profile.training.loss.type
    if task in ("regression", "language_model"):
        if targets.dtype.kind in "SU":
            raise DataError(
                f"{targets.names[0]}: targets are text, training.loss.type {loss} needs numbers",
                hint="use cross_entropy for classes, or choose other targets with data.columns.targets",
            )
        return None
    if task == "multi_label":
        names = _name_columns(source)
        return Classes(values=np.arange(len(names)), names=names)
    if targets.shape not in ((), (1,)):
        names = _name_columns(source)
        return Classes(values=np.arange(len(names)), names=names, one_hot=True)
    kind = targets.dtype.kind
    labels = _read_labels(targets)
    values = np.unique(labels)
    if kind == "f":
        _check_whole(targets, labels, loss)
    is_guess = loss == "auto" and profile.data.task == "auto" and not source.class_names
    if is_guess and len(values) > _MANY_CLASSES and len(values) * 2 > len(labels):
        if kind in "SU":
            raise DataError(
                f"targets are text with {len(values):,} different values in {len(labels):,} samples: no classes",
                hint="choose other targets with data.columns.targets",
            )
        raise DataError(
            f"targets have {len(values):,} different values in {len(labels):,} samples: classes or quantities?",
            hint="set data.task to regression (quantities) or classification (classes)",
        )
    return _name_classes(profile, source, values, labels)


def _name_columns(source: Source) -> tuple[str, ...]:
    """Return a name for each number of a target: the source's, those of a table's columns, or its number."""
    count = source.targets.shape[0]
    if len(source.class_names) == count:
        return source.class_names
    if source.table is not None and len(source.table.targets) == count:
        return tuple(column.name for column in source.table.targets)
    return tuple(str(label) for label in range(count))


def to_class_numbers(source: Source, classes: Classes) -> Rows:
    """Return the targets of a set as class numbers; a class the training data lack is an error with its place."""
    shape = source.targets.shape
    if shape != (len(classes.names),) if classes.one_hot else shape not in ((), (1,)):
        raise DataError(
            f"{source.targets.names[0]}: targets have shape {describe_shape(shape)}, "
            f"those of the training data are one class per sample{', one-hot' if classes.one_hot else ''}",
            hint="give all sets in the same form",
        )
    if classes.one_hot and not is_one_hot(source.targets):
        raise DataError(
            f"{source.targets.names[0]}: a target holds not exactly one 1",
            hint="give all sets in the same form, or set data.task: multi_label",
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
    """Return the label of each sample; a target that is one-hot is the number of its 1."""
    parts = [np.asarray(part) for part in targets.make_all().parts]
    if targets.shape not in ((), (1,)):
        return np.concatenate([part.argmax(axis=1) for part in parts])
    labels = np.concatenate([part.reshape(len(part)) for part in parts])
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
