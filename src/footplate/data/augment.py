"""Augmentation: random changes of training inputs, each drawn by (seed, epoch, sample) and by nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from footplate.data.rows import Array, Indices
from footplate.errors import InputError
from footplate.profile.architectures import ImageLayout, find_image_layout
from footplate.profile.facts import Signature
from footplate.profile.sections.data import Augmentation
from footplate.profile.tasks import IGNORED

__all__ = ["Augmenter", "draw_normal", "draw_uniform", "make_augmenter"]

_UInt64 = NDArray[np.uint64]
_Float32 = NDArray[np.float32]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_CHUNK = 1 << 15
"""Numbers drawn at a time: as many as stay in a core's cache."""
_NOISE, _SHIFT, _ANGLE = range(3)
"""What is drawn; each has random numbers of its own."""


@dataclass(frozen=True, kw_only=True)
class Augmenter:
    """Changes the inputs of training samples at random; the same sample of the same epoch always in the same way.

    What is drawn for a sample depends on the seed, the epoch and the sample's number: not on the batch it is in, on
    the process that loads it, or on what was drawn before.
    """

    noise_std: float = 0.0
    """Standard deviation of what is added to each number."""
    max_shift: float = 0.0
    """Largest shift in time, in positions."""
    max_angle: float = 0.0
    """Largest rotation, in radians."""
    layout: ImageLayout = ""
    """How an image lies in an input; empty where inputs are no images."""
    moves_targets: bool = False
    """Whether targets belong to positions or pixels, and move with them."""

    def apply(self, inputs: Array, targets: Array, indices: Indices, seed: int, epoch: int) -> tuple[Array, Array]:
        """Return changed inputs, and the targets that belong to them; the arguments are left as they are."""
        if self.max_angle:
            angles = (2 * draw_uniform(seed, epoch, indices, _ANGLE) - 1) * np.float32(self.max_angle)
            inputs, targets = self._rotate(inputs, targets, angles)
        if self.max_shift:
            shifts = (2 * draw_uniform(seed, epoch, indices, _SHIFT) - 1) * np.float32(self.max_shift)
            inputs = _shift(inputs, shifts)
            if self.moves_targets:
                targets = _take_positions(targets, np.rint(shifts).astype(np.int64))
        if self.noise_std:
            noise = draw_normal(seed, epoch, indices, int(np.prod(inputs.shape[1:], dtype=np.int64)))
            noise *= np.float32(self.noise_std)
            inputs = np.add(inputs, noise.reshape(inputs.shape), out=noise.reshape(inputs.shape))
        return inputs, targets

    def _rotate(self, inputs: Array, targets: Array, angles: _Float32) -> tuple[Array, Array]:
        """Turn the images around their centre; what comes in from outside is 0, its class is ignored."""
        images = inputs[:, None] if self.layout == "HW" else inputs
        if self.layout == "HWC":
            images = images.transpose(0, 3, 1, 2)
        turned = np.empty(images.shape, np.float32)
        masks = targets.copy() if self.moves_targets else targets
        for number, angle in enumerate(angles):
            rows, columns = _get_sources(images.shape[2:], float(angle))
            turned[number] = _interpolate(images[number], rows, columns)
            if self.moves_targets:
                masks[number] = _take_nearest(targets[number], rows, columns)
        if self.layout == "HW":
            return turned[:, 0], masks
        return (np.ascontiguousarray(turned.transpose(0, 2, 3, 1)) if self.layout == "HWC" else turned), masks


def make_augmenter(settings: Augmentation, signature: Signature) -> Augmenter | None:
    """Return what the profile asks for; None where that is nothing, or where inputs are tokens, which stay as they are.

    Raises InputError when the inputs are not of a kind that can be changed so.
    """
    if not settings.enabled or signature.vocab_size:
        return None
    shape = signature.input_shape
    layout = find_image_layout(shape)
    key = "data.augmentation"
    if settings.rotation_degrees and not layout:
        raise InputError(
            f"{key}.rotation_degrees: images are rotated, and an input of these data has the shape {list(shape)}",
            hint=f"take {key}.rotation_degrees out",
        )
    if settings.temporal_jitter_ms and settings.sampling_rate_hz is None:
        raise InputError(
            f"{key}.temporal_jitter_ms: how many positions {settings.temporal_jitter_ms:g} ms are is not known",
            hint=f"set {key}.sampling_rate_hz: the positions of a sequence in one second",
        )
    if settings.temporal_jitter_ms and not 1 <= len(shape) <= 2:
        raise InputError(
            f"{key}.temporal_jitter_ms: sequences are shifted, and an input of these data has the shape {list(shape)}",
            hint=f"take {key}.temporal_jitter_ms out",
        )
    found = Augmenter(
        noise_std=settings.noise_std,
        max_shift=settings.temporal_jitter_ms * 1e-3 * (settings.sampling_rate_hz or 0.0),
        max_angle=float(np.deg2rad(settings.rotation_degrees)),
        layout=layout,
        moves_targets=signature.task in ("sequence", "segmentation"),
    )
    return found if found.noise_std or found.max_shift or found.max_angle else None


