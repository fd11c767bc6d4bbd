"""What makes a step faster or smaller: the order of images in memory, compiled networks, emptied caches."""

from __future__ import annotations

import logging
import os
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from footplate.profile.architectures import find_image_layout
from footplate.profile.model import Profile
from footplate.profile.sections.training import Compile
from footplate.trainer.hooks import Hook
from footplate.trainer.progress import Progress

__all__ = ["CacheRelease", "compile_network", "find_missing_compiler", "make_cache_release", "order_channels"]

_log = logging.getLogger("footplate")


class CacheRelease(Hook):
    """Gives GPU memory that torch keeps for later back to the system, every so many steps."""

    watches_steps: ClassVar[bool] = True

    def __init__(self, every: int) -> None:
        self._every = every

    def on_step(self, progress: Progress) -> None:
        if progress.step % self._every == 0:
            torch.cuda.empty_cache()


def make_cache_release(profile: Profile, device: torch.device) -> list[CacheRelease]:
    """Return the hook that releases cached memory; none where it is not asked for, or the device is no GPU."""
    every = profile.embedded_optimizations.empty_cache_frequency
    if every is None:
        return []
    if device.type != "cuda":
        _log.info("embedded_optimizations.empty_cache_frequency: only GPUs keep a cache; nothing to release here")
        return []
    return [CacheRelease(every)]


def order_channels(model: nn.Module, profile: Profile, input_shape: tuple[int, ...]) -> nn.Module:
    """Return the model with its images' channels last in memory, where the profile asks for it and inputs are images.

    Shapes and names stay; only the order in memory is another, which convolutions are faster in.
    """
    if not profile.embedded_optimizations.channels_last_memory_format:
        return model
    if not find_image_layout(input_shape):
        _log.info("embedded_optimizations.channels_last_memory_format: the inputs are no images; nothing is changed")
        return model
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub wants a dtype too
    return model


def compile_network(called: nn.Module, settings: Compile, device: torch.device) -> nn.Module:
    """Return a network compiled for training, or as it is where that is not asked for or there is no compiler.

    The first steps take long: that is when it is compiled. What was compiled is kept for later runs in
    FOOTPLATE_HOME/cache/compiled (the worker names it before torch is loaded), or where TORCHINDUCTOR_CACHE_DIR says.
    """
    if not settings.enabled:
        return called
    missing = find_missing_compiler(device)
    if missing:
        _log.warning("training.compile: %s; the network is trained as it is, not compiled", missing)
        return called
    kept = os.environ.get("TORCHINDUCTOR_CACHE_DIR", "")  # torch has set it when nobody else has
    _log.info("compile: the first steps take longer; what is compiled is kept in %s", kept)
    return torch.compile(called, mode=settings.mode)  # type: ignore[return-value]  # of a module it is a module


def find_missing_compiler(device: torch.device) -> str:
    """Return what is missing to compile networks for this device, in words; empty when nothing is."""
    if device.type == "cuda":
        return "" if find_spec("triton") else "the module triton is not installed"
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        return "there is no C++ compiler (g++ or clang++) here"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        return f"Python's headers are not there ({sysconfig.get_paths()['include']}/Python.h; often python3-dev)"
    return ""
