"""Augmentation: its statistics, its geometry, and that it depends on seed, epoch and sample alone."""

from __future__ import annotations

import numpy as np
import pytest

from footplate.data.augment import Augmenter, draw_normal, draw_uniform, make_augmenter
from footplate.errors import InputError
from footplate.profile.architectures import find_image_layout
from footplate.profile.facts import Signature
from footplate.profile.sections.data import Augmentation
from footplate.profile.tasks import IGNORED

EVERY = Augmenter(noise_std=0.1, max_shift=2.5, max_angle=0.5, layout="HW")


def make_signature(*shape: int, task: str = "classification", vocab_size: int = 0) -> Signature:
    return Signature(task=task, input_shape=shape, num_outputs=3, vocab_size=vocab_size)  # type: ignore[arg-type]


def make_images(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)


def test_noise_is_normal_and_independent() -> None:
    drawn = draw_normal(7, 3, np.arange(2000), 501)
    assert drawn.shape == (2000, 501)
    assert drawn.dtype == np.float32
    assert abs(drawn.mean()) < 0.005  # five standard errors of a million numbers
    assert abs(drawn.std() - 1) < 0.005
    assert abs((drawn.astype(np.float64) ** 4).mean() - 3) < 0.06
    shares = [np.mean(np.abs(drawn) < limit) for limit in (1, 2, 3)]
    assert shares == pytest.approx([0.6827, 0.9545, 0.9973], abs=0.002)
    neighbours = (drawn[:-1], drawn[1:]), (drawn[:, :-1], drawn[:, 1:]), (drawn[:, :250], drawn[:, 251:501])
    for one, other in neighbours:
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.01
    assert np.isfinite(draw_normal(0, 0, np.arange(20_000), 100)).all()


def test_angles_and_shifts_are_uniform_and_differ() -> None:
    drawn = draw_uniform(7, 3, np.arange(100_000), 2)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts, _ = np.histogram(drawn, bins=20, range=(0, 1))
    assert (np.abs(counts - 5000) < 5 * 5000**0.5).all()
    assert abs(np.corrcoef(drawn, draw_uniform(7, 3, np.arange(100_000), 1))[0, 1]) < 0.02


@pytest.mark.parametrize("other", [(8, 3, 0), (7, 4, 0), (7, 3, 1), (3, 7, 0)])
def test_seed_epoch_and_sample_each_change_what_is_drawn(other: tuple[int, int, int]) -> None:
    seed, epoch, first = other
    one = draw_normal(7, 3, np.arange(100), 100)
    two = draw_normal(seed, epoch, np.arange(first, first + 100), 100)
    assert (one == two).mean() < 0.001
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.06


def test_how_a_set_is_cut_into_batches_changes_no_bit() -> None:
    images, classes, samples = make_images(23, 9, 7), np.arange(23), np.random.default_rng(1).permutation(5000)[:23]
    inputs, _ = EVERY.apply(images, classes, samples, 42, 6)
    for size in (1, 2, 5, 22):
        parts = [
            EVERY.apply(images[at : at + size], classes[at : at + size], samples[at : at + size], 42, 6)[0]
            for at in range(0, 23, size)
        ]
        assert np.concatenate(parts).tobytes() == inputs.tobytes()
    order = np.random.default_rng(2).permutation(23)
    shuffled, _ = EVERY.apply(images[order], classes[order], samples[order], 42, 6)
    assert shuffled.tobytes() == inputs[order].tobytes()


def test_a_long_sample_is_drawn_in_pieces_that_join() -> None:
    long = draw_normal(1, 2, np.array([5, 9]), 200_000)
    assert np.unique(long).size > 390_000
    assert (long[1] == draw_normal(1, 2, np.array([9]), 200_000)[0]).all()


def test_the_arguments_are_left_as_they_are() -> None:
    images, masks = make_images(4, 6, 6), np.ones((4, 6, 6), np.int64)
    before = images.copy()
    Augmenter(noise_std=1, max_shift=1, max_angle=1, layout="HW", moves_targets=True).apply(
        images, masks, np.arange(4), 0, 0
    )
    assert (images == before).all()
    assert (masks == 1).all()


def test_noise_has_the_asked_deviation() -> None:
    inputs = make_images(500, 40)
    changed, _ = Augmenter(noise_std=0.25).apply(inputs, np.zeros(500), np.arange(500), 0, 0)
    assert (changed - inputs).std() == pytest.approx(0.25, rel=0.02)


