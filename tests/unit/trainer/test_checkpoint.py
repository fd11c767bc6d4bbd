"""What a training keeps of itself: all that it needs to go on to the same bits, and what it refuses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footplate.data.load import load_data
from footplate.errors import InputError
from footplate.profile.load import load_profile_text
from footplate.record.checkpoints import find_newest_valid, get_folder, list_checkpoints
from footplate.record.journal import Journal, read_events, read_metrics
from footplate.record.rundir import RunDir
from footplate.trainer.interrupt import Interrupt
from footplate.trainer.training import train_model

OWN = """
import torch
from torch import nn
from torch.optim import SGD, Optimizer

class Remembering(SGD):
    # Steps by what it has counted: in the group, in lists, under a name, and in an attribute of its own.
    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.defaults["count"] = 0
        for group in self.param_groups:
            group["count"] = 0
        self.own = 1.0

    def step(self, closure=None):
        common = self.state.setdefault("common", {"total": torch.zeros(())})
        for group in self.param_groups:
            group["count"] += 1
            for p in group["params"]:
                kept = self.state[p]
                history = kept.setdefault("history", [torch.zeros_like(p), [0.0, torch.zeros(3, dtype=torch.float64)]])
                history[0].lerp_(p.grad, 0.5)
                history[1][0] += 0.125
                history[1][1] += 0.1
                common["total"] += p.grad.abs().sum()
                scale = 1 + history[1][0] + history[1][1].sum().item() + 1 / (1 + common["total"].item())
                p.data.add_(history[0], alpha=-group["lr"] * scale * self.own / group["count"] ** 0.1)
        self.own *= 0.99

    def state_dict(self):
        return {**super().state_dict(), "own": self.own}

    def load_state_dict(self, state):
        self.own = state["own"]
        super().load_state_dict({key: value for key, value in state.items() if key != "own"})

class Secretive(SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr)

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["seen"] = {1, 2}
        super().step()

class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x):
        if self.training:
            self.seen += x.abs().mean()
        return x * (1 + 0.01 * self.seen)

class Net(nn.Module):
    def __init__(self, input_shape, num_outputs, hidden_size, num_layers, dropout):
        super().__init__()
        self.counter = Counter()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, num_outputs))

    def forward(self, x):
        return self.layers(self.counter(x))
"""
PROFILE = """
model: {hidden_size: 16, num_layers: 1, dropout: 0.2}
data: {train_data: "sklearn:iris", preprocessing: {normalize: true}}
device: cpu
training:
  batch_size: 16
  learning_rate: 0.01
  max_epochs: 3
  log_frequency: 3
  eval_frequency: 5
  checkpointing: {frequency: 4}
"""
TIMES = ("samples_per_s", "steps_per_s", "inference_time", "checkpoint/", "data_wait_share", "latency")
Go = Callable[..., dict[str, Any]]


class StopsAfter(Interrupt):
    """A preemption that comes while the step is done at which it was looked at so many times."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        super().__init__()

    @property
    def reason(self) -> str:
        self.looks -= 1
        return "preempted" if self.looks < 0 else ""

    @reason.setter
    def reason(self, value: str) -> None:
        pass


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Go:
    """Return a function that does the next attempt of a run; it stops when it was looked at so many times."""
    (tmp_path / "own_state.py").write_text(OWN)

    def attempt(
        run: RunDir, *overrides: str, stop: int | Interrupt | None = None, text: str = PROFILE
    ) -> dict[str, Any]:
        profile = load_profile_text(text, overrides=overrides)
        folder = run.new_attempt()
        monkeypatch.setenv("FOOTPLATE_ATTEMPT", str(folder.number))
        with Journal(folder.journal_path()) as journal:
            interrupt = StopsAfter(stop) if isinstance(stop, int) else stop or Interrupt()
            return train_model(profile, load_data(profile), run, journal, interrupt)

    return attempt


def make_run() -> RunDir:
    return RunDir.create(Path("runs"), "test")


def get_outcome(run: RunDir) -> dict[str, Any]:
    metrics = {
        name: [(point.step, point.value) for point in points]
        for name, points in read_metrics(run).items()
        if not any(word in name for word in TIMES)
    }
    return metrics | {name: (run.artifacts / name).read_bytes() for name in ("last.safetensors", "model.safetensors")}


