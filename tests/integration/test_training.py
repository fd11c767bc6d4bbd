"""The worker as a job runs it: a process, a run directory, exit codes, what it prints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footplate.record.checkpoints import get_folder, list_checkpoints
from footplate.record.journal import read_events, read_metrics
from footplate.record.rundir import RunDir

LIMIT_S = 120.0


def run_worker(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "footplate.worker", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def make_run(profile: str) -> RunDir:
    run = RunDir.create(Path("runs"), "test")
    run.new_attempt()
    (run.path / "profile.yaml").write_text(profile)
    return run


def train(profile: str, *, code: int = 0) -> tuple[RunDir, subprocess.CompletedProcess[str]]:
    run = make_run(profile)
    done = run_worker("train", str(run.path))
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return run, done


def test_digits_are_trained_recorded_and_told(tmp_path: Path) -> None:
    run, done = train(
        'data: {train_data: "sklearn:digits"}\n'
        "training: {max_epochs: 2, learning_rate: 0.003}\nlogging: {log_file: mine.log, log_dir: logs}\n"
    )
    lines = done.stdout.splitlines()
    found = next(number for number, line in enumerate(lines) if "1,437 × [8, 8] float64" in line)
    started = next(number for number, line in enumerate(lines) if line.startswith("step "))
    assert found < started
    assert done.stderr == ""
    assert (tmp_path / "logs" / "mine.log").read_text() == done.stdout
    result = run.read_json("result.json")
    assert result["metrics"]["test/accuracy"] > 0.8
    assert result["stopped_by"] == "max_epochs"
    assert all((run.path / file).is_file() for file in result["files"].values())
    assert len(result["tables"]["confusion"]) == len(result["tables"]["classes"]) == 10
    names = [entry.data["name"] for entry in read_events(run)]
    assert names[:2] == ["data", "start"]
    assert names[-1] == "finish"
    metrics = read_metrics(run)
    assert metrics["test/accuracy"][-1].value == result["metrics"]["test/accuracy"]
    assert {"train/loss", "train/lr", "train/samples_per_s", "train/steps_per_s", "val/loss"} <= set(metrics)


def test_a_csv_of_quantities_is_learnt() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 3))
    target = 100 + 10 * rows[:, 0] - 5 * rows[:, 1]
    lines = [",".join(f"{value:.6f}" for value in (*row, wanted)) for row, wanted in zip(rows, target, strict=True)]
    Path("houses.csv").write_text("\n".join(["rooms,age,noise,price", *lines]) + "\n")
    run, _ = train(
        "data: {train_data: houses.csv, preprocessing: {normalize: true, normalize_targets: true}}\n"
        "training: {max_epochs: 40, learning_rate: 0.01}\n"
    )
    assert run.read_json("result.json")["metrics"]["test/r2"] > 0.95


def test_sequences_are_learnt_by_a_transformer() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 100, 32)).astype(np.float32)
    np.savez("sequences.npz", x=x, y=x.mean(axis=1)[:, :10] * 10)
    run, done = train(
        "model: {architecture: transformer, hidden_size: 32, num_layers: 1}\n"
        "data: {train_data: sequences.npz, input_shape: [100, 32], output_shape: [10]}\n"
        "training: {max_epochs: 6, learning_rate: 0.01, max_grad_norm: 1.0}\n"
    )
    assert "[100, 32]" in done.stdout
    assert run.read_json("result.json")["metrics"]["test/r2"] > 0.3


def test_a_class_of_the_users_in_the_current_directory_is_trained() -> None:
    write_users_class()
    for name in ("json", "queue", "random", "types", "click"):  # of the user's, but not for Footplate to import
        Path(f"{name}.py").write_text("raise ImportError('not what Python means by this name')")
    run, done = train(
        "model: {architecture: 'my_net:Net', width: 12}\n"
        "data: {train_data: 'sklearn:iris'}\ntraining: {max_epochs: 2, optimizer: 'my_net:Plain'}\n"
    )
    assert "my_net:Net, 99 parameters" in done.stdout
    assert run.read_json("result.json")["steps"] == 8
    assert run.read_json("data.json")["sets"]["train"]["source"] == "sklearn:iris"


@pytest.mark.parametrize(
    ("profile", "code", "words"),
    [
        ("data: {train_data: 'sklearn:iris'}\ndevice: cuda\n", 64, "there is: cpu"),
        ("data: {train_data: missing.csv}\n", 64, "missing.csv"),
        ("data: {train_data: nan.npz}\n", 64, "NaN"),
        (
            "model: {architecture: 'my_net:Fixed'}\ndata: {train_data: 'sklearn:iris'}\n",
            64,
            "shape mismatch: my_net:Fixed does not take inputs of shape [4]",
        ),
        (
            "data: {train_data: 'sklearn:iris'}\ntraining: {optimizer: sgd, learning_rate: 1.0e+30}\n",
            1,
            "the loss became",
        ),
        (
            "model: {architecture: 'my_net:Greedy'}\ndata: {train_data: 'sklearn:iris'}\n",
            76,
            "with batches of 1 sample",
        ),
        ("model: {architecture: 'my_net:Broken'}\ndata: {train_data: 'sklearn:iris'}\n", 1, "ZeroDivisionError"),
    ],
)
@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="one of them needs a machine without a GPU")
def test_what_goes_wrong_is_told_and_has_its_exit_code(profile: str, code: int, words: str) -> None:
    write_users_class()
    np.savez("nan.npz", x=np.full((20, 3), np.nan, np.float32), y=np.zeros(20))
    _, done = train(profile, code=code)
    assert words in done.stderr
    assert ("Traceback" in done.stderr) == (words == "ZeroDivisionError")


@pytest.fixture
def start() -> Iterator[Callable[[str], tuple[RunDir, subprocess.Popen[str]]]]:
    """Return a function that starts a training in a process that is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def launch(profile: str) -> tuple[RunDir, subprocess.Popen[str]]:
        run = make_run(profile)
        command = [sys.executable, "-P", "-m", "footplate.worker", "train", str(run.path)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        started.append(process)
        return run, process

    yield launch
    for process in started:
        process.kill()
        process.communicate()


ENDLESS = "data: {train_data: 'sklearn:digits'}\ntraining: {max_epochs: 1000000, log_frequency: 1}\n"


def test_an_interrupted_training_leaves_a_usable_run(
    start: Callable[[str], tuple[RunDir, subprocess.Popen[str]]],
) -> None:
    run, process = start(ENDLESS)
    wait_until(lambda: len(read_metrics(run).get("train/loss", ())) > 30)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, out
    result = run.read_json("result.json")
    assert result["stopped_by"] == "interrupted"
    assert result["steps"] >= 30
    assert result["metrics"]["test/accuracy"] > 0
    assert "interrupted" in [entry.data["name"] for entry in read_events(run)]
    from footplate.trainer.weights import load_network

    for name in ("model.safetensors", "last.safetensors"):
        load_network(run.artifacts, name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_preempted_training_leaves_a_checkpoint(
    number: signal.Signals, start: Callable[[str], tuple[RunDir, subprocess.Popen[str]]]
) -> None:
    run, process = start(ENDLESS)
    wait_until(lambda: len(read_metrics(run).get("train/loss", ())) > 30)
    process.send_signal(number)
    out, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 75, out
    assert run.find_json("result.json") is None
    [checkpoint] = list_checkpoints(get_folder(run))
    [event] = [entry.data for entry in read_events(run) if entry.data["name"] == "checkpoint"]
    assert event["step"] == checkpoint.step >= 30
    assert event["path"] == checkpoint.name


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)])
def test_a_stop_before_the_training_ends_it_quickly(
    number: signal.Signals, code: int, start: Callable[[str], tuple[RunDir, subprocess.Popen[str]]]
) -> None:
    run, process = start(ENDLESS)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("data:")  # torch is loaded next
    process.send_signal(number)
    before = time.monotonic()
    out, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == code, out
    assert time.monotonic() - before < 10
    assert run.find_json("result.json") is None


