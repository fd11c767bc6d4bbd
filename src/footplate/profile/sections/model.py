"""``model``: the network that is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict

from footplate.profile.fields import CLASS_PATH, Known, Section, Text, key

__all__ = ["BUILT_IN_ARCHITECTURES", "Model"]

BUILT_IN_ARCHITECTURES = ("mlp", "cnn", "transformer")
"""Architectures that can be trained without code."""

_LATER = "not built yet; use mlp, cnn, transformer or your own package.module:Class"

_LATER_ARCHITECTURES = ("resnet", "rnn", "lstm", "gru", "lightweight_transformer", "unet", "gpt")
_ARCHITECTURES = Known((*BUILT_IN_ARCHITECTURES, *_LATER_ARCHITECTURES), rf"hf:.+|{CLASS_PATH}", "package.module:Class")


class Model(Section):
    """The network. A class of yours (`package.module:Class`) gets every other key of this section as an argument."""

    model_config = ConfigDict(extra="allow")

    architecture: Annotated[Text, _ARCHITECTURES] = key(
        "mlp",
        inactive_values={
            "|".join(_LATER_ARCHITECTURES): _LATER,
            "hf:.*": _LATER,
        },
    )
    """`mlp`, `cnn`, `transformer`, or your own class as `package.module:Class`."""
    hidden_size: int = key(128, ge=1, unit="units")
    """Width: units of a hidden layer (mlp), channels of the first block (cnn), embedding size (transformer)."""
    num_layers: int = key(2, ge=1, unit="layers")
    """Hidden layers (mlp), convolution blocks (cnn) or encoder layers (transformer)."""
    num_attention_heads: int = key(4, ge=1, unit="heads")
    """Attention heads of a transformer layer; must divide `hidden_size`."""
    intermediate_size: int | None = key(None, ge=1, unit="units")
    """Width of the transformer's feed-forward part; null = 4 × `hidden_size`."""
    dropout: float = key(0.0, ge=0.0, lt=1.0, unit="share")
    """Share of activations dropped while training."""
    attention_dropout: float = key(0.0, ge=0.0, lt=1.0, unit="share")
    """Share of attention weights dropped while training (transformer)."""
    activation: Literal["relu", "gelu", "silu", "tanh"] = key("relu")
    """Activation function."""
    max_position_embeddings: int | None = key(None, ge=1, unit="positions")
    """Longest sequence a transformer takes; null = the length of the data's sequences."""
