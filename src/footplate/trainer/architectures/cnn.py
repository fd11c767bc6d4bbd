"""``cnn``: convolutions and pooling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from footplate.profile.facts import Signature
from footplate.profile.sections.model import Model
from footplate.trainer.architectures.images import ImageReader, resize_to
from footplate.trainer.architectures.network import Network, get_activation, list_with_parameters
from footplate.trainer.architectures.norm import BatchNorm

__all__ = ["CNN"]


class CNN(Network):
    """Blocks of convolution, batch norm, activation and pooling; each halves the image and doubles the channels.

    Segmentation judges each place of the last, smallest map and enlarges the result to the image.
    """

    def __init__(self, model: Model, signature: Signature) -> None:
        super().__init__()
        self.image = ImageReader(signature.input_shape)
        channels, height, width = self.image.channels, self.image.height, self.image.width
        blocks: list[nn.Module] = []
        self._ends: list[int] = []
        out = model.hidden_size
        for _ in range(model.num_layers):
            blocks += [nn.Conv2d(channels, out, 3, padding=1, bias=False), BatchNorm(out), get_activation(model)]
            if min(height, width) >= 2:
                blocks.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            self._ends.append(len(blocks))
            channels, out = out, out * 2
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(model.dropout)
        self.for_each_pixel = signature.task == "segmentation"
        self.head: nn.Module = (
            nn.Conv2d(channels, signature.num_outputs, 1)
            if self.for_each_pixel
            else nn.Linear(channels, signature.num_outputs)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        features = self._compute_features(self.image.read(inputs))
        if self.for_each_pixel:
            return resize_to(self.head(self.dropout(features)), self.image.height, self.image.width)
        return self.head(self.dropout(features.mean(dim=(2, 3))))  # type: ignore[no-any-return]

    def _compute_features(self, images: Tensor) -> Tensor:
        if not self.computes_again:
            return self.blocks(images)  # type: ignore[no-any-return]
        start = 0
        for end in self._ends:
            images = self.run(self.blocks[start:end], images)
            start = end
        return images

    def list_layers(self) -> Sequence[nn.Module]:
        """Return the convolutions and their norms."""
        return list_with_parameters(self.blocks)
