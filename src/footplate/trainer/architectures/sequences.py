"""Sequences as the networks read and answer them: numbers or tokens in, one answer or one for each position."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from footplate.errors import InputError
from footplate.profile.architectures import find_sequence_shape
from footplate.profile.facts import Signature
from footplate.profile.sections.model import Model

__all__ = [
    "answers_each_position",
    "check_heads",
    "count_positions",
    "find_lengths",
    "make_embedding",
    "make_positions",
    "read_sequence",
]

_STD = 0.02
"""Standard deviation of a fresh embedding, as in BERT and GPT-2."""


def answers_each_position(signature: Signature) -> bool:
    """Return whether there is an answer for each position, not one for the sequence."""
    return signature.task in ("sequence", "language_model")


def find_lengths(signature: Signature) -> tuple[int, int]:
    """Return the positions of a sequence and the numbers at each; 0 numbers where there is a token."""
    shape = find_sequence_shape(signature.input_shape)
    assert shape is not None  # the misfit was told before
    return (shape[0], 0) if signature.vocab_size else shape


def make_embedding(signature: Signature, width: int) -> nn.Module:
    """Return what makes a vector of each position: a table of the tokens, or a linear layer of the numbers."""
    if not signature.vocab_size:
        return nn.Linear(find_lengths(signature)[1], width)
    table = nn.Embedding(signature.vocab_size, width)
    nn.init.normal_(table.weight, std=_STD)
    return table


def read_sequence(inputs: Tensor) -> Tensor:
    """Return a batch as [N, positions, features], or [N, positions] of tokens."""
    if not inputs.is_floating_point():
        return inputs
    return inputs.reshape(inputs.shape[0], inputs.shape[1], -1)


def count_positions(model: Model, signature: Signature) -> int:
    """Return how many positions a transformer has; InputError when a sequence of the data has more."""
    length, _ = find_lengths(signature)
    positions = model.max_position_embeddings or length
    if positions < length:
        raise InputError(
            f"model.max_position_embeddings is {positions}, but a sequence of the data has {length} positions",
            hint=f"set it to {length} or more, or leave it out",
        )
    return positions


def check_heads(model: Model) -> None:
    """Raise InputError when the heads cannot share the hidden size."""
    if model.hidden_size % model.num_attention_heads:
        raise InputError(
            f"model.num_attention_heads ({model.num_attention_heads}) does not divide "
            f"model.hidden_size ({model.hidden_size})"
        )


def make_positions(positions: int, width: int) -> nn.Parameter:
    """Return a vector for each position."""
    table = nn.Parameter(torch.empty(positions, width))
    nn.init.normal_(table, std=_STD)
    return table
