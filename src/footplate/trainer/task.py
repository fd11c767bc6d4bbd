"""What is learnt: classes or quantities, the loss, and how outputs and targets fit together."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from footplate.data.scaler import Scaler
from footplate.errors import InputError
from footplate.profile.facts import DataFacts, TaskKind
from footplate.profile.sections.training import Training
from footplate.trainer.failure import describe_failure, is_out_of_memory

__all__ = ["Task", "check_model_fits", "make_task"]

_ABOUT_SHAPES = re.compile(r"\b(shapes?|sizes?|dim|dims|dimensions?|dimensional|channels?|[1-5]D)\b", re.IGNORECASE)
LossFunction = Callable[[Tensor, Tensor], Tensor]

_COMPARE: dict[str, LossFunction] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learnt and how it is judged."""

    kind: TaskKind
    """What is learnt."""
    loss_name: str
    """`cross_entropy`, `binary_cross_entropy`, `mse`, `mae` or `huber`."""
    compute_loss: LossFunction
    """Mean loss over the samples of a batch, from the model's outputs and the targets."""
    num_outputs: int
    """Numbers the model gives per sample."""
    classes: tuple[str, ...]
    """Names of the classes; empty for regression."""
    target_shape: tuple[int, ...]
    """Shape of one target."""
    scaler: Scaler
    """Brings predictions back to the targets' own unit."""

    @property
    def losses_per_sample(self) -> int:
        """Return over how many losses of one sample the mean is taken (``reduction: sum`` adds them)."""
        return 1 if self.loss_name == "cross_entropy" else self.num_outputs

    def get_scores(self, outputs: Tensor) -> Tensor:
        """Return the probability of each class, [batch, classes]."""
        outputs = outputs.float()
        if self.loss_name == "binary_cross_entropy":
            return torch.sigmoid(_to_two_classes(outputs))
        return torch.softmax(outputs, dim=1)


def make_task(training: Training, facts: DataFacts, scaler: Scaler) -> Task:
    """Return the task that the profile and the data describe: `auto` is cross_entropy for classes, else mse."""
    name: str = training.loss.type
    if name == "auto":
        name = "cross_entropy" if facts.is_classification else "mse"
    return Task(
        kind=facts.kind,
        loss_name=name,
        compute_loss=_make_loss(name, training.label_smoothing),
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
    allowed: set[tuple[int, ...]] = {(task.num_outputs,)}
    if task.kind == "regression":
        allowed |= {task.target_shape, (1,) if task.target_shape == () else task.target_shape}
    if task.loss_name == "binary_cross_entropy":
        allowed |= {(), (1,)}
    if tuple(outputs.shape[1:]) not in allowed:
        wanted = f"{task.num_outputs} classes" if task.classes else f"targets of shape {list(task.target_shape)}"
        raise InputError(
            f"shape mismatch: {name} gives {list(outputs.shape[1:])} per sample, the data have {wanted}",
            hint="let the class take `num_outputs`, or set the size of its last layer",
        )


def _make_loss(name: str, label_smoothing: float) -> LossFunction:
    if name == "cross_entropy":
        if label_smoothing:
            return lambda outputs, targets: functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing)
        return functional.cross_entropy
    if name == "binary_cross_entropy":
        return _binary_cross_entropy
    compare = _COMPARE[name]
    return lambda outputs, targets: compare(outputs.reshape(targets.shape), targets)


def _binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    logits = _to_two_classes(outputs)
    wanted = functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
    return functional.binary_cross_entropy_with_logits(logits, wanted)


def _to_two_classes(outputs: Tensor) -> Tensor:
    """Return one logit per class; a model with a single logit z means -z for class 0 and z for class 1."""
    if math.prod(outputs.shape[1:]) != 1:
        return outputs
    logit = outputs.reshape(-1, 1)
    return torch.cat([-logit, logit], dim=1)


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
