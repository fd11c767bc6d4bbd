"""The same numbers again: seeds, deterministic operations, threads."""

from __future__ import annotations

import os
import random

import numpy as np
import torch

from footplate.profile.model import Profile

__all__ = ["set_seeds", "set_up_torch"]


def set_up_torch(profile: Profile, device: torch.device, num_threads: int | None = None) -> None:
    """Set what holds for the whole process: threads, deterministic operations, the speed of matrix products.

    ``num_threads`` is this process's share of the cores; None where it has them all.
    """
    if num_threads is None:
        num_threads = profile.resources.num_cpus
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    deterministic = profile.reproducibility.deterministic
    if deterministic and device.type == "cuda":
        # cuBLAS reads it when the GPU is first used, and without it gives other bits each time.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = _wants_benchmark(profile) and not deterministic
    torch.backends.cudnn.allow_tf32 = profile.embedded_optimizations.use_tf32
    torch.set_float32_matmul_precision("high" if profile.embedded_optimizations.use_tf32 else "highest")
    # Without the plain kernel only those are left that never hold the whole matrix of scores.
    torch.backends.cuda.enable_math_sdp(not profile.embedded_optimizations.use_memory_efficient_attention)
    torch.autograd.set_detect_anomaly(profile.debug.enabled and profile.debug.detect_anomaly)


def set_seeds(seed: int) -> None:
    """Start every random number from ``seed``: Python's, numpy's, torch's on every device."""
    random.seed(seed)
    np.random.seed(seed)  # users' own code may draw from numpy's global numbers
    torch.manual_seed(seed)


def _wants_benchmark(profile: Profile) -> bool:
    older = profile.embedded_optimizations.use_cudnn_benchmark
    if "benchmark" in profile.reproducibility.model_fields_set or older is None:
        return profile.reproducibility.benchmark
    return older
