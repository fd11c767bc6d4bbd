"""`footplate train`: checked, recorded, shown, and ended in good order whatever happens."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Footplate = Callable[..., subprocess.CompletedProcess[str]]

DIGITS = """metadata: {profile_name: digits}
data: {train_data: "sklearn:digits"}
model: {hidden_size: 32, num_layers: 1}
training: {batch_size: 64, max_epochs: 3, learning_rate: 0.003}
resources: {num_cpus: 1}
"""
OWN_SCRIPT = "entrypoint: {script: job.py, args: [--lr, 0.1]}\nresources: {job_name: own}\n"


def find_run() -> Path:
    (run,) = [path.parent for path in Path("runs").glob("*/run.json")]
    return run


def test_runs_code_of_the_users_own(footplate: Footplate) -> None:
    Path("job.py").write_text(
        "import os, sys, pathlib\nprint('hello', sys.argv[1:])\n"
        "pathlib.Path(os.environ['FOOTPLATE_OUTPUT_DIR'], 'weights.bin').write_bytes(b'1234')\n"
    )
    Path("footplate.yaml").write_text(OWN_SCRIPT)
    done = footplate("train", check=0)
    assert "hello ['--lr', '0.1']" in done.stderr
    assert done.stdout == ""
    run = find_run()
    assert run.name.startswith("own-")
    assert (run / "artifacts" / "weights.bin").exists()
    assert "**succeeded**" in (run / "report.md").read_text()


def test_a_script_that_fails_ends_with_1_and_its_reason(footplate: Footplate) -> None:
    Path("job.py").write_text("raise ValueError('no such wing')\n")
    Path("footplate.yaml").write_text(OWN_SCRIPT)
    done = footplate("train", "--json", "--quiet", check=1)
    value = json.loads(done.stdout)
    assert (value["state"], value["cause"], value["exit_code"]) == ("failed", "user_error", 1)
    assert "ValueError: no such wing" in done.stderr
    assert f"footplate logs {value['run_id'][-6:]}" in done.stderr


def test_errors_of_the_lint_stop_it_before_anything_is_made(footplate: Footplate) -> None:
    Path("footplate.yaml").write_text(
        DIGITS + "device: cuda\nresources: {num_gpus: 1}\n".replace("resources", "notes: x\n#")
    )
    done = footplate("train", "--set", "resources.num_gpus=1", check=2)
    assert "nothing was started" in done.stderr
    assert "gpu-missing" in done.stderr
    assert "--allow CODE" in done.stderr
    assert not Path("runs").exists()


def test_an_allowed_error_passes_and_the_run_keeps_that(footplate: Footplate) -> None:
    Path("job.py").write_text("print('ok')\n")
    Path("footplate.yaml").write_text(OWN_SCRIPT + "federated: {privacy: {dp: true}}\n")
    assert "inactive" in footplate("train", check=2).stderr
    done = footplate("train", "--allow", "inactive", check=0)
    assert "allowed error (inactive" in done.stderr
    assert json.loads((find_run() / "plan.json").read_text())["allowed"] == ["inactive"]
    assert "error (allowed)" in (find_run() / "report.md").read_text()


def test_takes_its_profile_from_the_option_config_too(footplate: Footplate) -> None:
    Path("job.py").write_text("print('ok')\n")
    Path("my.yaml").write_text(OWN_SCRIPT)
    done = footplate("train", "--config", "my.yaml", "--quiet", "--name", "named", check=0)
    assert done.stderr == ""
    assert find_run().name.startswith("named-")
    assert "two profiles" in footplate("train", "my.yaml", "--config", "other.yaml", check=2).stderr


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("training: {batchsize: 3}", "did you mean batch_size?"),
        ("training: [", "footplate.yaml:"),
        ("data: {train_data: nowhere.npz}", "nowhere.npz"),
        ("entrypoint: {command: [no-such-command]}", "no-such-command"),
        ("entrypoint: {script: nowhere.py}", "nowhere.py"),
        ("entrypoint: {command: ['true']}\nresources: {output_dir: footplate.yaml}", "is a file"),
    ],
)
def test_bad_input_ends_with_2_and_says_what_is_wrong(footplate: Footplate, profile: str, words: str) -> None:
    Path("footplate.yaml").write_text(profile)
    done = footplate("train", check=2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in Path().iterdir()] == ["footplate.yaml"]
