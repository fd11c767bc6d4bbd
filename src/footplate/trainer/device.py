"""Which device the training computes on."""

from __future__ import annotations

import torch

from footplate.errors import InputError

__all__ = ["choose_device", "describe_device", "synchronize"]


def choose_device(name: str, num_gpus: int | None = None, local_rank: int | None = None) -> torch.device:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``mps``.

    ``num_gpus`` is `resources.num_gpus`: 0 makes ``auto`` the CPU, 1 or more asks for a GPU. Of several processes on
    a machine each has the GPU of its number, ``local_rank``, which becomes torch's current one.
    """
    device = _choose_kind(name, num_gpus)
    if local_rank is None or device.type != "cuda":
        return device
    there = torch.cuda.device_count()
    if local_rank >= there:
        raise InputError(
            f"distributed: process {local_rank} of this machine has no GPU of its own; there are {there}",
            hint=f"set resources.num_gpus: {there}, or device: cpu",
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _choose_kind(name: str, num_gpus: int | None) -> torch.device:
    available = _get_available()
    if name == "auto":
        if num_gpus and available[0] == "cpu":
            raise InputError(
                f"resources.num_gpus asks for {num_gpus} GPU(s), but torch {torch.__version__} finds none here; "
                "there is: cpu",
                hint="set resources.num_gpus: 0 to train on the CPU, or train where there is a GPU",
            )
        return torch.device("cpu" if num_gpus == 0 else available[0])
    if name not in available:
        raise InputError(
            f"device: {name} is asked for, but torch {torch.__version__} finds none here; "
            f"there is: {', '.join(reversed(available))}",
            hint="device: auto takes the best device that is there",
        )
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """Return the device in words, for the log."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"cuda, {properties.name}, {properties.total_memory / 1e9:.1f} GB"
    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
    return device.type


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given, so that a clock may be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _get_available() -> list[str]:
    """Return the kinds of device that are there, best first; the CPU is always the last."""
    found = []
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]
