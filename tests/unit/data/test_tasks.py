"""What is learnt: found from how targets and inputs look, asked where they leave it open, checked where it is said."""

from pathlib import Path

import numpy as np
import pytest

from footplate.data.load import LoadedData, load_data
from footplate.errors import DataError
from footplate.profile.load import load_profile_text

RNG = np.random.default_rng(0)
N = 40


def load(folder: Path, x: np.ndarray, y: np.ndarray, data: str = "", loss: str = "auto") -> LoadedData:
    np.savez(folder / "d.npz", x=x, y=y)
    text = f"{{data: {{train_data: d.npz{data}}}, training: {{loss: {{type: {loss}}}}}}}"
    return load_data(load_profile_text(text, base_dir=folder))


def fail(folder: Path, x: np.ndarray, y: np.ndarray, data: str = "", loss: str = "auto") -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        load(folder, x, y, data, loss)
    return caught.value.message, caught.value.hint


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=(N, *shape)).astype(np.float32)


def whole(below: int, *shape: int) -> np.ndarray:
    return np.arange(N * int(np.prod(shape))).reshape(N, *shape) % below


LABELS = (whole(2, 1) + np.arange(3) * whole(3, 1)) % 2
"""0 or 1 for each of three labels: none, one or several."""


@pytest.mark.parametrize(
    ("x", "y", "task", "outputs", "target_shape"),
    [
        (floats(5), whole(3), "classification", 3, ()),
        (floats(5), floats(), "regression", 1, ()),
        (floats(5), floats(4), "regression", 4, (4,)),
        (floats(9, 5), whole(4, 9), "sequence", 4, (9,)),
        (floats(9), whole(4, 9), "sequence", 4, (9,)),
        (floats(9, 5), whole(2, 9), "sequence", 2, (9,)),
        (floats(9, 5), floats(9, 4), "regression", 36, (9, 4)),
        (floats(9), floats(9), "regression", 9, (9,)),
        (floats(5), LABELS, "multi_label", 3, (3,)),
        (floats(5), LABELS.astype(bool), "multi_label", 3, (3,)),
        (floats(5), LABELS.astype(np.float32), "regression", 3, (3,)),
        (floats(5), whole(7, 4), "regression", 4, (4,)),
        (floats(6, 7), whole(3, 6, 7), "segmentation", 3, (6, 7)),
        (floats(6, 7, 3), whole(3, 6, 7), "segmentation", 3, (6, 7)),
        (floats(3, 6, 7), whole(3, 6, 7), "segmentation", 3, (6, 7)),
        (floats(6, 7, 3), whole(3, 7, 6), "regression", 42, (7, 6)),
    ],
)
def test_the_task_is_found_from_the_shapes(
    tmp_path: Path, x: np.ndarray, y: np.ndarray, task: str, outputs: int, target_shape: tuple[int, ...]
) -> None:
    data = load(tmp_path, x, y)
    facts = data.facts
    assert (facts.task, facts.num_outputs, facts.target_shape) == (task, outputs, target_shape)
    inputs, targets = data.train.gather(np.array([2, 0]))
    assert str(inputs.dtype) == "float32"
    assert targets.shape == (2, *target_shape)
    assert str(targets.dtype) == ("float32" if task in ("regression", "multi_label") else "int64")
    if facts.classes:
        assert len(facts.class_counts) == outputs


@pytest.mark.parametrize(
    ("loss", "x", "y", "task"),
    [
        ("binary_cross_entropy", floats(5), whole(2), "classification"),
        ("binary_cross_entropy", floats(5), LABELS.astype(np.float64), "multi_label"),
        ("binary_cross_entropy", floats(3), LABELS, "multi_label"),
        ("binary_cross_entropy", floats(3, 2), LABELS, "multi_label"),
        ("cross_entropy", floats(3), LABELS, "sequence"),
        ("cross_entropy", floats(6, 7), whole(2, 6, 7), "segmentation"),
        ("mse", floats(9, 5), whole(4, 9), "regression"),
        ("huber", floats(5), LABELS, "regression"),
    ],
)
def test_the_loss_has_a_word_in_it(tmp_path: Path, loss: str, x: np.ndarray, y: np.ndarray, task: str) -> None:
    assert load(tmp_path, x, y, loss=loss).facts.task == task


