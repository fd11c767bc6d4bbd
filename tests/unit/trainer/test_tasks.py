"""Every kind of task: its loss is torch's, its metrics are scikit-learn's, however batches and processes are cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import metrics as sk
from torch import Tensor, nn
from torch.nn import functional

from footplate.data.arrays import ArraySet
from footplate.data.scaler import Scaler
from footplate.errors import DataError, InputError
from footplate.profile.facts import DataFacts, TaskKind
from footplate.profile.sections.training import MixedPrecision, Training
from footplate.profile.tasks import TASKS
from footplate.trainer.distributed.parallel import Parallel
from footplate.trainer.distributed.world import World
from footplate.trainer.evaluate import Evaluation, Judge
from footplate.trainer.loading.feed import Feed
from footplate.trainer.metrics import choose_metrics, make_metrics
from footplate.trainer.precision import Precision
from footplate.trainer.stepper import Stepper, StepResult
from footplate.trainer.task import Task, check_model_fits, make_task

RunRanks = Callable[[int, Callable[[Any], Any]], list[Any]]
KINDS: tuple[TaskKind, ...] = (
    "classification",
    "regression",
    "multi_label",
    "sequence",
    "language_model",
    "segmentation",
)
_TARGET_SHAPES: dict[TaskKind, tuple[int, ...]] = {
    "regression": (2,),
    "multi_label": (4,),
    "sequence": (6,),
    "language_model": (6,),
    "segmentation": (3, 5),
}


def make_kind(kind: TaskKind, *, num_classes: int = 4, scaler: Scaler | None = None, **training: Any) -> Task:
    """Return a task of this kind; a profile's `training` may be given."""
    facts = DataFacts(
        source="test",
        num_train=1,
        num_val=0,
        num_test=0,
        input_shape=(3,),
        input_dtype="float32",
        target_shape=_TARGET_SHAPES.get(kind, ()),
        target_dtype="int64",
        classes=() if kind in ("regression", "language_model") else tuple(str(n) for n in range(num_classes)),
        task=kind,
        vocab_size=num_classes if kind == "language_model" else 0,
    )
    return make_task(Training(**training), facts, scaler or Scaler())


def draw(task: Task, size: int, *, ignored: float = 0.4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random outputs that are right more often than not, and targets, of which a share is ignored."""
    rng = np.random.default_rng(seed)
    shape = (size, *task.target_shape)
    if task.kind == "regression":
        targets: NDArray[Any] = rng.normal(5.0, 2.0, size=shape).astype(np.float32)
        return torch.from_numpy((targets + rng.normal(size=shape)).astype(np.float32)), torch.from_numpy(targets)
    if task.kind == "multi_label":
        targets = rng.integers(0, 2, shape).astype(np.float32)
        return torch.from_numpy((targets - 0.5 + rng.normal(size=shape)).astype(np.float32)), torch.from_numpy(targets)
    targets = rng.integers(0, task.num_outputs, shape)
    outputs = rng.normal(size=(*shape, task.num_outputs)) + 1.5 * np.eye(task.num_outputs)[targets]
    if task.kind != "classification":
        targets[rng.random(shape) < ignored] = -100
    logits = torch.from_numpy(outputs).float()
    return (logits.movedim(-1, 1) if task.kind == "segmentation" else logits), torch.from_numpy(targets)


# Losses


def flatten(task: Task, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits [kept, classes] and targets [kept] of all positions that count."""
    logits = outputs.movedim(1, -1) if task.kind == "segmentation" else outputs
    kept = targets != -100
    return logits[kept], targets[kept]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["sequence", "language_model", "segmentation"])
def test_a_loss_over_positions_is_torchs_over_those_that_count(kind: TaskKind, smoothing: float) -> None:
    task = make_kind(kind, label_smoothing=smoothing)
    outputs, targets = draw(task, 7)
    wanted = functional.cross_entropy(*flatten(task, outputs, targets), label_smoothing=smoothing)
    torch.testing.assert_close(task.compute_loss(outputs, targets), wanted)
    assert int(task.count_targets(targets)) == int((targets != -100).sum())


