"""The bits of every step are the same however data are stored, with and without processes that read them ahead."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from footplate.data import json_lines, rows
from footplate.data.arrays import ArraySet
from footplate.data.load import load_data
from footplate.profile.load import load_profile_text
from footplate.trainer.loading.feed import Feed
from footplate.trainer.loading.workers import Loading

RNG = np.random.default_rng(0)


def write_masks(folder: Path) -> str:
    for i in range(40):
        for part, shape, high in (("images", (8, 9, 3), 255), ("masks", (8, 9), 3)):
            path = folder / "pairs" / part / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(RNG.integers(0, high, shape).astype(np.uint8)).save(path)
    return "train_data: pairs"


def write_documents(folder: Path) -> str:
    (folder / "documents.jsonl").write_text("\n".join(json.dumps({"text": f"dé {i} " * i}) for i in range(60)))
    return "train_data: documents.jsonl, sequence_length: 16"


def write_tokens(folder: Path) -> str:
    (folder / "tokens").mkdir()
    for i in range(3):
        np.save(folder / "tokens" / f"part{i}.npy", RNG.integers(0, 900, 1_000_001).astype(np.uint32))
    return "train_data: tokens, sequence_length: 1000, vocab_size: 1000"


def write_dataset(folder: Path) -> str:
    (folder / "own_set_for_workers.py").write_text(
        "import numpy as np\nclass Set:\n"
        "    def __len__(self): return 70\n"
        "    def __getitem__(self, i): return np.full(6, i, np.float32), i % 2\n"
    )
    return "train_data: 'own_set_for_workers:Set'"


def read(source: ArraySet, num_workers: int) -> list[tuple[bytes, bytes]]:
    """Return the bits of the batches of a bit more than an epoch, from a place in the middle of one."""
    found = []
    with closing(Feed(source, torch.device("cpu"), loading=Loading(num_workers=num_workers))) as feed:
        epoch, position = 3, 5
        for _ in range(6):
            step = feed.take(42, epoch, position, 13)
            found += [(batch.inputs.numpy().tobytes(), batch.targets.numpy().tobytes()) for batch in step.split(5)]
            position += step.num_samples
            if position >= len(feed):
                epoch, position = epoch + 1, 0
    return found


@pytest.mark.parametrize(
    "write", [write_masks, write_documents, write_tokens, write_dataset], ids=lambda write: write.__name__
)
def test_neither_storage_nor_workers_change_a_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], str]
) -> None:
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    profile = load_profile_text(f"data: {{{write(tmp_path)}}}", base_dir=tmp_path)
    whole = load_data(profile).train
    monkeypatch.setattr(rows, "LAZY_BYTES", 200)
    monkeypatch.setattr(json_lines, "WHOLE_BYTES", 100)
    lazy = load_data(profile).train
    assert whole.whole() is not None
    assert lazy.whole() is None
    expected = read(whole, 0)
    assert read(lazy, 0) == expected
    assert read(lazy, 2) == expected
