"""``resnet``: residual blocks of convolutions (He et al. 2015, https://arxiv.org/abs/1512.03385)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from footplate.profile.architectures import is_small_image
from footplate.profile.facts import Signature
from footplate.profile.sections.model import Model
from footplate.trainer.architectures.images import ImageReader, resize_to
from footplate.trainer.architectures.network import Network, get_activation
from footplate.trainer.architectures.norm import BatchNorm

__all__ = ["ResNet"]


class ResNet(Network):
    """Stages of two basic blocks; from the second stage on each halves the image and doubles the channels.

    Four stages of 64 channels are ResNet-18. Images of 64 pixels or less enter by a 3 × 3 convolution and keep their
    size, as in the paper's networks for CIFAR; larger ones by a 7 × 7 convolution and a pooling that quarter it.
    Segmentation judges each place of the last map and enlarges the result to the image.
    """

    def __init__(self, model: Model, signature: Signature) -> None:
        super().__init__()
        self.image = ImageReader(signature.input_shape)
        width = model.hidden_size
        self.stem = _make_stem(model, self.image)
        blocks: list[nn.Module] = []
        for stage in range(model.num_layers):
            out = model.hidden_size * 2**stage
            blocks += [_Block(model, width, out, stride=2 if stage else 1), _Block(model, out, out, stride=1)]
            width = out
        self.layers = nn.ModuleList(blocks)
        self.dropout = nn.Dropout(model.dropout)
        self.for_each_pixel = signature.task == "segmentation"
        self.head: nn.Module = (
            nn.Conv2d(width, signature.num_outputs, 1)
            if self.for_each_pixel
            else nn.Linear(width, signature.num_outputs)
        )
        for module in (*self.stem.modules(), *self.layers.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.stem(self.image.read(inputs))
        for layer in self.layers:
            features = self.run(layer, features)
        if self.for_each_pixel:
            return resize_to(self.head(self.dropout(features)), self.image.height, self.image.width)
        return self.head(self.dropout(features.mean(dim=(2, 3))))  # type: ignore[no-any-return]

    def list_layers(self) -> Sequence[nn.Module]:
        """Return the residual blocks."""
        return list(self.layers)


class _Block(nn.Module):
    """Two convolutions, added to what came in."""

    def __init__(self, model: Model, channels: int, out: int, *, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
        self.first_norm = BatchNorm(out)
        self.first_activation = get_activation(model)
        self.second = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.second_norm = BatchNorm(out)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), BatchNorm(out))
        self.second_activation = get_activation(model)

    def forward(self, features: Tensor) -> Tensor:
        inner = self.first_activation(self.first_norm(self.first(features)))
        inner = self.second_norm(self.second(inner))
        return self.second_activation(inner + self.shortcut(features))  # type: ignore[no-any-return]


def _make_stem(model: Model, image: ImageReader) -> nn.Sequential:
    width = model.hidden_size
    if is_small_image(image.height, image.width):
        entry: list[nn.Module] = [nn.Conv2d(image.channels, width, 3, padding=1, bias=False)]
        pooling: list[nn.Module] = []
    else:
        entry = [nn.Conv2d(image.channels, width, 7, stride=2, padding=3, bias=False)]
        pooling = [nn.MaxPool2d(3, stride=2, padding=1)]
    return nn.Sequential(*entry, BatchNorm(width), get_activation(model), *pooling)