@pytest.mark.parametrize(("shape", "layout"), [((9, 9), "HW"), ((3, 9, 9), "CHW"), ((9, 9, 3), "HWC")])
def test_an_image_is_turned_around_its_centre(shape: tuple[int, ...], layout: str) -> None:
    """What the turned image shows at a place is what the linear picture has where that place came from."""
    y, x = np.mgrid[:9, :9].astype(np.float32) - 4
    plane = 2 * y + 3 * x + 50
    image = np.broadcast_to({"HW": plane, "CHW": plane[None], "HWC": plane[..., None]}[layout], shape)
    augmenter = Augmenter(max_angle=0.5, layout=layout)  # type: ignore[arg-type]
    changed, _ = augmenter.apply(np.stack([image] * 50), np.zeros(50), np.arange(50), 1, 1)
    assert changed.shape == (50, *shape)
    found = {"HW": changed, "CHW": changed[:, 0], "HWC": changed[..., 0]}[layout]
    assert found[:, 4, 4] == pytest.approx(50, abs=1e-3)  # the centre stays
    # A plane turned by an angle is the plane with its gradient turned: its length stays, its direction is the angle.
    across, down = found[:, 4, 5] - found[:, 4, 4], found[:, 5, 4] - found[:, 4, 4]
    assert np.hypot(across, down) == pytest.approx(13**0.5, rel=1e-3)
    angles = np.arctan2(across, down) - np.arctan2(3, 2)
    assert np.abs(angles).max() <= 0.5
    assert angles.std() == pytest.approx(0.5 / 3**0.5, rel=0.25)
    assert len(np.unique(angles)) == 50


def test_a_quarter_turn_is_the_image_turned() -> None:
    from footplate.data.augment import _get_sources, _interpolate

    image = make_images(1, 5, 5)
    rows, columns = _get_sources((5, 5), np.pi / 2)
    turned = _interpolate(image, rows, columns)
    assert any(np.allclose(turned[0], np.rot90(image[0], k), atol=1e-4) for k in (1, 3))


def test_a_mask_turns_with_its_image_and_what_comes_from_outside_is_ignored() -> None:
    mask = np.zeros((1, 15, 15), np.int64)
    mask[0, :, 9:] = 1
    image = mask.astype(np.float32) * 10 + 5
    augmenter = Augmenter(max_angle=np.pi / 4, layout="HW", moves_targets=True)
    for epoch in range(20):
        turned, classes = augmenter.apply(image, mask, np.array([3]), 0, epoch)
        sure = np.abs(turned - np.rint((turned - 5) / 10) * 10 - 5) < 1e-3  # not between two classes, nor at the edge
        inside = sure & (turned > 4)
        assert (classes[inside] == np.rint((turned[inside] - 5) / 10)).all()
        assert set(np.unique(classes)) <= {IGNORED, 0, 1}
        corners = classes[0, [0, 0, -1, -1], [0, -1, 0, -1]]
        if abs(turned[0, 0, 0]) < 1e-6:  # a corner that lies outside
            assert IGNORED in corners


def test_a_sequence_moves_in_time_and_holds_its_ends() -> None:
    line = np.tile(np.arange(100, dtype=np.float32)[:, None], (200, 1, 2))
    moved, _ = Augmenter(max_shift=5).apply(line, np.zeros(200), np.arange(200), 0, 0)
    shifts = 50 - moved[:, 50, 0]
    assert moved[:, 10:90] == pytest.approx(line[:, 10:90] - shifts[:, None, None], abs=1e-3)
    assert np.abs(shifts).max() <= 5
    assert shifts.std() == pytest.approx(5 / 3**0.5, rel=0.1)
    assert moved.min() == 0
    assert moved.max() == 99


def test_the_classes_of_positions_move_with_them() -> None:
    inputs = np.tile(np.arange(50, dtype=np.float32), (30, 1))
    targets = np.tile(np.arange(50), (30, 1))
    moved, classes = Augmenter(max_shift=4, moves_targets=True).apply(inputs, targets, np.arange(30), 0, 0)
    assert np.abs(moved - classes)[:, 6:-6].max() <= 0.5 + 1e-4
    assert not (classes == targets).all()


def test_what_is_asked_for_is_made_or_told_why_not() -> None:
    on = {"enabled": True}
    assert make_augmenter(Augmentation(noise_std=1), make_signature(3)) is None  # not switched on
    assert make_augmenter(Augmentation(**on), make_signature(3)) is None  # nothing is changed
    assert make_augmenter(Augmentation(**on, noise_std=1), make_signature(3, vocab_size=9)) is None  # tokens
    jitter = make_augmenter(Augmentation(**on, temporal_jitter_ms=5, sampling_rate_hz=200), make_signature(100, 32))
    assert jitter == Augmenter(max_shift=1.0, layout="HW")
    turned = make_augmenter(Augmentation(**on, rotation_degrees=180), make_signature(3, 8, 8, task="segmentation"))
    assert turned == Augmenter(max_angle=np.pi, layout="CHW", moves_targets=True)
    with pytest.raises(InputError, match="how many positions 5 ms are"):
        make_augmenter(Augmentation(**on, temporal_jitter_ms=5), make_signature(100))
    with pytest.raises(InputError, match=r"images are rotated.*\[13\]"):
        make_augmenter(Augmentation(**on, rotation_degrees=5), make_signature(13))
    with pytest.raises(InputError, match="sequences are shifted"):
        make_augmenter(Augmentation(**on, temporal_jitter_ms=5, sampling_rate_hz=9), make_signature(3, 8, 8))


def test_layouts() -> None:
    shapes = [(8, 8), (3, 8, 8), (8, 8, 3), (4, 4, 4), (13,)]
    assert [find_image_layout(shape) for shape in shapes] == ["HW", "CHW", "HWC", "CHW", ""]
