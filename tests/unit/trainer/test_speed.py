"""Faster and smaller: the mean of the weights, channels last, the profiler window, anomalies, and their numbers."""

from __future__ import annotations

import copy
import gzip
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from footplate.errors import InputError
from footplate.profile.load import load_profile_text
from footplate.profile.sections.training import Compile, Ema
from footplate.trainer import speed
from footplate.trainer.ema import WeightMean, make_weight_mean
from footplate.trainer.progress import Progress
from footplate.trainer.speed import compile_network, make_cache_release, order_channels

CPU = torch.device("cpu")
IMAGES = """
model: {architecture: cnn, hidden_size: 8, num_layers: 2}
data: {train_data: "images.npz", split: {val: 0.2, test: 0.2}}
training: {batch_size: 16, learning_rate: 0.01, max_epochs: 2, log_frequency: 1}
"""


@pytest.fixture(autouse=True)
def _anomalies_as_they_were() -> Iterator[None]:
    yield
    torch.autograd.set_detect_anomaly(False)


def write_images() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    np.savez("images.npz", x=rng.normal(size=(100, 3, 8, 8)).astype(np.float32), y=rng.integers(0, 3, 100))


def make_network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def test_the_mean_of_the_weights_is_that_of_the_textbook() -> None:
    model = make_network()
    mean = WeightMean(model, 0.9)
    expected = {name: parameter.detach().clone().double() for name, parameter in model.named_parameters()}
    for _ in range(20):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(8, 4))
        mean.on_step(Progress(num_train=1))
        for name, parameter in model.named_parameters():
            expected[name] = 0.9 * expected[name] + 0.1 * parameter.detach().double()
    for name, parameter in mean.model.named_parameters():
        torch.testing.assert_close(parameter.double(), expected[name], rtol=1e-5, atol=1e-6)
        assert not parameter.requires_grad
    for one, other in zip(mean.model.buffers(), model.buffers(), strict=True):
        assert torch.equal(one, other)
    assert not mean.model.training


def test_the_mean_goes_on_to_the_bit_from_its_state() -> None:
    def move(model: nn.Module, mean: WeightMean, steps: range) -> None:
        for step in steps:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.full_like(parameter, 0.1 * step))
            mean.on_step(Progress(num_train=1))

    model = make_network()
    whole = WeightMean(model, 0.99)
    move(model, whole, range(5))
    saved = {name: value.clone() for name, value in whole.state_dict().items()}
    again = copy.deepcopy(model)
    resumed = WeightMean(make_network(), 0.99)
    resumed = WeightMean(again, 0.99)
    resumed.load_state_dict(saved)
    move(model, whole, range(5, 9))
    move(again, resumed, range(5, 9))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_the_mean_is_judged_and_kept_and_the_last_weights_too(train: Callable[..., Any]) -> None:
    plain = train("training.max_steps=12")
    meant = train("training.max_steps=12", "training.ema={enabled: true, decay: 0.9}")
    assert meant.get_values("train/loss") == plain.get_values("train/loss")
    assert meant.get_values("val/loss") != plain.get_values("val/loss")
    last = [load_file(one.run.path / "artifacts" / "last.safetensors") for one in (plain, meant)]
    best = load_file(meant.run.path / "artifacts" / "model.safetensors")
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[0])
    assert not any(torch.equal(best[name], last[1][name]) for name in best)


class Uncopied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.kept = self.weight * 2


def test_a_network_that_has_no_mean_is_told() -> None:
    with pytest.raises(InputError, match=r"training.ema: the network cannot be copied: RuntimeError"):
        make_weight_mean(Ema(enabled=True), Uncopied(), is_sharded=False)
    with pytest.raises(InputError, match="shared out among processes"):
        make_weight_mean(Ema(enabled=True), make_network(), is_sharded=True)
    assert make_weight_mean(Ema(), make_network(), is_sharded=True) is None


def test_channels_last_gives_the_same_losses(train: Callable[..., Any]) -> None:
    write_images()
    plain = train(text=IMAGES)
    other = train("embedded_optimizations.channels_last_memory_format=true", text=IMAGES)
    assert other.get_values("train/loss") == pytest.approx(plain.get_values("train/loss"), rel=1e-3)
    assert other.get_values("val/loss") == pytest.approx(plain.get_values("val/loss"), rel=1e-3)


