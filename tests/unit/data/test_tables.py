"""csv and parquet: kinds of columns, empty cells, categories of the training part, and errors with their line."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from footplate.data.load import LoadedData, load_data
from footplate.data.table_files import find_delimiter
from footplate.errors import DataError
from footplate.profile.load import load_profile_text

ROWS = [f"{i / 4},{['red', 'green', 'blue'][i % 3]},{i % 2}" for i in range(60)]


def write(folder: Path, rows: list[str], name: str = "d.csv", header: str = "size,colour,kind") -> None:
    (folder / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def load(folder: Path, data: str = "train_data: d.csv", training: str = "{}") -> LoadedData:
    return load_data(load_profile_text(f"{{data: {{{data}}}, training: {training}}}", base_dir=folder))


def fail(folder: Path, data: str = "train_data: d.csv") -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        load(folder, data)
    return caught.value.message, caught.value.hint


def test_numbers_stay_and_text_becomes_codes(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    data = load(tmp_path, "train_data: d.csv, split: {val: 0, test: 0}")
    x, y = data.train.gather(np.arange(4))
    assert x.tolist() == [[0, 0, 0, 1], [0.25, 0, 1, 0], [0.5, 1, 0, 0], [0.75, 0, 0, 1]]  # blue, green, red
    assert y.tolist() == [0, 1, 0, 1]
    assert [item.to_json() for item in data.encoding] == [
        {"name": "size", "categories": None, "fill": None},
        {"name": "colour", "categories": ["blue", "green", "red"], "fill": None},
    ]
    assert data.found[1] == "text columns as 0/1 codes: colour 3"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_found_out(tmp_path: Path, delimiter: str) -> None:
    write(
        tmp_path, [row.replace(",", delimiter) for row in ROWS], header=f'"size, in m"{delimiter}colour{delimiter}kind'
    )
    assert load(tmp_path).facts.input_shape == (4,)


def test_separators_in_quotes_do_not_count() -> None:
    assert find_delimiter('"a,b,c,d";x;y') == ";"


def test_a_byte_order_mark_blank_lines_and_spaces_do_no_harm(tmp_path: Path) -> None:
    text = "\ufeffsize, colour ,kind\r\n" + "\r\n\r\n".join(ROWS)
    (tmp_path / "d.csv").write_text(text, encoding="utf-8", newline="")
    assert [item.name for item in load(tmp_path).encoding] == ["size", "colour"]


@pytest.mark.parametrize(
    ("cells", "training", "classes"),
    [
        (["1", "2"], "{}", ("1", "2")),
        (["yes", "no"], "{}", ("no", "yes")),
        (["1.5", "2.5"], "{}", ()),
        (["1", "2"], "{loss: {type: mse}}", ()),
        (["1.0", "2.0"], "{loss: {type: cross_entropy}}", ("1", "2")),
    ],
)
def test_the_task_follows_from_how_targets_are_written(
    tmp_path: Path, cells: list[str], training: str, classes: tuple[str, ...]
) -> None:
    write(tmp_path, [f"{i},a,{cells[i % 2]}" for i in range(30)])
    assert load(tmp_path, training=training).facts.classes == classes


def test_several_targets_are_a_vector(tmp_path: Path) -> None:
    write(tmp_path, [f"{i},{i + 1}.5,{i + 2}" for i in range(30)], header="a,b,c")
    data = load(tmp_path, "train_data: d.csv, columns: {targets: [b, c]}, split: {val: 0, test: 0}")
    assert data.facts.num_outputs == 2
    assert data.train.gather(np.array([3]))[1].tolist() == [[4.5, 5.0]]


def test_a_column_that_does_not_exist_is_answered_with_a_suggestion(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    message, hint = fail(tmp_path, "train_data: d.csv, columns: {inputs: [color]}")
    assert message == "d.csv: no column `color`; did you mean `colour`?"
    assert "size, colour, kind" in hint


def test_a_column_cannot_be_input_and_target(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    assert "`kind` is both" in fail(tmp_path, "train_data: d.csv, columns: {inputs: [size, kind]}")[0]


def test_text_with_many_values_is_answered_with_the_columns_to_keep(tmp_path: Path) -> None:
    write(tmp_path, [f"name{i},{row}" for i, row in enumerate(ROWS)], header="name,size,colour,kind")
    message, hint = fail(tmp_path)
    assert "`name` is text with 60 different values" in message
    assert "data.columns.inputs: [size, colour]" in hint


def test_one_wrong_cell_in_a_column_of_numbers_is_named(tmp_path: Path) -> None:
    rows = list(ROWS)
    rows[58] = "l4.5,red,0"
    write(tmp_path, rows)
    assert fail(tmp_path)[0].startswith("d.csv line 60: `l4.5` is no number")


@pytest.mark.parametrize("empty", ["", "NA", " ", "nan"])
def test_an_empty_cell_is_named_with_line_and_count(tmp_path: Path, empty: str) -> None:
    rows = list(ROWS)
    rows[3], rows[7] = f"{empty},red,1", f"{empty},blue,0"
    write(tmp_path, rows)
    message, hint = fail(tmp_path)
    assert message == "d.csv line 5, column `size`: the cell is empty; 2 of 60 cells of this column are"
    assert "mean" in hint
    assert "drop" in hint


def test_lines_are_counted_through_quoted_line_breaks(tmp_path: Path) -> None:
    write(tmp_path, ['1,"red\nor so",0', *ROWS, ",red,1"])
    assert "d.csv line 64, column `size`" in fail(tmp_path)[0]


def test_mean_fills_with_the_mean_of_the_training_part_only(tmp_path: Path) -> None:
    write(tmp_path, [*ROWS, ",red,0"])
    write(tmp_path, ["1000,red,0", ",blue,1"], "t.csv")
    data = load(tmp_path, "train_data: d.csv, test_data: t.csv, split: {val: 0}, columns: {missing: mean}")
    mean = np.mean([i / 4 for i in range(60)])
    assert data.encoding[0].fill == pytest.approx(mean)
    assert data.test.gather(np.array([1]))[0][0, 0] == np.float32(mean)


def test_drop_leaves_rows_out_and_says_how_many(tmp_path: Path) -> None:
    write(tmp_path, ["1,,0", *ROWS, "1,red,"])
    data = load(tmp_path, "train_data: d.csv, split: {val: 0, test: 0}, columns: {missing: drop}")
    assert len(data.train) == 60
    assert data.found[-1] == "d.csv: 2 of 62 rows left out: they have empty cells"


def test_an_empty_target_cannot_be_filled(tmp_path: Path) -> None:
    write(tmp_path, [*ROWS, "1,red,"])
    message, hint = fail(tmp_path, "train_data: d.csv, columns: {missing: mean}")
    assert "line 62, target column `kind`" in message
    assert "mean" not in hint


def test_a_category_unseen_in_training_is_all_zeros_and_noted(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    write(tmp_path, ["1,pink,0", "2,red,1"], "t.csv")
    data = load(tmp_path, "train_data: d.csv, test_data: t.csv")
    assert data.test.gather(np.array([0]))[0].tolist() == [[1, 0, 0, 0]]
    assert "test: 1 cells of `colour` hold a value unseen in training: all 0" in data.found


def test_text_in_validation_where_training_has_numbers_is_named(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    write(tmp_path, ["1,red,0", "big,red,1"], "v.csv")
    assert "v.csv line 3: `big` is no number" in fail(tmp_path, "train_data: d.csv, val_data: v.csv")[0]


def test_columns_are_found_by_name_in_other_files(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    write(tmp_path, ["0,7,red", "1,8,blue"], "t.csv", header="kind,size,colour")
    data = load(tmp_path, "train_data: d.csv, test_data: t.csv")
    assert data.test.gather(np.arange(2))[0][:, 0].tolist() == [7, 8]


def test_shards_of_a_table_are_one_table(tmp_path: Path) -> None:
    write(tmp_path, ROWS[:30], "p-1.csv")
    write(tmp_path, [*ROWS[30:], "inf,red,1"], "p-2.csv")
    message, _ = fail(tmp_path, "train_data: .")
    assert message.startswith("p-2.csv line 32, column `size`: inf")
    write(tmp_path, ROWS[30:], "p-2.csv")
    assert load(tmp_path, "train_data: .").facts.num_train == 48
    write(tmp_path, ROWS[30:], "p-2.csv", header="size,shade,kind")
    assert "p-2.csv: its columns differ" in fail(tmp_path, "train_data: .")[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b"a,b\n", "no rows below the header"),
        (b"a,a\n1,2\n", "two columns are called `a`"),
        (b"1,2\n3,4\n", "the first line holds numbers"),
        (b"a,b\n1,2\n1,2,3\n", "line 3: 3 cells, the header has 2"),
        (b"a,b\n1,\xff\xfe\n", "cannot be read as csv"),
        (b'a,b\n1,"2\n', "cannot be read as csv"),
        (b"a\n1\n", "no input columns"),
    ],
)
def test_a_file_that_is_no_table_is_answered(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "d.csv").write_bytes(content)
    message, hint = fail(tmp_path)
    assert expected in message
    assert hint


def write_parquet(folder: Path, name: str = "d.parquet", **changed: list[object]) -> None:
    columns: dict[str, object] = {
        "size": [i / 4 for i in range(60)],
        "is_new": [i % 2 == 0 for i in range(60)],
        "colour": pa.array(["red", "green", "blue"] * 20).dictionary_encode(),
        "kind": [i % 3 for i in range(60)],
    }
    pq.write_table(pa.table(columns | changed), folder / name)


def test_parquet_gives_numbers_bools_and_text(tmp_path: Path) -> None:
    write_parquet(tmp_path)
    data = load(tmp_path, "train_data: d.parquet, split: {val: 0, test: 0}")
    assert data.facts.classes == ("0", "1", "2")
    assert data.train.gather(np.array([1]))[0].tolist() == [[0.25, 1, 0, 0, 1, 0]]  # False, True; blue, green, red


def test_parquet_nulls_are_empty_cells(tmp_path: Path) -> None:
    write_parquet(tmp_path, size=[1.0, None, float("nan")] * 20)
    message, _ = fail(tmp_path, "train_data: d.parquet")
    assert message == "d.parquet[1], column `size`: the cell is empty; 40 of 60 cells of this column are"
    data = load(
        tmp_path,
        "train_data: d.parquet, columns: {missing: drop}, split: {val: 0, test: 0}, output_shape: [1]",
        "{loss: {type: mse}}",
    )
    assert len(data.train) == 20


def test_parquet_columns_of_another_type_are_named(tmp_path: Path) -> None:
    write_parquet(tmp_path, size=[[1.0, 2.0]] * 60)
    assert "column `size` is of type list" in fail(tmp_path, "train_data: d.parquet")[0]
    write_parquet(tmp_path)
    write_parquet(tmp_path, "v.parquet", size=["a"] * 60)
    assert (
        "`size` is string, in the training data it is a number"
        in fail(tmp_path, "train_data: d.parquet, val_data: v.parquet")[0]
    )


def test_parquet_shards_of_another_type_are_named(tmp_path: Path) -> None:
    write_parquet(tmp_path, "a.parquet")
    write_parquet(tmp_path, "b.parquet", size=["a"] * 60)
    assert "b.parquet: column `size`" in fail(tmp_path, "train_data: .")[0]


@pytest.mark.parametrize("keep", [0, 100])
def test_a_truncated_parquet_is_named(tmp_path: Path, keep: int) -> None:
    write_parquet(tmp_path)
    path = tmp_path / "d.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    assert re.search(r"d\.parquet: cannot be read as parquet", fail(tmp_path, "train_data: d.parquet")[0])


def test_a_table_and_arrays_do_not_mix(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    np.savez(tmp_path / "v.npz", x=np.zeros((4, 4)), y=np.arange(4) % 2)
    assert "v.npz is no table" in fail(tmp_path, "train_data: d.csv, val_data: v.npz")[0]


def test_columns_of_one_name_are_refused_in_either_format(tmp_path: Path) -> None:
    pq.write_table(pa.table([[1, 2], [3, 4], [0, 1]], names=["a", "a", "y"]), tmp_path / "d.parquet")
    assert "two columns are called `a`" in fail(tmp_path, "train_data: d.parquet")[0]
    write(tmp_path, ["1,2,3"], header="a,a,y")
    assert "two columns are called `a`" in fail(tmp_path)[0]


def test_a_number_too_large_for_the_network_is_named_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, [*ROWS, "1e39,red,1"])
    message, hint = fail(tmp_path)
    assert message.startswith("d.csv line 62, column `size`: 1e+39; 1 numbers of this column are infinite or too large")
    assert "smaller unit" in hint


@pytest.mark.parametrize("large", [2**60, 10**25])
def test_whole_targets_that_are_not_exact_are_quantities(tmp_path: Path, large: int) -> None:
    write(tmp_path, [f"{i},{large * (1 + i % 2)}" for i in range(20)], header="a,y")
    data = load(tmp_path)
    assert data.facts.classes == ()
    assert data.facts.target_dtype == "float64"


def test_numbers_with_a_decimal_comma_are_named(tmp_path: Path) -> None:
    write(tmp_path, [f"{i},5;{i % 2}" for i in range(20)], header="size;kind")
    message, hint = fail(tmp_path)
    assert "column `size` has numbers with a comma, such as `0,5`" in message
    assert "decimal point" in hint


def test_a_column_that_one_cell_makes_text_is_told_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, [*(f"{i},red,{i % 2}" for i in range(20)), "0x10,red,1"])
    assert "`size` is text: d.csv line 22: `0x10` is no number" in load(tmp_path).found


def test_strings_of_every_arrow_type_are_text(tmp_path: Path) -> None:
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        columns = {"c": pa.array(["p", "q"] * 10, kind), "y": [0, 1] * 10}
        pq.write_table(pa.table(columns), tmp_path / "d.parquet")
        assert load(tmp_path, "train_data: d.parquet").facts.input_shape == (2,)
