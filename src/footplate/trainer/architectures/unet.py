"""``unet``: a class for each pixel (Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from footplate.profile.facts import Signature
from footplate.profile.sections.model import Model
from footplate.trainer.architectures.images import ImageReader
from footplate.trainer.architectures.network import Network, get_activation
from footplate.trainer.architectures.norm import BatchNorm

__all__ = ["UNet"]


class UNet(Network):
    """Halves the image ``num_layers`` times and enlarges it as often, each time beside the map of that size.

    Differs from the paper as usual today: padded convolutions, so that the result has the image's size, and batch
    norms. Any height and width are taken: the edge is repeated up to a multiple of 2^num_layers and cut off again.
    """

    def __init__(self, model: Model, signature: Signature) -> None:
        super().__init__()
        self.image = ImageReader(signature.input_shape)
        widths = [model.hidden_size * 2**level for level in range(model.num_layers + 1)]
        befores = [self.image.channels, *widths[:-1]]
        self.down = nn.ModuleList(
            _convolve_twice(model, before, width) for before, width in zip(befores, widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(model.dropout)
        self.up = nn.ModuleList(_Up(model, width) for width in reversed(widths[:-1]))
        self.head = nn.Conv2d(widths[0], signature.num_outputs, 1)
        self._multiple = 2**model.num_layers

    def forward(self, inputs: Tensor) -> Tensor:
        images = self.image.read(inputs)
        height, width = images.shape[-2:]
        features = self._pad(images)
        bridges = []
        for level, layer in enumerate(self.down):
            features = self.run(layer, self.pool(features) if level else features)
            bridges.append(features)
        features = self.dropout(bridges.pop())
        for layer in self.up:
            features = self.run(layer, features, bridges.pop())
        return self.head(features)[..., :height, :width]  # type: ignore[no-any-return]

    def _pad(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        below, right = -height % self._multiple, -width % self._multiple
        return functional.pad(images, (0, right, 0, below), mode="replicate") if below or right else images

    def list_layers(self) -> Sequence[nn.Module]:
        """Return the levels on the way down, then those on the way up."""
        return [*self.down, *self.up]


class _Up(nn.Module):
    """Doubles a map, sets it beside the one of that size, and convolves both."""

    def __init__(self, model: Model, width: int) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.convolve = _convolve_twice(model, 2 * width, width)

    def forward(self, features: Tensor, bridge: Tensor) -> Tensor:
        return self.convolve(torch.cat([bridge, self.enlarge(features)], dim=1))  # type: ignore[no-any-return]


def _convolve_twice(model: Model, channels: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (channels, width):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), BatchNorm(width), get_activation(model)]
    return nn.Sequential(*layers)