def test_killed_training_leaves_every_number_it_had_written(
    start: Callable[[str], tuple[RunDir, subprocess.Popen[str]]],
) -> None:
    run, process = start(ENDLESS)
    wait_until(lambda: len(read_metrics(run).get("val/loss", ())) > 2)
    process.kill()
    process.communicate(timeout=LIMIT_S)
    steps = [point.step for point in read_metrics(run)["train/loss"]]
    assert steps == list(range(1, len(steps) + 1))
    from footplate.trainer.weights import load_network

    load_network(run.artifacts)


def test_measure_times_real_steps() -> None:
    run = make_run("data: {train_data: 'sklearn:iris'}\ntraining: {max_epochs: 3}\n")
    done = run_worker("measure", str(run.path))
    assert done.returncode == 0, done.stderr
    result = run.read_json("result.json")
    assert result["steps"] == 12  # shorter than 50: 3 epochs of 4 steps
    low_s, high_s = result["step_s_range"]
    assert 0 < low_s <= result["step_s"] <= high_s
    assert result["samples_per_s"] > 0
    assert result["energy_note"]
    assert (result["energy_j_per_step"] is None) or result["energy_j_per_step"] > 0


def inspect(profile: str) -> dict[str, Any]:
    done = run_worker("inspect", text=json.dumps({"profile_yaml": profile}))
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def test_inspect_tells_data_parameters_and_versions() -> None:
    facts = inspect("data: {train_data: 'sklearn:digits'}\n")
    assert facts["data"]["num_train"] == 1437
    assert facts["data"]["input_shape"] == [8, 8]
    assert facts["num_parameters"] == 64 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10
    assert facts["versions"]["pytorch"]
    assert facts["problems"] == facts["not_checked"] == []


