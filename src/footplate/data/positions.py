"""Targets with one class for each position of a sequence or each pixel: the classes, and their numbers from 0."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from footplate.data.rows import Array, Indices, LazyArray, Part, Rows
from footplate.data.source import Source
from footplate.data.targets import Classes
from footplate.errors import DataError
from footplate.profile.model import Profile
from footplate.profile.tasks import IGNORED

__all__ = ["PositionTargets", "ValueCounts", "find_position_classes", "number_positions"]

_MANY_CLASSES = 1000
"""Numbers that take more values than this are no classes, unless `data.output_shape` says how many there are."""


class ValueCounts(NamedTuple):
    """The different numbers (or texts) in targets."""

    values: Array
    """Ascending."""
    counts: Indices
    """How often each occurs."""


class PositionTargets(NamedTuple):
    """The targets of one source as class numbers."""

    rows: Rows
    """int64, or made int64 when they are read."""
    counts: Indices
    """Positions of each class in the whole source."""


class _Numbered(LazyArray):
    """Class numbers of targets that stay where they are stored."""

    def __init__(self, stored: Rows, classes: Classes) -> None:
        self._stored = stored
        self._classes = classes
        self.shape = (len(stored), *stored.shape)
        self.dtype = np.dtype(np.int64)

    def read(self, indices: Indices) -> Array:
        return _number(self._stored.take(indices), self._classes)[0]


def find_position_classes(profile: Profile, source: Source) -> tuple[Classes, ValueCounts]:
    """Return the classes of sequence or segmentation targets, and what was counted: all are looked at once."""
    targets = source.targets
    ignored = tuple({IGNORED, IGNORED if (given := profile.data.ignored_class) is None else given})
    wanted = profile.data.output_shape
    declared = wanted[0] if wanted and len(wanted) == 1 else None
    counted = _count_values(targets, _MANY_CLASSES if declared is None else None)
    values = counted.values
    if values.dtype.kind in "iuf":
        values = values[~np.isin(values, ignored)]
    if values.dtype.kind in "iuf":
        if len(values) and values[0] < 0:
            raise DataError(
                f"{_locate(targets, values[0])}: class {values[0]:g} is negative",
                hint=f"number the classes from 0; write {IGNORED} where there is none, or name it: data.ignored_class",
            )
        if declared is not None:
            if len(values) and values[-1] >= declared:
                raise DataError(
                    f"{_locate(targets, values[-1])}: class {values[-1]:g} is out of range: "
                    f"data.output_shape [{declared}] means classes 0 to {declared - 1}",
                    hint="mend data.output_shape or the labels; a number that is no class: data.ignored_class",
                )
            values = np.arange(declared)
    elif declared is not None and declared != len(values):
        raise DataError(
            f"data.output_shape is [{declared}], the data have {len(values)} classes",
            hint=f"set it to [{len(values)}] or leave it out",
        )
    if not len(values):
        raise DataError(
            f"no position has a class: all are {' or '.join(map(str, ignored))}",
            hint="check the targets; data.ignored_class names a number that is no class",
        )
    if len(values) < 2:
        raise DataError("all positions are of the same class: there is nothing to learn", hint="check the targets")
    knows_names = source.class_names and values.dtype.kind in "iu" and values[-1] < len(source.class_names)
    names = tuple(
        source.class_names[int(value)] if knows_names else f"{value:g}" if values.dtype.kind in "iuf" else str(value)
        for value in values
    )
    return Classes(values=values, names=names, ignored=ignored), counted


def number_positions(source: Source, classes: Classes, counted: ValueCounts | None = None) -> PositionTargets:
    """Return a source's targets as class numbers, -100 where there is none; an unknown class is an error.

    ``counted`` spares a second look at all targets.
    """
    targets = source.targets
    if (targets.dtype.kind in "SU") != (classes.values.dtype.kind in "SU"):
        raise DataError(
            f"{targets.names[0]}: the targets are of type {targets.dtype}, those of the training data are not",
            hint="write both with the same types",
        )
    values, counts_of = counted or _count_values(targets, None)
    numbers, wrong = _number(values, classes)
    if wrong is not None:
        raise DataError(
            f"{_locate(targets, values[wrong])}: class {values[wrong]} is not among the "
            f"{len(classes.values)} classes of the training data",
            hint="mend the labels, add such samples to the training data, or name a number that is no class: "
            "data.ignored_class",
        )
    is_class = numbers != IGNORED
    counts = np.zeros(len(classes.values), np.int64)
    np.add.at(counts, numbers[is_class], counts_of[is_class])
    lazy: tuple[Part, ...] = (_Numbered(targets, classes),)
    if targets.mapped or targets.is_lazy:
        return PositionTargets(replace(targets, parts=lazy, names=targets.names[:1], places=(), mapped=True), counts)
    made = np.concatenate([_number(chunk, classes)[0] for _, chunk in targets.chunks()])
    places = (np.concatenate(targets.places),) if targets.places else ()
    return PositionTargets(replace(targets, parts=(made,), names=targets.names[:1], places=places), counts)


def _number(labels: Array, classes: Classes) -> tuple[Indices, tuple[int, ...] | None]:
    """Return class numbers, and the place of the first label that is no class."""
    numbers = np.searchsorted(classes.values, labels).clip(0, len(classes.values) - 1).astype(np.int64)
    unknown = classes.values[numbers] != labels
    if labels.dtype.kind in "iuf":
        for value in classes.ignored:
            is_ignored = labels == value
            numbers[is_ignored] = IGNORED
            unknown &= ~is_ignored
    if unknown.any():
        return numbers, tuple(int(i) for i in np.unravel_index(int(np.argmax(unknown)), unknown.shape))
    return numbers, None


def _count_values(targets: Rows, limit: int | None) -> ValueCounts:
    """Return the different numbers (or texts) in all targets and how often each occurs, in constant memory."""
    found: dict[Any, int] = {}
    for start, chunk in targets.chunks():
        if chunk.dtype.kind == "f" and not (chunk == np.floor(chunk)).all():
            wrong = chunk != np.floor(chunk)
            place = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
            raise DataError(
                f"{targets.locate(start + place[0], *place[1:])} is {chunk[place]:g}, which is no class",
                hint="write classes as whole numbers; for quantities set data.task: regression",
            )
        for value, count in zip(*_count(chunk), strict=True):
            found[value] = found.get(value, 0) + count
        if limit is not None and len(found) > limit:
            raise DataError(
                f"{targets.names[0]}: the targets take more than {limit:,} values: classes or quantities?",
                hint="set data.task: regression for quantities; for classes say how many: data.output_shape: [K]",
            )
    dtype = np.dtype(np.int64) if targets.dtype.kind == "b" else targets.dtype
    values = np.array(sorted(found), dtype)
    return ValueCounts(values, np.array([found[value] for value in sorted(found)], np.int64))


def _count(chunk: Array) -> tuple[list[Any], list[int]]:
    if chunk.dtype.kind in "bu" and chunk.dtype.itemsize <= 2:  # many times faster than to sort them
        counts = np.bincount(chunk.reshape(-1))
        values = np.flatnonzero(counts)
        return values.tolist(), counts[values].tolist()
    values, counts = np.unique(chunk, return_counts=True)
    return values.tolist(), counts.tolist()


def _locate(targets: Rows, value: object) -> str:
    """Return the place of the first target of this value."""
    for start, chunk in targets.chunks():
        here = chunk == value
        if here.any():
            place = [int(i) for i in np.unravel_index(int(np.argmax(here)), here.shape)]
            return targets.locate(start + place[0], *place[1:])
    return targets.names[0]