def get_event(run: RunDir, name: str) -> dict[str, Any]:
    return [dict(entry.data) for entry in read_events(run) if entry.data["name"] == name][-1]


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("training.optimizer=sgd",),
        ("training.optimizer=adagrad",),
        ("training.optimizer=rmsprop",),
        ("training.optimizer=own_state:Remembering",),
        ("model.architecture=own_state:Net",),
        ("training.ema={enabled: true, decay: 0.9}",),
        ("training.mixed_precision={enabled: true, precision: bf16}",),
        ("training.gradient_accumulation_steps=3", "training.batch_size=5"),
        ("training.early_stopping={enabled: true, patience: 2, min_delta: 0.2}", "training.max_epochs=30"),
        ("validation.strategy=epoch_end", "training.scheduler={type: one_cycle}"),
        ("data.augmentation={enabled: true, noise_std: 0.1}",),
    ],
    ids=lambda overrides: " ".join(overrides) or "adamw",
)
def test_two_interruptions_change_no_bit(overrides: tuple[str, ...], go: Go) -> None:
    whole, run = make_run(), make_run()
    go(whole, *overrides)
    assert go(run, *overrides, stop=4)["stopped_by"] == "preempted"
    assert go(run, *overrides, stop=5)["stopped_by"] == "preempted"
    go(run, *overrides)
    steps = [entry.data["step"] for entry in read_events(run) if entry.data["name"] == "resume"]
    assert 0 < steps[0] < steps[1] < run_steps(whole)
    found, wanted = get_outcome(run), get_outcome(whole)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == []


def run_steps(run: RunDir) -> int:
    return max(point.step for point in read_metrics(run)["train/loss"])


@pytest.mark.parametrize(("looks_left", "place"), [(100, "evaluation"), (50, "latency")])
def test_a_final_evaluation_that_is_broken_off_is_done_by_the_next_attempt(looks_left: int, place: str, go: Go) -> None:
    whole, run, never = make_run(), make_run(), StopsAfter(10**9)
    wanted = go(whole, stop=never)["metrics"]
    looks = 10**9 - never.looks  # the last hundred of them: at one prediction each
    assert go(run, stop=looks - looks_left - 1)["stopped_by"] == "preempted"
    assert run.find_json("result.json") is None, place
    assert not any(name.startswith("test/") for name in read_metrics(run))
    found = go(run)
    assert found["stopped_by"] == "max_epochs"
    assert get_outcome(run) == get_outcome(whole)
    assert found["metrics"].keys() == wanted.keys()


def test_workers_may_come_with_the_resume(go: Go) -> None:
    augmented = "data.augmentation={enabled: true, noise_std: 0.1}"
    whole, run = make_run(), make_run()
    go(whole, augmented)
    go(run, augmented, stop=6)
    go(run, augmented, "data.num_workers=2")
    assert get_outcome(run) == get_outcome(whole)


def test_an_optimizer_that_cannot_be_saved_is_refused_after_the_first_step(go: Go) -> None:
    run = make_run()
    with pytest.raises(InputError, match=r"own_state:Secretive keeps what a checkpoint cannot hold: .*seen is a set"):
        go(run, "training.optimizer=own_state:Secretive")
    assert go(run, "training.optimizer=own_state:Secretive", "training.checkpointing.save_optimizer_state=false")


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("model.hidden_size=8", "model: .*16.*8"),
        ("training.optimizer=sgd", "optimizer: 'adamw' there, 'sgd' here"),
        ("training.batch_size=8", "samples of a step: 16 there, 8 here"),
        ("reproducibility.seed=7", "seed: 42 there, 7 here"),
        ("data.train_data='sklearn:wine'", "samples: 120 there"),
    ],
)
def test_another_training_is_refused_with_its_differences(override: str, difference: str, go: Go) -> None:
    run = make_run()
    go(run, stop=6)
    with pytest.raises(InputError, match=difference):
        go(run, override)