def test_channels_last_orders_weights_and_images(caplog: pytest.LogCaptureFixture) -> None:
    from footplate.data.load import load_data
    from footplate.trainer.assemble import assemble

    write_images()
    profile = load_profile_text(IMAGES, overrides=["embedded_optimizations.channels_last_memory_format=true"])
    parts = assemble(profile, load_data(profile))
    weights = [parameter for parameter in parts.model.parameters() if parameter.ndim == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    batch = next(parts.train.take(0, 0, 0, 8).split(8))
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
    assert batch.inputs.shape == (8, 3, 8, 8)
    caplog.set_level(logging.INFO)
    assert order_channels(nn.Linear(2, 2), profile, (4,)) is not None
    assert "the inputs are no images" in caplog.text


def test_a_cache_is_released_on_gpus_only(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    profile = load_profile_text("embedded_optimizations: {empty_cache_frequency: 3}")
    assert make_cache_release(profile, CPU) == []
    assert "nothing to release here" in caplog.text
    released: list[int] = []
    (hook,) = make_cache_release(profile, torch.device("cuda"))
    progress = Progress(num_train=100)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: released.append(progress.step))
    for _ in range(7):
        progress.count(1)
        hook.on_step(progress)
    assert released == [3, 6]
    assert make_cache_release(load_profile_text("{}"), torch.device("cuda")) == []


def test_without_a_compiler_the_network_is_trained_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_network()
    assert compile_network(model, Compile(), CPU) is model
    monkeypatch.setattr(speed, "find_missing_compiler", lambda device: "there is no C++ compiler (g++ or clang++) here")
    assert compile_network(model, Compile(enabled=True), CPU) is model
    assert "training.compile: there is no C++ compiler" in caplog.text


@pytest.mark.parametrize(("asked", "steps"), [("[2, 4]", 3), ("[0, 0]", 1), ("[20, 90]", 4)])
def test_the_profiler_writes_a_trace_of_its_steps(train: Callable[..., Any], asked: str, steps: int) -> None:
    done = train("debug={enabled: true, profile: true}", f"debug.profile_steps={asked}", "training.max_epochs=3")
    folder = done.run.path / "artifacts" / "profile"
    with gzip.open(folder / "trace.json.gz", "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    names = [str(event.get("name")) for event in events]
    assert sum(name.startswith("Optimizer.step") for name in names) == steps
    assert "aten::addmm" in names
    assert "aten::addmm" in (folder / "operations.txt").read_text()
    (event,) = done.get_events("profile")
    assert event["first"] == int(asked[1:].partition(",")[0])
    assert len(event["operations"]) == 3


def test_no_profile_is_written_unless_it_is_asked_for(train: Callable[..., Any]) -> None:
    for override in ("debug.profile=true", "debug.enabled=true"):
        assert not (train(override).run.path / "artifacts" / "profile").exists()


class Spoilt(nn.Module):
    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(4, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        zeros = self.layer(inputs) * 0
        return zeros + (zeros.sqrt() * 0)  # the slope of a root at 0 is infinite, times 0 it is NaN


def test_an_anomaly_names_the_operation(train: Callable[..., Any]) -> None:
    spoilt = f"model={{architecture: '{__name__}:Spoilt'}}"
    text = "data: {train_data: 'sklearn:iris'}\ntraining: {max_steps: 3, log_frequency: 1}"
    with pytest.raises(RuntimeError, match="SqrtBackward0' returned nan"), pytest.warns(UserWarning, match="Sqrt"):
        train(spoilt, "debug={enabled: true, detect_anomaly: true}", text=text)


def test_tf32_and_benchmark_are_set_as_asked() -> None:
    from footplate.trainer.reproducible import set_up_torch

    for on in (True, False):
        text = f"embedded_optimizations: {{use_tf32: {str(on).lower()}, use_cudnn_benchmark: {str(on).lower()}}}"
        set_up_torch(load_profile_text(text), CPU)
        assert torch.backends.cudnn.allow_tf32 is on
        assert torch.backends.cudnn.benchmark is on
        assert torch.get_float32_matmul_precision() == ("high" if on else "highest")
