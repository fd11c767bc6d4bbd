"""The optimiser of the profile, fused where torch can."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from footplate.errors import InputError
from footplate.profile.sections.training import Training
from footplate.trainer.failure import describe_failure, find_users_line, is_out_of_memory
from footplate.trainer.user_code import find_class, takes_argument

__all__ = ["build_optimizer", "set_learning_rate"]

_FUSED_ON = {
    torch.optim.Adam: {"cpu", "cuda", "mps"},
    torch.optim.AdamW: {"cpu", "cuda", "mps"},
    torch.optim.SGD: {"cpu", "cuda", "mps"},
    torch.optim.Adagrad: {"cpu"},
}
"""Devices on which torch updates all weights in one call, by optimiser."""

_NEEDS_CLOSURE = (torch.optim.LBFGS,)


def build_optimizer(training: Training, parameters: Iterable[nn.Parameter], device: torch.device) -> Optimizer:
    """Return the optimiser for the parameters that are trained.

    ``training.optimizer`` is adam, adamw, sgd, rmsprop, adagrad, any other name in ``torch.optim`` or a class of the
    user's as ``package.module:Class``; each gets the keys of ``training`` that it takes.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise InputError("model.architecture: the network has no parameters that can be trained")
    kind = _find_optimizer(training.optimizer)
    options = _get_options(kind, training)
    if device.type in _FUSED_ON.get(kind, ()) and all(parameter.is_floating_point() for parameter in trained):
        options["fused"] = True
    try:
        return kind(trained, **options)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if find_users_line(error):
            failure = describe_failure(error)
            raise InputError(f"training.optimizer: building {training.optimizer} failed: {failure}") from error
        told = ", ".join(f"{name}={value}" for name, value in options.items())
        raise InputError(f"training.optimizer: {training.optimizer} refuses {told}: {error}") from error


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def _find_optimizer(name: str) -> type[Optimizer]:
    key = "training.optimizer"
    known = {
        kind.__name__.lower(): kind
        for kind in vars(torch.optim).values()
        if isinstance(kind, type) and issubclass(kind, Optimizer) and kind is not Optimizer
    }
    found = find_class(name, key=key) if ":" in name else known.get(name.lower())
    if found is None:
        raise InputError(
            f"{key}: there is no {name}; torch has: {', '.join(sorted(known))}",
            hint="your own class is written package.module:Class",
        )
    if not issubclass(found, Optimizer):
        raise InputError(f"{key}: {name} is no torch.optim.Optimizer")
    if issubclass(found, _NEEDS_CLOSURE):
        raise InputError(f"{key}: {name} computes the loss several times a step, which this loop does not do")
    return found


def _get_options(kind: type[Optimizer], training: Training) -> dict[str, Any]:
    """Return the keys of ``training`` that the optimiser takes, by its own names."""
    if not takes_argument(kind, "weight_decay") and training.weight_decay:
        raise InputError(f"training.weight_decay: {training.optimizer} has no weight decay")
    every: dict[str, Any] = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    if kind in (torch.optim.SGD, torch.optim.RMSprop) or _is_set(training, "momentum"):
        every["momentum"] = training.momentum
    if kind in (torch.optim.Adam, torch.optim.AdamW) or _is_set(training, "adam_beta1", "adam_beta2"):
        every["betas"] = (training.adam_beta1, training.adam_beta2)
    if kind in (torch.optim.Adam, torch.optim.AdamW) or _is_set(training, "adam_epsilon"):
        every["eps"] = training.adam_epsilon
    return {name: value for name, value in every.items() if takes_argument(kind, name)}


def _is_set(training: Training, *names: str) -> bool:
    return not training.model_fields_set.isdisjoint(names)
