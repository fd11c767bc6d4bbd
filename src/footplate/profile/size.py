"""How big a training is: parameters by formula, memory by an estimate that shows its arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from footplate.profile.costs import count_parameters, find_cost
from footplate.profile.facts import DeviceFacts, Facts
from footplate.profile.mesh import get_declared_mesh
from footplate.profile.model import Profile, get_model_section
from footplate.profile.sections.training import Training
from footplate.quantities import format_size

__all__ = [
    "MemoryEstimate",
    "estimate_memory",
    "find_device_kind",
    "find_memory_limit",
    "has_apple_gpu",
    "is_built_without_cuda",
]

_FRAMEWORK_GB = {"cuda": 0.5, "mps": 0.4, "cpu": 0.4}
"""Memory taken before anything is trained. CPU: a worker with torch 2.13 and scikit-learn, measured (0.405 GB); cuda
and mps: what a context usually takes, not measured here."""


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """The memory of one device while it trains: an estimate, good for "does it fit", not for the last tenth."""

    num_parameters: int
    """Parameters of the network."""
    parameter_parts: tuple[tuple[str, int], ...]
    """What is kept for each parameter, and its bytes: weights, gradients, optimiser state."""
    batch_size: int
    """Samples of one forward pass."""
    activation_bytes: int | None
    """Bytes kept of each sample for the backward pass; None for a class of the user's, whose inside is not known."""
    framework_gb: float
    """What torch itself takes."""
    device: str
    """`cuda`, `mps` or `cpu`."""
    num_shards: int = 1
    """Processes that share the weights, gradients and optimiser state (fsdp, hsdp)."""

    @property
    def bytes_per_parameter(self) -> int:
        """Return the bytes kept for each parameter."""
        return sum(size for _, size in self.parameter_parts)

    @property
    def state_bytes(self) -> int:
        """Return the bytes of one process's share of weights, gradients and optimiser state."""
        return -(-self.num_parameters * self.bytes_per_parameter // self.num_shards)

    @property
    def total_gb(self) -> float:
        """Return the sum in GB; a lower bound when the activations are not known."""
        kept = self.state_bytes + self.batch_size * (self.activation_bytes or 0)
        return kept / 1e9 + self.framework_gb

    @property
    def weights_gb(self) -> float:
        """Return the size of one file of weights in GB (float32)."""
        return self.num_parameters * 4 / 1e9

    def to_text(self) -> str:
        """Return the arithmetic in words."""
        parts = ", ".join(name for name, _ in self.parameter_parts)
        text = f"{_format_count(self.num_parameters)} parameters × {self.bytes_per_parameter} B ({parts})"
        text += f" ÷ {self.num_shards} processes" if self.num_shards > 1 else ""
        text += f" = {format_size(self.state_bytes)}"
        if self.activation_bytes is not None:
            activations = self.batch_size * self.activation_bytes
            text += f" + activations {self.batch_size:,} × {format_size(self.activation_bytes)}"
            text += f" = {format_size(activations)}"
        text += f" + torch {format_size(self.framework_gb * 1e9)}"
        more = "" if self.activation_bytes is not None else " and the activations, which are not known"
        return f"{text} → {format_size(self.total_gb * 1e9)}{more}"


def estimate_memory(profile: Profile, facts: Facts) -> MemoryEstimate | None:
    """Return the memory one device needs for this training, or None when the data or the parameters are not known."""
    data = facts.data
    if data is None:
        return None
    model = get_model_section(profile)
    num_parameters = facts.num_parameters or count_parameters(model, data.signature)
    if num_parameters is None:
        return None
    device = find_device_kind(profile, facts) or "cpu"
    is_half = profile.training.mixed_precision.enabled
    cost = find_cost(model, data.signature)
    computes_again = profile.embedded_optimizations.gradient_checkpointing
    values = None if cost is None else cost.count_kept(computes_again=computes_again)
    return MemoryEstimate(
        num_parameters=num_parameters,
        parameter_parts=_get_parameter_parts(profile.training),
        batch_size=min(profile.training.batch_size, max(1, data.num_train)),
        activation_bytes=None if values is None else values * (2 if is_half else 4),
        framework_gb=_FRAMEWORK_GB.get(device, _FRAMEWORK_GB["cpu"]),
        device=device,
        num_shards=get_declared_mesh(profile).shard,
    )


def find_device_kind(profile: Profile, facts: Facts) -> str | None:
    """Return the device the training computes on, or None when `auto` decides on a machine that was not seen."""
    if profile.device != "auto":
        return profile.device
    if profile.resources.num_gpus == 0:
        return "cpu"
    if facts.device is None:
        return "cuda" if profile.resources.num_gpus else None
    if facts.device.gpus:
        return "cpu" if is_built_without_cuda(facts) else "cuda"
    return "mps" if has_apple_gpu(facts.device) else "cpu"


def find_memory_limit(profile: Profile, facts: Facts, device: str | None) -> tuple[float, str, str] | None:
    """Return the memory of one device in GB, the key that may declare it, and who says it: that key or the machine.

    Of what is declared and what is there the smaller counts. None when neither is known.
    """
    asked, machine = profile.resources, facts.device
    if device == "cuda":
        key, declared = "resources.memory_per_gpu_gb", asked.memory_per_gpu_gb
        there = min(((memory, name) for name, memory in machine.gpus), default=None) if machine is not None else None
    else:
        key, declared = "resources.memory_gb", asked.memory_gb
        there = (machine.memory_gb, machine.host) if machine is not None else None
    limits = [*([(declared, key)] if declared is not None else []), *([there] if there is not None else [])]
    if not limits:
        return None
    limit_gb, source = min(limits, key=lambda limit: limit[0])
    return limit_gb, key, source


def has_apple_gpu(device: DeviceFacts) -> bool:
    """Return whether a machine has the GPU of Apple silicon, which shares the main memory and is in no list."""
    return device.cpu_name.startswith("Apple")


def is_built_without_cuda(facts: Facts) -> bool:
    """Return whether the torch that is installed cannot use a GPU of NVIDIA (``2.6.0+cpu``)."""
    return facts.versions.get("pytorch", "").endswith("+cpu")


def _get_parameter_parts(training: Training) -> tuple[tuple[str, int], ...]:
    """Return what is kept for each parameter: float32, with half-precision copies of the weights under autocast."""
    name = training.optimizer.lower()
    has_momentum = training.momentum > 0
    states: dict[str, tuple[str, int]] = {
        "adam": ("2 × Adam", 8),
        "adamw": ("2 × AdamW", 8),
        "sgd": ("momentum", 4 if has_momentum else 0),
        "rmsprop": ("2 × RMSprop", 8) if has_momentum else ("RMSprop", 4),
        "adagrad": ("Adagrad", 4),
    }
    parts = [("weights", 4), ("gradients", 4), states.get(name, ("2 × optimiser, assumed", 8))]
    if training.mixed_precision.enabled:
        parts.append(("half-precision copy", 2))
    if training.ema.enabled:
        parts.append(("running mean", 4))
    return tuple(part for part in parts if part[1])


def _format_count(count: int) -> str:
    for size, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f} {name}"
    return str(count)
