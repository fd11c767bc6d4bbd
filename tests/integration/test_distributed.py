"""Several processes train together: as one process would, to its end or to a clear one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from footplate.profile.load import load_profile_text
from footplate.record.journal import read_events, read_metrics
from footplate.record.rundir import RunDir
from footplate.runs.plan import get_command

CHECKS = Path(__file__).with_name("ranks.py")
LIMIT_S = 150.0
EQUAL = 1e-6
"""How far N processes may be from one of the same global batch, relative to the size of a tensor (float32)."""


def run_checks(num_processes: int, *checks: str) -> dict[str, dict[str, Any]]:
    """Run checks of ranks.py in one group of processes; return what the first process found, by check."""
    command = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(num_processes), str(CHECKS), *checks]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=environment)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [one["check"] for one in found] == list(checks)
    return {one["check"]: one for one in found}


def assert_equal(found: dict[str, dict[str, Any]]) -> None:
    for name, told in found.items():
        print(f"{name}: weights differ by {told['difference']:.2g}, norm by {told['norm']:.2g}; {told['steps']} steps")
        assert told["moved"] > 0.01, f"{name}: nothing was trained"
        assert told["difference"] <= EQUAL, name
        assert told["norm"] <= EQUAL, name


def test_two_processes_train_as_one_of_the_same_global_batch() -> None:
    """The last step of an epoch is smaller, a step is cut into batches, the gradients are clipped."""
    assert_equal(
        run_checks(
            2,
            *(f"equal:mlp:{strategy}" for strategy in ("ddp", "fsdp", "hsdp", "tensor")),
            *(f"equal:{network}:{name}" for network in ("transformer", "gpt") for name in ("ddp", "fsdp", "tensor")),
        )
    )


def test_processes_judge_one_network_and_draw_their_own_noise() -> None:
    found = run_checks(2, "statistics", "noise")
    assert len(found["statistics"]["differences"]) == 2
    assert max(found["statistics"]["differences"]) < 1e-6, found["statistics"]
    assert found["noise"]["ddp"] == {"draws": 2, "networks": 1}
    assert found["noise"]["tensor"] == {"draws": 1, "networks": 1}


def assert_same_state(found: dict[str, dict[str, Any]], num_processes: int) -> None:
    for name, told in found.items():
        print(f"{name}: after a pause {told['difference']:.2g} from no pause; {', '.join(told['files'])}")
        assert told["same"], f"{name}: weights or optimiser state differ"
        assert told["difference"] <= EQUAL, name
        assert told["files"] == [f"state.rank{rank}.safetensors" for rank in range(num_processes)]
        assert told["bytes"] > 1000, f"{name}: there was no optimiser state"


def test_a_state_saved_in_parts_is_loaded_under_another_strategy_and_by_one_process() -> None:
    assert_same_state(run_checks(2, "state:fsdp:tensor", "state:tensor:fsdp", "state:ddp:fsdp"), 2)


@pytest.mark.soak
def test_a_state_in_parts_of_two_kinds_is_loaded_under_another_strategy() -> None:
    names = ("state:fsdp+tensor:hsdp", "state:hsdp:fsdp+tensor", "state:ddp+tensor:fsdp")
    assert_same_state(run_checks(4, *names), 4)


@pytest.mark.soak
def test_four_processes_train_as_one_of_the_same_global_batch() -> None:
    strategies = ("ddp", "fsdp", "hsdp", "tensor", "fsdp+tensor", "ddp+tensor")
    names = [f"equal:{network}:{strategy}" for network in ("mlp", "transformer", "gpt") for strategy in strategies]
    assert_equal(run_checks(4, *names))


ONE = 'model: {hidden_size: 16, num_layers: 2}\ndata: {train_data: "sklearn:iris", preprocessing: {normalize: true}}\n'
ENDLESS = ONE + "training: {batch_size: 8, max_epochs: 1000000, log_frequency: 20, eval_frequency: 50}\n"
FLAWED = """
import os

import torch
from torch import nn


