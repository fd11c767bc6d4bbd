"""What this machine has: cores, memory, GPUs, free space and installed versions, without importing torch."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from footplate.profile.facts import DeviceFacts

__all__ = ["get_device_facts", "get_versions"]

_CGROUPS = Path("/sys/fs/cgroup")
_GB = 1e9


def get_device_facts(output_dir: Path) -> DeviceFacts:
    """Return what this process may use here; ``output_dir`` (it need not exist yet) says whose disk is meant."""
    return DeviceFacts(
        host=socket.gethostname(),
        num_cpus=_count_cpus(),
        memory_gb=_get_memory_gb(),
        cpu_name=_get_cpu_name(),
        gpus=_find_gpus(),
        disk_free_gb=_find_disk_free_gb(output_dir),
    )


def get_versions() -> dict[str, str]:
    """Return the versions this interpreter would train with: python, and what else of it is found."""
    found = {"python": platform.python_version()}
    torch = _find_version("torch")
    if torch:
        found["pytorch"] = torch
    cuda = _get_cuda_version(torch)
    if cuda:
        found["cuda"] = cuda
    for name, packages in (
        ("cudnn", ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12", "nvidia-cudnn-cu11")),
        ("tensorrt", ("tensorrt",)),
        ("mlflow", ("mlflow-skinny",)),
        ("tensorboard", ("tensorboard",)),
        ("wandb", ("wandb",)),
    ):
        version = next(filter(None, map(_find_version, packages)), "")
        if version:
            found[name] = version
    return found


def _find_version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _get_cuda_version(torch: str) -> str:
    """Return the CUDA torch was built with, from its version (``2.6.0+cu126``), else from its CUDA package."""
    match = re.search(r"\+cu(\d+)(\d)$", torch)
    if match:
        return f"{match[1]}.{match[2]}"
    if "+" in torch or not torch:
        return ""
    packages = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu11")
    return next(filter(None, map(_find_version, packages)), "")


def _count_cpus() -> int:
    """Return the cores this process may use: those it is bound to, less when its control group has a smaller quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _iter_cgroups("cpu") if (quota := _read_cpu_quota(folder)) is not None]
    return max(1, min(allowed, *(int(quota + 0.5) for quota in quotas))) if quotas else allowed


def _get_memory_gb() -> float:
    """Return the main memory this process may use, in GB: the machine's, less when its control group has a limit."""
    import psutil

    limits = [psutil.virtual_memory().total]
    for folder in _iter_cgroups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name)
            if text.isdigit():
                limits.append(int(text))
    return min(limits) / _GB


def _iter_cgroups(controller: str) -> Iterator[Path]:
    """Yield the control groups of this process, innermost first, version 2 or 1; each may set a limit."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root = _CGROUPS
        elif controller in controllers.split(","):
            root = _CGROUPS / controller
        else:
            continue
        folder = root / path.strip("/")
        while folder != root and root in folder.parents:
            yield folder
            folder = folder.parent
        yield root


def _read_cpu_quota(folder: Path) -> float | None:
    quota, period = ([*_read(folder / "cpu.max").split(), "", ""])[:2]
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    if not quota.isdigit() or not period.isdigit() or period == "0":
        return None  # "max" or -1: no limit here
    return int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _get_cpu_name() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "Apple silicon"
    return platform.processor()


def _find_gpus() -> tuple[tuple[str, float], ...]:
    """Return name and memory (GB) of each GPU a job started here would see; none when there is no NVIDIA driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_read_gpus(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def _read_gpus(count: int) -> Iterator[tuple[str, float]]:
    import pynvml

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    wanted = None if visible is None else [part.strip() for part in visible.split(",")]
    for index in range(count):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        if wanted is not None and not _is_wanted(wanted, index, str(pynvml.nvmlDeviceGetUUID(handle))):
            continue
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        yield str(pynvml.nvmlDeviceGetName(handle)), float(memory.total) / _GB


def _is_wanted(wanted: list[str], index: int, uuid: str) -> bool:
    return any(word == str(index) or (word.startswith("GPU-") and uuid.startswith(word)) for word in wanted)


def _find_disk_free_gb(folder: Path) -> float | None:
    for candidate in (folder, *folder.parents):
        try:
            return shutil.disk_usage(candidate).free / _GB
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None
