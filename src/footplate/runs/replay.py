"""Does one step of a recorded training again, in its recorded code, and tells what was seen."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from footplate.errors import InputError, RunFailedError
from footplate.record.exit_codes import CONFIG_ERROR, DONE
from footplate.record.files import read_json
from footplate.record.run_info import read_run_info
from footplate.record.rundir import RunDir
from footplate.record.snapshot import read_snapshot
from footplate.runs.code_tree import TREE, restore_tree

__all__ = ["replay"]


def replay(run: RunDir, step: int, *, debug: bool = False, timeout_s: float | None = None) -> Mapping[str, Any]:
    """Do step ``step`` (from 1) of a training again and return what was seen: batch, modules, gradients, loss.

    The recorded code is restored into a folder that is there only meanwhile; nothing is written into the run. With
    ``debug`` the debugger stops in this terminal before the forward pass. InputError when the run is no training or
    has no such step, RunFailedError when the step cannot be done.
    """
    if read_run_info(run).kind != "train":
        raise InputError(f"run {run.id} is a command of your own: only the built-in training has steps to replay")
    with tempfile.TemporaryDirectory(prefix="footplate-replay-") as folder:
        cwd, _, _ = restore_tree(run, read_snapshot(run), Path(folder) / TREE)
        out = Path(folder) / "seen.json"
        command = [sys.executable, "-P", "-m", "footplate.worker", "replay", str(run.path), str(step), str(out)]
        code, said = _run([*command, *(["--pdb"] if debug else [])], cwd, debug=debug, timeout_s=timeout_s)
        if code == DONE and out.exists():
            seen: Mapping[str, Any] = read_json(out)
            return seen
    if debug and code == DONE:
        return {"run_id": run.id, "step": step, "stopped": "in the debugger"}
    lines = said.strip().splitlines()
    if code == CONFIG_ERROR and lines:
        message = next((line for line in lines if line.startswith("error: ")), lines[-1])
        raise InputError(message.removeprefix("error: "))
    raise RunFailedError("\n".join([f"step {step:,} cannot be done again:", *(f"  {line}" for line in lines[-12:])]))


def _run(command: list[str], cwd: Path, *, debug: bool, timeout_s: float | None) -> tuple[int, str]:
    """Run the worker: in the terminal for the debugger, which talks on stderr; quietly otherwise."""
    environment = {**os.environ, "FOOTPLATE_OUTPUT_DIR": str(cwd)}
    for name in ("FOOTPLATE_RUN_DIR", "FOOTPLATE_RUN_ID", "FOOTPLATE_ATTEMPT"):
        environment.pop(name, None)
    if debug:
        sys.stderr.flush()
        return subprocess.run(command, cwd=cwd, env=environment, stdout=sys.stderr, check=False).returncode, ""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RunFailedError(f"the replay took longer than {timeout_s:g} s") from error
    return done.returncode, done.stderr