class Net(nn.Module):
    '''Gives NaN in the second process from its fifth training step on.'''

    def __init__(self, num_outputs):
        super().__init__()
        self.layer = nn.Linear(4, num_outputs)
        self.seen = 0

    def forward(self, inputs):
        self.seen += self.training
        outputs = self.layer(inputs)
        return outputs * float("nan") if self.seen >= 5 and os.environ.get("RANK") == "1" else outputs
"""


def make_run(text: str, strategy: str = "", num_processes: int = 2) -> tuple[RunDir, list[str]]:
    """Return a run directory and the command that the plan would start in it."""
    if strategy:
        text += f"distributed: {{enabled: true, strategy: {strategy}, world_size: {num_processes}, timeout: 60}}\n"
    run = RunDir.create(Path("runs"), "test")
    run.new_attempt()
    (run.path / "profile.yaml").write_text(text)
    profile = load_profile_text(text)
    return run, [word.replace("{run_dir}", str(run.path)) for word in get_command(profile)]


def train(text: str, strategy: str = "") -> tuple[RunDir, subprocess.CompletedProcess[str]]:
    run, command = make_run(text, strategy)
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return run, done


@pytest.fixture
def start() -> Iterator[Callable[[str, str], tuple[RunDir, subprocess.Popen[str]]]]:
    """Return a function that starts a training whose processes are ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def launch(text: str, strategy: str) -> tuple[RunDir, subprocess.Popen[str]]:
        run, command = make_run(text, strategy)
        with (run.path / "out.txt").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True)
        started.append(process)
        return run, process

    yield launch
    for process in started:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.kill()
        process.wait(120)


def find_workers(process: subprocess.Popen[str]) -> dict[int, psutil.Process]:
    """Return the processes that train, by rank."""
    found = {}
    for one in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found[int(one.environ().get("RANK", -1))] = one
    return found


