"""From a name in a profile to three checked sets: arrays, sklearn sets, shards, and every way they can be wrong."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from footplate.data import array_files
from footplate.data.load import LoadedData, load_data
from footplate.errors import DataError
from footplate.profile.load import load_profile_text

RNG = np.random.default_rng(0)


def load(text: str, base: Path | None = None) -> LoadedData:
    return load_data(load_profile_text(text, base_dir=base))


def fail(text: str, base: Path | None = None) -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        load(text, base)
    return caught.value.message, caught.value.hint


def save(folder: Path, name: str = "d.npz", *, num: int = 40, **arrays: np.ndarray) -> np.ndarray:
    x = arrays.get("x", RNG.normal(size=(num, 5)).astype(np.float32))
    y = arrays.get("y", np.arange(len(x)) % 4)
    np.savez(folder / name, x=x, y=y)
    return x


def test_digits_are_images_of_ten_classes() -> None:
    data = load("data: {train_data: 'sklearn:digits'}")
    facts = data.facts
    assert (facts.num_train, facts.num_val, facts.num_test) == (1437, 180, 180)
    assert (facts.input_shape, facts.classes, sum(facts.class_counts)) == ((8, 8), tuple("0123456789"), 1797)
    assert data.found[0] == "train    1,437 × [8, 8] float64 → 10 classes, 139–146 each"
    x, y = data.train.gather(np.array([3, 1]))
    assert (x.shape, str(x.dtype), str(y.dtype)) == ((2, 8, 8), "float32", "int64")


@pytest.mark.parametrize(
    ("name", "outputs"), [("iris", 3), ("wine", 3), ("breast_cancer", 2), ("diabetes", 1), ("linnerud", 3)]
)
def test_every_sklearn_set_loads(name: str, outputs: int) -> None:
    data = load(f"data: {{train_data: 'sklearn:{name}'}}")
    assert data.facts.num_outputs == outputs
    assert (data.facts.kind == "classification") == (name not in ("diabetes", "linnerud"))
    assert all(len(line) <= 80 for line in data.found)


def test_an_unknown_sklearn_set_is_answered_with_the_list() -> None:
    assert "digits, iris, wine" in fail("data: {train_data: 'sklearn:mnist'}")[1]


def test_the_three_sets_are_all_samples_once(tmp_path: Path) -> None:
    save(tmp_path, x=np.arange(100, dtype=np.float32)[:, None])
    data = load("data: {train_data: d.npz}", tmp_path)
    seen = np.concatenate([part.gather(np.arange(len(part)))[0] for part in (data.train, data.val, data.test)])
    assert sorted(seen[:, 0]) == list(range(100))


def test_the_split_depends_on_the_seed_only(tmp_path: Path) -> None:
    save(tmp_path, num=100)
    first, again, other = (
        load(f"{{data: {{train_data: d.npz}}, reproducibility: {{seed: {s}}}}}", tmp_path) for s in (1, 1, 2)
    )
    inputs = [data.test.gather(np.arange(len(data.test)))[0] for data in (first, again, other)]
    assert np.array_equal(inputs[0], inputs[1])
    assert not np.array_equal(inputs[0], inputs[2])


def test_sets_with_files_of_their_own_take_nothing_from_training(tmp_path: Path) -> None:
    save(tmp_path)
    save(tmp_path, "v.npz", num=8)
    data = load("data: {train_data: d.npz, val_data: v.npz, split: {test: 0}}", tmp_path)
    assert (len(data.train), len(data.val), len(data.test)) == (40, 8, 0)


def test_a_sequence_set_is_regression_onto_vectors(tmp_path: Path) -> None:
    save(tmp_path, x=RNG.normal(size=(20, 100, 32)).astype(np.float32), y=RNG.normal(size=(20, 10)).astype(np.float32))
    data = load("data: {train_data: d.npz, input_shape: [100, 32], output_shape: [10]}", tmp_path)
    assert (data.facts.target_shape, data.facts.num_outputs, data.facts.classes) == ((10,), 10, ())
    assert data.train.gather(np.array([0]))[1].dtype == np.float32


@pytest.mark.parametrize(("loss", "classes"), [("auto", 4), ("cross_entropy", 4), ("mse", 0), ("huber", 0)])
def test_whole_number_targets_are_classes_unless_the_loss_says_otherwise(
    tmp_path: Path, loss: str, classes: int
) -> None:
    save(tmp_path)
    data = load(f"{{data: {{train_data: d.npz}}, training: {{loss: {{type: {loss}}}}}}}", tmp_path)
    assert len(data.facts.classes) == classes


def test_classes_that_are_not_0_to_k_get_their_index_and_keep_their_names(tmp_path: Path) -> None:
    save(tmp_path, y=np.array([10, 20, 30, 40] * 10))
    data = load("data: {train_data: d.npz}", tmp_path)
    assert data.facts.classes == ("10", "20", "30", "40")
    assert set(data.train.gather(np.arange(len(data.train)))[1]) == {0, 1, 2, 3}


def test_text_targets_are_classes(tmp_path: Path) -> None:
    save(tmp_path, y=np.array(["cat", "dog"] * 20))
    assert load("data: {train_data: d.npz}", tmp_path).facts.classes == ("cat", "dog")


def test_declared_classes_that_do_not_occur_are_kept(tmp_path: Path) -> None:
    save(tmp_path)
    facts = load("data: {train_data: d.npz, output_shape: [6]}", tmp_path).facts
    assert (facts.num_outputs, facts.class_counts) == (6, (10, 10, 10, 10, 0, 0))


def test_named_arrays_are_used(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "d.npz", pixels=np.ones((20, 3, 4), np.uint8), kind=np.arange(20) % 2)
    data = load("data: {train_data: d.npz, columns: {inputs: [pixels], targets: [kind]}}", tmp_path)
    assert (data.facts.input_shape, data.facts.input_dtype) == ((3, 4), "uint8")
    assert data.train.gather(np.array([0]))[0].dtype == np.float32
    assert "`pixels`, `kind`" in fail("data: {train_data: d.npz}", tmp_path)[0]


def test_shards_are_read_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        save(tmp_path, f"shard-{number}.npz", x=np.full((4, 2), number, np.float32))
    (tmp_path / "README.md").write_text("about the shards")
    data = load("data: {train_data: ., split: {val: 0, test: 0}}", tmp_path)
    assert data.train.gather(np.arange(12))[0][:, 0].tolist() == [1] * 4 + [2] * 4 + [10] * 4
    assert data.found[0].endswith("3 files")


def test_files_that_are_split_are_counted_once(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path, f"shard-{number}.npz", x=np.full((4, 2), number, np.float32))
    data = load("data: {train_data: ., split: {val: 0.25, test: 0.25}}", tmp_path)
    assert ["files" in line for line in data.found[:3]] == [True, False, False]


def test_a_shard_of_another_shape_is_named(tmp_path: Path) -> None:
    save(tmp_path, "s1.npz")
    save(tmp_path, "s2.npz", x=np.zeros((4, 6), np.float32))
    assert "s2.npz: x has rows of [6] float32, s1.npz: x has [5]" in fail("data: {train_data: .}", tmp_path)[0]


def test_npy_files_come_in_pairs(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((10, 3)))
    message, hint = fail("data: {train_data: .}", tmp_path)
    assert "1 x*.npy, 0 y*.npy" in message
    assert "numpy.savez" in hint
    np.save(tmp_path / "y.npy", np.arange(10) % 2)
    assert load("data: {train_data: .}", tmp_path).facts.input_shape == (3,)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large enough to be mapped: an uncompressed npz whose arrays do not lie at aligned places."""
    path = tmp_path_factory.mktemp("large") / "large.npz"
    x = np.arange(17_000, dtype=np.float32)[:, None] + np.linspace(0, 0.5, 1000, dtype=np.float32)
    np.savez(path, x=x, y=np.arange(17_000) % 7)
    assert path.stat().st_size > array_files.MMAP_BYTES
    return path


