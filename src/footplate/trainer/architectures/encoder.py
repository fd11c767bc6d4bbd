"""What the transformer encoders share: layers over a sequence, and what stands before and after them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from footplate.profile.facts import Signature
from footplate.profile.sections.model import Model
from footplate.trainer.architectures.network import Network, Split
from footplate.trainer.architectures.sequences import (
    answers_each_position,
    check_heads,
    count_positions,
    make_embedding,
    make_positions,
    read_sequence,
)

__all__ = ["Encoder"]


class Encoder(Network):
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
        self.layers = nn.ModuleList(self.make_layer(model, is_causal=is_causal) for _ in range(model.num_layers))
        self.norm = nn.LayerNorm(model.hidden_size)
        self.head = nn.Linear(model.hidden_size, signature.num_outputs)
        self.for_each_position = answers_each_position(signature)

    @staticmethod
    @abstractmethod
    def make_layer(model: Model, *, is_causal: bool) -> nn.Module:
        """Return a layer, with a part ``feed_forward`` of norm, linear, activation, dropout, linear."""

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
        """Split the feed-forward parts; attention stays whole."""
        plan: dict[str, Split] = {}
        for number in range(len(self.layers)):
            name = f"layers.{number}.feed_forward"
            plan |= {f"{name}.1": "colwise", f"{name}.4": "rowwise"}
        return plan