def test_the_loss_of_labels_is_torchs() -> None:
    task = make_kind("multi_label")
    outputs, targets = draw(task, 7)
    wanted = functional.binary_cross_entropy_with_logits(outputs, targets)
    assert torch.equal(task.compute_loss(outputs, targets), wanted)
    assert task.count_targets(targets) == 7


@pytest.mark.parametrize("loss", ["cross_entropy", "dice_cross_entropy"])
@pytest.mark.parametrize("kind", ["sequence", "language_model", "segmentation"])
def test_a_batch_without_a_target_that_counts_has_loss_0_and_moves_nothing(kind: TaskKind, loss: str) -> None:
    if loss not in TASKS[kind].losses:
        return
    task = make_kind(kind, loss={"type": loss})
    outputs, targets = draw(task, 3, ignored=1.1)
    value = task.compute_loss(outputs.requires_grad_(), targets)
    value.backward()
    assert value.item() == 0.0
    assert outputs.grad is not None
    assert not outputs.grad.any()


def test_dice_is_one_less_the_overlap_of_each_image() -> None:
    task = make_kind("segmentation", loss={"type": "dice_cross_entropy"})
    outputs, targets = draw(task, 5)
    losses = []
    for logits, wanted in zip(outputs, targets, strict=True):
        kept = wanted != -100
        shares = torch.softmax(logits, dim=0)[:, kept]
        classes = functional.one_hot(wanted[kept], 4).T
        dice = (2 * (shares * classes).sum(1) + 1) / (shares.sum(1) + classes.sum(1) + 1)
        losses.append(functional.cross_entropy(logits[:, kept].T, wanted[kept]) + 1 - dice.mean())
    torch.testing.assert_close(task.compute_loss(outputs, targets), torch.stack(losses).mean())
    right = 50.0 * functional.one_hot(targets.clamp(min=0), 4).movedim(-1, 1)
    assert task.compute_loss(right, targets).item() == pytest.approx(0.0, abs=1e-6)
    assert task.count_targets(targets) == 5, "each image weighs the same"


def test_bf16_outputs_of_many_positions_lose_no_digits_in_the_sum() -> None:
    task = make_kind("language_model")
    outputs, targets = draw(task, 2000)
    with torch.autocast("cpu", torch.bfloat16):
        found = task.compute_loss(outputs.bfloat16(), targets)
    wanted = task.compute_loss(outputs.bfloat16().float(), targets)
    torch.testing.assert_close(found, wanted)


def test_a_loss_that_does_not_fit_is_named_with_those_that_do() -> None:
    with pytest.raises(InputError, match="mse does not fit, for this is a segmentation") as caught:
        make_kind("segmentation", loss={"type": "mse"})
    assert "auto or cross_entropy or dice_cross_entropy" in caught.value.hint