def write_rows(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [f"{a:.6f},{b:.6f},{int(a > b)}" for a, b in rng.normal(size=(100, 2))]
    path.write_text("\n".join(["a,b,y", *rows]) + "\n")


def test_edited_data_are_refused_and_copied_ones_are_not(go: Go, tmp_path: Path) -> None:
    from footplate.data.fingerprint import fingerprint

    def prepare(run: RunDir, name: str) -> str:
        run.write_json("data.json", fingerprint(load_profile_text(PROFILE, overrides=[f"data.train_data={name}"])))
        return f"data.train_data={name}"

    write_rows(tmp_path / "rows.csv", 1)
    run = make_run()
    go(run, prepare(run, "rows.csv"), stop=6)
    (tmp_path / "copied.csv").write_bytes((tmp_path / "rows.csv").read_bytes())
    go(run, prepare(run, "copied.csv"), stop=2)
    write_rows(tmp_path / "rows.csv", 2)
    with pytest.raises(InputError, match=r"data.train_data: other files, or other content"):
        go(run, prepare(run, "rows.csv"))


def test_a_change_that_matters_less_is_told(go: Go, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run()
    go(run, stop=6)
    with caplog.at_level(logging.WARNING):
        go(run, "training.learning_rate=0.02", stop=3)
    assert "training.learning_rate is not 0.01 any more, but 0.02" in caplog.text


def test_a_training_that_has_ended_can_be_made_longer(go: Go) -> None:
    whole, run = make_run(), make_run()
    go(whole, "training.max_epochs=4")
    go(run)
    result = go(run, "training.max_epochs=4")
    assert result["stopped_by"] == "max_epochs"
    assert get_event(run, "resume")["step"] == 24
    assert (run.artifacts / "last.safetensors").read_bytes() == (whole.artifacts / "last.safetensors").read_bytes()


def test_a_training_that_stopped_early_goes_on_once_that_is_switched_off(go: Go) -> None:
    run, stopping = make_run(), "training.early_stopping={enabled: true, patience: 1, min_delta: 9.0}"
    saving = "training.checkpointing={frequency: 5}"
    assert go(run, stopping, saving)["stopped_by"] == "early_stopping"
    assert go(run, stopping, saving)["stopped_by"] == "early_stopping"
    assert go(run, saving)["stopped_by"] == "max_epochs"
    assert get_event(run, "resume")["step"] == 10


def test_a_training_that_has_ended_ends_again_at_once(go: Go) -> None:
    whole, run = make_run(), make_run()
    go(whole)
    go(run)
    go(run)
    assert get_outcome(run) == get_outcome(whole)


def test_another_run_starts_from_a_named_checkpoint_and_goes_on_from_its_own(go: Go) -> None:
    whole, first = make_run(), make_run()
    go(whole)
    go(first, stop=6)
    newest, _ = find_newest_valid(get_folder(first))
    assert newest is not None
    named = f"fault_tolerance.checkpoint_path={newest.path}"
    second = make_run()
    assert go(second, named, stop=4)["stopped_by"] == "preempted"
    assert get_event(second, "resume")["step"] == newest.step
    go(second, named)
    assert get_event(second, "resume")["step"] > newest.step
    assert (second.artifacts / "last.safetensors").read_bytes() == (whole.artifacts / "last.safetensors").read_bytes()


def test_a_run_that_is_sent_back_to_a_named_checkpoint_goes_there(go: Go) -> None:
    run = make_run()
    go(run)
    earlier = list_checkpoints(get_folder(run))[0]
    go(run, f"fault_tolerance.checkpoint_path={earlier.path}")
    assert get_event(run, "resume")["step"] == earlier.step
    assert list_checkpoints(get_folder(run))[-1].attempt == 2


def test_without_resume_another_attempt_begins_anew(go: Go) -> None:
    whole, run = make_run(), make_run()
    go(whole)
    go(run, stop=6)
    go(run, "fault_tolerance.resume_from_checkpoint=false")
    assert get_event(run, "resume")["step"] == 0
    assert get_outcome(run) == get_outcome(whole)


def test_checkpoints_that_are_switched_off_are_not_there(go: Go) -> None:
    run = make_run()
    go(run, "training.checkpointing.enabled=false")
    assert not get_folder(run).exists()


def test_only_the_best_are_saved(go: Go) -> None:
    run = make_run()
    go(run, "training.checkpointing={save_best_only: true, keep_last_n: 50}")
    steps = {checkpoint.step for checkpoint in list_checkpoints(get_folder(run))}
    assert steps == {entry.data["step"] for entry in read_events(run) if entry.data["name"] == "best"}


def test_without_the_optimizer_it_goes_on_and_says_so(go: Go, caplog: pytest.LogCaptureFixture) -> None:
    run, lean = make_run(), "training.checkpointing.save_optimizer_state=false"
    go(run, lean, stop=6)
    with caplog.at_level(logging.WARNING):
        go(run, lean)
    assert "holds no optimiser state" in caplog.text


def test_the_older_spelling_of_the_frequency_counts(go: Go) -> None:
    run = make_run()
    go(run, text=PROFILE.replace("checkpointing: {frequency: 4}", "save_frequency: 9"))
    assert [checkpoint.step for checkpoint in list_checkpoints(get_folder(run))] == [9, 18]
