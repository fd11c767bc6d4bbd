"""``data``: what is trained on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ValidationInfo, field_validator

from footplate.profile.facts import TaskKind
from footplate.profile.fields import Known, Section, Text, key

__all__ = ["FORMATS", "IMAGE_ARCHITECTURES", "Augmentation", "Columns", "Data", "Preprocessing", "Split"]

FORMATS = ("auto", "npz", "npy", "parquet", "csv", "jsonl", "text", "tokens", "image_folder")
"""Formats that are read."""
IMAGE_ARCHITECTURES = ("cnn", "resnet", "unet")
"""Architectures to which a matrix [H, W] is an image; to all others it is a sequence of features."""


class Split(Section):
    """Shares taken from the training data when a set has no file of its own; the rest is trained on."""

    val: float = key(0.1, ge=0.0, lt=1.0, unit="share")
    """Share used for validation when `val_data` is null."""
    test: float = key(0.1, ge=0.0, lt=1.0, unit="share")
    """Share kept for the final test when `test_data` is null."""


class Columns(Section):
    """Which columns (csv, parquet), fields (jsonl) or arrays (npz) are used."""

    inputs: tuple[Text, ...] = key(())
    """Inputs; empty = `x` of an npz, `text` or `x` of jsonl, all columns but the targets of a table."""
    targets: tuple[Text, ...] = key(())
    """Targets; empty = `y` of an npz, `label` or `y` of jsonl, the last column of a table."""
    missing: Literal["error", "mean", "drop"] = key("error")
    """Empty cells of a table: an error, the column's mean of the training data, or the row is left out."""


class Preprocessing(Section):
    """What happens to the inputs before the network sees them."""

    normalize: bool = key(False)
    """Subtracts the mean and divides by the standard deviation."""
    mean: Literal["auto"] | tuple[float, ...] = key("auto")
    """Mean of each feature; `auto` = of the training data."""
    std: Literal["auto"] | tuple[float, ...] = key("auto")
    """Standard deviation of each feature; `auto` = of the training data."""
    clip_range: tuple[float, float] | None = key(None)
    """Inputs are clipped to it, after normalising."""
    normalize_targets: bool = key(False)
    """Regression: trains on normalised targets; metrics stay in the targets' own unit."""

    @field_validator("clip_range")
    @classmethod
    def _check_clip_range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError(f"the first number must be below the second (got {value[0]:g}, {value[1]:g})")
        return value

    @field_validator("std")
    @classmethod
    def _check_std(cls, value: Literal["auto"] | tuple[float, ...]) -> Literal["auto"] | tuple[float, ...]:
        if value != "auto" and any(number <= 0 for number in value):
            raise ValueError("every standard deviation must be > 0")
        return value


class Augmentation(Section):
    """Random changes of the training inputs, drawn anew for each sample in each epoch; tokens are never changed."""

    enabled: bool = key(False)
    """Switches it on."""
    noise_std: float = key(0.0, ge=0.0)
    """Standard deviation of the noise that is added to each number, after normalising."""
    temporal_jitter_ms: float = key(0.0, ge=0.0, unit="ms")
    """Largest shift of a sequence in time, to either side; needs `sampling_rate_hz`."""
    sampling_rate_hz: float | None = key(None, gt=0.0, unit="positions per second")
    """How many positions of a sequence make a second: what milliseconds are counted in."""
    rotation_degrees: float = key(0.0, ge=0.0, le=180.0, unit="degrees")
    """Largest rotation of an image, to either side; masks turn with it, and what turns in from outside is 0."""


class Data(Section):
    """Where the data are and how they are read."""

    train_data: Text = key("")
    """A file, a directory of shards (read in the order of their names) or of images, `package.module:function` that
    returns arrays or a dataset, or `sklearn:<set>` (`digits`, `iris`, `wine`, `breast_cancer`, `diabetes`,
    `linnerud`)."""
    val_data: Text | None = key(None)
    """Validation data; null = a share of the training data (`split.val`)."""
    test_data: Text | None = key(None)
    """Test data; null = a share of the training data (`split.test`)."""
    format: Annotated[Text, Known(FORMATS)] = key("auto")
    """How the data are stored; `auto` = found out from the names. `text` and `tokens` (npy, or bin of uint16) are
    streams, from which a language model learns."""
    task: Literal["auto"] | TaskKind = key("auto")
    """What is learnt; `auto` = found out from the targets, `training.loss.type` and the inputs. `sequence` is one class
    for each position, `segmentation` one for each pixel."""
    sequence_length: int = key(256, ge=1, unit="tokens")
    """Length of one input made from text or tokens: the block of a language model; a text that has a label is cut or
    filled up to it."""
    vocab_size: int | None = key(None, ge=2, unit="tokens")
    """How many different tokens there are. Whole numbers of an array are tokens when it is set; null = 256 for text
    (its bytes), the largest + 1 for tokens."""
    ignored_class: int | None = key(None)
    """Sequence and segmentation: a number in the targets that is no class, such as 255 in masks; -100 always is
    none."""
    split: Split = key(Split)
    """Shares for validation and test where they have no file of their own."""
    columns: Columns = key(Columns)
    """Columns or arrays that are used."""
    num_workers: int = key(0, ge=0, unit="processes")
    """Processes that read and augment the training data ahead; 0 = the training does it itself. Data in memory without
    augmentation need none, and none are started."""
    pin_memory: bool = key(False)
    """Page-locked memory, from which a GPU is filled while it computes; without a GPU it does nothing."""
    prefetch_factor: int = key(2, ge=1, unit="steps per worker")
    """Optimiser steps that each process prepares ahead."""
    persistent_workers: bool = key(True)
    """Keeps the processes from epoch to epoch; false = ends them with each epoch, which frees their memory."""
    preprocessing: Preprocessing = key(Preprocessing)
    """Normalising and clipping."""
    augmentation: Augmentation = key(Augmentation)
    """Random changes of the training inputs."""
    input_shape: tuple[int, ...] | None = key(None)
    """Shape of one input; compared with the data before anything starts."""
    output_shape: tuple[int, ...] | None = key(None)
    """Shape of one output (regression) or number of classes; compared with the data before anything starts."""

    @field_validator("split")
    @classmethod
    def _check_split(cls, value: Split, info: ValidationInfo) -> Split:
        """Refuse shares that leave nothing to train on; a set with a file of its own takes none."""
        if info.data.get("val_data") or info.data.get("test_data"):
            return value
        if value.val + value.test >= 1.0:
            raise ValueError(
                f"val {value.val:g} + test {value.test:g} = {value.val + value.test:g} leaves nothing to train on"
            )
        return value

    @field_validator("input_shape", "output_shape")
    @classmethod
    def _check_shape(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and any(size < 1 for size in value):
            raise ValueError(f"every size must be ≥ 1 (got {list(value)})")
        return value