class Fixed(nn.Module):
    """A network whose outputs have one shape, whatever comes in."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.zeros(len(inputs), *self.shape)


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "words"),
    [
        ("multi_label", (4,), (3,), r"gives \[3\] per sample, the data have 4 labels"),
        ("sequence", (6, 4), (4, 6), r"gives \[4, 6\] .* targets of shape \[6\] of 4 classes: \[6, 4\] is needed"),
        ("language_model", (6, 4), (5, 4), r"gives \[5, 4\] .* shape \[6\] of 4 tokens: \[6, 4\] is needed"),
        ("language_model", (6, 64), (6, 3), r"gives \[6, 3\] .* of 4 tokens: \[6, 4\] is needed"),
        ("segmentation", (4, 3, 5), (3, 5, 4), r"gives \[3, 5, 4\] .* \[3, 5\] of 4 classes: \[4, 3, 5\] is needed"),
    ],
)
def test_outputs_must_have_the_shape_that_the_targets_need(
    kind: TaskKind, right: tuple[int, ...], wrong: tuple[int, ...], words: str
) -> None:
    task, inputs = make_kind(kind), torch.zeros(2, 3)
    check_model_fits(Fixed(*right), task, inputs, name="mine:Net")
    with pytest.raises(InputError, match=words):
        check_model_fits(Fixed(*wrong), task, inputs, name="mine:Net")


# Metrics

CUTS = (1, 8, 9, 31)
"""Where 60 samples are cut into batches."""


def cut(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    for start, end in zip((0, *CUTS), (*CUTS, len(tensors[0])), strict=True):
        yield tuple(tensor[start:end] for tensor in tensors)


def compute(task: Task, outputs: Tensor, targets: Tensor) -> dict[str, float]:
    metrics = make_metrics(task, choose_metrics((), task))
    for some in cut(outputs, targets):
        metrics.update(*some)
    return metrics.compute(float(task.compute_loss(outputs, targets)))


def test_metrics_of_labels_are_those_of_scikit_learn() -> None:
    task = make_kind("multi_label")
    outputs, targets = draw(task, 60)
    wanted, scores = targets.numpy().astype(int), torch.sigmoid(outputs).numpy()
    given = (scores > 0.5).astype(int)
    macro = {"average": "macro", "zero_division": 0}
    assert compute(task, outputs, targets) == pytest.approx(
        {
            "accuracy": sk.accuracy_score(wanted, given),
            "f1": sk.f1_score(wanted, given, **macro),
            "f1_micro": sk.f1_score(wanted, given, average="micro"),
            "precision": sk.precision_score(wanted, given, **macro),
            "recall": sk.recall_score(wanted, given, **macro),
            "auc": sk.roc_auc_score(wanted, scores, average="macro"),
        },
        abs=1e-12,
    )


def test_a_label_that_occurs_nowhere_does_not_count() -> None:
    task = make_kind("multi_label")
    outputs, targets = draw(task, 60)
    outputs[:, 1], targets[:, 1] = -1.0, 0.0
    found = compute(task, outputs, targets)
    wanted, scores = targets.numpy().astype(int), outputs.numpy()
    nan = float("nan")
    assert found["f1"] == pytest.approx(sk.f1_score(wanted, scores > 0, average="macro", zero_division=nan), abs=1e-12)
    others = [0, 2, 3]
    assert found["auc"] == pytest.approx(sk.roc_auc_score(wanted[:, others], scores[:, others]), abs=1e-12)


@pytest.mark.parametrize("num_classes", [4, 150])
@pytest.mark.parametrize("kind", ["sequence", "segmentation"])
def test_metrics_of_positions_are_those_of_scikit_learn(kind: TaskKind, num_classes: int) -> None:
    task = make_kind(kind, num_classes=num_classes)
    outputs, targets = draw(task, 60)
    logits, wanted = (tensor.numpy() for tensor in flatten(task, outputs, targets))
    given = logits.argmax(axis=1)
    macro = {"average": "macro", "zero_division": 0}
    values = {
        "accuracy": sk.accuracy_score(wanted, given),
        "f1": sk.f1_score(wanted, given, **macro),
        "precision": sk.precision_score(wanted, given, **macro),
        "recall": sk.recall_score(wanted, given, **macro),
        "iou": sk.jaccard_score(wanted, given, **macro),
    }
    if kind == "sequence":
        del values["iou"]
    assert compute(task, outputs, targets) == pytest.approx(values, abs=1e-12)


def test_a_confusion_matrix_of_more_than_100_classes_is_not_kept() -> None:
    for num_classes, has_matrix in ((100, True), (101, False)):
        metrics = make_metrics(make_kind("classification", num_classes=num_classes), ("accuracy",))
        metrics.update(torch.eye(num_classes), torch.arange(num_classes))
        confusion = metrics.get_confusion()
        assert (confusion is not None) is has_matrix
        assert confusion is None or (confusion == np.eye(num_classes)).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_perplexity_is_e_to_the_mean_surprise_of_the_tokens(smoothing: float) -> None:
    task = make_kind("language_model", num_classes=256, label_smoothing=smoothing)
    outputs, targets = draw(task, 60)
    logits, wanted = flatten(task, outputs.double(), targets)
    mean = functional.cross_entropy(logits, wanted).item()
    assert compute(task, outputs, targets) == pytest.approx(
        {
            "perplexity": math.exp(mean),
            "bits_per_byte": mean / math.log(2),
            "accuracy": (logits.argmax(1) == wanted).double().mean().item(),
        },
        rel=1e-6,
    )


def test_bits_per_byte_are_for_tokens_that_are_bytes() -> None:
    assert "bits_per_byte" in choose_metrics((), make_kind("language_model", num_classes=256))
    assert "bits_per_byte" not in choose_metrics((), make_kind("language_model", num_classes=300))


# Batches and processes


class Memory(ArraySet):
    """A set in memory, of inputs that name the outputs a network shall give."""

    def __init__(self, targets: Tensor, *, in_memory: bool = True) -> None:
        self._targets = targets.numpy()
        self._in_memory = in_memory

    def __len__(self) -> int:
        return len(self._targets)

    def gather(self, indices: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        return indices, self._targets[indices]

    def whole(self) -> tuple[NDArray[Any], NDArray[Any]] | None:
        return (np.arange(len(self)), self._targets) if self._in_memory else None


class Table(nn.Module):
    """Gives the outputs of each sample as they are, times one weight."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))
        self.outputs = outputs
        self.passes: list[int] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.passes.append(len(inputs))
        return self.outputs[inputs] * self.weight


