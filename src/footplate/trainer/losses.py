"""The losses: each a mean over what counts in a batch, from a network's outputs and the targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from footplate.profile.facts import TaskKind
from footplate.profile.tasks import IGNORED

__all__ = ["LossFunction", "count_kept", "make_loss", "to_two_classes"]

LossFunction = Callable[[Tensor, Tensor], Tensor]

_SMOOTH = 1.0
"""Added to both sides of the Dice coefficient, in pixels: a class that is neither there nor predicted is right."""
_COMPARE: Mapping[str, LossFunction] = MappingProxyType(
    {"mse": functional.mse_loss, "mae": functional.l1_loss, "huber": functional.huber_loss}
)


def make_loss(kind: TaskKind, name: str, label_smoothing: float = 0.0) -> LossFunction:
    """Return the mean loss over the samples of a batch, or over the targets that count where a sample has many.

    Where none counts it is 0.
    """
    if name in _COMPARE:
        compare = _COMPARE[name]
        return lambda outputs, targets: compare(outputs.reshape(targets.shape), targets)
    return _MAKERS[kind, name](label_smoothing)


def count_kept(targets: Tensor) -> Tensor:
    """Return how many targets count, still on the device."""
    return (targets != IGNORED).sum()


def to_two_classes(outputs: Tensor) -> Tensor:
    """Return one logit per class; a model with a single logit z means -z for class 0 and z for class 1."""
    if math.prod(outputs.shape[1:]) != 1:
        return outputs
    logit = outputs.reshape(-1, 1)
    return torch.cat([-logit, logit], dim=1)


def _make_cross_entropy(label_smoothing: float) -> LossFunction:
    if label_smoothing:
        return lambda outputs, targets: functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing)
    return functional.cross_entropy


def _make_binary(_: float) -> LossFunction:
    return _binary_cross_entropy


def _binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    logits = to_two_classes(outputs)
    wanted = functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
    return functional.binary_cross_entropy_with_logits(logits, wanted)


def _make_labels(_: float) -> LossFunction:
    return lambda outputs, targets: functional.binary_cross_entropy_with_logits(
        outputs.reshape(targets.shape), targets.to(outputs.dtype)
    )


def _make_positions(label_smoothing: float) -> LossFunction:
    """Classes are the last dimension of the outputs."""

    def compute(outputs: Tensor, targets: Tensor) -> Tensor:
        # A sum divided by the count, and not torch's own mean: that is NaN where no target counts.
        total = functional.cross_entropy(
            outputs.reshape(-1, outputs.shape[-1]).float(),
            targets.reshape(-1),
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=label_smoothing,
        )
        return total / count_kept(targets).clamp(min=1)

    return compute


def _make_pixels(label_smoothing: float) -> LossFunction:
    """Classes are the second dimension; they are moved, for torch's loss of images is not deterministic on a GPU."""
    compute = _make_positions(label_smoothing)
    return lambda outputs, targets: compute(outputs.movedim(1, -1), targets)


def _make_dice(label_smoothing: float) -> LossFunction:
    """Of each image the mean cross entropy of its pixels, plus 1 - the soft Dice coefficient, mean over the classes.

    Each image weighs the same, however many of its pixels count, so that it is a mean over samples.
    """

    def compute(outputs: Tensor, targets: Tensor) -> Tensor:
        logits = outputs.movedim(1, -1).flatten(1, -2).float()  # [batch, pixels, classes]
        wanted = targets.flatten(1)
        kept = wanted != IGNORED
        losses = functional.cross_entropy(
            logits.flatten(0, 1),
            wanted.flatten(),
            ignore_index=IGNORED,
            reduction="none",
            label_smoothing=label_smoothing,
        ).view_as(wanted)
        mean = losses.sum(1) / kept.sum(1).clamp(min=1)
        counts = kept.unsqueeze(-1)
        shares = torch.softmax(logits, dim=-1) * counts
        classes = functional.one_hot(wanted.where(kept, 0), logits.shape[-1]) * counts
        overlap, size = (shares * classes).sum(1), (shares + classes).sum(1)
        dice = (2 * overlap + _SMOOTH) / (size + _SMOOTH)
        return (mean + 1 - dice.mean(1)).mean()

    return compute


_MAKERS: Mapping[tuple[TaskKind, str], Callable[[float], LossFunction]] = MappingProxyType(
    {
        ("classification", "cross_entropy"): _make_cross_entropy,
        ("classification", "binary_cross_entropy"): _make_binary,
        ("multi_label", "binary_cross_entropy"): _make_labels,
        ("sequence", "cross_entropy"): _make_positions,
        ("language_model", "cross_entropy"): _make_positions,
        ("segmentation", "cross_entropy"): _make_pixels,
        ("segmentation", "dice_cross_entropy"): _make_dice,
    }
)
"""Each takes the share of label smoothing."""
