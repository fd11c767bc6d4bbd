"""A whole training: the same numbers for the same seed, the planned learning rate, the best weights, early stopping."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from footplate.data.load import load_data
from footplate.errors import InputError, RecordError, RunFailedError
from footplate.profile.load import load_profile_text
from footplate.profile.schedule import get_learning_rate
from footplate.record.checkpoints import get_folder, list_checkpoints
from footplate.record.journal import Journal, read_journal
from footplate.record.rundir import RunDir
from footplate.trainer import training
from footplate.trainer.final import get_size_mb
from footplate.trainer.hooks import BestWeights
from footplate.trainer.interrupt import Interrupt, Preempted
from footplate.trainer.progress import Progress
from footplate.trainer.training import train_model
from footplate.trainer.weights import copy_weights, get_weights, load_network, load_weights, save_weights

Train = Callable[..., Any]


@pytest.mark.parametrize("deterministic", ["false", "true"])
def test_the_same_seed_gives_the_same_bits(train: Train, deterministic: str) -> None:
    keys = (f"reproducibility.deterministic={deterministic}", "model.dropout=0.2")
    first, second, other = train(*keys), train(*keys), train(*keys, "reproducibility.seed=1")
    assert first.get_values("train/loss") == second.get_values("train/loss")
    assert first.get_values("train/loss") != other.get_values("train/loss")
    ours, theirs = (load_file(run.run.artifacts / "last.safetensors") for run in (first, second))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_accumulated_batches_give_the_losses_and_weights_of_one_large_batch(train: Train) -> None:
    # 120 samples: the second step of an epoch has 56, its last small batch 8
    keys = ("training.max_grad_norm=1.0", "training.log_frequency=1", "model.architecture=mlp")
    large = train(*keys, "training.batch_size=64", "training.optimizer=sgd")
    small = train(*keys, "training.batch_size=16", "training.gradient_accumulation_steps=4", "training.optimizer=sgd")
    assert large.result["steps"] == small.result["steps"] == 6
    assert small.get_values("train/loss") == pytest.approx(large.get_values("train/loss"), abs=1e-6)
    assert small.get_values("train/grad_norm") == pytest.approx(large.get_values("train/grad_norm"), abs=1e-5)
    ours, theirs = (load_file(run.run.artifacts / "last.safetensors") for run in (large, small))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)


def test_sum_is_the_mean_times_the_samples(train: Train) -> None:
    keys = ("training.optimizer=sgd", "training.momentum=0", "training.batch_size=60", "training.max_epochs=2")
    mean = train(*keys, "training.learning_rate=0.06")
    total = train(*keys, "training.learning_rate=0.001", "training.loss.reduction=sum")
    assert total.get_values("train/loss") == pytest.approx(mean.get_values("train/loss"), abs=1e-5)


def test_the_learning_rate_is_the_planned_one_at_every_step(train: Train) -> None:
    keys = ("training.scheduler.type=linear_warmup_cosine", "training.scheduler.warmup_steps=5")
    trained = train(*keys)
    from footplate.profile.load import load_profile_text as load

    profile = load("training: {learning_rate: 0.01, scheduler: {type: linear_warmup_cosine, warmup_steps: 5}}")
    total = trained.result["steps"]
    wanted = [get_learning_rate(profile.training, step, total) for step in range(total)]
    assert trained.get_values("train/lr") == wanted


@pytest.mark.parametrize(
    ("keys", "steps", "stopped_by", "evaluated_at"),
    [
        (("training.max_epochs=2",), 16, "max_epochs", [8, 16]),
        (("training.max_steps=11",), 11, "max_steps", [8, 11]),
        (("training.eval_frequency=5",), 24, "max_epochs", [5, 10, 15, 20, 24]),
        (("validation.strategy=epoch_end", "training.eval_frequency=5"), 24, "max_epochs", [8, 16, 24]),
        (("validation.strategy=time_interval", "validation.interval=500"), 24, "max_epochs", [24]),
    ],
)
def test_the_first_limit_ends_it_and_evaluations_come_when_asked_for(
    train: Train, keys: tuple[str, ...], steps: int, stopped_by: str, evaluated_at: list[int]
) -> None:
    trained = train(*keys)
    assert (trained.result["steps"], trained.result["stopped_by"]) == (steps, stopped_by)
    assert [point.step for point in trained.metrics["val/loss"]] == evaluated_at
    assert [point.step for point in trained.metrics["train/loss"]] == list(range(1, steps + 1))


def test_readings_every_few_steps_are_means_over_them_with_the_rest_at_the_end(train: Train) -> None:
    each, few = train("training.max_epochs=1"), train("training.max_epochs=1", "training.log_frequency=3")
    losses = each.get_values("train/loss")
    assert [point.step for point in few.metrics["train/loss"]] == [3, 6, 8]
    wanted = [np.mean(losses[:3]), np.mean(losses[3:6]), np.average(losses[6:], weights=[16, 8])]
    assert few.get_values("train/loss") == pytest.approx(wanted, rel=1e-12)


def test_early_stopping_stops_after_patience_evaluations_without_gain(train: Train) -> None:
    trained = train(
        "training.max_epochs=50",
        "training.early_stopping.enabled=true",
        "training.early_stopping.patience=3",
        "training.early_stopping.min_delta=1000",
        "training.early_stopping.monitor=val_loss",
    )
    # the first evaluation sets the mark; three more do not beat it by 1000
    assert trained.result["stopped_by"] == "early_stopping"
    assert trained.result["steps"] == 4 * 8
    assert trained.get_events("early_stopping")[0]["metric"] == "val/loss"


def test_the_best_weights_are_kept_and_judged(train: Train) -> None:
    trained = train("training.learning_rate=0.5", "training.max_epochs=6")
    points = trained.metrics["val/loss"]
    best = min(points, key=lambda point: point.value)
    assert trained.result["best"] == {"step": best.step, "metric": "val/loss", "value": best.value}
    assert trained.result["metrics"]["val/loss"] == best.value
    profile = load_profile_text(
        'data: {train_data: "sklearn:iris", preprocessing: {normalize: true}}\nmodel: {hidden_size: 16, num_layers: 1}'
    )
    data = load_data(profile)
    network, description, scaler = load_network(trained.run.artifacts)
    inputs, targets = data.test.gather(np.arange(len(data.test)))
    predicted = network(torch.from_numpy(inputs)).argmax(1).numpy()
    assert (predicted == targets).mean() == trained.result["metrics"]["test/accuracy"]
    assert description["classes"] == ["setosa", "versicolor", "virginica"]
    assert np.array_equal(scaler.mean, data.scaler.mean)
    assert np.asarray(trained.result["tables"]["confusion"]).sum() == len(data.test)


def test_without_validation_data_the_training_loss_decides(train: Train) -> None:
    trained = train("data.split.val=0")
    assert trained.result["best"]["metric"] == "train/loss"
    assert "val/loss" not in trained.metrics


def test_a_metric_nobody_asked_for_is_measured_when_something_goes_by_it(train: Train) -> None:
    trained = train("validation.metrics=[loss]", "validation.save_best_metric=val/f1")
    assert trained.result["best"]["metric"] == "val/f1"
    with pytest.raises(InputError, match="val/r2 is not measured; there are: train/loss, val/loss"):
        train("validation.save_best_metric=val/r2")
    with pytest.raises(InputError, match="not measured while training"):
        train("validation.save_best_metric=test/accuracy")


def test_latency_size_and_gates_are_in_the_result(train: Train) -> None:
    gates = ("target_latency_ms=1000", "target_memory_mb=0.0001")
    result = train(*(f"post_training.final_evaluation.{gate}" for gate in gates)).result
    size = (4 * 16 + 16 + 16 * 3 + 3) * 4 / 1e6
    assert result["metrics"]["test/memory_mb"] == pytest.approx(size)
    assert result["metrics"]["test/latency_ms"] > 0
    assert {gate["name"]: gate["passed"] for gate in result["gates"]} == {"latency_ms": True, "memory_mb": False}
    shared = torch.nn.Linear(3, 3)
    assert get_size_mb(torch.nn.Sequential(shared, shared)) == pytest.approx(12 * 4 / 1e6)


def test_a_loss_that_is_nan_stops_the_training_and_names_the_step(train: Train) -> None:
    with pytest.raises(RunFailedError, match=r"the loss became (NaN|infinite) at step \d+") as caught:
        train("training.optimizer=sgd", "training.learning_rate=1e30", "training.log_frequency=5")
    assert "training.learning_rate" in caught.value.hint


def test_the_best_weights_survive_a_later_nan(train: Train, tmp_path: Path) -> None:
    keys = ("training.scheduler.type=linear_warmup_cosine", "training.scheduler.warmup_steps=40")
    with pytest.raises(RunFailedError):
        train("training.optimizer=sgd", "training.learning_rate=1e20", "training.eval_frequency=1", *keys)
    (artifacts,) = (tmp_path / "runs").glob("*/artifacts")
    network, _, _ = load_network(artifacts)
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
    assert not (artifacts / "last.safetensors").exists()


def test_bf16_trains_on_the_cpu(train: Train) -> None:
    trained = train("training.mixed_precision.enabled=true", "training.max_epochs=10")
    assert trained.result["metrics"]["test/accuracy"] > 0.7


def test_regression_learns_and_tells_errors_in_the_targets_own_unit(train: Train) -> None:
    text = """
