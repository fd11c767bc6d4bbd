"""``transformer``: an encoder whose positions all look at each other."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from footplate.profile.sections.model import Model
from footplate.trainer.architectures.encoder import Encoder
from footplate.trainer.architectures.network import get_activation

__all__ = ["Transformer"]


class Transformer(Encoder):
    """Layers of softmax attention. Their queries, keys and values lie one after another: attention is not split."""

    @staticmethod
    def make_layer(model: Model, *, is_causal: bool) -> nn.Module:
        return _EncoderLayer(model, is_causal=is_causal)


class _EncoderLayer(nn.Module):
    """Attention and a feed-forward part, each normalised before and added to what came in."""

    def __init__(self, model: Model, *, is_causal: bool) -> None:
        super().__init__()
        size = model.hidden_size
        inner = model.intermediate_size or 4 * size
        self.is_causal = is_causal
        self.num_heads = model.num_attention_heads
        self.attention_dropout = model.attention_dropout
        self.attention_norm = nn.LayerNorm(size)
        self.query_key_value = nn.Linear(size, 3 * size)
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
        hidden = hidden + self.dropout(self._attend(self.attention_norm(hidden)))
        return hidden + self.dropout(self.feed_forward(hidden))  # type: ignore[no-any-return]

    def _attend(self, hidden: Tensor) -> Tensor:
        batch, length, size = hidden.shape
        heads = self.query_key_value(hidden).reshape(batch, length, 3, self.num_heads, size // self.num_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.attention_dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=self.is_causal)
        return self.attention_out(mixed.transpose(1, 2).reshape(batch, length, size))  # type: ignore[no-any-return]
