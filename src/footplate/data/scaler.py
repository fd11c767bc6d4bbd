"""The scaler: brings inputs (and regression targets) to mean 0 and standard deviation 1, and clips inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footplate.data.rows import Array, Indices, Rows, describe_shape
from footplate.errors import DataError
from footplate.profile.sections.data import IMAGE_ARCHITECTURES, Preprocessing

__all__ = ["Scaler", "fit_scaler"]

Float64 = NDArray[np.float64]

_ROUNDING = 100 * np.finfo(np.float64).eps
"""The mean of equal numbers is off by about as much, and so is their standard deviation from 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaler:
    """What is done to inputs and targets before the network sees them. None = nothing."""

    mean: Float64 | None = None
    """Subtracted from the inputs; its shape broadcasts to one input."""
    std: Float64 | None = None
    """The inputs are divided by it, after subtracting."""
    clip: tuple[float, float] | None = None
    """Inputs are clipped to it, after normalising."""
    target_mean: Float64 | None = None
    """Subtracted from regression targets."""
    target_std: Float64 | None = None
    """Regression targets are divided by it."""

    def apply(self, inputs: Array) -> NDArray[np.float32]:
        """Return scaled inputs as float32; the argument is not changed (and is returned if there is nothing to do)."""
        if self.mean is None or self.std is None:
            result = inputs.astype(np.float32, copy=self.clip is not None)
        else:
            # What float32 holds exactly is scaled in float32, several times faster; the rest in float64.
            mean, std = self._single if np.can_cast(inputs.dtype, np.float32) else (self.mean, self.std)
            result = np.subtract(inputs, mean, dtype=mean.dtype)
            np.divide(result, std, out=result)
            result = result.astype(np.float32, copy=False)
        if self.clip is not None:
            np.clip(result, *self.clip, out=result)
        return result

    @cached_property
    def _single(self) -> tuple[Array, Array]:
        return np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)

    def apply_targets(self, targets: Array) -> NDArray[np.float32]:
        """Return scaled regression targets as float32."""
        if self.target_mean is None or self.target_std is None:
            return np.asarray(targets, dtype=np.float32)
        return np.asarray((targets - self.target_mean) / self.target_std, dtype=np.float32)

    def restore_targets(self, predictions: Array) -> Array:
        """Return predictions in the targets' own unit."""
        if self.target_mean is None or self.target_std is None:
            return predictions
        return predictions * self.target_std + self.target_mean

    def to_json(self) -> dict[str, Any]:
        """Return plain values; ``from_json`` gives the very same numbers back."""
        return {
            "mean": _to_list(self.mean),
            "std": _to_list(self.std),
            "clip": None if self.clip is None else list(self.clip),
            "target_mean": _to_list(self.target_mean),
            "target_std": _to_list(self.target_std),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scaler:
        """Rebuild a scaler from ``to_json``'s values."""
        clip = value["clip"]
        return cls(
            mean=_from_list(value["mean"]),
            std=_from_list(value["std"]),
            clip=None if clip is None else (float(clip[0]), float(clip[1])),
            target_mean=_from_list(value["target_mean"]),
            target_std=_from_list(value["target_std"]),
        )


def fit_scaler(
    settings: Preprocessing, architecture: str, inputs: Rows, targets: Rows | None, train: Indices
) -> Scaler:
    """Find mean and standard deviation of the training part (given lists are taken as they are).

    ``targets`` is None for classes. A constant feature becomes 0: its standard deviation counts as 1.
    """
    mean = std = target_mean = target_std = None
    if settings.normalize:
        axes = _shared_axes(inputs.shape, architecture)
        found_mean, found_std = _get_moments(inputs, train, axes)
        mean = _choose("mean", settings.mean, found_mean, inputs.shape)
        std = _choose("std", settings.std, found_std, inputs.shape)
    if settings.normalize_targets and targets is not None:
        target_mean, target_std = _get_moments(targets, train, ())
    return Scaler(mean=mean, std=std, clip=settings.clip_range, target_mean=target_mean, target_std=target_std)


def _shared_axes(shape: tuple[int, ...], architecture: str) -> tuple[int, ...]:
    """Return the axes of one input over which a mean is taken: all but the feature's or channel's."""
    if len(shape) <= 1:
        return ()
    if len(shape) == 2:  # a matrix is an image without channels to a cnn, a sequence of features to all others
        return (0, 1) if architecture in IMAGE_ARCHITECTURES else (0,)
    channels_last = len(shape) != 3 or (shape[-1] <= 4 < shape[0])
    return tuple(range(len(shape) - 1)) if channels_last else tuple(range(1, len(shape)))


def _get_moments(rows: Rows, train: Indices, axes: tuple[int, ...]) -> tuple[Float64, Float64]:
    """Return mean and standard deviation over samples and ``axes``, in float64 and constant memory (Chan's update)."""
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    over = (0, *(axis + 1 for axis in axes))
    for start in range(0, len(train), rows.rows_per_chunk):
        chunk = rows.take(train[start : start + rows.rows_per_chunk]).astype(np.float64)
        size = chunk.size // max(1, int(np.prod(chunk.mean(axis=over, keepdims=True).shape)))
        chunk_mean = chunk.mean(axis=over, keepdims=True)
        delta = chunk_mean - mean
        squares = (
            squares
            + np.square(chunk - chunk_mean).sum(axis=over, keepdims=True)
            + np.square(delta) * (count * size / (count + size))
        )
        mean = mean + delta * (size / (count + size))
        count += size
    std = np.sqrt(squares / max(1, count))
    is_constant = std <= _ROUNDING * np.abs(mean)
    return np.asarray(mean)[0], np.where(is_constant, 1.0, std)[0]


def _choose(name: str, given: str | tuple[float, ...], found: Float64, shape: tuple[int, ...]) -> Float64:
    """Return the given list in the shape that broadcasts to one input, or what was found for ``auto``."""
    if isinstance(given, str):
        return found
    values = np.asarray(given, dtype=np.float64)
    if values.size == found.size:
        return values.reshape(found.shape)
    if values.size == 1:
        return values.reshape(())
    raise DataError(
        f"data.preprocessing.{name} has {values.size} values; inputs of {describe_shape(shape)} "
        f"have {found.size} feature{'s' if found.size != 1 else ''}",
        hint=f"give {found.size} values, one value for all, or auto",
    )


def _to_list(value: Float64 | None) -> Any:
    return None if value is None else value.tolist()


def _from_list(value: Any) -> Float64 | None:
    return None if value is None else np.asarray(value, dtype=np.float64)
