"""What is learnt: found from how targets and inputs look, or checked against what `data.task` says."""

from __future__ import annotations

import numpy as np

from footplate.data.rows import Array, Rows, describe_shape
from footplate.data.source import Source
from footplate.errors import DataError
from footplate.profile.facts import TaskKind
from footplate.profile.model import Profile

__all__ = ["check_labels", "find_task", "is_one_hot"]

_QUANTITY_LOSSES = ("mse", "mae", "huber")
_MOST_CHANNELS = 4


def find_task(profile: Profile, source: Source) -> TaskKind:
    """Return what is learnt from the training data.

    Raises DataError when the data leave it open (the hint names ``data.task``), or cannot be what ``data.task`` says.
    """
    asked, targets = profile.data.task, source.targets
    if source.task is not None:  # such as text without labels, or masks: there is nothing to choose
        if asked not in ("auto", source.task):
            raise DataError(
                f"{source.name}: data.task is {asked}, the data are those of {_with_article(source.task)}",
                hint=f"set data.task: {source.task}, or leave it out",
            )
        return source.task
    if targets.dtype.kind not in "biufSU":
        raise DataError(
            f"{targets.names[0]}: targets of type {targets.dtype} cannot be trained on",
            hint="write them as numbers, or as text for classes",
        )
    if asked != "auto":
        _check_possible(asked, source)
        return asked
    return _infer(profile.training.loss.type, source)


def _infer(loss: str, source: Source) -> TaskKind:
    targets = source.targets
    kind = targets.dtype.kind
    if loss in _QUANTITY_LOSSES:
        return "regression"
    if targets.shape in ((), (1,)):
        return "regression" if kind == "f" and loss == "auto" else "classification"
    if kind != "f":
        if targets.shape == _get_image_size(source) and len(targets.shape) == 2:
            return "segmentation"
        if len(targets.shape) == 1 and _has_positions(source):
            return _tell_positions_from_labels(loss, source)
    if len(targets.shape) == 1 and (loss == "binary_cross_entropy" or (loss == "auto" and kind in "biu")):
        wrong = _find_not_binary(targets)
        if wrong is None:
            if loss == "auto" and is_one_hot(targets):
                raise DataError(
                    f"{targets.names[0]}: each target holds exactly one 1: one class per sample, or labels?",
                    hint="set data.task: classification, multi_label or regression",
                )
            return "multi_label"
        if loss == "binary_cross_entropy":
            raise DataError(
                f"{wrong}: training.loss.type binary_cross_entropy needs targets of 0 and 1",
                hint="use mse for quantities",
            )
    if loss != "auto":
        raise DataError(
            f"targets of shape {describe_shape(targets.shape)} with training.loss.type {loss}, "
            "which needs one class per sample, per position or per pixel",
            hint="give one class per sample, use mse for quantities, or say what they are with data.task",
        )
    return "regression"


def _tell_positions_from_labels(loss: str, source: Source) -> TaskKind:
    """Return what whole numbers are of which there are as many as inputs have positions."""
    targets = source.targets
    is_binary = targets.dtype.kind in "biu" and _find_not_binary(targets) is None
    if loss == "binary_cross_entropy" and is_binary:
        return "multi_label"
    if not is_binary or loss != "auto":
        return "sequence"
    if len(_get_input_shape(source)) > 1:
        return "sequence"
    raise DataError(
        f"{targets.names[0]}: {targets.shape[0]} targets of 0 and 1 for {targets.shape[0]} inputs: one class for each "
        "position, or labels of the whole?",
        hint="set data.task: sequence (positions) or multi_label (labels)",
    )


def is_one_hot(targets: Rows) -> bool:
    """Return whether each target, of numbers 0 and 1, holds exactly one 1."""
    return all(bool((chunk.sum(axis=1) == 1).all()) for _, chunk in targets.chunks())


