"""Facts: what was seen of the data, the model and the machine. A fact that is not there is None, never a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal

__all__ = ["DataFacts", "DeviceFacts", "Facts", "Fault", "Signature", "TaskKind"]

TaskKind = Literal["classification", "regression", "multi_label", "sequence", "language_model", "segmentation"]
"""What is learnt: one class per sample, quantities, any number of classes per sample, one class per position, the next
token, one class per pixel."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What goes into a network and what comes out, per sample: all that a network must know of the data."""

    task: TaskKind
    """What is learnt."""
    input_shape: tuple[int, ...]
    """Shape of one input, without the batch."""
    num_outputs: int
    """Classes (of each position, of each pixel), tokens of the vocabulary, or numbers of a quantity."""
    vocab_size: int = 0
    """Where inputs are tokens (int64, 0 … vocab_size - 1): how many there are; 0 where inputs are numbers."""


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What was seen of the data, after splitting."""

    source: str
    """Where from, as the profile names it."""
    num_train: int
    """Samples trained on."""
    num_val: int
    """Samples validated on."""
    num_test: int
    """Samples kept for the final test."""
    input_shape: tuple[int, ...]
    """Shape of one input, without the batch."""
    input_dtype: str
    """Type of the inputs as stored (numpy's name)."""
    target_shape: tuple[int, ...]
    """Shape of one target: () for a single number or a class."""
    target_dtype: str
    """Type of the targets as stored (numpy's name)."""
    classes: tuple[str, ...] = ()
    """Names of the classes, empty for regression."""
    class_counts: tuple[int, ...] = ()
    """Samples of each class over all sets, empty for regression."""
    num_bytes: int = 0
    """Size of the data as stored."""
    task: TaskKind | None = None
    """What is learnt; None = classification where there are classes, else regression."""
    vocab_size: int = 0
    """Where inputs are tokens: how many different ones there are; 0 where inputs are numbers."""

    @property
    def kind(self) -> TaskKind:
        """What is learnt."""
        return self.task or ("classification" if self.classes else "regression")

    @property
    def num_outputs(self) -> int:
        """Return the classes, the tokens of a language model's vocabulary, or the numbers of a quantity."""
        if self.kind == "language_model":
            return self.vocab_size
        return len(self.classes) if self.classes else prod(self.target_shape)

    @property
    def signature(self) -> Signature:
        """Return what a network must know of the data."""
        return Signature(
            task=self.kind, input_shape=self.input_shape, num_outputs=self.num_outputs, vocab_size=self.vocab_size
        )


@dataclass(frozen=True, kw_only=True)
class DeviceFacts:
    """What the machine that trains has."""

    host: str
    """Its name."""
    num_cpus: int
    """CPU cores this process may use."""
    memory_gb: float
    """Main memory this process may use, in GB."""
    cpu_name: str = ""
    """CPU model."""
    gpus: tuple[tuple[str, float], ...] = ()
    """Name and memory in GB of each GPU."""
    disk_free_gb: float | None = None
    """Free space where the run directory goes, in GB."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with what was looked at."""

    key: str
    """Dotted key that names it."""
    message: str
    """What is wrong, and where."""
    hint: str = ""
    """What to do."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that was seen before planning; ``not_checked`` says what was not, and why."""

    data: DataFacts | None = None
    """The data, or None when they could not be looked at."""
    device: DeviceFacts | None = None
    """The machine, or None when it is another one."""
    num_parameters: int | None = None
    """Parameters of the network."""
    has_layers: bool | None = None
    """Whether a network that was built has a stack of layers; None where none was built."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions found: python, pytorch, cuda, cudnn, tensorrt."""
    missing_paths: tuple[tuple[str, str], ...] = ()
    """(key, path) of each path of the profile that is not there."""
    problems: tuple[Fault, ...] = ()
    """What is wrong with what was looked at: the data, the user's class, the command, the place of the runs."""
    step_s: float | None = None
    """Measured time of one optimiser step in seconds (`plan --measure`)."""
    not_checked: tuple[str, ...] = ()
    """What could not be looked at, each with its reason."""
