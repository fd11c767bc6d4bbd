"""Facts: what was seen of the data, the model and the machine. A fact that is not there is None, never a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["DataFacts", "DeviceFacts", "Facts", "Fault"]


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

    @property
    def is_classification(self) -> bool:
        """Whether the targets are classes."""
        return bool(self.classes)

    @property
    def num_outputs(self) -> int:
        """Return how many numbers the network gives per sample."""
        if self.classes:
            return len(self.classes)
        count = 1
        for size in self.target_shape:
            count *= size
        return count


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