CPU = torch.device("cpu")
FP32 = Precision(MixedPrecision(), CPU)


def take_step(task: Task, size: int, batch_size: int, world: World, **settings: Any) -> tuple[Tensor, StepResult]:
    """Return the gradient of one step over so many samples, summed over the processes, and what it has shown."""
    outputs, targets = draw(task, size)
    model = Table(outputs)
    gradients: list[Tensor] = []
    stepper = Stepper(
        model=model,
        task=task,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        precision=FP32,
        parallel=Parallel(world=world, data=world),
        parameters=list(model.parameters()),
        max_grad_norm=None,
        on_gradients=lambda: gradients.append(model.weight.grad.clone()),
        **{"sum_losses": False, **settings},
    )
    feed = Feed(Memory(targets), CPU, world)
    result = stepper.take_step(feed.take(0, 0, 0, size), batch_size)
    return gradients[0], result


def get_mean(result: StepResult) -> float:
    weights = [float(weight) for _, weight in result.losses]
    return float(np.average([float(loss) for loss, _ in result.losses], weights=weights))


def list_tasks() -> list[Task]:
    tasks = [make_kind(kind) for kind in KINDS]
    return [
        *tasks,
        make_kind("segmentation", loss={"type": "dice_cross_entropy"}),
        make_kind("sequence", label_smoothing=0.1),
    ]


@pytest.mark.parametrize("task", list_tasks(), ids=lambda task: f"{task.kind}-{task.loss_name}-{task.label_smoothing}")
@pytest.mark.parametrize("sum_losses", [False, True], ids=["mean", "sum"])
def test_any_cut_of_a_step_gives_the_same_gradient(task: Task, sum_losses: bool) -> None:
    outputs, targets = draw(task, 13)
    model = Table(outputs)
    loss = task.compute_loss(model(torch.arange(13)), targets)
    factor = float(task.count_targets(targets)) * task.losses_per_sample if sum_losses else 1.0
    (loss * factor).backward()
    for batch_size in (13, 5, 4, 1):
        found, result = take_step(task, 13, batch_size, World(), sum_losses=sum_losses)
        torch.testing.assert_close(found, model.weight.grad, rtol=1e-5, atol=1e-6)
        assert get_mean(result) == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("task", list_tasks(), ids=lambda task: f"{task.kind}-{task.loss_name}-{task.label_smoothing}")
@pytest.mark.parametrize("sum_losses", [False, True], ids=["mean", "sum"])
def test_processes_together_have_the_gradient_of_one(run_ranks: RunRanks, task: Task, sum_losses: bool) -> None:
    wanted, _ = take_step(task, 13, 13, World(), sum_losses=sum_losses)
    calls = []

    def work(world: Any) -> Tensor:
        gradient, _ = take_step(task, 13, 2, world, sum_losses=sum_losses)
        calls.extend(world.calls)
        return gradient

    for size in (2, 3):
        torch.testing.assert_close(sum(run_ranks(size, work)), wanted, rtol=1e-5, atol=1e-6)
    assert bool(calls) is (task.counts_targets and not sum_losses), "only counted targets need a word between processes"