def wait_until_trained(run: RunDir, process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + LIMIT_S
    while "val/loss" not in read_metrics(run):
        assert process.poll() is None, (run.path / "out.txt").read_text()
        assert time.monotonic() < limit
        time.sleep(0.1)


def read_end(run: RunDir, rank: int) -> dict[str, Any]:
    return dict(json.loads((run.get_attempt(1).path / f"exit.rank{rank}.json").read_text()))


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_training_by_two_processes_is_recorded_as_one_run(strategy: str) -> None:
    text = ONE + "training: {batch_size: N, max_epochs: 3, learning_rate: 0.01, optimizer: sgd, log_frequency: 2}\n"
    run, done = train(text.replace("N", "8"), strategy)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    alone, done_alone = train(text.replace("N", "16"))
    assert done_alone.returncode == 0, done_alone.stderr
    for name in ("last.safetensors", "model.safetensors"):
        here, wanted = (load_file(str(one.path / "artifacts" / name)) for one in (run, alone))
        difference = max(float((here[key] - wanted[key]).norm() / wanted[key].norm()) for key in wanted)
        print(f"{strategy}: {name} differs by {difference:.2g}")
        assert here.keys() == wanted.keys()
        assert difference <= EQUAL
    result, expected = run.read_json("result.json"), alone.read_json("result.json")
    assert result["steps"] == expected["steps"] == 24
    assert result["metrics"]["test/accuracy"] == expected["metrics"]["test/accuracy"]
    assert ("test/latency_ms" in result["metrics"]) == (strategy == "ddp")
    ours, theirs = read_metrics(run), read_metrics(alone)
    for name in ("train/loss", "val/loss"):  # over all samples, not over those of the first process
        assert [point.step for point in ours[name]] == [point.step for point in theirs[name]]
        for point, other in zip(ours[name], theirs[name], strict=True):
            assert point.value == pytest.approx(other.value, rel=1e-5)
    assert {"rank0/step_s", "rank1/step_s", "train/slowest_rank_share"} <= set(ours)
    assert [event.data["name"] for event in read_events(run)].count("finish") == 1
    attempt = run.get_attempt(1)
    assert "step 24/24" in attempt.log_path(1).read_text()
    assert "[rank1]" not in done.stdout
    assert [read_end(run, rank) for rank in range(2)] == [{"exit_code": 0, "reason": "", "step": 24}] * 2


def test_a_process_that_is_killed_ends_the_run_quickly_and_is_named(start: Any) -> None:
    run, process = start(ENDLESS, "ddp")
    wait_until_trained(run, process)
    find_workers(process)[1].kill()
    killed = time.monotonic()
    assert process.wait(60) != 0
    print(f"ended {time.monotonic() - killed:.1f} s after the kill")
    log = (run.path / "out.txt").read_text()
    assert "rank      : 1" in log
    assert "SIGKILL" in log
    assert "another process has gone" in read_end(run, 0)["reason"]
    assert not (run.path / "result.json").exists()


@pytest.mark.parametrize(("number", "codes"), [(signal.SIGINT, {130}), (signal.SIGTERM, {75})])
def test_a_request_to_stop_is_answered_by_all_after_the_same_step(start: Any, number: int, codes: set[int]) -> None:
    run, process = start(ENDLESS, "ddp")
    wait_until_trained(run, process)
    process.send_signal(number)
    process.wait(60)
    ends = [read_end(run, rank) for rank in range(2)]
    assert ends[0]["exit_code"] in codes, (run.path / "out.txt").read_text()
    assert ends[0]["exit_code"] == ends[1]["exit_code"]
    assert ends[0]["step"] == ends[1]["step"] > 0


def test_a_signal_to_one_process_stops_all_after_the_same_step(start: Any) -> None:
    run, process = start(ENDLESS, "fsdp")
    wait_until_trained(run, process)
    find_workers(process)[1].send_signal(signal.SIGINT)
    process.wait(60)
    ends = [read_end(run, rank) for rank in range(2)]
    assert [end["exit_code"] for end in ends] == [130, 130], (run.path / "out.txt").read_text()
    assert ends[0]["step"] == ends[1]["step"] > 0


def test_a_loss_that_is_no_number_in_one_process_ends_all_and_names_step_and_process() -> None:
    Path("flawed.py").write_text(FLAWED)
    text = ONE.replace("{hidden_size: 16, num_layers: 2}", "{architecture: 'flawed:Net'}")
    run, done = train(text + "training: {batch_size: 8, max_epochs: 5, log_frequency: 4}\n", "ddp")
    assert done.returncode == 1
    words = "the loss became NaN at step 5 in process 1"
    assert [words in read_end(run, rank)["reason"] for rank in range(2)] == [True, True]
    assert f"rank 1: {words}" in done.stderr


OWN = """
from torch import nn


class Plain(nn.Module):
    '''Has no list of layers, and a parameter that its output does not depend on.'''

    def __init__(self, num_outputs, with_idle=True):
        super().__init__()
        self.first, self.last = nn.Linear(4, 16), nn.Linear(16, num_outputs)
        self.norm = nn.BatchNorm1d(16)
        if with_idle:
            self.idle = nn.Linear(3, 3)

    def forward(self, inputs):
        return self.last(self.norm(self.first(inputs)).relu())
"""


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_plain_class_of_the_users_is_spread_without_an_edit(strategy: str) -> None:
    Path("own.py").write_text(OWN)
    model = f"model: {{architecture: 'own:Plain', with_idle: {str(strategy == 'ddp').lower()}}}\n"
    text = f"{model}data: {{train_data: 'sklearn:iris'}}\ndevice: cpu\n"
    text += "training: {batch_size: 8, max_epochs: 3, log_frequency: 2, checkpointing: {frequency: 6}}\n"
    run, done = train(text, strategy)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert run.read_json("result.json")["steps"] == 24
    assert ("take no part in the network's output" in run.get_attempt(1).log_path(1).read_text()) == (strategy == "ddp")
    assert load_file(str(run.artifacts / "model.safetensors"))["first.weight"].shape == (16, 4)
