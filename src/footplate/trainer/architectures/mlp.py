"""``mlp``: fully connected layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from footplate.profile.facts import Signature
from footplate.profile.sections.model import Model
from footplate.trainer.architectures.network import Network, Split, get_activation, list_with_parameters

__all__ = ["MLP"]


class MLP(Network):
    """Fully connected layers over the flattened input; tokens are looked up in a table first."""

    def __init__(self, model: Model, signature: Signature) -> None:
        super().__init__()
        width = math.prod(signature.input_shape)
        self.embed: nn.Embedding | None = None
        if signature.vocab_size:
            self.embed = nn.Embedding(signature.vocab_size, model.hidden_size)
            width *= model.hidden_size
        layers: list[nn.Module] = []
        for _ in range(model.num_layers):
            layers += [nn.Linear(width, model.hidden_size), get_activation(model)]
            if model.dropout:
                layers.append(nn.Dropout(model.dropout))
            width = model.hidden_size
        layers.append(nn.Linear(width, signature.num_outputs))
        self.layers = nn.Sequential(*layers)
        self._size_of_layer = (len(layers) - 1) // model.num_layers

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = inputs if self.embed is None else self.embed(inputs)
        hidden = hidden if hidden.ndim == 2 else hidden.flatten(1)
        if not self.computes_again:
            return self.layers(hidden)  # type: ignore[no-any-return]
        for start in range(0, len(self.layers), self._size_of_layer):
            hidden = self.run(self.layers[start : start + self._size_of_layer], hidden)
        return hidden

    def list_layers(self) -> Sequence[nn.Module]:
        """Return the linear layers."""
        return list_with_parameters(self.layers)

    def get_tensor_plan(self) -> dict[str, Split]:
        """Split two linear layers after each other: between them everything is done for each unit alone."""
        names = [f"layers.{number}" for number, layer in enumerate(self.layers) if isinstance(layer, nn.Linear)]
        plan: dict[str, Split] = {}
        for first, second in itertools.zip_longest(names[::2], names[1::2]):
            if second is not None:
                plan |= {first: "colwise", second: "rowwise"}
        return plan
