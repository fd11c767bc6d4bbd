"""Half precision where it is safe: autocast, and loss scaling for fp16."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from footplate.errors import InputError
from footplate.profile.sections.training import MixedPrecision

__all__ = ["Precision"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """How numbers are held in the forward pass, and how gradients become a step."""

    def __init__(self, settings: MixedPrecision, device: torch.device) -> None:
        self._device = device
        self._dtype = _DTYPES[settings.precision] if settings.enabled else None
        self._scaler: torch.amp.GradScaler | None = None
        self._fixed_scale = settings.loss_scale if isinstance(settings.loss_scale, float) else None
        if self._dtype is torch.float16:
            if device.type == "cpu":
                raise InputError(
                    "training.mixed_precision.precision: fp16 runs on GPUs only, and this training is on the CPU",
                    hint="set precision: bf16, or mixed_precision.enabled: false",
                )
            self._scaler = torch.amp.GradScaler(device.type, init_scale=self._fixed_scale or 2.0**16)

    @property
    def name(self) -> str:
        """Return ``fp32``, ``bf16`` or ``fp16``."""
        names = {dtype: name for name, dtype in _DTYPES.items()}
        return names[self._dtype] if self._dtype is not None else "fp32"

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass."""
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one batch."""
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]

    def forget_gradients(self) -> None:
        """Take note that the gradients of a step were dropped: unscaled ones among them are none any more."""
        if self._scaler is not None:
            self._scaler._per_optimizer_states.clear()

    def finish_gradients(
        self,
        optimizer: Optimizer,
        parameters: Sequence[nn.Parameter],
        max_grad_norm: float | None,
        clip: Callable[[Sequence[nn.Parameter], float], Tensor] = nn.utils.clip_grad_norm_,
    ) -> Tensor | None:
        """Unscale and clip the gradients; return their norm before where they are clipped."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)
        return None if max_grad_norm is None else clip(parameters, max_grad_norm)

    def update(self, optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> None:
        """Move the weights and clear the gradients."""
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)
            self._scaler.update(self._fixed_scale)
        for parameter in parameters:
            parameter.grad = None  # as zero_grad does, without its bookkeeping: 1.5 % of a step of 1 ms

    def state_dict(self) -> dict[str, Any]:
        """Return what the scaling of the loss has learnt; nothing without one."""
        return {} if self._scaler is None else dict(self._scaler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""
        if self._scaler is not None and state:
            self._scaler.load_state_dict(dict(state))
