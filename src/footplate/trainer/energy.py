"""Energy that the machine says it used."""

from __future__ import annotations

from pathlib import Path

import torch

__all__ = ["EnergyMeter", "find_gpu_handle"]

_POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Reads the counters of the processor packages (RAPL), or of the GPU (NVML), before and after."""

    def __init__(self, device: torch.device) -> None:
        self.note = ""
        """Where the energy is read, or why it cannot be."""
        self._gpu = find_gpu_handle(device) if device.type == "cuda" else None
        self._files = [] if device.type == "cuda" else _find_counters()
        self._start = self._read()

    def read_j(self) -> float | None:
        """Return the joules used since the start, or None where the machine does not tell; ``note`` says why."""
        end = self._read()
        if self._start is None or end is None or end < self._start:  # a counter that ran over tells nothing
            self.note = self.note or "the counter ran over while it was read"
            return None
        return end - self._start

    def _read(self) -> float | None:
        try:
            if self._gpu is not None:
                import pynvml

                self.note = "NVML, the whole GPU"
                return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu)) / 1e3
            if self._files:
                self.note = "RAPL, the whole processor with all that runs on it"
                return sum(int(file.read_text()) for file in self._files) / 1e6
        except PermissionError:
            self.note = f"{_POWERCAP} may be read by root only"
            return None
        except Exception as error:  # noqa: BLE001 — NVML raises its own errors, and none of them may stop a measurement
            self.note = f"the energy counter cannot be read: {error}"
            return None
        self.note = "this machine has no energy counter that can be read"
        return None


def find_gpu_handle(device: torch.device) -> object | None:
    """Return NVML's handle of the GPU that torch computes on; None where there is no NVML."""
    try:
        import pynvml

        pynvml.nvmlInit()
        # By its name: CUDA_VISIBLE_DEVICES renumbers the GPUs for torch, not for NVML.
        uuid = torch.cuda.get_device_properties(device).uuid
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")  # type: ignore[no-any-return]
    except Exception:  # noqa: BLE001 — no NVML: the note says that there is no counter
        return None


def _find_counters() -> list[Path]:
    """Return the counter of each processor package; parts of a package are in it already."""
    return sorted(file for file in _POWERCAP.glob("intel-rapl:*/energy_uj") if file.parent.name.count(":") == 1)
