"""``model``: the network that is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict

from footplate.profile.architectures import BUILT_IN_ARCHITECTURES
from footplate.profile.fields import CLASS_PATH, Known, Section, Text, key

__all__ = ["BUILT_IN_ARCHITECTURES", "Model"]

_ARCHITECTURES = Known(BUILT_IN_ARCHITECTURES, rf"hf:.+|{CLASS_PATH}", "hf:PATH or package.module:Class")


class Model(Section):
    """The network. A class of yours (`package.module:Class`) gets every other key of this section as an argument."""

    model_config = ConfigDict(extra="allow")

    architecture: Annotated[Text, _ARCHITECTURES] = key("mlp")
    """A built-in one, `hf:PATH` (a folder or config.json of transformers), or your class as `package.module:Class`."""
    hidden_size: int = key(128, ge=1, unit="units")
    """Width: units of a hidden layer (mlp, rnn, lstm, gru), channels of the first block (cnn, resnet, unet), embedding
    size (transformers, gpt)."""
    num_layers: int = key(2, ge=1, unit="layers")
    """Hidden or recurrent layers, convolution blocks (cnn), stages of two blocks (resnet), times the image is halved
    (unet), layers of a transformer."""
    num_attention_heads: int = key(4, ge=1, unit="heads")
    """Attention heads of a transformer layer; must divide `hidden_size`."""
    intermediate_size: int | None = key(None, ge=1, unit="units")
    """Width of a transformer's feed-forward part; null = 4 × `hidden_size`, 2 × in a lightweight_transformer."""
    dropout: float = key(0.0, ge=0.0, lt=1.0, unit="share")
    """Share of activations dropped while training."""
    attention_dropout: float = key(0.0, ge=0.0, lt=1.0, unit="share")
    """Share of attention weights dropped while training (transformers, gpt)."""
    activation: Literal["relu", "gelu", "silu", "tanh"] = key("relu")
    """Activation function; where it is not set, gpt takes gelu and rnn tanh."""
    max_position_embeddings: int | None = key(None, ge=1, unit="positions")
    """Longest sequence a transformer takes; null = the length of the data's sequences."""
    positions: Literal["learned", "rotary"] = key("learned")
    """How a gpt knows the order: a vector learnt for each position, or queries and keys turned by their position."""
    bidirectional: bool = key(False)
    """Reads a sequence in both directions (rnn, lstm, gru); not for a language model."""
