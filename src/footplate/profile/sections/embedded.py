"""``power_management`` and ``embedded_optimizations``: small boards and careful use of a device."""

from __future__ import annotations

from footplate.profile.fields import Section, Text, key

__all__ = ["EmbeddedOptimizations", "PowerManagement"]

_POWER = "power and thermal control are not built yet"


class PowerManagement(Section):
    """Power and heat."""

    power_mode: Text = key("", inactive=_POWER)
    """Power mode of the board."""
    enable_dynamic_clocking: bool = key(False, inactive=_POWER)
    """Lets the clocks follow the load."""
    enable_thermal_throttling: bool = key(False)
    """Pauses the training above `max_temperature_celsius`."""
    max_temperature_celsius: float | None = key(None, gt=0, unit="°C")
    """Temperature (of the GPU, else the hottest of the board) above which the training pauses; it goes on 5 degrees
    below it."""


class EmbeddedOptimizations(Section):
    """Memory and speed of one device."""

    use_memory_efficient_attention: bool = key(False)
    """Allows only attention kernels that never hold the whole matrix of scores (flash, memory-efficient, cuDNN); where
    none of them can run, the training fails instead of taking the plain one. Without it torch chooses."""
    gradient_checkpointing: bool = key(False)
    """Keeps the inputs of each layer only and computes the layer a second time in the backward pass: less memory, about
    a third more time, the same numbers to the bit."""
    empty_cache_frequency: int | None = key(None, ge=1, unit="optimiser steps")
    """Steps between two releases of the GPU memory that torch keeps for later; null = never. Each release waits for the
    GPU: it is for other programs that need memory on the same one."""
    use_cudnn_benchmark: bool | None = key(None)
    """Older spelling of `reproducibility.benchmark`, which wins when both are given."""
    use_tf32: bool = key(False)
    """Lets GPUs multiply matrices in TF32."""
    channels_last_memory_format: bool = key(False)
    """Keeps images in the order in memory that is fastest for convolutions; other inputs stay as they are."""
    use_mmap_datasets: bool = key(True)
    """Maps npy and uncompressed npz files into memory instead of reading them."""
    cache_preprocessed_data: bool = key(False)
    """Keeps the inputs of files on disk as the network takes them (decoded, encoded, normalised), under
    `FOOTPLATE_HOME/cache/data`, which may be deleted; other data or another preprocessing is kept anew."""
