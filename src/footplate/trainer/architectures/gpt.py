"""``gpt``: a decoder-only transformer as GPT-2 (Radford et al. 2019; the sizes and the start of its weights)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from footplate.errors import InputError
from footplate.profile.facts import Signature
from footplate.profile.sections.model import Model
from footplate.trainer.architectures.network import Network, Split, get_activation
from footplate.trainer.architectures.sequences import (
    answers_each_position,
    check_heads,
    count_positions,
    make_embedding,
    make_positions,
    read_sequence,
)

__all__ = ["GPT"]

_STD = 0.02
_BASE = 10_000.0
"""Longest wave of the rotary positions, as in the paper."""


class GPT(Network):
    """Layers in which each position looks at itself and those before it.

    As a language model it predicts by the table of its tokens (tied weights). For another task a linear layer answers:
    at each position, or for the whole sequence at its last one, which has seen all. 12 layers of 768 units with 12
    heads, 1,024 positions and a vocabulary of 50,257 have 124,439,808 parameters, as the smallest GPT-2.
    """

    def __init__(self, model: Model, signature: Signature) -> None:
        super().__init__()
        size = model.hidden_size
        positions = count_positions(model, signature)
        check_heads(model)
        self.embed = make_embedding(signature, size)
        is_rotary = model.positions == "rotary"
        self.positions = None if is_rotary else make_positions(positions, size)
        self.turns: Tensor | None
        self.register_buffer("turns", _make_turns(model, positions) if is_rotary else None, persistent=False)
        self.dropout = nn.Dropout(model.dropout)
        self.layers = nn.ModuleList(_DecoderLayer(model) for _ in range(model.num_layers))
        self.norm = nn.LayerNorm(size)
        self.head = None if signature.task == "language_model" else nn.Linear(size, signature.num_outputs)
        self.for_each_position = answers_each_position(signature)
        self._start(model.num_layers)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.embed(read_sequence(inputs))
        length = hidden.shape[1]
        if self.positions is not None:
            hidden = hidden + self.positions[:length]
        hidden = self.dropout(hidden)
        turns = () if self.turns is None else (self.turns[:, :length],)
        for layer in self.layers:
            hidden = self.run(layer, hidden, *turns)
        hidden = self.norm(hidden)
        if self.head is None:
            return functional.linear(hidden, self.embed.get_parameter("weight"))
        return self.head(hidden if self.for_each_position else hidden[:, -1])  # type: ignore[no-any-return]

    def _start(self, num_layers: int) -> None:
        """Give the weights the values GPT-2 starts with: what is added to the stream shrinks with the depth."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                adds = name.endswith(("attention_out", "feed_out"))
                nn.init.normal_(module.weight, std=_STD / (2 * num_layers) ** 0.5 if adds else _STD)
                nn.init.zeros_(module.bias)

    def list_layers(self) -> Sequence[nn.Module]:
        """Return the decoder layers."""
        return list(self.layers)

    def get_tensor_plan(self) -> dict[str, Split]:
        """Split attention by heads and the feed-forward part by units."""
        plan: dict[str, Split] = {}
        for number in range(len(self.layers)):
            name = f"layers.{number}"
            plan |= {f"{name}.query_key_value": "colwise", f"{name}.attention_out": "rowwise"}
            plan |= {f"{name}.feed_in": "colwise", f"{name}.feed_out": "rowwise"}
        return plan


class _DecoderLayer(nn.Module):
    """Attention backwards and a feed-forward part, each normalised before and added to what came in."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        size = model.hidden_size
        inner = model.intermediate_size or 4 * size
        self.head_size = size // model.num_attention_heads
        self.attention_dropout = model.attention_dropout
        self.attention_norm = nn.LayerNorm(size)
        self.query_key_value = nn.Linear(size, 3 * size)
        self.attention_out = nn.Linear(size, size)
        self.feed_norm = nn.LayerNorm(size)
        self.feed_in = nn.Linear(size, inner)
        self.activation = (
            nn.GELU(approximate="tanh") if "activation" not in model.model_fields_set else get_activation(model)
        )
        self.feed_out = nn.Linear(inner, size)
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, hidden: Tensor, turns: Tensor | None = None) -> Tensor:
        hidden = hidden + self.dropout(self._attend(self.attention_norm(hidden), turns))
        inner = self.activation(self.feed_in(self.feed_norm(hidden)))
        return hidden + self.dropout(self.feed_out(inner))  # type: ignore[no-any-return]

    def _attend(self, hidden: Tensor, turns: Tensor | None) -> Tensor:
        # Each head's query, key and value lie together, so that a process can hold some of the heads whole.
        heads = self.query_key_value(hidden).unflatten(-1, (-1, 3, self.head_size))
        query, key, value = heads.permute(3, 0, 2, 1, 4).unbind(0)
        if turns is not None:
            query, key = _turn(query, turns), _turn(key, turns)
        dropout = self.attention_dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return self.attention_out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def _make_turns(model: Model, positions: int) -> Tensor:
    """Return cosine and sine of each position's angles, [2, positions, head size].

    RoFormer (Su et al. 2021, https://arxiv.org/abs/2104.09864), halves turned against each other as in GPT-NeoX.
    """
    size = model.hidden_size // model.num_attention_heads
    if size % 2:
        raise InputError(
            f"model.positions: rotary needs heads of an even size, and hidden_size {model.hidden_size} / "
            f"{model.num_attention_heads} heads = {size}",
            hint="choose another model.num_attention_heads, or positions: learned",
        )
    waves = _BASE ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), waves).repeat(1, 2)
    return torch.stack([angles.cos(), angles.sin()])


def _turn(heads: Tensor, turns: Tensor) -> Tensor:
    first, second = heads.chunk(2, dim=-1)
    cosine, sine = turns.to(heads.dtype).unbind(0)
    return heads * cosine + torch.cat([-second, first], dim=-1) * sine
