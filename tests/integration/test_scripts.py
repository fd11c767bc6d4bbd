"""The scripts that `footplate init --scripts` writes do what their names say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_script(words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "FOOTPLATE_HOME": str(cwd / "home"), "OMP_NUM_THREADS": "1"}
    environment.pop("SLURM_JOB_ID", None)
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_scripts_run_what_teams_already_type(tmp_path: Path) -> None:
    name = "my config; echo hi.yaml"
    written = run_script([sys.executable, "-m", "footplate", "init", "quickstart", "-o", name, "--scripts"], tmp_path)
    assert written.returncode == 0, written.stderr
    checked = run_script([sys.executable, "tools/validate_config.py", name], tmp_path)
    assert checked.returncode == 0, checked.stderr
    for words in ([sys.executable, "train.py", "--config", name], ["bash", "scripts/train_hpc.sh", name]):
        trained = run_script([*words, "--set", "training.max_epochs=1", "--json"], tmp_path)
        assert trained.returncode == 0, trained.stderr
        assert "test/accuracy" in trained.stdout
    gone = run_script(["bash", "scripts/train_hpc.sh", "gone.yaml"], tmp_path)
    assert (gone.returncode, "gone.yaml: there is no such profile" in gone.stderr) == (2, True)