model: {hidden_size: 32}
data: {train_data: "sklearn:diabetes", preprocessing: {normalize: true, normalize_targets: true}}
training: {batch_size: 32, max_epochs: 12}
"""
    metrics = train(text=text).result["metrics"]
    assert metrics["test/r2"] > 0.2
    assert 30 < metrics["test/rmse"] < 80
    assert "test/accuracy" not in metrics


def test_data_that_are_not_in_memory_give_the_same_training(train: Train, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    np.savez(tmp_path / "set.npz", x=x, y=y)
    text = "data: {train_data: set.npz}\ntraining: {batch_size: 16, max_epochs: 2, log_frequency: 1}"
    mapped = train(text=text)
    loaded = train("embedded_optimizations.use_mmap_datasets=false", text=text)
    assert mapped.get_values("train/loss") == loaded.get_values("train/loss")
    assert mapped.get_values("val/loss") == loaded.get_values("val/loss")


class _StopsAt(Interrupt):
    """Asks to stop as soon as it was looked at so many times."""

    def __init__(self, looks: int) -> None:
        self._looks = looks
        super().__init__()

    @property
    def reason(self) -> str:
        self._looks -= 1
        return "interrupted" if self._looks < 0 else ""

    @reason.setter
    def reason(self, value: str) -> None:
        pass


def test_an_interrupted_training_leaves_usable_weights_and_a_result(train: Train) -> None:
    trained = train("training.max_epochs=100", interrupt=_StopsAt(5))
    assert trained.result["stopped_by"] == "interrupted"
    assert trained.result["steps"] < 10
    assert trained.result["metrics"]["test/accuracy"] >= 0
    network, _, _ = load_network(trained.run.artifacts)
    last, _, _ = load_network(trained.run.artifacts, "last.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), last.parameters(), strict=True))
    assert trained.get_events("interrupted")


def test_a_request_to_stop_raises_before_the_training_and_waits_inside() -> None:
    interrupt = Interrupt()
    with interrupt.installed(), pytest.raises(KeyboardInterrupt) as raised:
        signal.raise_signal(signal.SIGINT)
    assert not isinstance(raised.value, Preempted)
    interrupt = Interrupt()
    with interrupt.installed(), pytest.raises(Preempted):
        signal.raise_signal(signal.SIGTERM)
    interrupt = Interrupt()
    with interrupt.installed(), interrupt.deferred():
        signal.raise_signal(signal.SIGINT)
        assert interrupt.reason == "interrupted"


def test_who_is_preempted_again_goes_on_saving() -> None:
    interrupt = Interrupt()
    with interrupt.installed(), interrupt.deferred():
        signal.raise_signal(signal.SIGUSR1)
        interrupt._requested_at -= 10  # long ago: the same request, sent twice, is not meant
        signal.raise_signal(signal.SIGTERM)  # the process is still there
        assert interrupt.reason == "preempted"


class _Frequent:
    """Improves at each of many evaluations; counts the files written."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self.path = path
        self.model = torch.nn.Linear(2, 2)
        self.best = BestWeights(self.model, path, journal, metric="val/loss", mode="auto")
        self.progress = Progress(num_train=10)
        self.inodes: list[int] = []

    def improve(self, value: float) -> None:
        self.model.weight.data.fill_(value)
        self.progress.step += 1
        self.best.on_evaluation(self.progress, {"val/loss": value})
        self.inodes.append(self.path.stat().st_ino)

    def get_written(self) -> float:
        return float(load_file(self.path)["weight"][0, 0])


