"""A training that is stopped, killed or short of room goes on as if nothing had happened, to the last bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from footplate.record.checkpoints import Checkpoint, find_newest_valid, get_folder, list_checkpoints
from footplate.record.journal import read_events, read_metrics
from footplate.record.rundir import RunDir

SERVER = Path(__file__).with_name("attempts.py")
NET = """
import os, resource, signal
from torch import nn

class Net(nn.Module):
    # Asks to stop, or runs out of room, after so many forward passes of the training in this process.
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, num_outputs)
        )
        self.passes = 0
        self.stop_at = int(os.environ.get("STOP_AT", "-1"))
        self.evaluations = 0
        self.stop_in_evaluation = int(os.environ.get("STOP_IN_EVALUATION", "-1"))
        self.full = [int(word) for word in os.environ.get("FULL", "-1 -1 0").split()]

    def forward(self, x):
        if self.training:
            self.passes += 1
            if self.passes == self.stop_at:
                os.kill(os.getpid(), getattr(signal, os.environ.get("STOP_BY", "SIGUSR1")))
            if self.passes in self.full[:2]:
                size = self.full[2] if self.passes == self.full[0] else resource.RLIM_INFINITY
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        else:
            self.evaluations += len(x) > 2
            if self.evaluations == self.stop_in_evaluation:
                self.stop_in_evaluation = -1
                os.kill(os.getpid(), signal.SIGUSR1)
        return self.layers(x.float())
"""
PROFILE = """
model: {{architecture: "own_net:Net"}}
data: {{train_data: "sklearn:digits"}}
device: cpu
training:
  batch_size: 32
  gradient_accumulation_steps: 2
  learning_rate: 0.01
  max_grad_norm: 1.0
  max_steps: {max_steps}
  eval_frequency: 7
  log_frequency: 3
  scheduler: {{type: linear_warmup_cosine, warmup_steps: 10}}
  early_stopping: {{enabled: true, patience: {patience}}}
  checkpointing: {{frequency: {frequency}, keep_last_n: 2}}
