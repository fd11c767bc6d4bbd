"""``transfer_learning``: starting from a trained model."""

from __future__ import annotations

from typing import Literal

from footplate.profile.fields import Section, Text, key

__all__ = ["TransferLearning"]

_LATER = "transfer learning is not built yet; the training starts from scratch"


class TransferLearning(Section):
    """Pretrained weights and what of them is trained further."""

    enabled: bool = key(False, inactive=_LATER)
    """Switches it on."""
    pretrained_model_path: Text | None = key(None, inactive=_LATER)
    """Weights to start from (safetensors)."""
    freeze_layers: tuple[Text, ...] = key((), inactive=_LATER)
    """Layers that are not trained, by the beginning of their names."""
    freeze_until_layer: Text | None = key(None, inactive=_LATER)
    """Every layer before this one is not trained."""
    strategy: Literal["full", "frozen", "gradual_unfreezing"] = key("full", inactive=_LATER)
    """What is trained."""
    unfreeze_schedule: tuple[int, ...] = key((), unit="epochs", inactive=_LATER)
    """Epochs at which the next layer is trained too."""
