"""What was found of the data, in lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from footplate.data import checks
from footplate.data.rows import Indices, Rows, describe_shape
from footplate.data.source import Source
from footplate.data.tables import ColumnEncoding, count_unseen
from footplate.data.targets import Classes
from footplate.profile.facts import TaskKind

__all__ = ["Learnt", "Part", "count_classes", "describe_data"]

_SHOWN_CLASSES = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One set before scaling: which rows of which source."""

    source: Source
    inputs: Rows
    targets: Rows
    indices: Indices


@dataclass(frozen=True, kw_only=True, eq=False)
class Learnt:
    """What is learnt, and from what."""

    task: TaskKind
    classes: Classes | None
    class_counts: tuple[int, ...] = ()
    """Samples (or positions, or pixels) of each class over all sets."""
    vocab_size: int = 0
    """Where inputs are tokens: how many there are."""


def count_classes(part: Part, learnt: Learnt) -> Indices:
    """Return how many samples of one set have each class or label; for one class per sample, or several labels."""
    if learnt.task == "multi_label":
        return np.asarray(part.targets.take(part.indices).sum(axis=0), np.int64)
    return np.bincount(
        part.targets.parts[0][:][part.indices], minlength=len(learnt.classes.names if learnt.classes else ())
    )


def describe_data(
    parts: Mapping[str, Part], learnt: Learnt, encoding: Sequence[ColumnEncoding], notes: Sequence[str]
) -> tuple[str, ...]:
    """Write what was found: one line for each set, then what was done and what looks odd."""
    classes = learnt.classes
    lines = [
        _describe(key, part, learnt, is_split_off=key != "train" and part.source is parts["train"].source)
        for key, part in parts.items()
        if len(part.indices)
    ]
    if learnt.task in ("sequence", "segmentation"):
        lines.append(_describe_shares(learnt))
    lines += _describe_table(parts, encoding)
    sources = {id(part.source): part.source for part in parts.values()}.values()
    lines += [f"{source.name}: {note}" for source in sources for note in source.notes]
    stride = checks.get_stride(parts["train"].inputs)
    if stride > 1:
        lines.append(f"NaN was looked for in 1 of {stride} parts of the inputs: they are large")
    lines += notes
    is_numbered = classes is not None and classes.values.dtype.kind in "iu"
    if classes is not None and is_numbered and classes.values[-1] >= 2 * len(classes.values):
        lines.append(f"class numbers have gaps: {len(classes.values)} classes, the last is {classes.values[-1]}")
        if classes.values[-1] == 255 and learnt.task == "segmentation":
            lines.append("if 255 means no class, set data.ignored_class: 255")
    return tuple(lines)


def _describe_table(parts: Mapping[str, Part], encoding: Sequence[ColumnEncoding]) -> list[str]:
    lines = []
    widths = [f"{item.name} {len(item.categories)}" for item in encoding if item.categories is not None]
    if widths:
        lines.append(f"text columns as 0/1 codes: {', '.join(widths)}")
    train = parts["train"].source.table
    lines += [
        f"`{column.name}` is text: {column.not_a_number} is no number"
        for column in (train.inputs if train else ())
        if column.not_a_number
    ]
    sources = {id(part.source): part.source for part in parts.values()}.values()
    lines += [f"{source.name}: {note}" for source in sources if source.table for note in source.table.notes]
    for key in ("val", "test"):
        table = parts[key].source.table
        for column, item in zip(table.inputs if table else (), encoding, strict=False):
            unseen = count_unseen(column, item, parts[key].indices)
            if unseen:
                lines.append(f"{key}: {unseen:,} cells of `{item.name}` hold a value unseen in training: all 0")
    return lines


def _describe(name: str, part: Part, learnt: Learnt, *, is_split_off: bool) -> str:
    """Write one line: ``train  1,437 × [8, 8] float64 → 10 classes, 139–146 each``."""
    inputs = f"{len(part.indices):>9,} × {describe_shape(part.inputs.shape)} {part.inputs.dtype}"
    files = part.source.num_files
    note = f" · {files:,} files" if files > 1 and not is_split_off else ""  # told with the first set
    return f"{name:<5}{inputs} → {_describe_targets(part, learnt)}{note}"


def _describe_targets(part: Part, learnt: Learnt) -> str:
    classes, shape = learnt.classes, part.targets.shape
    if learnt.task == "language_model":
        return f"the next of {learnt.vocab_size:,} tokens"
    if classes is None:
        wanted = "1 number" if shape in ((), (1,)) else describe_shape(shape)
        return f"{wanted} {part.targets.dtype}"
    if learnt.task in ("sequence", "segmentation"):
        where = "position" if learnt.task == "sequence" else "pixel"
        return f"{len(classes.names)} classes, one for each {where}"
    counts = count_classes(part, learnt)
    if learnt.task == "multi_label":
        return f"{len(classes.names)} labels, {counts.sum() / max(1, len(part.indices)):.2g} a sample"
    low, high = int(counts.min()), int(counts.max())
    each = f"{low:,} each" if low == high else f"{low:,}–{high:,} each"
    return f"{len(classes.names)} classes, {each}"


def _describe_shares(learnt: Learnt) -> str:
    """Write the share of each class over all positions: ``classes: 0 83 %, 1 17 %``."""
    names = learnt.classes.names if learnt.classes else ()
    total = max(1, sum(learnt.class_counts))
    pairs = list(zip(names, learnt.class_counts, strict=True))
    shown = ", ".join(f"{name} {100 * count / total:.2g} %" for name, count in pairs[:_SHOWN_CLASSES])
    more = len(pairs) - _SHOWN_CLASSES
    return f"classes: {shown}" + (f" and {more} more" if more > 0 else "")
