"""``rnn``, ``lstm`` and ``gru``: networks that read a sequence step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from footplate.errors import InputError
from footplate.profile.facts import Signature
from footplate.profile.sections.model import Model
from footplate.trainer.architectures.network import Network
from footplate.trainer.architectures.sequences import (
    answers_each_position,
    find_lengths,
    make_embedding,
    read_sequence,
)

__all__ = ["Recurrent"]

_CELLS: dict[str, type[nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(Network):
    """Recurrent layers over a sequence; answers at its end, or at each position.

    ``bidirectional`` layers read it backwards too, with as many units again; at the end answer the last state of the
    one direction and of the other.
    """

    def __init__(self, model: Model, signature: Signature) -> None:
        super().__init__()
        size = model.hidden_size
        _, features = find_lengths(signature)
        self.embed = make_embedding(signature, size) if signature.vocab_size else None
        width = size * (2 if model.bidirectional else 1)
        befores = [features or size, *[width] * (model.num_layers - 1)]
        self.layers = nn.ModuleList(_Layer(model, before) for before in befores)
        self.dropout = nn.Dropout(model.dropout)
        self.head = nn.Linear(width, signature.num_outputs)
        self.size = size
        self.for_each_position = answers_each_position(signature)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = read_sequence(inputs)
        if self.embed is not None:
            hidden = self.embed(hidden)
        for layer in self.layers:
            hidden = self.dropout(self.run(layer, hidden))
        if not self.for_each_position:
            hidden = torch.cat([hidden[:, -1, : self.size], hidden[:, 0, self.size :]], dim=1)
        return self.head(hidden)  # type: ignore[no-any-return]

    def list_layers(self) -> Sequence[nn.Module]:
        """Return the recurrent layers."""
        return list(self.layers)


class _Layer(nn.Module):
    """One recurrent layer, of which the states at all positions go on."""

    def __init__(self, model: Model, width: int) -> None:
        super().__init__()
        more: dict[str, Any] = {"nonlinearity": _get_nonlinearity(model)} if model.architecture == "rnn" else {}
        make: Callable[..., nn.RNNBase] = _CELLS[model.architecture]
        self.cell = make(width, model.hidden_size, batch_first=True, bidirectional=model.bidirectional, **more)

    def forward(self, hidden: Tensor) -> Tensor:
        states, _ = self.cell(hidden)
        return states  # type: ignore[no-any-return]


def _get_nonlinearity(model: Model) -> str:
    if "activation" not in model.model_fields_set:
        return "tanh"
    if model.activation not in ("tanh", "relu"):
        raise InputError(
            f"model.activation: an rnn takes tanh or relu, not {model.activation}", hint="lstm and gru have their own"
        )
    return model.activation