validation: {{save_best_metric: val/accuracy}}
post_training: {{final_evaluation: {{enabled: {judged}}}}}
fault_tolerance: {{resume_from_checkpoint: true}}
"""
NUM_KILLS = 20
TIMES = (
    "samples_per_s",
    "steps_per_s",
    "inference_time",
    "checkpoint/",
    "step_s",
    "data_wait_share",
    "mfu",
    "slowest_rank",
)
"""Metrics of which no two trainings have the same."""
CHECKPOINTED = 75

Attempt = Callable[..., int]


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-P", str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    yield process
    process.communicate()


@pytest.fixture
def attempt(server: subprocess.Popen[str]) -> Attempt:
    """Return a function that does the next attempt of a run and returns its exit code."""

    def do(
        run: RunDir, *, signal: str = "", after_s: float = 0.0, after: str = "metrics", entries: int = 1, **env: str
    ) -> int:
        number = len(run.attempts()) + 1
        home = {name: os.environ[name] for name in ("FOOTPLATE_HOME",)}
        order = {"run": str(run.path), "attempt": number, "env": {**home, **env}}
        order |= {"signal": signal, "after_s": after_s, "after": after, "entries": entries}
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        return int(server.stdout.readline())

    return do


def make_run(max_steps: int = 60, frequency: int = 5, *, judged: str = "false", patience: int = 4) -> RunDir:
    Path("runs").mkdir(exist_ok=True)
    Path("runs/own_net.py").write_text(NET)
    run = RunDir.create(Path("runs"), "test")
    profile = PROFILE.format(max_steps=max_steps, frequency=frequency, judged=judged, patience=patience)
    (run.path / "profile.yaml").write_text(profile)
    return run


def get_outcome(run: RunDir) -> dict[str, Any]:
    """Return what must be the same, bit by bit, however often the training was interrupted."""
    metrics = {
        name: [(point.step, point.value) for point in points]
        for name, points in read_metrics(run).items()
        if not any(word in name for word in TIMES)
    }
    result = run.read_json("result.json")
    weights = {name: (run.artifacts / name).read_bytes() for name in ("last.safetensors", "model.safetensors")}
    told = {key: result[key] for key in ("steps", "epochs", "best", "stopped_by")}
    best = [(entry.data["step"], entry.data["value"]) for entry in read_events(run) if entry.data["name"] == "best"]
    return {**told, "best_events": sorted(set(best)), **metrics, **weights}


def read_log(run: RunDir, number: int) -> str:
    return run.get_attempt(number).log_path().read_text()


def get_events(run: RunDir, name: str) -> list[dict[str, Any]]:
    return [dict(entry.data) for entry in read_events(run) if entry.data["name"] == name]


def check_equal(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == []


@pytest.fixture
def whole(attempt: Attempt) -> dict[str, Any]:
    run = make_run()
    assert attempt(run) == 0, read_log(run, 1)
    return get_outcome(run)


def count_passes(steps: int) -> int:
    """Return the forward passes of so many steps: 1,437 samples are 22 steps of two batches and one of a single one."""
    return 2 * steps - steps // 23


# An epoch has 23 steps. Evaluations are due at 7, 14, …; readings at 3, 6, …; checkpoints at 5, 10, …
@pytest.mark.parametrize(
    "stops",
    [(1,), (2,), (7,), (21,), (23,), (24,), (59,), (60,), (1, 2), (7, 14), (20, 43, 46)],
    ids=lambda stops: "+".join(map(str, stops)),
)
def test_a_preempted_training_goes_on_to_the_same_bits(
    stops: tuple[int, ...], whole: dict[str, Any], attempt: Attempt
) -> None:
    run = make_run()
    for before, stop in zip((0, *stops), stops, strict=False):
        passes = count_passes(stop) - count_passes(before)
        assert attempt(run, STOP_AT=str(passes)) == CHECKPOINTED, read_log(run, len(run.attempts()))
    assert attempt(run) == 0, read_log(run, len(run.attempts()))
    assert [event["step"] for event in get_events(run, "resume")] == list(stops)
    check_equal(get_outcome(run), whole)


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT"])
def test_other_requests_to_stop_leave_a_checkpoint_too(signal: str, whole: dict[str, Any], attempt: Attempt) -> None:
    run = make_run()
    assert attempt(run, STOP_AT="34", STOP_BY=signal) == (130 if signal == "SIGINT" else CHECKPOINTED)
    assert [checkpoint.step for checkpoint in list_checkpoints(get_folder(run))][-1] == 17
    assert attempt(run) == 0, read_log(run, 2)
    check_equal(get_outcome(run), whole)


@pytest.mark.parametrize("passes", [1, 3, 17])  # two batches each: of the evaluations at 7, at 14, and at the end
def test_an_evaluation_that_is_broken_off_is_done_by_the_next_attempt(
    passes: int, whole: dict[str, Any], attempt: Attempt
) -> None:
    run = make_run()
    assert attempt(run, STOP_IN_EVALUATION=str(passes)) == CHECKPOINTED, read_log(run, 1)
    assert attempt(run) == 0, read_log(run, 2)
    assert [event["step"] for event in get_events(run, "resume")] == [{1: 7, 3: 14, 17: 60}[passes]]
    check_equal(get_outcome(run), whole)


def test_a_preempted_training_is_not_judged(attempt: Attempt) -> None:
    run = make_run(judged="true")
    assert attempt(run, STOP_AT="20") == CHECKPOINTED
    assert run.find_json("result.json") is None
    assert not any(name.startswith("test/") for name in read_metrics(run))
    assert attempt(run) == 0
    assert any(name.startswith("test/") for name in read_metrics(run))


def damage(path: Path) -> None:
    file = max(path.glob("*.safetensors"), key=lambda one: one.stat().st_size)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(max(path.iterdir(), key=lambda one: one.stat().st_size), 10)


def leave_half_written(path: Path) -> None:
    (path / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [(damage, "SHA-256"), (truncate, "10 bytes instead of"), (leave_half_written, "not written to its end")],
)
def test_a_damaged_checkpoint_is_skipped_and_named(
    harm: Callable[[Path], None], reason: str, whole: dict[str, Any], attempt: Attempt
) -> None:
    run = make_run()
    assert attempt(run, STOP_AT="44") == CHECKPOINTED
    newest, _ = find_newest_valid(get_folder(run))
    assert newest is not None
    assert newest.step == 22
    harm(newest.path)
    assert attempt(run) == 0
    [event] = get_events(run, "resume")
    assert event["step"] == 20
    assert "step-00000022" in str(event["skipped"])
    assert reason in str(event["skipped"])
    log = read_log(run, 2)
    assert "step-00000022" in log
    assert reason in log
    check_equal(get_outcome(run), whole)


def test_a_full_disk_costs_no_checkpoint_and_no_training(whole: dict[str, Any], attempt: Attempt) -> None:
    run = make_run()
    assert attempt(run, FULL="40 90 15000") == 0, read_log(run, 1)  # the weights fit, with the optimiser they don't
    failed = get_events(run, "checkpoint_failed")
    assert failed
    assert 15 <= failed[0]["step"] < 45  # that of step 15 may still be under way at step 20
    assert "File too large" in failed[0]["reason"]
    assert "File too large" in read_log(run, 1)
    kept, skipped = find_newest_valid(get_folder(run))
    assert kept is not None
    assert kept.step == failed[0]["step"] - 5
    assert skipped == []
    assert not list(get_folder(run).glob("*.tmp"))
    check_equal(get_outcome(run), whole)


SPREAD = """
model: {{architecture: mlp, hidden_size: 16, num_layers: 2, dropout: 0.2}}
data: {{train_data: "sklearn:digits"}}
device: cpu
training:
  batch_size: {batch_size}
  max_steps: {max_steps}
  log_frequency: 3
  eval_frequency: 7
  checkpointing: {{frequency: 5}}
