"""``transfer_learning``: starting from a trained model."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import field_validator

from footplate.profile.fields import Section, Text, key

__all__ = ["TransferLearning"]


class TransferLearning(Section):
    """Pretrained weights and what of them is trained further."""

    enabled: bool | None = key(None)
    """Switches it on or off; null = on when a key below is set."""
    pretrained_model_path: Text | None = key(None)
    """Weights to start from: a safetensors file, the directory of a run, or a `.pt` that holds nothing but weights.
    Tensors are taken by name where their shapes are equal; what is left out is said."""
    freeze_layers: tuple[Text, ...] = key(())
    """Layers that are not trained, by the beginning of their names (`encoder.layers.0`), or as patterns (`*.norm`)."""
    freeze_until_layer: Text | None = key(None)
    """Every layer before this one is not trained."""
    strategy: Literal["full", "frozen", "gradual_unfreezing"] = key("full")
    """What is trained: all but the layers named above; `frozen` = only the last layer, and what the weights did not
    have, when no layer is named; `gradual_unfreezing` = one frozen layer more at each epoch of `unfreeze_schedule`."""
    unfreeze_schedule: tuple[int, ...] = key((), unit="epochs")
    """Epochs, counted from 0, at whose start the next frozen layer is trained too, the last layer first."""

    @property
    def is_on(self) -> bool:
        """Whether anything is to be loaded or frozen."""
        if self.enabled is not None:
            return self.enabled
        named = self.pretrained_model_path or self.freeze_layers or self.freeze_until_layer
        return bool(named) or self.strategy != "full"

    @field_validator("unfreeze_schedule")
    @classmethod
    def _check_schedule(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(epoch < 1 for epoch in value) or any(after <= before for before, after in pairwise(value)):
            raise ValueError(f"epochs must be ≥ 1 and rise (got {list(value)})")
        return value
