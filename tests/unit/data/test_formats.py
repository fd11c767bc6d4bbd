"""Every format with every task it can hold: shapes, classes, counts; and errors that name the file and the place."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from footplate.data import images
from loaded import fail, load, take

RNG = np.random.default_rng(0)
ALL = ", split: {val: 0, test: 0}"


def draw(path: Path, *, size: tuple[int, int] = (6, 8), mode: str = "RGB", value: int = 0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*size, 3) if mode == "RGB" else size
    pixels = RNG.integers(0, 200, shape).astype(np.uint8) + np.uint8(value)
    Image.fromarray(pixels).save(path)
    return pixels


def write_lines(path: Path, *rows: object) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(("mode", "shape"), [("RGB", (6, 8, 3)), ("L", (6, 8))])
def test_a_folder_for_each_class_is_classification(tmp_path: Path, mode: str, shape: tuple[int, ...]) -> None:
    drawn = {(name, i): draw(tmp_path / name / f"{i}.png", mode=mode) for name in ("cat", "dog") for i in range(10)}
    data = load(tmp_path, f"train_data: .{ALL}")
    facts = data.facts
    assert (facts.task, facts.classes, facts.class_counts) == ("classification", ("cat", "dog"), (10, 10))
    assert (facts.input_shape, facts.input_dtype, facts.num_train) == (shape, "uint8", 20)
    assert data.found[0].endswith("10 each · 20 files")
    inputs, targets = take(data)
    assert np.array_equal(inputs[3], drawn["cat", 3].astype(np.float32))
    assert targets.tolist() == [0] * 10 + [1] * 10


def test_images_and_masks_are_segmentation(tmp_path: Path) -> None:
    for i in range(10):
        draw(tmp_path / "images" / f"{i}.jpg")
        mask = np.zeros((6, 8), np.uint8)
        mask[:, i % 8 :] = 1
        mask[0, 0] = 255
        (tmp_path / "masks").mkdir(exist_ok=True)
        picture = Image.fromarray(mask, mode="P") if i % 2 else Image.fromarray(mask)
        picture.putpalette([0, 0, 0, 200, 10, 10] * 128) if i % 2 else None
        picture.save(tmp_path / "masks" / (f"{i}_mask.png" if i % 3 else f"{i}.png"))
    data = load(tmp_path, f"train_data: ., ignored_class: 255{ALL}")
    facts = data.facts
    assert (facts.task, facts.classes, facts.input_shape) == ("segmentation", ("0", "1"), (6, 8, 3))
    assert (facts.target_shape, facts.num_outputs) == ((6, 8), 2)
    targets = take(data)[1]
    assert (targets[:, 0, 0] == -100).all()
    assert targets[3, 1].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert sum(facts.class_counts) == 10 * 47
    assert "if 255 means no class, set data.ignored_class: 255" in load(tmp_path, "train_data: .").found


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    for i in range(5):
        draw(tmp_path / "a" / f"{i}.png")
        draw(tmp_path / "b" / f"{i}.png", size=(9, 8) if i == 3 else (6, 8))
    message, hint = fail(tmp_path, "train_data: .")
    assert message.endswith("b/3.png has 8 × 9 pixels, a/0.png has 8 × 6")
    assert "one size" in hint


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for i in range(3):
            draw(tmp_path / name / f"{i}.png")
    whole = (tmp_path / "b" / "1.png").read_bytes()
    (tmp_path / "b" / "1.png").write_bytes(whole[: len(whole) // 2])
    assert "b/1.png: cannot be read as an image" in fail(tmp_path, "train_data: .")[0]
    (tmp_path / "b" / "1.png").write_bytes(b"no image")
    assert "b/1.png: cannot be read as an image" in fail(tmp_path, "train_data: .")[0]


def test_an_image_that_would_fill_the_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        draw(tmp_path / name / "1.png")
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 10)  # Pillow refuses images of more than twice as many
    message, hint = fail(tmp_path, "train_data: .")
    assert "a/1.png: cannot be read as an image: Image size (48 pixels) exceeds limit of 20 pixels" in message
    assert hint


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["cat/1.png"], "one folder with images only, `cat`"),
        (["1.png", "2.png"], "images without classes"),
        (["images/1.png", "images/2.png", "masks/1.png"], "images/2.png has no mask; 1 of 2"),
        (["images/1.png", "images/2.png"], "one folder with images only, `images`"),
        (["a/1.png", "b/1.png", "empty/notes.md"], "empty: no images in it"),
    ],
)
def test_a_folder_that_is_no_image_folder_says_why(tmp_path: Path, files: list[str], expected: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        draw(tmp_path / name) if name.endswith("png") else (tmp_path / name).write_text("?")
    message, hint = fail(tmp_path, "train_data: .")
    assert expected in message
    assert hint


def test_another_set_of_images_goes_by_the_names_of_its_classes(tmp_path: Path) -> None:
    for name in ("ant", "bee", "cat"):
        for i in range(4):
            draw(tmp_path / "train" / name / f"{i}.png")
            if name != "ant":
                draw(tmp_path / "val" / name / f"{i}.png")
    data = load(tmp_path, "train_data: train, val_data: val, split: {test: 0}")
    assert set(data.val.gather(np.arange(8))[1]) == {1, 2}


def test_images_of_one_colour_among_grey_ones_make_all_colour(tmp_path: Path) -> None:
    for i in range(3):
        draw(tmp_path / "a" / f"{i}.png", mode="L")
        draw(tmp_path / "b" / f"{i}.png", mode="RGB" if i else "L")
    assert load(tmp_path, "train_data: .").facts.input_shape == (6, 8, 3)


def test_images_of_16_bits_keep_them(tmp_path: Path) -> None:
    for name, value in (("a", 1000), ("b", 60_000)):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.fromarray(np.full((4, 5), value, np.uint16)).save(tmp_path / name / f"{i}.png")
    data = load(tmp_path, f"train_data: .{ALL}")
    assert data.facts.input_dtype == "uint16"
    assert take(data)[0][:, 0, 0].tolist() == [1000, 1000, 60_000, 60_000]


def test_images_are_normalised_by_channel(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for i in range(8):
            draw(tmp_path / name / f"{i}.png")
    data = load(tmp_path, f"train_data: ., preprocessing: {{normalize: true}}{ALL}")
    assert data.scaler.mean is not None
    assert data.scaler.mean.shape == (1, 1, 3)
    assert np.allclose(take(data)[0].mean(axis=(0, 1, 2)), 0, atol=1e-5)


def test_text_is_a_language_model_of_its_bytes(tmp_path: Path) -> None:
    text = "Ünder the bridge. " * 20
    (tmp_path / "t.txt").write_text(text)
    data = load(tmp_path, f"train_data: t.txt, sequence_length: 16{ALL}")
    facts = data.facts
    stored = text.encode()
    assert (facts.task, facts.vocab_size, facts.input_shape) == ("language_model", 256, (16,))
    assert (facts.num_train, facts.num_outputs) == ((len(stored) - 1) // 16, 256)
    inputs, targets = take(data)
    assert str(inputs.dtype) == str(targets.dtype) == "int64"
    assert inputs.astype(np.uint8).tobytes() == stored[: inputs.size]
    assert targets.astype(np.uint8).tobytes() == stored[1 : targets.size + 1]
    assert data.found[0].endswith("the next of 256 tokens")


def test_text_files_of_a_folder_are_one_stream(tmp_path: Path) -> None:
    for number in (10, 2):
        (tmp_path / f"part-{number}.txt").write_text(f"{number % 10}" * 25)
    inputs = take(load(tmp_path, f"train_data: ., sequence_length: 10{ALL}"))[0]
    assert inputs.astype(np.uint8).tobytes() == b"2" * 25 + b"0" * 15


def test_too_little_text_says_how_much_is_needed(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("short")
    message, hint = fail(tmp_path, "train_data: t.txt")
    assert "5 tokens; one block of data.sequence_length 256 needs 257" in message
    assert "sequence_length" in hint


def test_a_text_beside_arrays_is_a_note(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((20, 3)), y=np.arange(20) % 2)
    (tmp_path / "LICENSE.txt").write_text("free")
    assert load(tmp_path, "train_data: .").facts.input_shape == (3,)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_token_shards_are_found_and_mapped(tmp_path: Path, dtype: type) -> None:
    tokens = (np.arange(1000) % 300).astype(dtype)
    np.save(tmp_path / "shard_0.npy", tokens[:450])
    np.save(tmp_path / "shard_1.npy", tokens[450:])
    data = load(tmp_path, f"train_data: ., sequence_length: 64{ALL}")
    assert (data.facts.task, data.facts.vocab_size, data.facts.num_train) == ("language_model", 300, 15)
    inputs, targets = take(data)
    assert np.array_equal(inputs.ravel(), tokens[:960])
    assert np.array_equal(targets.ravel(), tokens[1:961])


def test_raw_tokens_are_read_when_the_format_says_so(tmp_path: Path) -> None:
    (np.arange(500) % 99).astype(np.uint16).tofile(tmp_path / "train.bin")
    data = load(tmp_path, f"train_data: train.bin, format: tokens, vocab_size: 128, sequence_length: 10{ALL}")
    assert (data.facts.vocab_size, data.facts.num_train) == (128, 49)


def test_a_token_beyond_the_vocabulary_is_named(tmp_path: Path) -> None:
    tokens = np.zeros(100, np.uint16)
    tokens[57] = 70
    np.save(tmp_path / "t.npy", tokens)
    message, hint = fail(tmp_path, f"train_data: t.npy, vocab_size: 64, sequence_length: 10{ALL}")
    assert message == "t.npy[57] is token 70; data.vocab_size is 64"
    assert "tokenizer" in hint
    np.save(tmp_path / "t.npy", tokens.astype(np.int32) - 1)
    assert "t.npy[0] is -1" in fail(tmp_path, "train_data: t.npy, format: tokens, sequence_length: 10")[0]


def test_lines_with_text_only_are_a_language_model(tmp_path: Path) -> None:
    write_lines(tmp_path / "d.jsonl", *({"text": f"line {i}", "id": i} for i in range(30)))
    data = load(tmp_path, f"train_data: d.jsonl, sequence_length: 20{ALL}")
    assert (data.facts.task, data.facts.vocab_size) == ("language_model", 256)
    inputs = take(data)[0]
    assert inputs.astype(np.uint8).tobytes().startswith(b"line 0\0line 1\0")


def test_lines_with_text_and_label_are_classification_of_bytes(tmp_path: Path) -> None:
    rows = [
        {"text": "good " * (i + 1), "label": "pos"} if i % 2 else {"text": "bad", "label": "neg"} for i in range(12)
    ]
    write_lines(tmp_path / "d.jsonl", *rows)
    data = load(tmp_path, f"train_data: d.jsonl, sequence_length: 40{ALL}")
    facts = data.facts
    assert (facts.task, facts.classes, facts.class_counts) == ("classification", ("neg", "pos"), (6, 6))
    assert (facts.vocab_size, facts.input_shape) == (256, (40,))
    inputs, targets = take(data)
    assert str(inputs.dtype) == "int64"
    assert inputs[0].astype(np.uint8).tobytes() == b"bad" + bytes(37)
    assert targets.tolist() == [0, 1] * 6
    assert "d.jsonl: 2 of 12 texts are longer than 40 bytes and cut there" in data.found
    assert (
        load(tmp_path, "train_data: d.jsonl, task: language_model, sequence_length: 8").facts.task == "language_model"
    )


@pytest.mark.parametrize(
    ("x", "y", "task", "shape"),
    [
        ([1, 2.5], 1, "classification", (2,)),
        ([[1, 2], [3, 4], [5, 6]], [0, 1, 2], "sequence", (3, 2)),
        ([1, 2.5], 0.5, "regression", (2,)),
        ([1, 2.5], [0.5, 1.5, 2.5], "regression", (2,)),
        ([1, 2.5, 3], "a", "classification", (3,)),
    ],
)
def test_lines_of_numbers_and_lists(tmp_path: Path, x: object, y: object, task: str, shape: tuple[int, ...]) -> None:
    other = {1: 0, "a": "b"}.get(y, y) if isinstance(y, (int, str)) else y
    write_lines(tmp_path / "d.jsonl", *({"x": x, "y": y if i % 2 else other} for i in range(20)))
    facts = load(tmp_path, "train_data: d.jsonl").facts
    assert (facts.task, facts.input_shape, facts.num_train) == (task, shape, 16)


def test_lines_with_plain_fields_are_a_table(tmp_path: Path) -> None:
    rows = [{"size": i, "colour": ["red", "blue"][i % 2], "new": i % 3 == 0, "price": i * 1.5} for i in range(20)]
    rows[4]["size"] = None
    write_lines(tmp_path / "d.jsonl", *rows)
    assert "d.jsonl line 5, column `size`: the cell is empty" in fail(tmp_path, "train_data: d.jsonl")[0]
    data = load(tmp_path, "train_data: d.jsonl, columns: {missing: mean}")
    assert (data.facts.task, data.facts.input_shape) == ("regression", (5,))
    assert [item.name for item in data.encoding] == ["size", "colour", "new"]
    picked = load(tmp_path, "train_data: d.jsonl, columns: {inputs: [price], targets: [colour]}").facts
    assert (picked.classes, picked.input_shape) == (("blue", "red"), (1,))


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ('{"x": [1, 2], "y"', "d.jsonl line 4: cannot be read as JSON"),
        ("[1, 2]", "d.jsonl line 4: is no object"),
        ('{"x": [1, 2]}', "d.jsonl line 4: no field `y`; it has `x`"),
        ('{"x": [1, 2, 3], "y": 1}', "d.jsonl line 4: `x` has shape [3], in the first line [2]"),
        ('{"x": [[1], [2, 3]], "y": 1}', "d.jsonl line 4: `x` holds lists of different lengths"),
        ('{"x": null, "y": 1}', "d.jsonl line 4: `x` is empty, no number"),
        ("[" * 100_000, "d.jsonl line 4: cannot be read as JSON"),
        ('{"x": [1, NaN], "y": 1}', "d.jsonl line 4, 1 is nan: 1 of 12 numbers of the inputs"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, bad: str, expected: str) -> None:
    good = '{"x": [1, 2], "y": 0}\n'
    (tmp_path / "d.jsonl").write_text(f"{good}\n{good}{bad}\n{good * 3}")
    message, hint = fail(tmp_path, "train_data: d.jsonl")
    assert expected in message
    assert hint


def test_sets_of_another_kind_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("word " * 100)
    np.savez(tmp_path / "v.npz", x=np.ones((20, 16)), y=np.arange(20) % 2)
    message, hint = fail(tmp_path, "train_data: t.txt, val_data: v.npz, sequence_length: 16")
    assert message == "v.npz: data of another kind than t.txt"
    assert "data.val_data" in hint
    assert (
        "data.task is classification"
        in fail(tmp_path, "train_data: t.txt, task: classification, sequence_length: 9")[0]
    )


def test_headers_of_very_many_images_are_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_LOOKED_AT", 3)
    for name in ("a", "b"):
        for i in range(6):
            draw(tmp_path / name / f"{i}.png", size=(9, 8) if (name, i) == ("b", 3) else (6, 8))
    assert "b/3.png has 8 × 9 pixels, a/0.png has 8 × 6" in fail(tmp_path, "train_data: .")[0]


@pytest.mark.parametrize("kind", ["text", "tokens", "image_folder", "function"])
def test_columns_where_there_are_none_are_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "t.txt").write_text("word " * 100)
    np.save(tmp_path / "t.npy", np.zeros(1000, np.uint16))
    for name in ("a", "b"):
        draw(tmp_path / "pictures" / name / "1.png")
    name = {"text": "t.txt", "tokens": "t.npy", "image_folder": "pictures"}.get(kind, "'no_such:function'")
    assert "data.columns does not act on" in fail(tmp_path, f"train_data: {name}, columns: {{targets: [y]}}")[0]


def test_a_vocabulary_smaller_than_the_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("word " * 100)
    write_lines(tmp_path / "d.jsonl", *({"text": "a", "label": i % 2} for i in range(20)))
    for name in ("t.txt", "d.jsonl"):
        message, hint = fail(tmp_path, f"train_data: {name}, vocab_size: 100, sequence_length: 8")
        assert "data.vocab_size is 100" in message
        assert "256" in hint


def test_empty_lines_and_returns_of_another_system_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(
        b"\r\n".join(b'{"x": [%d], "y": %d}' % (i, i % 2) for i in range(20)) + b"\r\n\r\n \n"
    )
    assert take(load(tmp_path, f"train_data: d.jsonl{ALL}"))[0][:, 0].tolist() == list(range(20))
