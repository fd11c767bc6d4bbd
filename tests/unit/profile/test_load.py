"""Loading a profile: what is accepted, and what is said about the rest."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from footplate.errors import ProfileError
from footplate.profile.load import load_profile, load_profile_text
from footplate.profile.model import Profile


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


def test_a_template_or_a_file_is_extended_section_by_section(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("extends: hpc\ntraining:\n  batch_size: 8\n  max_epochs: 3\n", encoding="utf-8")
    (tmp_path / "my.yaml").write_text("extends: base.yaml\ntraining:\n  batch_size: 16\n", encoding="utf-8")
    profile = load_profile(tmp_path / "my.yaml")
    assert (profile.training.batch_size, profile.training.max_epochs) == (16, 3)
    assert profile.metadata.target_platform == "hpc"
    assert profile.is_set("training.max_epochs")
    place = profile.where("training.max_epochs")
    assert place is not None
    assert (Path(place.file).name, place.line) == ("base.yaml", 4)
    assert "extends" not in profile.to_yaml()


def test_a_list_of_a_base_is_replaced_with_its_places(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("data: {input_shape: [1, 2, 3]}\n", encoding="utf-8")
    profile = load_profile_text("extends: base.yaml\ndata: {input_shape: [4]}\n", base_dir=tmp_path, name="my.yaml")
    assert profile.data.input_shape == (4,)
    assert profile.where("data.input_shape.1") is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a.yaml": "extends: b.yaml", "b.yaml": "extends: a.yaml"},
            "goes round in a circle: a.yaml → b.yaml → a.yaml",
        ),
        ({"a.yaml": "extends: a.yaml"}, "goes round in a circle: a.yaml → a.yaml"),
        ({"a.yaml": "extends: gone.yaml"}, "gone.yaml: there is no such file"),
        ({"a.yaml": "extends: hcp"}, "the templates are quickstart, hpc"),
        (
            {"a.yaml": "extends: x0.yaml", **{f"x{n}.yaml": f"extends: x{n + 1}.yaml" for n in range(9)}},
            "a chain of more than 8 files",
        ),
    ],
)
def test_a_chain_of_extends_that_cannot_end_well_is_named(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n", encoding="utf-8")
    with pytest.raises(ProfileError, match="extends: ") as caught:
        load_profile(tmp_path / "a.yaml")
    assert message in str(caught.value)


def test_an_override_is_read_like_yaml_and_wins() -> None:
    profile = load_profile_text(
        "training:\n  batch_size: 8\n",
        overrides=["training.batch_size=64", "data.input_shape=[8, 8]", "logging.log_format=%(message)s", "notes=a: b"],
    )
    assert (profile.training.batch_size, profile.data.input_shape) == (64, (8, 8))
    assert (profile.logging.log_format, profile.notes) == ("%(message)s", "a: b")
    place = profile.where("training.batch_size")
    assert place is not None
    assert (place.file, place.line) == ("--set", 0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.batch_size", "--set training.batch_size: write --set section.key=value"),
        ("training..x=1", "write --set section.key=value"),
        ("=1", "write --set section.key=value"),
        ("training.batch_size.x=1", "training.batch_size is no section; it holds 8"),
        ("training.batchsize=1", "training.batchsize: unknown key; did you mean batch_size?"),
        ("training.batch_size=0", "training.batch_size: must be ≥ 1 (got 0)"),
        ("training.batch_size=[1", "cannot be read as YAML"),
    ],
)
def test_a_bad_override_is_named(override: str, message: str) -> None:
    (problem,) = get_problems("training:\n  batch_size: 8\n", override)
    assert problem.startswith(f"--set {override}")
    assert message in problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_size: 3", "batch_size: unknown key; did you mean training.batch_size?"),
        ("training: {lr: 1}", "training.lr: unknown key; did you mean learning_rate?"),
        ("epochs: 3", "did you mean training.max_epochs?"),
        ("zzzzz: 3", "zzzzz: unknown key; no section or key has this name"),
        ("training: {mixed_precision: {precision: fp17}}", "must be one of fp16, bf16 (got fp17); did you mean fp16?"),
        ("device: gpu", "did you mean cuda?"),
        ("training: {scheduler: {type: cosine}}", "did you mean cosine_annealing?"),
        ("training: {optimizer: adan}", "or package.module:Class (got adan); did you mean adam?"),
        ("model: {architecture: transfomer}", "did you mean transformer?"),
        ("model: {hidden: 3}", "model.hidden: unknown key"),
        ("validation: {metrics: [loss, acc]}", "validation.metrics.1: must be one of"),
        ("training: {mixed_precision: {loss_scale: dynamc}}", "expected a number or `dynamic`, got dynamc"),
        ("training: {mixed_precision: {loss_scale: 0}}", "must be > 0 (got 0)"),
        ("training: {batch_size: 2.5}", "expected a whole number, got 2.5"),
        ("training: {batch_size: '32'}", 'expected a whole number, got "32"'),
        ("training: {batch_size: true}", "expected a whole number, got true"),
        ("training: {batch_size: }", "got nothing; leave the key out for its default (32)"),
        ("training: {batch_size: [1]}", "expected a whole number, got a list of 1"),
        ("training: 3", "training: expected a section (key: value lines), got 3"),
        ("training: {learning_rate: .inf}", "must be finite (got .inf)"),
        ("training: {dropout: 1.0}", "must be ≥ 0 and < 1 (got 1.0)"),
        ("reproducibility: {deterministic: 1}", "expected true or false, got 1"),
        ("resources: {wall_time: long}", "'long' is no duration; write 48:00:00"),
        ("resources: {memory_gb: 8XB}", "'8XB' is no size"),
        ("resources: {account: no}", 'expected text, got no; write "no"'),
        ("data: {columns: {targets: price}}", 'expected a list of texts, got "price"; write [price]'),
        ("data: {preprocessing: {std: [1, a]}}", 'data.preprocessing.std.1: expected a number, got "a"'),
        ("data: {preprocessing: {clip_range: [1]}}", "expected a list of 2 numbers, got 1"),
        ("data: {preprocessing: {clip_range: [3, 1]}}", "the first number must be below the second"),
        ("data: {preprocessing: {std: [0]}}", "every standard deviation must be > 0"),
        ("data: {split: {val: 0.5, test: 0.5}}", "leaves nothing to train on"),
        ("data: {input_shape: [0]}", "every size must be ≥ 1"),
        ("entrypoint: {script: a.py, module: b}", "script and module are given; keep one"),
        ("entrypoint: {env: {A: [1]}}", "entrypoint.env.A: expected text, got a list of 1"),
        ("debug: {profile_steps: [3, 1]}", "the first step must not be after the last"),
    ],
)
def test_what_is_wrong_is_said_in_plain_words(text: str, message: str) -> None:
    (problem,) = get_problems(text)
    assert problem.startswith("my.yaml:1: ")
    assert message in problem


def test_a_class_of_the_users_takes_its_own_arguments_as_plain_values() -> None:
    profile = load_profile_text("model: {architecture: 'net:Net', depth: 0x10, sizes: [1, 2], drop: 1e-1}")
    extra = profile.model.model_extra or {}
    assert extra == {"depth": 16, "sizes": [1, 2], "drop": 0.1}
    assert type(extra["depth"]) is int


def test_text_keeps_how_a_number_was_written() -> None:
    profile = load_profile_text("metadata: {version: 2.10, created: 2025-11-17}\nentrypoint: {env: {N: 007}}")
    assert (profile.metadata.version, profile.metadata.created) == ("2.10", "2025-11-17")
    assert profile.entrypoint.env == {"N": "007"}


def test_metric_names_are_read_in_their_older_spelling() -> None:
    profile = load_profile_text("training: {early_stopping: {monitor: val_loss}}\nvalidation: {save_best_metric: mae}")
    assert (profile.training.early_stopping.monitor, profile.validation.save_best_metric) == ("val/loss", "val/mae")


@pytest.mark.parametrize("name", ["team_hpc.yaml", "team_embedded.yaml"])
def test_a_teams_profile_loads_unchanged_and_quickly(name: str) -> None:
    file = Path(__file__).parent / "profiles" / name
    load_profile(file)
    started = time.perf_counter()
    profile = load_profile(file)
    assert time.perf_counter() - started < 0.06
    assert load_profile_text(profile.to_yaml()) == profile
    assert profile.resources.output_dir == "runs"


def test_a_section_that_is_left_empty_is_its_defaults() -> None:
    assert load_profile_text("training:\nnotes:\nlogging: {wandb: {tags: }}\n") == load_profile_text("notes: ''\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "my.yaml: is empty"),
        (b"# nothing\n---\n", "is empty"),
        (b"- a\n", "my.yaml:1: holds a list, not a profile"),
        (b"hello\n", "holds a single value"),
        (b"a: \xff\xfe\n", "line 1: not UTF-8 text (byte 0xff)"),
        (b"\xff\xfea\x00", "not UTF-8"),
        (b"notes: a\x00b\n", "cannot be read as YAML"),
        (b"x" * 5_000_001, "is 5.0 MB; a profile has at most 5 MB"),
    ],
)
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "my.yaml").write_bytes(content)
    with pytest.raises(ProfileError) as caught:
        load_profile(tmp_path / "my.yaml")
    assert message in str(caught.value)


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("gone.yaml", "there is no such file"), (".", "is a directory"), ("pipe", "no ordinary")):
        with pytest.raises(ProfileError, match=message.replace("no ordinary", "is not an ordinary file")):
            load_profile(tmp_path / name)
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile("a\0b")


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_bytes(b"\xef\xbb\xbfdevice: cpu\n")
    assert load_profile(tmp_path / "my.yaml").device == "cpu"


def test_a_profile_made_in_python_knows_what_was_set() -> None:
    profile = Profile.model_validate({"training": {"batch_size": 8}})
    assert profile.is_set("training.batch_size")
    assert not profile.is_set("training.max_epochs")
    assert profile.where("training.batch_size") is None
    assert load_profile_text(profile.to_yaml()) == profile


def test_shares_are_no_problem_when_a_set_has_a_file_of_its_own() -> None:
    split = "split: {val: 0.5, test: 0.5}"
    for own in ("val_data: v.npz", "test_data: t.npz", "val_data: v.npz, test_data: t.npz"):
        load_profile_text(f"data: {{train_data: a.npz, {own}, {split}}}")
    (problem,) = get_problems(f"data: {{train_data: a.npz, {split}}}")
    assert problem == "my.yaml:1: data.split: val 0.5 + test 0.5 = 1 leaves nothing to train on"
