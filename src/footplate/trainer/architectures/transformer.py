"""``transformer``: an encoder whose positions all look at each other."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

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

__all__ = ["Transformer"]


class Transformer(Network):
    """Encoder layers over a sequence, averaged over its positions or answering at each.

    As a language model each position looks at itself and those before it only.
    """

    def __init__(self, model: Model, signature: Signature) -> None:
        super().__init__()
        positions = count_positions(model, signature)
        check_heads(model)
        self.embed = make_embedding(signature, model.hidden_size)
        self.positions = make_positions(positions, model.hidden_size)
        self.dropout = nn.Dropout(model.dropout)
        is_causal = signature.task == "language_model"
        self.layers = nn.ModuleList(_EncoderLayer(model, is_causal=is_causal) for _ in range(model.num_layers))
        self.norm = nn.LayerNorm(model.hidden_size)
        self.head = nn.Linear(model.hidden_size, signature.num_outputs)
        self.for_each_position = answers_each_position(signature)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.embed(read_sequence(inputs))
        hidden = self.dropout(hidden + self.positions[: hidden.shape[1]])
        for layer in self.layers:
            hidden = self.run(layer, hidden)
        hidden = self.norm(hidden)
        return self.head(hidden if self.for_each_position else hidden.mean(dim=1))  # type: ignore[no-any-return]

    def list_layers(self) -> Sequence[nn.Module]:
        """Return the encoder layers."""
        return list(self.layers)

    def get_tensor_plan(self) -> dict[str, Split]:
        """Split the feed-forward parts; queries, keys and values lie one after another, so attention stays whole."""
        plan: dict[str, Split] = {}
        for number in range(len(self.layers)):
            name = f"layers.{number}.feed_forward"
            plan |= {f"{name}.1": "colwise", f"{name}.4": "rowwise"}
        return plan


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
