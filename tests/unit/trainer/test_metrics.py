"""Metrics equal scikit-learn's over batches of uneven sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from footplate.data.scaler import Scaler
from footplate.errors import InputError
from footplate.profile.facts import DataFacts
from footplate.profile.sections.training import Training
from footplate.trainer.metrics import choose_metrics, make_metrics, wants_smaller
from footplate.trainer.task import Task, make_task

CUTS = (7, 8, 31, 64)
"""Where 100 samples are cut into batches."""


def make(
    classes: int = 0, target_shape: tuple[int, ...] = (), loss: str = "auto", scaler: Scaler | None = None
) -> Task:
    facts = DataFacts(
        source="test",
        num_train=1,
        num_val=0,
        num_test=0,
        input_shape=(1,),
        input_dtype="float32",
        target_shape=target_shape,
        target_dtype="float32",
        classes=tuple(str(number) for number in range(classes)),
    )
    return make_task(Training(loss={"type": loss}), facts, scaler or Scaler())


def compute(task: Task, outputs: torch.Tensor, targets: torch.Tensor, names: tuple[str, ...] = ()) -> dict[str, float]:
    metrics = make_metrics(task, choose_metrics(names, task))
    for start, end in zip((0, *CUTS), (*CUTS, len(outputs)), strict=True):
        metrics.update(outputs[start:end], targets[start:end])
    return metrics.compute(0.0)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_classification_metrics_are_those_of_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(classes)
    targets = rng.integers(0, classes, 100)
    outputs = torch.from_numpy(rng.normal(size=(100, classes)) + 1.5 * np.eye(classes)[targets]).float()
    found = compute(make(classes), outputs, torch.from_numpy(targets))
    predicted, scores = outputs.argmax(1).numpy(), torch.softmax(outputs, 1).double().numpy()
    scores /= scores.sum(axis=1, keepdims=True)
    macro = {"average": "macro", "zero_division": 0}
    wanted = {
        "accuracy": sk.accuracy_score(targets, predicted),
        "f1": sk.f1_score(targets, predicted, **macro),
        "precision": sk.precision_score(targets, predicted, **macro),
        "recall": sk.recall_score(targets, predicted, **macro),
        "auc": sk.roc_auc_score(targets, scores[:, 1])
        if classes == 2
        else sk.roc_auc_score(targets, scores, multi_class="ovr", average="macro"),
    }
    assert found == pytest.approx(wanted, abs=1e-12)


def test_classes_that_occur_nowhere_do_not_count_and_ties_count_half() -> None:
    targets = torch.tensor([0, 0, 1, 1] * 25)
    outputs = torch.zeros(100, 3)
    outputs[::2, 1] = 1.0
    found = compute(make(3), outputs, targets)
    predicted = outputs.argmax(1).numpy()
    assert found["f1"] == pytest.approx(sk.f1_score(targets.numpy(), predicted, average="macro"))
    assert found["auc"] == pytest.approx(0.5)


def test_auc_is_left_out_when_there_is_one_class_only() -> None:
    found = compute(make(2), torch.randn(100, 2), torch.zeros(100, dtype=torch.int64))
    assert "auc" not in found
    assert "accuracy" in found


def test_a_single_logit_is_the_second_class() -> None:
    task = make(2, loss="binary_cross_entropy")
    logits, targets = torch.randn(100, 1), torch.randint(0, 2, (100,))
    found = compute(task, logits, targets)
    assert found["accuracy"] == pytest.approx(((logits[:, 0] > 0).long() == targets).float().mean().item())
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], targets.float())
    torch.testing.assert_close(task.compute_loss(logits, targets), wanted)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3)])
def test_regression_metrics_are_those_of_scikit_learn_in_the_targets_own_unit(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    mean, std = np.asarray(5e4), np.asarray(20.0)
    scaled, outputs = rng.normal(size=(100, *shape)), rng.normal(size=(100, *shape))
    task = make(target_shape=shape, scaler=Scaler(target_mean=mean, target_std=std))
    targets32, outputs32 = torch.from_numpy(scaled).float(), torch.from_numpy(outputs).float()
    found = compute(task, outputs32, targets32)
    wanted = targets32.double().numpy().reshape(100, -1) * std + mean
    given = outputs32.double().numpy().reshape(100, -1) * std + mean
    assert found == pytest.approx(
        {
            "mae": sk.mean_absolute_error(wanted, given),
            "mse": sk.mean_squared_error(wanted, given),
            "rmse": sk.mean_squared_error(wanted, given) ** 0.5,
            "r2": sk.r2_score(wanted, given),
        },
        rel=1e-9,
    )


def test_metrics_are_chosen_by_what_is_asked_for_and_fits() -> None:
    assert choose_metrics((), make(3)) == ("loss", "accuracy", "f1", "precision", "recall", "auc")
    assert choose_metrics(("f1",), make(3)) == ("loss", "f1")
    assert choose_metrics(("accuracy",), make()) == ("loss", "mae", "mse", "rmse", "r2")
    with pytest.raises(InputError, match="there is no metric 'acuracy'"):
        choose_metrics(("acuracy",), make(3))


def test_auto_knows_what_is_better() -> None:
    assert wants_smaller("val/loss", "auto")
    assert not wants_smaller("val/accuracy", "auto")
    assert not wants_smaller("val/loss", "max")
