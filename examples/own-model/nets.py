"""A network with two branches, as an example of a model of one's own."""

import math

import torch
from torch import nn


class TwoBranches(nn.Module):
    """Adds what a linear branch and a bent one say."""

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int, width: int = 32) -> None:
        super().__init__()
        size = math.prod(input_shape)
        self.linear = nn.Linear(size, num_outputs)
        self.bent = nn.Sequential(nn.Linear(size, width), nn.SiLU(), nn.Linear(width, num_outputs))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        flat = inputs.flatten(1)
        return self.linear(flat) + self.bent(flat)
