"""The parts of a drill: where it kills, how bits are compared, how often to save."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from footplate.errors import InputError, RecordError
from footplate.profile.load import load_profile_text
from footplate.record.checkpoints import begin_checkpoint, commit_checkpoint, get_folder, hash_and_sync, make_manifest
from footplate.record.rundir import RunDir
from footplate.runs.compare_states import StateDifference, find_difference
from footplate.runs.drill import DrillResult, Kill, choose_course, drill
from footplate.runs.interval import get_checkpoint_interval
from footplate.runs.tensor_files import find_tensor_difference


def write_tensors(path: Path, **tensors: tuple[str, list[int], bytes]) -> Path:
    header: dict[str, Any] = {"__metadata__": {"any": "thing"}}
    data = b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def floats(*values: float) -> tuple[str, list[int], bytes]:
    return "F32", [len(values)], struct.pack(f"<{len(values)}f", *values)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[RunDir, RunDir]:
    """Return two runs with the same weights and the same three checkpoints."""
    made = []
    for name in ("whole", "killed"):
        run = RunDir.create(tmp_path, name)
        run.write_json("result.json", {"steps": 30})
        for file in ("last", "model"):
            write_tensors(run.artifacts / f"{file}.safetensors", weight=floats(1.0, 2.0))
        for step in (10, 20, 30):
            save(run, step, floats(float(step), 0.5))
        made.append(run)
    return made[0], made[1]


def save(run: RunDir, step: int, weight: tuple[str, list[int], bytes], state: dict[str, Any] | None = None) -> None:
    folder = begin_checkpoint(get_folder(run), step)
    write_tensors(folder / "model.safetensors", weight=weight)
    (folder / "training.json").write_text(json.dumps(state or {"progress": {"step": step}}))
    files = {path.name: hash_and_sync(path) for path in folder.iterdir()}
    told = {"step": step, "epoch": 0, "position": 0, "attempt": 1, "world_size": 1}
    commit_checkpoint(folder, make_manifest(folder, files, **told))


def test_each_signal_comes_and_the_same_seed_gives_the_same_course() -> None:
    for seed in range(50):
        course = choose_course(20, 3, seed)
        assert {name for _, name in course} == {"SIGKILL", "SIGUSR1"}
        assert [step for step, _ in course] == sorted({step for step, _ in course})
        assert all(1 <= step < 20 for step, _ in course)
        assert choose_course(20, 3, seed) == course
    assert len({choose_course(20, 3, seed) for seed in range(50)}) > 40


def test_the_first_tensor_that_differs_is_named_with_how_much(tmp_path: Path) -> None:
    first = write_tensors(tmp_path / "a", one=floats(1, 2), two=floats(0.5, math.nan, 3))
    same = write_tensors(tmp_path / "b", one=floats(1, 2), two=floats(0.5, math.nan, 3))
    assert find_tensor_difference(first, same) is None
    other = write_tensors(tmp_path / "c", one=floats(1, 2), two=floats(0.5, math.nan, 3.25))
    found = find_tensor_difference(first, other)
    assert str(found) == "two: 1 of 3 values differ, by at most 0.25"
    assert "only in" in str(find_tensor_difference(first, write_tensors(tmp_path / "d", one=floats(1, 2))))
    grown = write_tensors(tmp_path / "e", one=floats(1, 2, 3), two=floats(0.5, math.nan, 3))
    assert str(find_tensor_difference(first, grown)) == "one: F32 [2] became F32 [3]"
    with pytest.raises(RecordError, match="not a safetensors file"):
        find_tensor_difference(first, tmp_path / "none")


@pytest.mark.parametrize(
    ("dtype", "before", "after", "largest"),
    [
        ("BF16", struct.pack("<2H", 0x3F80, 0x4000), struct.pack("<2H", 0x3F80, 0x4040), 1.0),
        ("F16", struct.pack("<2e", 1, 2), struct.pack("<2e", 1, 4), 2.0),
        ("U8", bytes([1, 2]), bytes([1, 5]), 3.0),
        ("F8_E4M3", bytes([1, 2]), bytes([1, 5]), math.nan),
    ],
)
def test_every_type_is_compared_by_its_bits(
    tmp_path: Path, dtype: str, before: bytes, after: bytes, largest: float
) -> None:
    files = [write_tensors(tmp_path / name, x=(dtype, [2], data)) for name, data in (("a", before), ("b", after))]
    found = find_tensor_difference(*files)
    assert found is not None
    assert found.largest == largest or (math.isnan(found.largest) and math.isnan(largest))
    assert find_tensor_difference(files[0], files[0]) is None


def test_a_zero_with_another_sign_is_a_difference(tmp_path: Path) -> None:
    files = [write_tensors(tmp_path / name, x=floats(value)) for name, value in (("a", 0.0), ("b", -0.0))]
    assert find_tensor_difference(*files) is not None


def test_equal_runs_are_equal_and_the_first_checkpoint_that_differs_is_named(runs: tuple[RunDir, RunDir]) -> None:
    whole, killed = runs
    save(killed, 15, floats(9, 9))  # of a preemption: there is none of that step in the other
    compared, difference = find_difference(whole, killed)
    assert difference is None
    assert compared[:3] == tuple(f"checkpoints/step-000000{step}" for step in (10, 20, 30))
    assert compared[3:] == ("artifacts/last.safetensors", "artifacts/model.safetensors")
    for step in (20, 30):
        save(killed, step, floats(float(step), 0.75))
    _, difference = find_difference(whole, killed, without=[20])  # where it was asked to stop
    assert difference is not None
    assert difference.step == 30
    (get_folder(killed) / "step-00000020" / "training.json").unlink()
    _, difference = find_difference(whole, killed)
    assert difference is not None
    assert (difference.step, difference.place, difference.name, difference.largest) == (
        20,
        "checkpoints/step-00000020/model.safetensors",
        "weight",
        0.25,
    )
    save(killed, 20, floats(20.0, 0.5))
    (get_folder(killed) / "step-00000020" / "training.json").unlink()
    _, difference = find_difference(whole, killed)
    assert difference is not None
    assert difference.told == f"training.json is not in {killed.id}"


def test_a_difference_of_the_state_or_of_the_end_is_found_too(runs: tuple[RunDir, RunDir]) -> None:
    whole, killed = runs
    write_tensors(killed.artifacts / "last.safetensors", weight=floats(1.0, 2.5))
    _, difference = find_difference(whole, killed)
    assert difference is not None
    assert (difference.step, difference.place) == (30, "artifacts/last.safetensors")
    save(killed, 10, floats(10.0, 0.5), {"progress": {"step": 10, "waited": [1, 2]}})
    _, difference = find_difference(whole, killed)
    assert difference is not None
    assert (difference.step, difference.name) == (10, "progress.waited[0]")
    save(killed, 10, floats(10.0, 0.5), {"progress": {"step": 10, "train_s": 3.5}})  # a time is no state
    assert find_difference(whole, killed)[1] == StateDifference(
        step=30, place="artifacts/last.safetensors", name="weight", told=difference_told(), largest=0.5
    )


def difference_told() -> str:
    return "weight: 1 of 2 values differ, by at most 0.5"


def test_the_interval_is_young_and_dalys_and_never_costs_more_than_two_per_cent() -> None:
    day = 86_400.0
    assert get_checkpoint_interval(10.0, day) == pytest.approx(math.sqrt(2 * 10 * day), rel=0.02)
    assert get_checkpoint_interval(1.0, 100.0) == 50.0  # 2 %, though failures would ask for 13 s
    assert get_checkpoint_interval(300.0, 100.0) == 15_000.0
    assert get_checkpoint_interval(0.0, day) == 0.0
    assert 60 / get_checkpoint_interval(60.0, 3600.0) <= 0.02


def make_result(step: int) -> DrillResult:
    return DrillResult(
        steps=30,
        seed=1,
        kills=(Kill(step=12, signal="SIGKILL", resumed_from=10, ended_after_s=None),),
        difference=StateDifference(step=step, place="a", name="b", told="c"),
        compared=(),
        step_s=0.1,
        checkpoint_stall_s=0.01,
        checkpoint_write_s=0.1,
        checkpoint_bytes=100,
        advised_interval_s=5.0,
        mean_time_between_failures_s=86_400.0,
        lead_time_s=None,
        runs=(),
    )


def test_the_place_of_a_difference_tells_about_its_reason() -> None:
    assert "before anything was resumed (from step 10 on)" in make_result(10).reason
    assert "not in the checkpoint" in make_result(20).reason
    assert make_result(20).advised_steps == 50
    assert not make_result(20).equal
    assert json.loads(json.dumps(make_result(20).to_json()))["difference"]["step"] == 20


def test_what_cannot_be_drilled_is_refused(tmp_path: Path) -> None:
    own = load_profile_text("entrypoint: {command: [echo]}\n", base_dir=tmp_path)
    with pytest.raises(InputError, match="only the built-in training"):
        drill(own)
    iris = load_profile_text("data: {train_data: 'sklearn:iris'}\ntraining: {max_epochs: 1}\n", base_dir=tmp_path)
    with pytest.raises(InputError, match="at least two kills"):
        drill(iris, num_kills=1)
    with pytest.raises(InputError, match="this training has"):
        drill(iris, num_steps=100_000)


def test_the_first_kill_comes_when_there_is_a_checkpoint_to_go_on_from() -> None:
    for seed in range(200):
        assert min(step for step, _ in choose_course(24, 2, seed)) > 24 // 8
    assert [step for step, _ in choose_course(8, 6, 1)] == sorted({step for step, _ in choose_course(8, 6, 1)})
