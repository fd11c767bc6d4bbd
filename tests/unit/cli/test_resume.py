"""footplate resume: what a person sees of a further attempt."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Footplate = Callable[..., "subprocess.CompletedProcess[str]"]

_FAILS_ONCE = 'echo "try $FOOTPLATE_ATTEMPT"; [ "$FOOTPLATE_ATTEMPT" != 1 ]'


@pytest.fixture
def failed(footplate: Footplate) -> str:
    done = footplate("run", "--json", "--", "sh", "-c", _FAILS_ONCE, check=1)
    run_id: str = json.loads(done.stdout)["run_id"]
    return run_id


def test_a_further_attempt_is_shown_and_the_log_of_the_first_is_kept(footplate: Footplate, failed: str) -> None:
    done = footplate("resume", failed, check=0)
    assert done.stdout == "try 2\n"
    assert "attempt 2: the command is started again" in done.stderr
    assert footplate("logs", failed, check=0).stdout == "try 2\n"
    assert footplate("logs", failed, "--attempt", "1", check=0).stdout == "try 1\n"
    assert footplate("logs", failed, "--attempt", "all", check=0).stdout == "try 1\ntry 2\n"
    assert footplate("status", failed, check=0).stdout.startswith(f"{failed} succeeded (attempt 2)")
    assert "attempt 1: exit code 1" in footplate("status", failed, check=0).stdout


def test_what_cannot_be_resumed_is_told_with_what_to_do(footplate: Footplate, failed: str) -> None:
    footplate("resume", failed, "--quiet", "--json", check=0)
    done = footplate("resume", failed, check=2)
    assert "has succeeded: there is nothing to go on with" in done.stderr
    assert f"footplate resume {failed} --set training.max_epochs=…" in done.stderr
    done = footplate("resume", failed, "--set", "training.max_epochs=3", "--json", check=2)
    assert "no training profile" in json.loads(done.stdout)["error"]["message"]


def test_following_the_log_of_a_preempted_run_ends_when_nobody_starts_it_again(footplate: Footplate) -> None:
    run_id = json.loads(footplate("run", "--json", "--", "sh", "-c", "echo saved; exit 75", check=75).stdout)["run_id"]
    done = footplate("logs", run_id, "--follow", check=0, timeout=120)
    assert done.stdout == "saved\n"
    assert f"{run_id} queued: exit code 75" in done.stderr


def test_train_shows_the_attempts_that_follow(footplate: Footplate, tmp_path: Path) -> None:
    (tmp_path / "footplate.yaml").write_text(
        "entrypoint: {command: [sh, -c, 'echo try $FOOTPLATE_ATTEMPT $1; [ $FOOTPLATE_ATTEMPT = 2 ] || exit 75', -],\n"
        "  resume_args: [--again]}\n"
        "fault_tolerance: {restart_delay: 0.5}\n"
    )
    done = footplate("train", check=0)
    for line in ("try 1", "attempt 1: exit code 75: stopped early with a checkpoint", "try 2 --again"):
        assert line in done.stderr.splitlines()
    assert "attempt 2 starts at " in done.stderr
