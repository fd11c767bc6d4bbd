"""Images as the convolutions read them: [N, C, H, W], from whichever order the data has."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from footplate.profile.architectures import find_image_shape

__all__ = ["ImageReader", "resize_to"]


class ImageReader:
    """Knows the order of an image's axes."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        shape = find_image_shape(input_shape)
        assert shape is not None  # the misfit was told before
        self.channels, self.height, self.width = shape
        self._has_no_channels = len(input_shape) == 2
        self._has_channels_last = len(input_shape) == 3 and shape != tuple(input_shape)

    def read(self, inputs: Tensor) -> Tensor:
        """Return a batch as [N, C, H, W]."""
        if self._has_no_channels:
            return inputs.unsqueeze(1)
        return inputs.permute(0, 3, 1, 2) if self._has_channels_last else inputs


def resize_to(outputs: Tensor, height: int, width: int) -> Tensor:
    """Return maps [N, K, h, w] at another size, with straight lines between their values."""
    if outputs.shape[-2:] == (height, width):
        return outputs
    return functional.interpolate(outputs, size=(height, width), mode="bilinear", align_corners=False)