def test_labels_and_positions_of_equal_number_are_asked_about(tmp_path: Path) -> None:
    message, hint = fail(tmp_path, floats(3), LABELS)
    assert "3 targets of 0 and 1 for 3 inputs" in message
    assert "data.task: sequence" in hint
    assert "multi_label" in hint
    for task in ("sequence", "multi_label", "regression"):
        assert load(tmp_path, floats(3), LABELS, f", task: {task}").facts.task == task


def test_one_hot_targets_are_asked_about_and_taken_as_classes_when_told(tmp_path: Path) -> None:
    y = np.eye(3, dtype=np.int64)[whole(3)]
    message, hint = fail(tmp_path, floats(5), y)
    assert "each target holds exactly one 1" in message
    assert "data.task: classification, multi_label or regression" in hint
    data = load(tmp_path, floats(5), y, ", task: classification, split: {val: 0, test: 0}")
    assert (data.facts.classes, data.facts.target_shape) == (("0", "1", "2"), ())
    assert data.train.gather(np.arange(N))[1].tolist() == whole(3).tolist()


def test_a_set_that_is_one_hot_only_in_part_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", x=floats(5), y=LABELS)
    y = np.eye(3, dtype=np.int64)[whole(3)]
    message, _ = fail(tmp_path, floats(5), y, ", task: classification, val_data: v.npz")
    assert message == "v.npz: y: a target holds not exactly one 1"


@pytest.mark.parametrize(
    ("task", "x", "y", "expected"),
    [
        ("multi_label", floats(5), whole(3), "targets have shape [], data.task multi_label needs one number 0 or 1"),
        ("multi_label", floats(5), whole(3, 3), "y[0, 2] is 2: data.task multi_label needs 0 or 1"),
        (
            "sequence",
            floats(5),
            whole(3),
            "targets have shape [], data.task sequence needs one class for each position",
        ),
        ("sequence", floats(8, 5), floats(8), "y[0, 0] is "),
        ("segmentation", floats(6, 7), whole(3, 7, 6), "which have shape [6, 7]"),
        ("classification", floats(5), floats(5, 2), "targets have shape [5, 2], data.task classification needs one"),
        ("classification", floats(5), LABELS, "needs exactly one 1 in each target of shape [3]"),
        ("classification", floats(5), floats() + 0.123, "is no class"),
        ("language_model", floats(5), whole(3, 5), "data.task language_model needs whole numbers [L]"),
        ("regression", floats(5), np.array(["a", "b"] * 20), "targets are text"),
    ],
)
def test_data_that_are_not_what_is_said_are_named(
    tmp_path: Path, task: str, x: np.ndarray, y: np.ndarray, expected: str
) -> None:
    message, hint = fail(tmp_path, x, y, f", task: {task}")
    assert expected in message
    assert hint


def test_a_task_that_is_said_settles_what_would_be_asked(tmp_path: Path) -> None:
    y = np.arange(N)
    assert "data.task" in fail(tmp_path, floats(5), y)[1]
    assert load(tmp_path, floats(5), y, ", task: regression").facts.num_outputs == 1
    assert load(tmp_path, floats(5), y, ", task: classification, split: {val: 0, test: 0}").facts.num_outputs == N


def test_positions_without_a_class_are_ignored(tmp_path: Path) -> None:
    y = whole(3, 8)
    y[:, -1] = -100
    y[0, 0] = 255
    data = load(tmp_path, floats(8, 2), y, ", ignored_class: 255, split: {val: 0, test: 0}")
    targets = data.train.gather(np.arange(N))[1]
    assert data.facts.classes == ("0", "1", "2")
    assert (targets[:, -1] == -100).all()
    assert targets[0, 0] == -100
    assert sum(data.facts.class_counts) == (targets >= 0).sum() == N * 7 - 1


def test_an_ignored_class_within_the_declared_ones_is_ignored(tmp_path: Path) -> None:
    data = load(tmp_path, floats(8, 2), whole(3, 8), ", ignored_class: 0, output_shape: [3], split: {val: 0, test: 0}")
    assert data.facts.class_counts[0] == 0
    assert set(np.unique(data.train.gather(np.arange(N))[1])) == {-100, 1, 2}