def test_frequent_improvements_are_written_now_and_then_and_the_last_one_at_the_end(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        frequent = _Frequent(tmp_path / "model.safetensors", journal)
        for value in (5.0, 4.0, 3.0):
            frequent.improve(value)
        frequent.model.weight.data.fill_(9.0)  # a later step, not evaluated
        assert len(set(frequent.inodes)) == 1
        assert frequent.get_written() == 5.0
        assert (frequent.best.step, frequent.best.value) == (3, 3.0)
        frequent.best.write()
        assert frequent.get_written() == 3.0


def test_weights_that_layers_share_are_written_once_and_come_back(tmp_path: Path) -> None:
    def make() -> torch.nn.Sequential:
        model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 3))
        model[2].weight = model[0].weight
        return model

    model, other, path = make(), make(), tmp_path / "shared.safetensors"
    save_weights(copy_weights(model), path)
    assert "2.weight" not in load_file(path)
    load_weights(other, path)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_weights_may_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    path, plain = tmp_path / "model.safetensors", tmp_path / "plain"
    save_weights(copy_weights(torch.nn.Linear(2, 2)), path)
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_disk_that_is_full_keeps_the_older_weights(tmp_path: Path) -> None:
    model, path = torch.nn.Linear(300, 300), tmp_path / "model.safetensors"
    save_weights(get_weights(model), path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # what a full disk is to one file
    try:
        with pytest.raises(RecordError, match=r"model.safetensors: the weights cannot be written") as caught:
            save_weights({name: tensor + 1 for name, tensor in get_weights(model).items()}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "weights saved before are kept" in caught.value.hint
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_best_weights_on_a_full_disk_do_not_hide_why_a_training_ended() -> None:
    class Full:
        def write(self) -> None:
            raise RecordError("model.safetensors: the weights cannot be written")

    full: Any = Full()
    with pytest.raises(RecordError):
        training._write_best(full, Progress(num_train=10))
    training._write_best(full, Progress(num_train=10, stopped_by="preempted"))

    def fail() -> None:
        try:
            raise ValueError("the reason")
        finally:
            training._write_best(full, Progress(num_train=10))

    with pytest.raises(ValueError, match="the reason"):
        fail()


def test_best_weights_that_cannot_be_written_wait_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(tmp_path / "journal.jsonl") as journal:
        frequent = _Frequent(tmp_path / "model.safetensors", journal)
        frequent.path.touch()
        frequent.model.weight.data = torch.zeros(300, 300)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # what a full disk is to one file
        try:
            frequent.improve(3.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        frequent.model.weight.data.fill_(9.0)  # a later step
        assert frequent.path.stat().st_size == 0
        assert "the weights cannot be written" in caplog.text
        waiting = frequent.best.hand_over(tmp_path / "best.safetensors")
        assert waiting is not None
        assert float(waiting["weight"][0, 0]) == 3.0
        frequent.best.write()
        assert frequent.get_written() == 3.0


def test_metrics_that_do_not_fit_the_task_are_said_to_be_left_out(
    train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    trained = train("validation.metrics=[accuracy, rmse, r2]", "training.max_epochs=1")
    assert "metrics left out, classification has none such: rmse, r2" in caplog.text
    assert "val/accuracy" in trained.metrics


def test_the_description_tells_how_rows_become_inputs_and_what_the_outputs_mean(train: Train, tmp_path: Path) -> None:
    lines = [f"{i},{('red', 'blue')[i % 2]},{i * 2}.5,{i}.25" for i in range(30)]
    (tmp_path / "d.csv").write_text("\n".join(["size,colour,price,weight", *lines]) + "\n")
    trained = train(
        "training.max_epochs=1",
        "training.dropout=0.25",
        text="data: {train_data: %s, columns: {targets: [price, weight]}}" % (tmp_path / "d.csv"),
    )
    value = json.loads((trained.run.artifacts / "model.json").read_text())
    assert value["columns"] == [
        {"name": "size", "categories": None, "fill": None},
        {"name": "colour", "categories": ["blue", "red"], "fill": None},
    ]
    assert value["targets"] == ["price", "weight"]
    assert value["model"]["dropout"] == 0.25


def test_a_training_whose_loss_is_no_number_is_not_saved(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.last, self.passes = nn.Linear(4, 3), 0\n"
        "    def forward(self, x):\n        self.passes += self.training\n"
        "        return self.last(x) * (float('nan') if self.passes > 12 else 1.0)\n"
    )
    text = (
        "model: {architecture: 'nets:Net'}\ndata: {train_data: 'sklearn:iris'}\ndevice: cpu\n"
        "training: {batch_size: 8, max_epochs: 5, log_frequency: 1000, checkpointing: {frequency: 5, keep_last_n: 2}}\n"
    )
    profile = load_profile_text(text, base_dir=tmp_path)
    run = RunDir.create(tmp_path / "runs", "test")
    (run.path / "profile.yaml").write_text(text)
    with (
        Journal(run.new_attempt().journal_path()) as journal,
        pytest.raises(RunFailedError, match="the loss became NaN at step 13"),
    ):
        train_model(profile, load_data(profile), run, journal, Interrupt())
    assert [one.step for one in list_checkpoints(get_folder(run))] == [5, 10]


def test_the_final_evaluation_leaves_the_data_of_plots(train: Callable[..., Any]) -> None:
    run = train("training.max_epochs=2").run
    tables = {
        entry.data["name"]: entry.data["value"]
        for entry in read_journal(run.get_attempt(1).journal_path())
        if entry.kind == "table"
    }
    assert {"roc", "precision_recall", "calibration", "confusion"} <= set(tables)
    assert len(tables["roc"]) == 3
    assert set(run.read_json("result.json")["tables"]) == {"confusion", "classes"}
