"""``lightweight_transformer``: attention whose cost grows with the length, not with its square, for small boards.

Separable self-attention of MobileViTv2 (Mehta and Rastegari 2022, https://arxiv.org/abs/2206.02680), here with several
heads, after a depthwise convolution over three positions for what lies side by side. Two things are our own: scores are
bounded, and for a language model the sums run from the first position to each, so that none sees what comes later.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from footplate.profile.sections.model import Model
from footplate.trainer.architectures.encoder import Encoder
from footplate.trainer.architectures.network import get_activation

__all__ = ["LightweightTransformer"]

_BOUND = 8.0
"""Scores lie between ± this, so that their exponentials can be summed up in float32 without taking a maximum off."""
_REACH = 3
"""Positions that the convolution sees."""


class LightweightTransformer(Encoder):
    """Layers of local convolution, separable attention and a narrow feed-forward part.

    A layer has about 7 × hidden² weights where a transformer's has 12, and no product of positions with positions:
    every operation is a linear layer, a small convolution, a sum or works on each number alone.
    """

    @staticmethod
    def make_layer(model: Model, *, is_causal: bool) -> nn.Module:
        return _Layer(model, is_causal=is_causal)


class _Layer(nn.Module):
    """Separable attention and a feed-forward part, each normalised before and added to what came in."""

    def __init__(self, model: Model, *, is_causal: bool) -> None:
        super().__init__()
        size = model.hidden_size
        inner = model.intermediate_size or 2 * size
        self.is_causal = is_causal
        self.num_heads = model.num_attention_heads
        self.attention_norm = nn.LayerNorm(size)
        self.local = nn.Conv1d(size, size, _REACH, groups=size)
        self.score = nn.Linear(size, self.num_heads)
        self.key_value = nn.Linear(size, 2 * size)
        self.attention_dropout = nn.Dropout(model.attention_dropout)
        self.attention_out = nn.Linear(size, size)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(size),
            nn.Linear(size, inner),
            get_activation(model),
            nn.Dropout(model.dropout),
            nn.Linear(inner, size),
        )
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.dropout(self._attend(self._look_aside(self.attention_norm(hidden))))
        return hidden + self.dropout(self.feed_forward(hidden))  # type: ignore[no-any-return]

    def _look_aside(self, hidden: Tensor) -> Tensor:
        """Add a weighted sum of each position and its two neighbours, or of the two before it."""
        sides = (_REACH - 1, 0) if self.is_causal else (_REACH // 2, _REACH // 2)
        return hidden + self.local(functional.pad(hidden.transpose(1, 2), sides)).transpose(1, 2)  # type: ignore[no-any-return]

    def _attend(self, hidden: Tensor) -> Tensor:
        """Weigh the keys of all positions by their scores, and let each position's value take from the sum."""
        batch, length, size = hidden.shape
        key, value = self.key_value(hidden).chunk(2, dim=-1)
        weights = torch.exp(_BOUND * torch.tanh(self.score(hidden) / _BOUND)).unsqueeze(-1)
        weighted = self.attention_dropout(weights) * key.reshape(batch, length, self.num_heads, -1)
        if self.is_causal:
            context = weighted.cumsum(dim=1) / weights.cumsum(dim=1)
        else:
            context = weighted.sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)
        context = context.reshape(batch, -1, size)
        return self.attention_out(functional.relu(value) * context)  # type: ignore[no-any-return]
