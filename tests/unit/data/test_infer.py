"""What `init --data` says about a file: kinds, target, task and inputs, each with its reason, after a bounded look."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from footplate.data.infer import MAX_ROWS, TableDescription, describe_table
from footplate.data.load import load_data
from footplate.errors import DataError
from footplate.profile.load import load_profile_text

RNG = np.random.default_rng(0)


@pytest.fixture
def passengers(tmp_path: Path) -> Path:
    lines = ["PassengerId,Survived,Name,Sex,Age,Fare,Port,Boarded,Ship"]
    for i in range(200):
        age = "" if i % 5 == 0 else str(RNG.integers(1, 80))
        lines.append(
            f"{i + 1},{i % 2},n{i},{'fm'[i % 3 == 0]},{age},{RNG.uniform(1, 90):.2f},{'SCQ'[i % 3]},1912-04-1{i % 2},T"
        )
    path = tmp_path / "passengers.csv"
    path.write_text("\n".join(lines))
    return path


def render(table: TableDescription) -> str:
    """Return the profile that the description asks for."""
    columns = f"columns: {{inputs: [{', '.join(table.inputs)}], targets: [{table.target}], missing: {table.missing}}}"
    shapes = f"output_shape: [{', '.join(map(str, table.output_shape or ()))}]"
    if table.input_shape:
        shapes += f", input_shape: [{', '.join(map(str, table.input_shape))}]"
    columns = "" if table.format == "npy" else columns + ", "
    return f"{{data: {{train_data: '{table.path}', {columns}{shapes}}}, training: {{loss: {{type: {table.loss}}}}}}}"


def test_passengers_are_understood(passengers: Path) -> None:
    table = describe_table(passengers)
    assert (table.target, table.target_reason) == ("Survived", "its name says so")
    assert (table.task, table.num_classes, table.loss) == ("classification", 2, "auto")
    assert table.inputs == ("Sex", "Age", "Fare", "Port")
    assert [name for name, _ in table.left_out] == ["PassengerId", "Name", "Boarded", "Ship"]
    assert [column.kind for column in table.columns] == [
        "id", "number", "text", "category", "number", "number", "category", "date", "constant",
    ]  # fmt: skip
    assert (table.missing, table.num_rows_seen, table.is_complete) == ("mean", 200, True)
    assert table.needs_columns


def test_what_is_said_fits_80_columns_and_gives_every_reason(passengers: Path) -> None:
    lines = describe_table(passengers).to_lines()
    text = "\n".join(line for line in lines if str(passengers) not in line)
    assert max(map(len, text.splitlines())) <= 80
    for expected in ("target  Survived: its name", "task    classification: whole numbers with 2", "a date; make"):
        assert expected in text


def test_the_profile_it_asks_for_loads(passengers: Path, tmp_path: Path) -> None:
    assert load_data(load_profile_text(render(describe_table(passengers)))).facts.num_outputs == 2
    np.savez(tmp_path / "d.npz", x=RNG.normal(size=(30, 4, 4)), y=np.arange(30) % 3)
    assert load_data(load_profile_text(render(describe_table(tmp_path / "d.npz")))).facts.num_outputs == 3
    folder = tmp_path / "pairs"
    folder.mkdir()
    np.save(folder / "x.npy", RNG.normal(size=(30, 7)))
    np.save(folder / "y.npy", RNG.normal(size=(30, 2)))
    assert load_data(load_profile_text(render(describe_table(folder)))).facts.num_outputs == 2


@pytest.mark.parametrize(
    ("values", "task", "loss"),
    [
        ([str(i % 3) for i in range(60)], "classification", "auto"),
        ([f"{i % 3}.0" for i in range(60)], "classification", "cross_entropy"),
        ([str(i) for i in range(60)], "regression", "mse"),
        ([f"{i / 7:.3f}" for i in range(60)], "regression", "auto"),
        ([f"{i}.0" for i in range(60)], "regression", "auto"),
        ([["low", "high"][i % 2] for i in range(60)], "classification", "auto"),
    ],
)
def test_the_task_is_guessed_from_the_values_and_the_loss_makes_it_so(
    tmp_path: Path, values: list[str], task: str, loss: str
) -> None:
    path = tmp_path / "d.csv"
    path.write_text("a,b\n" + "\n".join(f"{RNG.normal():.4f},{value}" for value in values))
    table = describe_table(path)
    assert (table.target, table.target_reason) == ("b", "the last column")
    assert (table.task, table.loss) == (task, loss)
    assert load_data(load_profile_text(render(table))).facts.kind == task


def test_only_the_start_of_a_large_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("a,b\n" + "1.5,2\n" * 1_000_000)
    started = time.perf_counter()
    table = describe_table(path)
    assert time.perf_counter() - started < 2
    assert (table.num_rows_seen, table.is_complete) == (MAX_ROWS, False)
    assert "the first 10,000 rows" in table.to_lines()[0]


def test_parquet_is_understood(tmp_path: Path) -> None:
    columns = {"a": [1.5, None] * 30, "ok": [True, False] * 30, "label": ["x", "y", "z"] * 20}
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    table = describe_table(tmp_path / "d.parquet")
    assert (table.target, table.num_classes) == ("label", 3)
    assert [column.kind for column in table.columns] == ["constant", "bool", "category"]


def test_an_npz_of_other_names_needs_columns(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", pixels=np.zeros((30, 4), np.float32), label=np.arange(30) % 3, extra=np.zeros(3))
    table = describe_table(tmp_path / "d.npz")
    assert (table.inputs, table.target, table.needs_columns) == (("pixels",), "label", True)
    assert table.left_out[0][0] == "extra"


@pytest.mark.parametrize("content", ["", "a,b\n", "a,b\n1,2\n3\n"])
def test_a_file_with_nothing_in_it_is_answered(tmp_path: Path, content: str) -> None:
    (tmp_path / "d.csv").write_text(content)
    with pytest.raises(DataError):
        describe_table(tmp_path / "d.csv")
