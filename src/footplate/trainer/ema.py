"""The mean of the weights over the steps (EMA): what is judged and kept where the profile asks for it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from footplate.errors import InputError
from footplate.profile.sections.training import Ema
from footplate.trainer.failure import describe_failure, is_out_of_memory
from footplate.trainer.hooks import Hook
from footplate.trainer.progress import Progress

__all__ = ["WeightMean", "make_weight_mean"]


class WeightMean(Hook):
    """Holds a second network whose weights follow those that are trained: mean = decay · mean + (1 - decay) · weights.

    Buffers, such as a batch norm's, are those of the network that is trained. It starts from the weights at the start.
    """

    watches_steps: ClassVar[bool] = True

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = _copy(model)
        """The network with the mean weights, to be judged and kept."""
        self._share = 1 - decay
        with torch.no_grad():
            self._means = [parameter.detach() for parameter in self.model.parameters()]
            self._weights = [parameter.detach() for parameter in model.parameters()]
            self._mean_buffers = list(self.model.buffers())
            self._buffers = list(model.buffers())

    @torch.no_grad()
    def on_step(self, progress: Progress) -> None:  # noqa: ARG002
        torch._foreach_lerp_(self._means, self._weights, self._share)
        if self._buffers:
            torch._foreach_copy_(self._mean_buffers, self._buffers)

    def state_dict(self) -> dict[str, Any]:
        return {name: tensor.detach() for name, tensor in self._list_tensors().items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, tensor in self._list_tensors().items():
            tensor.copy_(state[name])

    def _list_tensors(self) -> dict[str, Tensor]:
        return {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}


def make_weight_mean(settings: Ema, model: nn.Module, *, is_sharded: bool) -> WeightMean | None:
    """Return what follows the weights of a model, as they are now; None where the profile does not ask for it.

    Raises InputError when it cannot be copied, or when each process has a part of it only.
    """
    if settings.enabled and is_sharded:
        raise InputError(
            "training.ema: the mean of weights that are shared out among processes is not built",
            hint="set distributed.strategy: ddp, or training.ema.enabled: false",
        )
    return WeightMean(model, settings.decay) if settings.enabled else None


def _copy(model: nn.Module) -> nn.Module:
    try:
        copied = copy.deepcopy(model)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"training.ema: the network cannot be copied: {describe_failure(error)}",
            hint="the mean of the weights needs a second network; copy.deepcopy must be able to make it",
        ) from error
    return copied.requires_grad_(requires_grad=False).eval()
