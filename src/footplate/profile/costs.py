"""What each built-in network costs, by formula: parameters, multiplications, and the values kept for going back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from footplate.profile.architectures import find_image_shape, find_misfit, find_sequence_shape, is_small_image
from footplate.profile.facts import Signature
from footplate.profile.sections.model import Model

__all__ = ["Cost", "NetworkCost", "count_flops", "count_parameters", "find_cost"]

_PER_TOKEN = 2
"""Values of 4 bytes that a token (int64) takes."""
_FLOPS_PER_PRODUCT = 6
"""A multiplication with its addition, once forwards and twice backwards: for the inputs and for the weights."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a part of a network costs."""

    parameters: int = 0
    """Numbers that are trained."""
    products: int = 0
    """Multiplications with an addition each, in a forward pass of one sample."""
    kept: int = 0
    """Values of one sample that are kept for the backward pass."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            parameters=self.parameters + other.parameters,
            products=self.products + other.products,
            kept=self.kept + other.kept,
        )


@dataclass(frozen=True, kw_only=True)
class NetworkCost:
    """What a network costs: its layers, and what stands before and after them."""

    ends: Cost
    """Input, embedding, last norm, head."""
    layers: tuple[tuple[Cost, int], ...]
    """Each layer, and the values that it hands to the next one."""

    @property
    def total(self) -> Cost:
        """Return the sum of all parts."""
        return sum((cost for cost, _ in self.layers), start=self.ends)

    def count_kept(self, *, computes_again: bool) -> int:
        """Return the values of one sample that are kept for the backward pass.

        Where layers are computed again, only what they hand on is kept, and the inside of one layer at a time.
        """
        if not computes_again:
            return self.total.kept
        between = sum(handed_on for _, handed_on in self.layers)
        return self.ends.kept + between + max((cost.kept for cost, _ in self.layers), default=0)


def count_parameters(model: Model, signature: Signature) -> int | None:
    """Return the number of trainable parameters of a built-in architecture, exactly.

    None for a class of the user's or of transformers, and where the architecture does not fit the data.
    """
    cost = find_cost(model, signature)
    return None if cost is None else cost.total.parameters


def count_flops(model: Model, signature: Signature) -> float | None:
    """Return the floating-point operations of training on one sample, forwards and backwards.

    6 for each product of a weight with an input, and the products of attention in full, also where half of them are
    masked: the count of the PaLM paper (https://arxiv.org/abs/2204.02311, appendix B), by which MFU is compared. What
    gradient checkpointing computes again is not counted. None as for ``count_parameters``.
    """
    cost = find_cost(model, signature)
    return None if cost is None else float(_FLOPS_PER_PRODUCT * cost.total.products)


def find_cost(model: Model, signature: Signature) -> NetworkCost | None:
    """Return what the network costs, or None where that is not known or the network does not fit the data."""
    find = _COSTS.get(model.architecture)
    if find is None or find_misfit(model.architecture, signature) is not None:
        return None
    return find(model, signature)


def _linear(inputs: int, outputs: int, times: int = 1) -> Cost:
    """Return the cost of a linear layer that is used so many times a sample, without what it keeps."""
    return Cost(parameters=inputs * outputs + outputs, products=inputs * outputs * times)


def _convolve(channels: int, out: int, width: int, places: int) -> Cost:
    """Return the cost of a square convolution without bias at so many places."""
    weights = channels * out * width * width
    return Cost(parameters=weights, products=weights * places)


def _keep(values: int, parameters: int = 0) -> Cost:
    return Cost(parameters=parameters, kept=values)


def _norm(width: int) -> Cost:
    return Cost(parameters=2 * width)


def _find_image(signature: Signature) -> tuple[int, int, int]:
    image = find_image_shape(signature.input_shape)
    assert image is not None  # the misfit was found before
    return image


def _find_sequence(signature: Signature) -> tuple[int, int]:
    sequence = find_sequence_shape(signature.input_shape)
    assert sequence is not None  # the misfit was found before
    return sequence


def _find_mlp(model: Model, signature: Signature) -> NetworkCost:
    width = prod(signature.input_shape)
    ends = _keep(width)
    if signature.vocab_size:
        ends = _keep(width * (_PER_TOKEN + model.hidden_size), signature.vocab_size * model.hidden_size)
        width *= model.hidden_size
    layers = []
    kept = model.hidden_size * (3 if model.dropout else 2)
    for _ in range(model.num_layers):
        layers.append((_linear(width, model.hidden_size) + _keep(kept), model.hidden_size))
        width = model.hidden_size
    return NetworkCost(
        ends=ends + _linear(width, signature.num_outputs) + _keep(signature.num_outputs), layers=(*layers,)
    )


def _find_head(width: int, signature: Signature, positions: int) -> Cost:
    """Return the cost of the last layer: an answer for the sample, or one for each of so many positions.

    The answers for positions are many: they are kept once as they are and once as logarithms of probabilities.
    """
    if signature.task in ("sequence", "language_model", "segmentation"):
        answers = positions * signature.num_outputs
        return _linear(width, signature.num_outputs, positions) + _keep(2 * answers)
    return _linear(width, signature.num_outputs) + _keep(signature.num_outputs)


def _enlarge(signature: Signature, height: int, width: int) -> Cost:
    """Return what answers for the places of a small map keep when they are made as large as the image."""
    _, whole_height, whole_width = _find_image(signature)
    if signature.task != "segmentation" or (height, width) == (whole_height, whole_width):
        return Cost()
    return _keep(2 * signature.num_outputs * (whole_height * whole_width - height * width))


def _find_cnn(model: Model, signature: Signature) -> NetworkCost:
    channels, height, width = _find_image(signature)
    ends = _keep(channels * height * width)
    per_place = 4 if model.activation in ("gelu", "silu") else 3  # convolution, norm, activation; some keep their input
    layers = []
    for block in range(model.num_layers):
        out = model.hidden_size * 2**block
        places = height * width
        cost = _convolve(channels, out, 3, places) + _norm(out) + _keep(per_place * out * places)
        if min(height, width) >= 2:
            height, width = height // 2, width // 2
            cost += _keep(2 * out * height * width)  # pooled values, and the 64-bit place of each maximum
        layers.append((cost, out * height * width))
        channels = out
    head = _find_head(channels, signature, height * width) + _enlarge(signature, height, width)
    return NetworkCost(ends=ends + head, layers=tuple(layers))


def _find_resnet(model: Model, signature: Signature) -> NetworkCost:
    channels, height, width = _find_image(signature)
    size = model.hidden_size
    ends = _keep(channels * height * width) + _norm(size)
    if is_small_image(height, width):
        ends += _convolve(channels, size, 3, height * width) + _keep(3 * size * height * width)
    else:
        height, width = -(-height // 2), -(-width // 2)
        ends += _convolve(channels, size, 7, height * width) + _keep(3 * size * height * width)
        height, width = -(-height // 2), -(-width // 2)
        ends += _keep(3 * size * height * width)  # pooled values, and the 64-bit place of each maximum
    layers = []
    before = size
    for stage in range(model.num_layers):
        out = size * 2**stage
        if stage:
            height, width = -(-height // 2), -(-width // 2)
        for block in range(2):
            places = height * width
            cost = _convolve(before, out, 3, places) + _convolve(out, out, 3, places) + _norm(out) + _norm(out)
            cost += _keep(6 * out * places)  # convolution, norm and activation, twice
            if stage and block == 0:
                cost += _convolve(before, out, 1, places) + _norm(out) + _keep(out * places)
            layers.append((cost, out * places))
            before = out
    head = _find_head(before, signature, height * width) + _enlarge(signature, height, width)
    return NetworkCost(ends=ends + head, layers=tuple(layers))


def _find_unet(model: Model, signature: Signature) -> NetworkCost:
    channels, height, width = _find_image(signature)
    multiple = 2**model.num_layers
    areas = [
        (-(-height // multiple) * -(-width // multiple)) * 4 ** (model.num_layers - level)
        for level in range(model.num_layers + 1)
    ]
    widths = [model.hidden_size * 2**level for level in range(model.num_layers + 1)]
    layers = []
    before = channels
    for level, (out, places) in enumerate(zip(widths, areas, strict=True)):
        cost = _convolve_twice(before, out, places)
        if level:
            cost += _keep(3 * before * places)  # pooled values, and the 64-bit place of each maximum
        layers.append((cost, out * places * (1 if level < model.num_layers else 2)))  # dropout makes a copy of the last
        before = out
    for out, places in zip(reversed(widths[:-1]), reversed(areas[:-1]), strict=True):
        enlarge = Cost(parameters=8 * out * out + out, products=2 * out * out * places)
        cost = enlarge + _keep(2 * out * places) + _convolve_twice(2 * out, out, places)
        layers.append((cost, out * places))
    ends = _keep(channels * areas[0]) + _find_head(widths[0], signature, areas[0])
    return NetworkCost(ends=ends, layers=tuple(layers))


def _convolve_twice(before: int, out: int, places: int) -> Cost:
    convolutions = _convolve(before, out, 3, places) + _convolve(out, out, 3, places)
    return convolutions + _norm(out) + _norm(out) + _keep(6 * out * places)  # convolution, norm, activation: twice


def _embed(signature: Signature, width: int) -> Cost:
    """Return the cost of making a vector of each position."""
    length, features = _find_sequence(signature)
    if signature.vocab_size:
        return _keep(length * _PER_TOKEN, signature.vocab_size * width)
    return _linear(features, width, length) + _keep(length * features)


def _find_transformer(model: Model, signature: Signature) -> NetworkCost:
    """Return the cost of a transformer.

    The values kept are those of Korthikanti et al. 2022 (https://arxiv.org/abs/2205.05198), 8 × hidden + 2 ×
    intermediate a position, without the matrix of scores, which scaled_dot_product_attention does not keep; with one
    sum a head and two numbers a norm; dropout keeps its masks.
    """
    length, _ = _find_sequence(signature)
    width = model.hidden_size
    inner = model.intermediate_size or 4 * width
    attention = _linear(width, 3 * width, length) + _linear(width, width, length)
    attention += Cost(products=2 * length * length * width)
    feed_forward = _linear(width, inner, length) + _linear(inner, width, length)
    kept = 8 * width + 2 * inner + model.num_attention_heads + 4
    kept += 2 * width + inner if model.dropout else 0
    is_rotary = model.architecture == "gpt" and model.positions == "rotary"
    kept += 3 * width if is_rotary else 0  # queries and keys as they are turned
    layer = attention + feed_forward + _norm(width) + _norm(width) + _keep(length * kept)
    ends = _embed(signature, width) + _norm(width) + _keep(length * (2 * width + 2) + width)
    ends += _keep(length * width if model.dropout else 0)
    if not is_rotary:
        ends += Cost(parameters=(model.max_position_embeddings or length) * width)
    head = _find_head(width, signature, length)
    if model.architecture == "gpt" and signature.task == "language_model":  # the table of the tokens is the head
        head = Cost(products=head.products, kept=head.kept)
    return NetworkCost(ends=ends + head, layers=((layer, length * width),) * model.num_layers)


def _find_lightweight(model: Model, signature: Signature) -> NetworkCost:
    length, _ = _find_sequence(signature)
    width, heads = model.hidden_size, model.num_attention_heads
    inner = model.intermediate_size or 2 * width
    local = Cost(parameters=3 * width + width, products=3 * width * length)
    attention = _linear(width, heads, length) + _linear(width, 2 * width, length) + _linear(width, width, length)
    feed_forward = _linear(width, inner, length) + _linear(inner, width, length)
    kept = 11 * width + 2 * inner + 4 * heads + 4
    kept += 2 * width + inner if model.dropout else 0
    kept += 2 * width if signature.task == "language_model" else 0  # the running sums
    layer = local + attention + feed_forward + _norm(width) + _norm(width) + _keep(length * kept)
    ends = _embed(signature, width) + _norm(width) + _keep(length * (2 * width + 2) + width)
    ends += Cost(parameters=(model.max_position_embeddings or length) * width) + _find_head(width, signature, length)
    return NetworkCost(ends=ends, layers=((layer, length * width),) * model.num_layers)


_GATES = {"rnn": 1, "gru": 3, "lstm": 4}
_KEPT_OF_CELL = {"rnn": 2, "gru": 8, "lstm": 22}
"""Values that a step keeps of each unit, rounded up: torch 2.13 on a CPU, measured; its LSTM keeps a workspace."""


def _find_recurrent(model: Model, signature: Signature) -> NetworkCost:
    length, features = _find_sequence(signature)
    size, gates = model.hidden_size, _GATES[model.architecture]
    directions = 2 if model.bidirectional else 1
    width = directions * size
    ends = _embed(signature, size) if signature.vocab_size else _keep(length * features)
    before = size if signature.vocab_size else features
    layers = []
    for _ in range(model.num_layers):
        weights = directions * gates * (before * size + size * size)
        cost = Cost(parameters=weights + directions * gates * 2 * size, products=weights * length)
        kept = _KEPT_OF_CELL[model.architecture] * width + before + (2 * width if model.dropout else 0)
        layers.append((cost + _keep(length * kept), length * width))
        before = width
    ends += _find_head(width, signature, length) + _keep(width)
    return NetworkCost(ends=ends, layers=tuple(layers))


_COSTS: dict[str, Callable[[Model, Signature], NetworkCost]] = {
    "mlp": _find_mlp,
    "cnn": _find_cnn,
    "transformer": _find_transformer,
    "resnet": _find_resnet,
    "rnn": _find_recurrent,
    "lstm": _find_recurrent,
    "gru": _find_recurrent,
    "lightweight_transformer": _find_lightweight,
    "unet": _find_unet,
    "gpt": _find_transformer,
}