post_training: {{final_evaluation: {{enabled: false}}}}
"""


def train_spread(run: RunDir, *, num_processes: int, max_steps: int = 30) -> None:
    """Do the next attempt of a run with so many processes, sharded if there are several."""
    text = SPREAD.format(batch_size=64 // num_processes, max_steps=max_steps)
    command = [sys.executable, "-P", "-m", "footplate.worker", "train", str(run.path)]
    if num_processes > 1:
        strategy = "fsdp" if "fsdp" in run.path.name else "ddp"
        text += f"distributed: {{enabled: true, strategy: {strategy}, world_size: {num_processes}, timeout: 60}}\n"
        launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes), "--no-python"]
        command = [sys.executable, "-P", "-m", *launcher, *command]
    (run.path / "profile.yaml").write_text(text)
    number = len(run.attempts()) + 1
    environment = {**os.environ, "FOOTPLATE_ATTEMPT": str(number), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_processes_go_on_together_and_one_goes_on_for_two(strategy: str) -> None:
    Path("runs").mkdir()
    whole, run = (RunDir.create(Path("runs"), f"{strategy}-{name}") for name in ("whole", "run"))
    train_spread(whole, num_processes=2)
    train_spread(run, num_processes=2, max_steps=17)
    newest, _ = find_newest_valid(get_folder(run))
    assert newest is not None
    assert (newest.step, newest.world_size) == (15, 2)
    alone = RunDir(path=Path(shutil.copytree(run.path, "runs/alone")).absolute())
    train_spread(run, num_processes=2)
    assert [event["step"] for event in get_events(run, "resume")] == [15]
    found, wanted = get_outcome(run), get_outcome(whole)
    assert 17 in [step for step, _ in found.pop("best_events")]  # of the end that was none, and is rewound
    del wanted["best_events"]
    check_equal(found, wanted)
    train_spread(alone, num_processes=1)
    assert [event["step"] for event in get_events(alone, "resume")] == [15]
    ends = [read_progress(find_newest_valid(get_folder(one))[0]) for one in (alone, whole)]
    assert ends[0] == ends[1]
    losses = [dict(get_outcome(one)["train/loss"]) for one in (alone, whole)]
    assert losses[0].keys() == losses[1].keys()
    assert losses[0][15] == losses[1][15]
    assert losses[0][30] == pytest.approx(losses[1][30], rel=0.2)  # dropout draws otherwise


def read_progress(checkpoint: Checkpoint | None) -> dict[str, Any]:
    assert checkpoint is not None
    return dict(json.loads((checkpoint.path / "training.json").read_text())["progress"])


def kill_at_random(attempt: Attempt, run: RunDir, chance: random.Random, num_kills: int, longest_s: float) -> int:
    kills = 0
    for _ in range(num_kills):
        after = chance.choice(("event", "metrics", "metrics", "metrics"))
        entries = chance.randint(1, 30) if after == "metrics" else 1  # it gets on, however slow the machine
        code = attempt(run, signal="SIGKILL", after_s=chance.uniform(0, longest_s), after=after, entries=entries)
        if code == 0:
            return kills
        assert code == -9, read_log(run, len(run.attempts()))
        kills += 1
    assert attempt(run) == 0, read_log(run, len(run.attempts()))
    return kills


def check_kills(attempt: Attempt, num_kills: int, max_steps: int, longest_s: float) -> None:
    undisturbed = make_run(max_steps, frequency=4, patience=max_steps)  # early stopping would end it before the kills
    assert attempt(undisturbed) == 0, read_log(undisturbed, 1)
    run = make_run(max_steps, frequency=4, patience=max_steps)
    assert kill_at_random(attempt, run, random.Random(7), num_kills, longest_s) == num_kills
    resumed = [event["step"] for event in get_events(run, "resume")]
    assert len(set(resumed)) > num_kills // 4
    check_equal(get_outcome(run), get_outcome(undisturbed))
    assert not list(get_folder(run).glob("*.tmp"))


def test_kills_at_random_moments_change_no_bit(attempt: Attempt) -> None:
    check_kills(attempt, NUM_KILLS, max_steps=6000, longest_s=0.05)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_two_hundred_kills_change_no_bit(attempt: Attempt) -> None:
    check_kills(attempt, 200, max_steps=60_000, longest_s=0.05)
