"""env.json: the machine and the software a run was started on."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from footplate.record.secret_patterns import mask

__all__ = ["capture_environment"]

_TIMEOUT_S = 2.0
_PREFIXES = (
    "CUDA_", "OMP_", "MKL_", "SLURM_", "NCCL_", "PYTHON", "VIRTUAL_ENV", "CONDA_", "FOOTPLATE_", "MLFLOW_",
)  # fmt: skip


def capture_environment() -> dict[str, Any]:
    """Return what software and hardware are here: plain data for env.json, without secrets."""
    return {
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
            "prefix": sys.prefix,
        },
        "platform": {
            "system": platform.system(),
            "release": platform.release(),
            "machine": platform.machine(),
            "name": _get_system_name(),
            "host": platform.node(),
        },
        "cpu": {"model": _get_cpu_model(), "count": os.cpu_count() or 0, "usable": _get_usable_cpus()},
        "memory_gb": _get_memory_gb(),
        "gpus": _list_gpus(),
        "packages": _list_packages(),
        "variables": _list_variables(),
    }


def _get_system_name() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def _get_cpu_model() -> str:
    if sys.platform == "darwin":
        return _ask(["sysctl", "-n", "machdep.cpu.brand_string"])
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    match = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor()


def _get_usable_cpus() -> int:
    """Return how many CPUs this process may use, which a scheduler or container may have limited."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has none
        return os.cpu_count() or 0


def _get_memory_gb() -> float:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError):
        return 0.0


def _list_gpus() -> list[dict[str, str]]:
    """Return name, driver and memory of the NVIDIA GPUs that nvidia-smi shows; none where it does not answer."""
    if shutil.which("nvidia-smi") is None:
        return []
    keys = ("name", "driver_version", "memory.total")
    answer = _ask(["nvidia-smi", f"--query-gpu={','.join(keys)}", "--format=csv,noheader"])
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.splitlines()]
    return [{"name": row[0], "driver": row[1], "memory": row[2]} for row in rows if len(row) == len(keys)]


def _list_packages() -> dict[str, str]:
    """Return the installed distributions and their versions; of two, the one that is imported counts.

    The names of the metadata folders tell both; reading hundreds of metadata files would take a noticeable time.
    """
    found: dict[str, str] = {}
    for entry in sys.path:
        try:
            names = os.listdir(entry or ".")
        except OSError:
            continue  # a zip file, or a folder that is not there
        for name in names:
            stem, suffix = os.path.splitext(name)
            project, _, version = stem.partition("-")
            if suffix in {".dist-info", ".egg-info"} and version:
                found.setdefault(re.sub(r"[-_.]+", "-", project).lower(), version.partition("-py")[0])
    return dict(sorted(found.items()))


def _list_variables() -> dict[str, str]:
    """Return the variables that change how a training runs, with stars for what looks secret."""
    return {
        name: mask(name, value)
        for name, value in sorted(os.environ.items())
        if name.startswith(_PREFIXES) or name == "PATH"
    }


def _ask(argv: list[str]) -> str:
    try:
        answer = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
