"""Measures a training by running it: 50 real steps in a run directory that is thrown away."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from footplate.errors import InputError, RunFailedError
from footplate.profile.model import Profile
from footplate.record.rundir import RunDir
from footplate.runs.plan import Measurement, get_worker_command

__all__ = ["measure"]

_GRACE_S = 40.0


def measure(profile: Profile, *, timeout_s: float = 300.0) -> Measurement:
    """Run 50 real steps of the built-in training here and return what they took.

    Nothing of it is kept. RunFailedError with the last lines of the log when they fail or take longer than
    ``timeout_s`` seconds.
    """
    if profile.entrypoint.is_set:
        raise InputError(
            "only the built-in training can be measured; your own code has no steps that could be counted from outside",
            hint="leave --measure out, and see `footplate status` while it runs",
        )
    with tempfile.TemporaryDirectory(prefix="footplate-measure-") as folder:
        run = RunDir.create(Path(folder), "measure")
        (run.path / "profile.yaml").write_text(profile.to_yaml(), encoding="utf-8")
        run.new_attempt()
        _run_probe(run, get_worker_command(profile, "measure", str(run.path)), profile.base_dir, timeout_s)
        return _read_measurement(run.read_json("result.json"))


def _run_probe(run: RunDir, command: Sequence[str], cwd: Path, timeout_s: float) -> None:
    places = {
        "FOOTPLATE_RUN_DIR": str(run.path),
        "FOOTPLATE_OUTPUT_DIR": str(run.artifacts),
        "FOOTPLATE_RUN_ID": run.id,
        "FOOTPLATE_ATTEMPT": "1",
    }
    try:
        done = _run(command, cwd, {**os.environ, **places}, timeout_s)
    except subprocess.TimeoutExpired as error:
        raise RunFailedError(
            f"50 steps took longer than {timeout_s:g} s", hint="a smaller model or batch is measured faster"
        ) from error
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()[-8:]
        raise RunFailedError("\n".join(["the probe failed:", *(f"  {line}" for line in lines)]))


def _run(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a command; at the time limit it is asked to end, because a launcher then ends its processes, and killed."""
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException:
            process.terminate()
            try:
                process.communicate(timeout=_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _read_measurement(result: Mapping[str, Any]) -> Measurement:
    energy = result.get("energy_j_per_step")
    return Measurement(
        num_steps=int(result["steps"]),
        step_s=float(result["step_s"]),
        step_s_range=(float(result["step_s_range"][0]), float(result["step_s_range"][1])),
        samples_per_s=float(result["samples_per_s"]),
        energy_j_per_step=None if energy is None else float(energy),
        energy_note=str(result.get("energy_note") or "this machine does not tell its energy"),
    )
