"""Batches: the same from memory, from a map and from shards, in the order that was asked for."""

import numpy as np
import pytest

from footplate.data import arrays
from footplate.data.arrays import ArraySet
from footplate.data.rows import Rows
from footplate.data.scaler import Scaler

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3, 2))
Y = RNG.integers(0, 4, size=50)
CUTS = [1, 1, 20, 47]  # one shard is empty
SCALER = Scaler(mean=X.mean((0, 1)), std=X.std((0, 1)), clip=(-1.5, 1.5))


def make(kind: str, indices: np.ndarray) -> ArraySet:
    x = np.asfortranarray(X) if kind == "fortran" else X
    parts = tuple(np.split(x, CUTS)) if kind == "shards" else (x,)
    inputs = Rows(parts=parts, names=("x",) * len(parts), mapped=kind != "memory")
    return ArraySet(inputs, Rows(parts=(Y,), names=("y",)), indices, SCALER, classes=True)


@pytest.mark.parametrize("kind", ["memory", "map", "shards", "fortran"])
@pytest.mark.parametrize("wanted", [[0], [3, 1, 2], [19, 0, 7, 7, 19], []])
def test_a_batch_is_the_scaled_samples_in_the_order_asked(kind: str, wanted: list[int]) -> None:
    indices = np.arange(0, 50, 2)[:20]
    got_x, got_y = make(kind, indices).gather(np.array(wanted, np.int64))
    assert np.array_equal(got_x, SCALER.apply(X[indices[wanted]] if wanted else X[:0]))
    assert np.array_equal(got_y, Y[indices[wanted]] if wanted else Y[:0])
    assert (str(got_x.dtype), str(got_y.dtype)) == ("float32", "int64")


def test_whole_is_what_gather_gives() -> None:
    data = make("memory", np.arange(10, 30))
    whole = data.whole()
    assert whole is not None
    for part, batch in zip(whole, data.gather(np.arange(20)), strict=True):
        assert np.array_equal(part, batch)


def test_inputs_too_large_to_keep_scaled_are_scaled_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "WHOLE_BYTES", 100)
    data = make("memory", np.arange(50))
    assert data.whole() is None
    assert np.array_equal(data.gather(np.array([4]))[0], SCALER.apply(X[[4]]))


def test_an_index_beyond_the_end_is_an_error() -> None:
    for kind in ("memory", "map", "shards"):
        with pytest.raises(IndexError):
            make(kind, np.arange(50)).gather(np.array([50]))


def test_a_place_is_named_by_shard_and_row() -> None:
    rows = Rows(parts=tuple(np.split(X, CUTS)), names=tuple(f"s{i}" for i in range(5)))
    assert (rows.locate(0), rows.locate(1), rows.locate(19, 2), rows.locate(20)) == (
        "s0[0]",
        "s2[0]",
        "s2[18, 2]",
        "s3[0]",
    )
