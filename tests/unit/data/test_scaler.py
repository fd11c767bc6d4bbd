"""The scaler: what is averaged over for each shape, from the training part only, exact through JSON."""

import json

import numpy as np
import pytest

from footplate.data.rows import Rows
from footplate.data.scaler import Scaler, fit_scaler
from footplate.errors import DataError
from footplate.profile.sections.data import Preprocessing

RNG = np.random.default_rng(0)


def rows(array: np.ndarray) -> Rows:
    return Rows(parts=(array,), names=("x",))


def fit(x: np.ndarray, architecture: str = "mlp", train: np.ndarray | None = None, **settings: object) -> Scaler:
    settings = {"normalize": True} | settings
    indices = np.arange(len(x)) if train is None else train
    return fit_scaler(Preprocessing.model_validate(settings), architecture, rows(x), None, indices)


@pytest.mark.parametrize(
    ("shape", "architecture", "axes"),
    [
        ((5,), "mlp", 0),
        ((6, 3), "transformer", (0, 1)),
        ((8, 8), "cnn", (0, 1, 2)),
        ((3, 8, 9), "cnn", (0, 2, 3)),
        ((8, 9, 3), "cnn", (0, 1, 2)),
    ],
)
def test_features_and_channels_get_mean_0_and_deviation_1(
    shape: tuple[int, ...], architecture: str, axes: int | tuple[int, ...]
) -> None:
    x = RNG.normal(3, 2, size=(200, *shape)) * RNG.uniform(0.5, 4, size=shape[-1])
    scaled = fit(x, architecture).apply(x)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean(axis=axes), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=axes), 1, atol=1e-5)


def test_only_the_training_part_counts() -> None:
    x = np.r_[np.zeros(10), np.full(90, 1e6)][:, None]
    scaler = fit(x, train=np.arange(10))
    assert scaler.mean is not None
    assert scaler.mean.tolist() == [0]


def test_moments_are_those_of_float64_however_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    x = (1e6 + RNG.normal(size=(1001, 4))).astype(np.float32)
    monkeypatch.setattr("footplate.data.rows.CHUNK_BYTES", 160)
    scaler = fit(x)
    assert scaler.mean is not None
    assert scaler.std is not None
    np.testing.assert_allclose(scaler.mean, x.mean(0, dtype=np.float64), rtol=1e-13)
    np.testing.assert_allclose(scaler.std, x.std(0, dtype=np.float64), rtol=1e-10)


def test_a_constant_feature_becomes_0() -> None:
    assert fit(np.full((20, 2), 7.0)).apply(np.full((1, 2), 7.0)).tolist() == [[0, 0]]


def test_given_lists_are_used_and_must_fit() -> None:
    x = np.ones((10, 3))
    assert fit(x, mean=[1, 0, 0], std=[1, 2, 1]).apply(x)[0].tolist() == [0, 0.5, 1]
    assert fit(x, mean=[1.0], std=[2.0]).apply(x)[0].tolist() == [0, 0, 0]
    with pytest.raises(DataError, match=r"preprocessing\.mean has 2 values; inputs of \[3\] have 3 features"):
        fit(x, mean=[1, 2], std=[1, 2])


def test_clipping_comes_after_normalising() -> None:
    x = np.array([[0.0], [10.0], [20.0]])
    assert fit(x, mean=[10], std=[1], clip_range=[-2, 2]).apply(x)[:, 0].tolist() == [-2, 0, 2]
    assert fit(x, normalize=False, clip_range=[1, 15]).apply(x)[:, 0].tolist() == [1, 10, 15]


def test_the_data_are_not_changed() -> None:
    x = RNG.normal(size=(20, 3)).astype(np.float32)
    before = x.copy()
    fit(x, clip_range=[-1, 1]).apply(x)
    fit(x, normalize=False, clip_range=[-1, 1]).apply(x)
    assert np.array_equal(x, before)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "float32", "float64"])
def test_every_type_is_scaled_to_the_same_numbers(dtype: str) -> None:
    x = RNG.integers(0, 200, size=(50, 4))
    np.testing.assert_allclose(fit(x).apply(x.astype(dtype)), fit(x).apply(x), atol=1e-6)


@pytest.mark.parametrize("value", [0.1, 1 / 3, -7.3e8])
def test_a_constant_feature_becomes_0_whatever_the_rounding_of_its_mean(value: float) -> None:
    x = np.full((1000, 1), value)
    np.testing.assert_allclose(fit(x).apply(x), 0, atol=1e-6)


def test_targets_come_back_in_their_own_unit() -> None:
    y = RNG.normal(1000, 50, size=(40, 2))
    settings = Preprocessing(normalize_targets=True)
    scaler = fit_scaler(settings, "mlp", rows(np.zeros((40, 1))), rows(y), np.arange(40))
    scaled = scaler.apply_targets(y)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(scaler.restore_targets(scaled), y, rtol=1e-6)


def test_json_gives_the_very_same_numbers_back() -> None:
    x = RNG.normal(size=(30, 3, 8, 8))
    scaler = fit(x, "cnn", clip_range=[-1, 1])
    again = Scaler.from_json(json.loads(json.dumps(scaler.to_json())))
    assert np.array_equal(scaler.apply(x), again.apply(x))
    assert again.to_json() == scaler.to_json()
    nothing = Scaler.from_json(json.loads(json.dumps(Scaler().to_json())))
    assert nothing.to_json() == Scaler().to_json()
