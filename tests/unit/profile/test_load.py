"""Loading a profile: what is accepted, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from footplate.errors import ProfileError
from footplate.profile.load import load_profile, load_profile_text


def get_problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ProfileError) as caught:
        load_profile_text(text, name="my.yaml", overrides=overrides)
    return list(caught.value.problems)


def test_a_profile_is_loaded_with_its_values_and_their_lines() -> None:
    profile = load_profile_text("training:\n  batch_size: 64\n  learning_rate: 1e-4\n", name="my.yaml")
    assert (profile.training.batch_size, profile.training.learning_rate) == (64, 1e-4)
    place = profile.where("training.learning_rate")
    assert place is not None
    assert (place.file, place.line) == ("my.yaml", 3)
    assert profile.where("training.weight_decay") is None
    assert profile.is_set("training.batch_size")
    assert not profile.is_set("training.weight_decay")


def test_every_problem_is_told_at_once_sorted_by_line() -> None:
    text = "training:\n  batchsize: 64\n  max_epochs: 0\n  learning_rate: fast\nreproducibility:\n  seed: yes\n"
    assert get_problems(text) == [
        "my.yaml:2: training.batchsize: unknown key; did you mean batch_size?",
        "my.yaml:3: training.max_epochs: must be ≥ 1 (got 0)",
        'my.yaml:4: training.learning_rate: expected a number, got "fast"',
        "my.yaml:6: reproducibility.seed: expected a whole number, got yes",
    ]


def test_a_file_is_loaded_relative_to_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.yaml").write_text("metadata:\n  version: 2.10\n---\n# the end\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    profile = load_profile("my.yaml")
    assert profile.metadata.version == "2.10"
    assert profile.base_dir == tmp_path


def test_the_resolved_profile_reads_back_the_same() -> None:
    text = "resources: {wall_time: 48:00:00}\ntraining: {learning_rate: 1e-4}\nnotes: '1e-4'\n"
    profile = load_profile_text(text, overrides=["training.batch_size=16"])
    again = load_profile_text(profile.to_yaml())
    assert again == profile
    assert "48:00:00" in profile.to_yaml()