def draw_uniform(seed: int, epoch: int, indices: Indices, stream: int) -> _Float32:
    """Return one number of [0, 1) for each sample; ``stream`` keeps what is drawn for one end from another's."""
    bits = _mix(_get_keys(seed, epoch, indices, stream))
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def draw_normal(seed: int, epoch: int, indices: Indices, count: int) -> _Float32:
    """Return ``count`` numbers of the standard normal distribution for each sample: [samples, count].

    One hash of 64 bits gives two numbers (Box and Muller 1958).
    """
    keys = _get_keys(seed, epoch, indices, _NOISE)
    half = -(-count // 2)
    steps = np.arange(1, half + 1, dtype=np.uint64) * _GOLDEN
    result = np.empty((len(indices), 2 * half), np.float32)
    rows = max(1, _CHUNK // max(1, half))
    for start in range(0, len(indices), rows):
        some = keys[start : start + rows, None]
        for first in range(0, half, _CHUNK):
            last = min(half, first + _CHUNK)
            bits = _mix(some + steps[None, first:last])
            radius = (bits >> np.uint64(32)).astype(np.float32)
            radius += np.float32(0.5)
            radius *= np.float32(2.0**-32)
            np.minimum(radius, np.float32(1 - 2.0**-24), out=radius)  # rounded up to 1 the logarithm would be 0
            np.log(radius, out=radius)
            radius *= np.float32(-2)
            np.sqrt(radius, out=radius)
            angle = (bits & np.uint64(0xFFFFFFFF)).astype(np.float32)
            angle *= np.float32(2 * np.pi * 2.0**-32)
            np.multiply(radius, np.cos(angle), out=result[start : start + rows, first:last])
            np.multiply(radius, np.sin(angle), out=result[start : start + rows, half + first : half + last])
    return result[:, :count] if 2 * half == count else np.ascontiguousarray(result[:, :count])


def _get_keys(seed: int, epoch: int, indices: Indices, stream: int) -> _UInt64:
    """Return a number of 64 bits for each sample, in which each argument has changed every bit."""
    key = np.array([seed], np.uint64)
    for part in (epoch, stream):
        key = _mix(key + _GOLDEN) ^ np.uint64(part)
    return _mix(_mix(key + _GOLDEN) + indices.astype(np.uint64) * _GOLDEN)


def _mix(values: _UInt64) -> _UInt64:
    """Return a hash of each number: the finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    result = values ^ (values >> np.uint64(30))
    result *= _MIX_1
    result ^= result >> np.uint64(27)
    result *= _MIX_2
    result ^= result >> np.uint64(31)
    return result


def _shift(inputs: Array, shifts: _Float32) -> Array:
    """Move sequences [samples, length, …] in time; between two positions along the line, the ends are held."""
    whole = np.floor(shifts)
    share = (shifts - whole).reshape(-1, *(1,) * (inputs.ndim - 1))
    later = _take_positions(inputs, whole.astype(np.int64))
    earlier = _take_positions(inputs, whole.astype(np.int64) + 1)
    return later + (earlier - later) * share


def _take_positions(values: Array, shifts: Indices) -> Array:
    """Return each sequence moved by a whole number of positions, with its ends held."""
    length = values.shape[1]
    places = np.clip(np.arange(length)[None] - shifts[:, None], 0, length - 1)
    return np.asarray(values[np.arange(len(values))[:, None], places])


def _get_sources(shape: tuple[int, ...], angle: float) -> tuple[_Float32, _Float32]:
    """Return from which row and column each pixel of the turned image comes."""
    height, width = shape
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32((height - 1) / 2)
    x = np.arange(width, dtype=np.float32)[None] - np.float32((width - 1) / 2)
    sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    rows = y * cosine - x * sine + np.float32((height - 1) / 2)
    columns = y * sine + x * cosine + np.float32((width - 1) / 2)
    return rows, columns


def _interpolate(image: Array, rows: _Float32, columns: _Float32) -> Array:
    """Return [channels, height, width] read between pixels; outside of the image are zeros."""
    channels, height, width = image.shape
    framed = np.zeros((channels, height + 2, width + 2), np.float32)
    framed[:, 1:-1, 1:-1] = image
    flat = framed.reshape(channels, -1)
    y = np.clip(rows + 1, 0, height + np.float32(0.999))
    x = np.clip(columns + 1, 0, width + np.float32(0.999))
    top, left = y.astype(np.int32), x.astype(np.int32)
    down, right = (y - top)[None], (x - left)[None]
    at = top * np.int32(width + 2) + left
    upper = flat.take(at, axis=1)
    upper += (flat.take(at + 1, axis=1) - upper) * right
    lower = flat.take(at + (width + 2), axis=1)
    lower += (flat.take(at + (width + 3), axis=1) - lower) * right
    lower -= upper
    lower *= down
    upper += lower
    return upper


def _take_nearest(mask: Array, rows: _Float32, columns: _Float32) -> Array:
    """Return the class of the nearest pixel; outside of the mask it is ignored."""
    height, width = mask.shape
    y, x = np.rint(rows).astype(np.int64), np.rint(columns).astype(np.int64)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return np.where(inside, mask[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)], IGNORED)