def test_inspect_names_a_class_that_does_not_take_the_data() -> None:
    Path("narrow.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(7, 10)\n"
        "    def forward(self, x):\n        return self.layer(x.flatten(1))\n"
    )
    facts = inspect("data: {train_data: 'sklearn:digits'}\nmodel: {architecture: 'narrow:Net'}\n")
    (problem,) = facts["problems"]
    assert problem["key"] == "model.architecture"
    assert problem["message"].startswith("shape mismatch: narrow:Net does not take inputs of shape [8, 8]")


def test_inspect_counts_a_class_that_prints_and_names_what_is_wrong() -> None:
    write_users_class()
    facts = inspect(
        "model: {architecture: 'my_net:Net', width: 12}\ndata: {train_data: 'sklearn:iris'}\n"
        "training: {optimizer: 'my_net:Missing'}\n"
    )
    assert facts["num_parameters"] == 99
    (problem,) = facts["problems"]
    assert problem["key"] == "training.optimizer"
    assert problem["message"].startswith("my_net has no class Missing; it has: Broken")
    facts = inspect("data: {train_data: missing.csv}\n")
    assert facts["data"] is None
    (problem,) = facts["problems"]
    assert (problem["key"], set(problem)) == ("data.train_data", {"key", "message", "hint"})
    assert "missing.csv" in problem["message"]
    assert "looked up from" in problem["hint"]


def write_users_class() -> None:
    Path("my_net.py").write_text(
        """
import torch
from torch import nn

print("my module says hello")

class Net(nn.Sequential):
    def __init__(self, width, input_shape, num_outputs):
        super().__init__(nn.Linear(*input_shape, width), nn.Tanh(), nn.Linear(width, num_outputs))

class Fixed(nn.Linear):
    def __init__(self):
        super().__init__(5, 3)

class Greedy(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)
    def forward(self, inputs):
        if self.training:
            torch.empty(2**48)
        return super().forward(inputs)

class Broken(Greedy):
    def forward(self, inputs):
        return 1 / 0 if self.training else nn.Linear.forward(self, inputs)

class Plain(torch.optim.SGD):
    pass
"""
    )


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)