def check_labels(source: Source) -> None:
    """Require targets that are 0 or 1 for each label; the first other number is named with its place."""
    wrong = _find_not_binary(source.targets)
    if wrong is not None:
        raise DataError(f"{wrong}: labels are 0 or 1", hint="mend the targets, or choose another data.task")


def _check_possible(asked: TaskKind, source: Source) -> None:
    """Require targets (and inputs) of the form that ``data.task`` needs."""
    targets, shape = source.targets, source.targets.shape
    told = f"{targets.names[0]}: targets have shape {describe_shape(shape)}, data.task {asked} needs"
    fits = {
        "classification": shape in ((), (1,)) or (len(shape) == 1 and targets.dtype.kind in "biuf"),
        "regression": True,
        "multi_label": len(shape) == 1,
        "sequence": len(shape) == 1 and _has_positions(source),
        "segmentation": len(shape) == 2 and shape == _get_image_size(source),
        "language_model": len(shape) == 1 and _has_positions(source),
    }[asked]
    inputs = describe_shape(_get_input_shape(source))
    needs = {
        "classification": "one class per sample, [] or one-hot",
        "multi_label": "one number 0 or 1 for each label, [K]",
        "sequence": f"one class for each position of the inputs, which have shape {inputs}",
        "segmentation": f"one class for each pixel of the inputs, which have shape {inputs}",
        "language_model": f"the next token for each of the inputs, which have shape {inputs}",
    }
    if not fits:
        raise DataError(f"{told} {needs[asked]}", hint="choose another data.task, or other targets")
    if asked == "language_model":
        for rows in (source.inputs, targets):
            if not isinstance(rows, Rows) or rows.dtype.kind not in "iu" or len(rows.shape) != 1:
                raise DataError(
                    f"{targets.names[0]}: data.task language_model needs whole numbers [L], inputs and targets",
                    hint="write the tokens as int64, or name a text and let the blocks be made: data.format: text",
                )
    if asked == "multi_label" or (asked == "classification" and shape not in ((), (1,))):
        wrong = _find_not_binary(targets)
        if wrong is not None:
            raise DataError(f"{wrong}: data.task {asked} needs 0 or 1 here", hint="choose another data.task")
        if asked == "classification" and not is_one_hot(targets):
            raise DataError(
                f"{targets.names[0]}: data.task classification needs exactly one 1 in each target of shape "
                f"{describe_shape(shape)}",
                hint="set data.task: multi_label where a sample may have several",
            )


def _find_not_binary(targets: Rows) -> str | None:
    """Return where the first number that is neither 0 nor 1 stands, with it; None when there is none."""
    if targets.dtype.kind == "b":
        return None
    if targets.dtype.kind in "SU":
        return f"{targets.names[0]}: targets are text"
    for start, chunk in targets.chunks():
        wrong = (chunk != 0) & (chunk != 1)
        if wrong.any():
            place = _first(wrong)
            return f"{targets.locate(start + place[0], *place[1:])} is {chunk[place]:g}"
    return None


def _first(wrong: Array) -> tuple[int, ...]:
    return tuple(int(index) for index in np.unravel_index(int(np.argmax(wrong)), wrong.shape))


def _get_input_shape(source: Source) -> tuple[int, ...]:
    return source.inputs.shape if isinstance(source.inputs, Rows) else (len(source.inputs.inputs),)


def _has_positions(source: Source) -> bool:
    """Return whether there are as many targets as positions in an input [L] or [L, F]; a table has none."""
    shape = _get_input_shape(source)
    return source.table is None and len(shape) in (1, 2) and shape[0] == source.targets.shape[0]


def _get_image_size(source: Source) -> tuple[int, ...]:
    """Return height and width of inputs [H, W], [H, W, C] or [C, H, W]; nothing for others."""
    shape = _get_input_shape(source)
    if len(shape) == 2:
        return shape
    if len(shape) != 3:
        return ()
    size, targets = shape[:2], source.targets.shape
    return size if targets == size or shape[2] <= _MOST_CHANNELS else shape[1:]


def _with_article(task: TaskKind) -> str:
    return f"a {task}"
