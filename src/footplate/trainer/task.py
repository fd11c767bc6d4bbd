"""What is learnt: classes or quantities, the loss, and how outputs and targets fit together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from footplate.data.scaler import Scaler
from footplate.errors import InputError
from footplate.profile.facts import DataFacts, TaskKind
from footplate.profile.sections.training import Training
from footplate.profile.tasks import TASKS
from footplate.trainer.failure import describe_failure, is_out_of_memory
from footplate.trainer.losses import LossFunction, count_kept, make_loss, to_two_classes

__all__ = ["Task", "check_model_fits", "make_task"]

_ABOUT_SHAPES = re.compile(r"\b(shapes?|sizes?|dim|dims|dimensions?|dimensional|channels?|[1-5]D)\b", re.IGNORECASE)
_NUM_BYTES = 256
Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learnt and how it is judged."""

    kind: TaskKind
    """What is learnt."""
    loss_name: str
    """Value of `training.loss.type`, `auto` resolved."""
    label_smoothing: float = 0.0
    """Share of the probability that the loss spreads over the wrong classes."""
    compute_loss: LossFunction
    """Mean loss over the samples of a batch (over its targets that count: see ``counts_targets``), from the model's
    outputs and the targets."""
    num_outputs: int
    """Numbers the model gives per sample, or per position or pixel."""
    classes: tuple[str, ...]
    """Names of the classes; empty for regression and language models."""
    target_shape: Shape
    """Shape of one target."""
    scaler: Scaler
    """Brings predictions back to the targets' own unit."""

    @property
    def losses_per_sample(self) -> int:
        """Return over how many losses of what a batch weighs the mean is taken (``reduction: sum`` adds them)."""
        return self.num_outputs if self.loss_name in ("binary_cross_entropy", "mse", "mae", "huber") else 1

    @property
    def counts_targets(self) -> bool:
        """Whether the loss is a mean over the targets that count, of which samples have different numbers."""
        return self.loss_name == "cross_entropy" and self.kind != "classification"

    @property
    def has_byte_tokens(self) -> bool:
        """Whether the tokens of a language model are the bytes of a text."""
        return self.kind == "language_model" and self.num_outputs == _NUM_BYTES

    def count_targets(self, targets: Tensor) -> int | Tensor:
        """Return what the mean loss of a batch weighs: its targets that count, on the device, or its samples."""
        return count_kept(targets) if self.counts_targets else len(targets)

    def get_scores(self, outputs: Tensor) -> Tensor:
        """Return the probability of each class, [batch, classes], or of each label."""
        outputs = outputs.float()
        if self.kind == "multi_label":
            return torch.sigmoid(outputs.reshape(-1, self.num_outputs))
        if self.loss_name == "binary_cross_entropy":
            return torch.sigmoid(to_two_classes(outputs))
        return torch.softmax(outputs, dim=1)


def make_task(training: Training, facts: DataFacts, scaler: Scaler) -> Task:
    """Return the task that the profile and the data describe; its first loss is that of `auto`.

    Raises InputError when the loss does not fit the task.
    """
    losses = TASKS[facts.kind].losses
    name: str = losses[0] if training.loss.type == "auto" else training.loss.type
    if name not in losses:
        raise InputError(
            f"training.loss.type: {name} does not fit, for this is {TASKS[facts.kind].words}",
            hint=f"set it to auto or {' or '.join(losses)}, or correct data.task",
        )
    return Task(
        kind=facts.kind,
        loss_name=name,
        label_smoothing=training.label_smoothing,
        compute_loss=make_loss(facts.kind, name, training.label_smoothing),
        num_outputs=facts.num_outputs,
        classes=facts.classes,
        target_shape=facts.target_shape,
        scaler=scaler,
    )


def check_model_fits(model: nn.Module, task: Task, inputs: Tensor, *, name: str) -> None:
    """Try the model on two samples; InputError names the shapes when model and data do not fit."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            outputs = model(inputs)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise _describe_refusal(error, name, list(inputs.shape[1:])) from error
    finally:
        model.train(was_training)
    if not isinstance(outputs, Tensor) or outputs.ndim == 0 or len(outputs) != len(inputs):
        found = f"{list(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(
            f"{name}: forward must return a tensor [batch, …]; for a batch of {len(inputs)} it gave {found}"
        )
    fit = _FITS[task.kind]
    if not fit.takes(task, tuple(outputs.shape[1:])):
        raise InputError(
            f"shape mismatch: {name} gives {list(outputs.shape[1:])} per sample, the data have {fit.describe(task)}",
            hint="let the class take `num_outputs`, or set the size of its last layer",
        )


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """Which outputs a kind of task takes."""

    takes: Callable[[Task, Shape], bool]
    """Whether the outputs of one sample may have this shape."""
    describe: Callable[[Task], str]
    """What the data have, with the shape of outputs that follows from it where it is another."""


def _takes_classes(task: Task, shape: Shape) -> bool:
    return shape == (task.num_outputs,) or (task.loss_name == "binary_cross_entropy" and shape in ((), (1,)))


def _takes_quantities(task: Task, shape: Shape) -> bool:
    return shape in ((task.num_outputs,), task.target_shape) or (task.target_shape == () and shape == (1,))


def _takes_tokens(task: Task, shape: Shape) -> bool:
    """Allow a vocabulary that is filled up to a round number, as those of language models often are."""
    return shape[:-1] == task.target_shape and shape[-1] >= task.num_outputs


_FITS: Mapping[TaskKind, _Fit] = MappingProxyType(
    {
        "classification": _Fit(takes=_takes_classes, describe=lambda task: f"{task.num_outputs} classes"),
        "multi_label": _Fit(
            takes=lambda task, shape: shape == (task.num_outputs,) or (task.num_outputs == 1 and shape == ()),
            describe=lambda task: f"{task.num_outputs} labels",
        ),
        "regression": _Fit(
            takes=_takes_quantities, describe=lambda task: f"targets of shape {list(task.target_shape)}"
        ),
        "sequence": _Fit(
            takes=lambda task, shape: shape == (*task.target_shape, task.num_outputs),
            describe=lambda task: (
                f"targets of shape {list(task.target_shape)} of {task.num_outputs} classes: "
                f"{[*task.target_shape, task.num_outputs]} is needed"
            ),
        ),
        "language_model": _Fit(
            takes=_takes_tokens,
            describe=lambda task: (
                f"targets of shape {list(task.target_shape)} of {task.num_outputs} tokens: "
                f"{[*task.target_shape, task.num_outputs]} is needed"
            ),
        ),
        "segmentation": _Fit(
            takes=lambda task, shape: shape == (task.num_outputs, *task.target_shape),
            describe=lambda task: (
                f"targets of shape {list(task.target_shape)} of {task.num_outputs} classes: "
                f"{[task.num_outputs, *task.target_shape]} is needed"
            ),
        ),
    }
)


def _describe_refusal(error: Exception, name: str, shape: list[int]) -> InputError:
    """Tell inputs that a model does not take from a fault in its code: torch's words are all there is to go by."""
    if isinstance(error, (RuntimeError, ValueError, IndexError)) and _ABOUT_SHAPES.search(str(error)):
        return InputError(
            f"shape mismatch: {name} does not take inputs of shape {shape}: {describe_failure(error)}",
            hint="compare model.* with the shape of the data that was found",
        )
    return InputError(
        f"{name} fails on inputs of shape {shape}: {describe_failure(error)}",
        hint="mend the class; two samples show it",
    )
