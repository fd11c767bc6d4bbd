"""What `init` sees in images, text, jsonl and arrays of positions: the profile it writes loads and fits the network."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from footplate.data.infer import describe_table
from footplate.data.load import load_data
from footplate.profile.facts import Facts
from footplate.profile.findings import Severity
from footplate.profile.lint import lint
from footplate.profile.load import load_profile_text
from footplate.profile.templates import render_template

RNG = np.random.default_rng(0)
N = 120


def write_classes(folder: Path) -> str:
    for i in range(N):
        path = folder / "pictures" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 255, (16, 16, 3)).astype(np.uint8)).save(path)
    return "pictures"


def write_masks(folder: Path) -> str:
    for i in range(N):
        for part, shape, high in (("images", (16, 16, 3), 255), ("masks", (16, 16), 3)):
            path = folder / "pairs" / part / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(RNG.integers(0, high, shape).astype(np.uint8)).save(path)
    return "pairs"


def write_text(folder: Path) -> str:
    (folder / "book.txt").write_text("It was a dark and stormy night. " * 300)
    return "book.txt"


def write_tokens(folder: Path) -> str:
    np.save(folder / "tokens.npy", RNG.integers(0, 500, 9000).astype(np.uint16))
    return "tokens.npy"


def write_documents(folder: Path) -> str:
    (folder / "d.jsonl").write_text("\n".join(json.dumps({"text": f"document {i} " * 9}) for i in range(N)))
    return "d.jsonl"


def write_labelled(folder: Path) -> str:
    rows = [{"text": "good" if i % 2 else "bad one", "label": i % 2} for i in range(N)]
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return "d.jsonl"


def write_lists(folder: Path) -> str:
    rows = [{"x": RNG.normal(size=7).tolist(), "label": "ab"[i % 2]} for i in range(N)]
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return "d.jsonl"


def write_rows(folder: Path) -> str:
    rows = [{"id": i, "size": i * 0.5, "colour": ["red", "blue"][i % 2], "price": i * 0.7} for i in range(N)]
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return "d.jsonl"


def write_positions(folder: Path) -> str:
    np.savez(folder / "d.npz", x=RNG.normal(size=(N, 20, 4)), y=np.arange(N * 20).reshape(N, 20) % 3)
    return "d.npz"


def write_labels(folder: Path) -> str:
    y = RNG.integers(0, 2, (N, 3))
    np.savez(folder / "d.npz", x=RNG.normal(size=(N, 6)), y=y)
    return "d.npz"


def write_one_hot(folder: Path) -> str:
    np.savez(folder / "d.npz", x=RNG.normal(size=(N, 6)), y=np.eye(4, dtype=int)[np.arange(N) % 4])
    return "d.npz"


@pytest.mark.parametrize(
    ("write", "task", "architecture", "must_say"),
    [
        (write_classes, "classification", "cnn", False),
        (write_masks, "segmentation", "unet", False),
        (write_text, "language_model", "gpt", False),
        (write_tokens, "language_model", "gpt", False),
        (write_documents, "language_model", "gpt", False),
        (write_labelled, "classification", "lightweight_transformer", False),
        (write_lists, "classification", "mlp", False),
        (write_rows, "regression", "mlp", False),
        (write_positions, "sequence", "lightweight_transformer", False),
        (write_labels, "multi_label", "mlp", False),
        (write_one_hot, "classification", "mlp", True),
    ],
)
@pytest.mark.parametrize("template", ["quickstart", "hpc"])
def test_the_profile_that_is_written_loads_and_fits(
    tmp_path: Path,
    write: Callable[[Path], str],
    task: str,
    architecture: str,
    must_say: bool,
    template: str,
) -> None:
    name = write(tmp_path)
    table = describe_table(name)
    assert (table.task, table.must_say_task) == (task, must_say)
    text = render_template(template, table=table, data_path=name)
    assert max(map(len, text.splitlines())) <= 80
    profile = load_profile_text(text, base_dir=tmp_path)
    assert profile.model.architecture == architecture
    assert (profile.data.task != "auto") == must_say
    data = load_data(profile)
    assert data.facts.task == task
    findings = lint(profile, Facts(data=data.facts)).findings
    assert [one.message for one in findings if one.severity is Severity.error] == []
    assert not [one.message for one in findings if one.code in ("preprocessing", "data-setting", "declared-shape")]


@pytest.mark.parametrize(
    ("write", "lines"),
    [
        (
            write_classes,
            [
                "pictures: image_folder, 120 samples",
                "  images  input     array: 120 of [16, 16, 3] uint8",
                "target  class: each folder is one",
                "task    classification: 2 folders: a, b",
            ],
        ),
        (
            write_text,
            [
                "book.txt: text, 37 blocks",
                "  text  input     array: about 9,472 bytes",
                "target  the next token: it is text without labels",
                "task    language_model: 256 different tokens: the bytes of the text",
            ],
        ),
        (
            write_one_hot,
            [
                "d.npz: npz, 120 samples",
                "  x  input     array: [120, 6] float64",
                "  y  target    array: [120, 4] int64",
                "target  y: its name says so",
                "task    classification: each target holds exactly one 1",
                "the data leave it open: data.task is set; is it what you want?",
            ],
        ),
    ],
)
def test_what_is_said(tmp_path: Path, write: Callable[[Path], str], lines: list[str]) -> None:
    assert list(describe_table(write(tmp_path)).to_lines()) == lines