def test_a_mapped_file_gives_the_same_batches_as_one_in_memory(large: Path) -> None:
    text = "{data: {train_data: %s, preprocessing: {normalize: true}}, embedded_optimizations: {use_mmap_datasets: %s}}"
    mapped, memory = load(text % (large, "true")), load(text % (large, "false"))
    assert mapped.train.whole() is None
    assert memory.train.whole() is not None
    indices = np.array([5, 13_000, 5, 0])
    for got, expected in zip(mapped.train.gather(indices), memory.train.gather(indices), strict=True):
        assert np.array_equal(got, expected)
    assert mapped.facts == memory.facts


def test_nan_in_a_mapped_file_is_found_with_its_place(large: Path, tmp_path: Path) -> None:
    with np.load(large) as stored:
        x, y = stored["x"], stored["y"]
    x[16_999, 7] = np.inf
    np.savez(tmp_path / "n.npz", x=x, y=y)
    assert fail("data: {train_data: n.npz}", tmp_path)[0].startswith("n.npz: x[16999, 7] is inf: 1 of 17,000,000")


def test_very_large_data_are_looked_at_in_part_and_it_is_said(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("footplate.data.checks.FULL_CHECK_BYTES", 20_000_000)
    assert load(f"data: {{train_data: {large}}}").found[-1].startswith("NaN was looked for in 1 of 4 parts")


def test_nan_is_named_with_place_and_count(tmp_path: Path) -> None:
    x = np.zeros((40, 2, 3))
    x[7, 1, 2] = x[9, 0, 0] = np.nan
    save(tmp_path, x=x)
    assert "x[7, 1, 2] is nan: 2 of 240" in fail("data: {train_data: d.npz}", tmp_path)[0]
    save(tmp_path, y=np.where(np.arange(40) == 3, np.nan, 1.5))
    assert "y[3] is nan: 1 of 40 numbers of the targets" in fail("data: {train_data: d.npz}", tmp_path)[0]


def test_opposite_infinities_do_not_hide_each_other(tmp_path: Path) -> None:
    save(tmp_path, x=np.array([[np.inf], [-np.inf]] * 20))
    assert "x[0, 0] is inf: 40 of 40" in fail("data: {train_data: d.npz}", tmp_path)[0]


@pytest.mark.parametrize(
    ("arrays", "extra", "expected"),
    [
        ({"y": np.r_[np.arange(39) % 10, 10]}, ", output_shape: [10]", "y[39]: class 10 is out of range"),
        ({"y": np.r_[np.arange(39) % 10, -1]}, "", "y[39]: class -1 is negative"),
        ({"y": np.zeros(40, int)}, "", "all targets are the same class"),
        ({"y": np.arange(40)}, "", "40 different values in 40 samples: classes or quantities?"),
        ({"y": np.zeros((40, 3))}, ", output_shape: [4]", "targets have shape [3], data.output_shape says [4]"),
        ({"y": np.zeros(39)}, "", "d.npz: x has 40 samples, d.npz: y has 39"),
        ({"x": np.zeros((0, 3)), "y": np.zeros(0)}, "", "no samples"),
        ({"x": np.array(["a"] * 40)}, "", "inputs of type <U1"),
        ({"x": np.zeros((40, 3), complex)}, "", "inputs of type complex128"),
        ({"x": np.array([{}] * 40)}, "", "would need pickle"),
        ({"x": np.float32(3)}, "", "is a single value"),
        ({}, ", input_shape: [6]", "inputs have shape [5], data.input_shape says [6]"),
        ({"x": np.zeros((2, 1)), "y": np.arange(2)}, "", "leave 0 to train on"),
        ({"x": np.zeros((40, 0))}, "", "x: each sample has shape [0], which holds no number"),
        ({"y": np.zeros((40, 0))}, "", "y: each sample has shape [0], which holds no number"),
        (
            {"x": np.full((40, 2), 1e39)},
            "",
            "x[0, 0] is 1e+39: 80 of 80 numbers of the inputs are NaN, infinite or too",
        ),
        ({"y": np.full(40, -1e300)}, "", "y[0] is -1e+300: 40 of 40 numbers of the targets"),
        ({"y": np.arange(40).astype("M8[D]")}, "", "targets of type datetime64[D]"),
    ],
)
def test_what_cannot_be_trained_on_is_named(
    tmp_path: Path, arrays: dict[str, np.ndarray], extra: str, expected: str
) -> None:
    x = arrays.get("x", np.ones((40, 5)))
    np.savez(tmp_path / "d.npz", x=x, y=arrays.get("y", np.arange(40) % 4))
    message, hint = fail(f"data: {{train_data: d.npz{extra}}}", tmp_path)
    assert expected in message
    assert hint


def test_a_loss_that_does_not_fit_the_targets_is_named(tmp_path: Path) -> None:
    save(tmp_path, y=np.linspace(0, 1, 40))
    loss = "{data: {train_data: d.npz}, training: {loss: {type: %s}}}"
    assert "y[1]: target 0.025641 is no class" in fail(loss % "cross_entropy", tmp_path)[0]
    save(tmp_path, y=np.r_[np.arange(39) % 3, np.inf])
    assert "y[39]: target inf is no class" in fail(loss % "cross_entropy", tmp_path)[0]
    save(tmp_path, y=np.arange(40) % 3)
    assert "needs 2 classes, the data have 3" in fail(loss % "binary_cross_entropy", tmp_path)[0]
    save(tmp_path, y=np.array(["a", "b"] * 20))
    assert "targets are text" in fail(loss % "mse", tmp_path)[0]


def test_a_class_of_the_test_data_that_training_lacks_is_named(tmp_path: Path) -> None:
    save(tmp_path)
    save(tmp_path, "t.npz", y=np.r_[np.arange(39) % 4, 9])
    assert (
        "t.npz: y[39]: class 9 is not among the 4" in fail("data: {train_data: d.npz, test_data: t.npz}", tmp_path)[0]
    )


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (np.zeros((8, 2), int), "v.npz: y: targets have shape [2], those of the training data are one class per"),
        (np.array(["0", "1"] * 4), "v.npz: y: the targets are text, those of the training data are not"),
    ],
)
def test_validation_targets_of_another_kind_are_named(tmp_path: Path, y: np.ndarray, expected: str) -> None:
    save(tmp_path)
    save(tmp_path, "v.npz", num=8, y=y)
    assert expected in fail("data: {train_data: d.npz, val_data: v.npz}", tmp_path)[0]


