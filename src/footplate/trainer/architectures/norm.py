"""Batch norms that also take a batch with a single number for each channel."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BatchNorm"]


class BatchNorm(nn.BatchNorm2d):
    """torch's batch norm; a single number has no spread of its own, and is normalised by the running statistics.

    Such a batch comes up where the image has shrunk to one place and one sample is left: at the end of an epoch, or
    when memory allows no more. torch would raise an error there.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.numel() == self.num_features:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(input)