def judge(task: Task, size: int, batch_size: int, world: World, *, in_memory: bool = True) -> tuple[Evaluation, Table]:
    outputs, targets = draw(task, size)
    model = Table(outputs)
    found = Judge(
        model=model,
        task=task,
        precision=FP32,
        metrics=choose_metrics((), task),
        batch_size=batch_size,
        world=world,
        with_time=True,
    ).evaluate(Feed(Memory(targets, in_memory=in_memory), CPU, world))
    assert found is not None
    return found, model


SUMS = ("loss", "perplexity", "bits_per_byte", "mae", "mse", "rmse", "r2")
"""Metrics that are sums of real numbers; all others follow from counts and are equal to the last bit."""


def compare(found: Evaluation, wanted: Evaluation) -> None:
    for name, value in wanted.metrics.items():
        if name in ("loss", "perplexity", "bits_per_byte"):  # of float32 means, each of another batch
            assert found.metrics[name] == pytest.approx(value, rel=1e-6), name
        elif name in SUMS:
            assert found.metrics[name] == pytest.approx(value, rel=1e-12), name
        elif name != "inference_time":
            assert found.metrics[name] == value, name
    assert found.num_samples == wanted.num_samples
    assert (found.confusion is None) == (wanted.confusion is None)
    assert wanted.confusion is None or (found.confusion == wanted.confusion).all()


@pytest.mark.parametrize("kind", KINDS)
def test_any_cut_of_a_set_gives_the_same_metrics(kind: TaskKind) -> None:
    task = make_kind(kind)
    wanted, _ = judge(task, 23, 23, World())
    for batch_size in (1, 5, 22):
        compare(judge(task, 23, batch_size, World())[0], wanted)


def test_processes_that_split_the_layers_judge_the_same_samples_and_agree(run_ranks: RunRanks) -> None:
    task = make_kind("sequence")
    wanted, _ = judge(task, 5, 2, World())
    outputs, targets = draw(task, 5)

    def work(world: Any) -> Evaluation | None:
        model, feed = Table(outputs * (1 + 0.01 * world.rank)), Feed(Memory(targets), CPU, World())
        return Judge(
            model=model, task=task, precision=FP32, metrics=choose_metrics((), task), batch_size=2, world=world
        ).evaluate(feed)

    first, second = run_ranks(2, work)
    assert first is not None
    assert second is not None
    compare(first, wanted)
    assert second.metrics == first.metrics


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("size", [23, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_processes_together_judge_as_one(run_ranks: RunRanks, kind: TaskKind, size: int, in_memory: bool) -> None:
    task = make_kind(kind)
    wanted, _ = judge(task, size, size, World())
    for count in (2, 3):
        found = run_ranks(count, lambda world: judge(task, size, 4, world, in_memory=in_memory))
        for evaluation, model in found:
            compare(evaluation, wanted)
            assert evaluation.metrics == found[0][0].metrics, "every process gets the same bits"
            assert evaluation.seconds == found[0][0].seconds
            assert len(model.passes) == math.ceil(math.ceil(size / count) / 4), "as many passes in every process"


def test_one_process_that_should_stop_stops_all_in_the_same_pass(run_ranks: RunRanks) -> None:
    task = make_kind("sequence")

    def work(world: Any) -> tuple[Evaluation | None, int]:
        outputs, targets = draw(task, 24)
        model = Table(outputs)
        one = Judge(model=model, task=task, precision=FP32, metrics=("loss",), batch_size=3, world=world)
        asked = iter([False, False, world.rank == 1])
        found = one.evaluate(Feed(Memory(targets), CPU, world), should_stop=lambda: next(asked, False))
        return found, len(model.passes)

    assert run_ranks(2, work) == [(None, 2), (None, 2)]


def test_a_set_in_which_no_target_counts_cannot_be_judged() -> None:
    task = make_kind("segmentation")
    outputs, targets = draw(task, 3, ignored=1.1)
    one = Judge(model=Table(outputs), task=task, precision=FP32, metrics=("loss",), batch_size=2)
    with pytest.raises(DataError, match="no target counts: all are -100"):
        one.evaluate(Feed(Memory(targets), CPU))