@pytest.mark.parametrize(
    ("value", "extra", "expected"),
    [
        (-1, "", "y[3, 2]: class -1 is negative"),
        (9, ", output_shape: [3]", "y[3, 2]: class 9 is out of range: data.output_shape [3]"),
    ],
)
def test_a_class_of_a_position_that_cannot_be_is_named(tmp_path: Path, value: int, extra: str, expected: str) -> None:
    y = whole(3, 8)
    y[3, 2] = value
    message, hint = fail(tmp_path, floats(8, 2), y, extra)
    assert expected in message
    assert "data.ignored_class" in hint


def test_targets_that_are_all_ignored_are_said_to_be(tmp_path: Path) -> None:
    message, hint = fail(tmp_path, floats(8, 2), np.full((N, 8), -100))
    assert "no position has a class: all are -100" in message
    assert "data.ignored_class" in hint


def test_a_class_of_a_position_unknown_to_training_is_named(tmp_path: Path) -> None:
    y = whole(3, 8)
    y[5, 1] = 7
    np.savez(tmp_path / "v.npz", x=floats(8, 2), y=y)
    assert "v.npz: y[5, 1]: class 7" in fail(tmp_path, floats(8, 2), whole(3, 8), ", val_data: v.npz")[0]


def test_text_for_each_position_is_a_class(tmp_path: Path) -> None:
    tags = np.array(["noun", "verb", "other"])[whole(3, 8)]
    data = load(tmp_path, whole(50, 8), tags, ", vocab_size: 50")
    assert (data.facts.task, data.facts.classes) == ("sequence", ("noun", "other", "verb"))
    inputs, targets = data.train.gather(np.array([0]))
    assert (str(inputs.dtype), str(targets.dtype), data.facts.vocab_size) == ("int64", "int64", 50)


def test_whole_inputs_are_tokens_only_when_the_vocabulary_is_given(tmp_path: Path) -> None:
    x = whole(50, 8)
    assert load(tmp_path, x, whole(3)).facts.vocab_size == 0
    assert load(tmp_path, x, whole(3), ", vocab_size: 60").facts.signature.vocab_size == 60
    x[4, 3] = 60
    message, hint = fail(tmp_path, x, whole(3), ", vocab_size: 60")
    assert "x[4, 3] is 60: data.vocab_size 60 means 0 to 59" in message
    assert "tokenizer" in hint
    assert "are no tokens" in fail(tmp_path, floats(8), whole(3), ", vocab_size: 60")[0]


def test_arrays_of_tokens_and_their_next_are_a_language_model(tmp_path: Path) -> None:
    x, y = whole(50, 8), np.roll(whole(50, 8), -1, 1)
    y[:, -1] = -100
    facts = load(tmp_path, x, y, ", task: language_model").facts
    assert (facts.task, facts.vocab_size, facts.num_outputs, facts.classes) == ("language_model", 50, 50, ())


def test_columns_of_a_table_are_labels_by_task_or_loss(tmp_path: Path) -> None:
    rows = "\n".join(f"{i * 0.5},{i % 2},{i % 3 // 2}" for i in range(N))
    (tmp_path / "d.csv").write_text(f"a,sunny,windy\n{rows}\n")
    text = "{data: {train_data: d.csv, columns: {targets: [sunny, windy]}%s}, training: {loss: {type: %s}}}"

    def take(extra: str, loss: str) -> LoadedData:
        return load_data(load_profile_text(text % (extra, loss), base_dir=tmp_path))

    assert take("", "auto").facts.task == "regression"
    for data in (take(", task: multi_label", "auto"), take("", "binary_cross_entropy")):
        assert (data.facts.task, data.facts.classes, data.facts.class_counts) == (
            "multi_label",
            ("sunny", "windy"),
            (20, 13),
        )
        assert "2 labels" in data.found[0]


def test_large_position_targets_are_numbered_when_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = floats(30, 4), whole(3, 30) * 10
    small = load(tmp_path, x, y)
    monkeypatch.setattr("footplate.data.sources.MMAP_BYTES", 1000)
    mapped = load(tmp_path, x, y)
    assert mapped.train.whole() is None
    assert small.train.whole() is not None
    some = np.array([3, 1, 3])
    for got, expected in zip(mapped.train.gather(some), small.train.gather(some), strict=True):
        assert np.array_equal(got, expected)
        assert got.dtype == expected.dtype
    assert mapped.facts == small.facts