def test_validation_data_of_another_shape_are_named(tmp_path: Path) -> None:
    save(tmp_path)
    save(tmp_path, "v.npz", x=np.zeros((8, 6)))
    assert "v.npz: x: inputs have shape [6]" in fail("data: {train_data: d.npz, val_data: v.npz}", tmp_path)[0]


@pytest.mark.parametrize("keep", [0, 10, 500])
@pytest.mark.parametrize("name", ["d.npz", "x.npy"])
def test_a_truncated_file_is_named_and_the_cause_kept(tmp_path: Path, keep: int, name: str) -> None:
    save(tmp_path)
    np.save(tmp_path / "x.npy", np.zeros((40, 5)))
    np.save(tmp_path / "y.npy", np.zeros(40))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:keep])
    form = name[-3:]
    with pytest.raises(DataError, match="cannot be read") as caught:
        load(f"data: {{train_data: {'.' if form == 'npy' else name}, format: {form}}}", tmp_path)
    assert str(tmp_path / name) in caught.value.message
    assert caught.value.__cause__ is not None


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x.npy", b"no array at all")
        archive.writestr("y.npy", b"neither")
    assert "cannot be read" in fail("data: {train_data: d.npz}", tmp_path)[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("s3://bucket/x.npz", "data from afar are not built yet"),
        ("nothing.npz", "does not exist"),
        ("notes.md", "unknown kind of file"),
        ("empty", "it holds nothing"),
        ("mixed", "files of several formats: csv, npz"),
    ],
)
def test_a_name_that_leads_nowhere_is_answered(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "notes.md").write_text("?")
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "a.csv").touch()
    (tmp_path / "mixed" / "a.npz").touch()
    assert expected in fail(f"data: {{train_data: '{name}'}}", tmp_path)[0]


def test_what_is_neither_file_nor_directory_is_read_as_a_file() -> None:
    assert "/dev/null: the file is empty" in fail("data: {train_data: /dev/null, format: csv}")[0]


def test_no_data_at_all_is_answered() -> None:
    assert "data.train_data is not set" in fail("model: {architecture: mlp}")[0]
