"""Runs of a real MLflow come here whole, once; what cannot come is named."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from trackers import find_free_port, run_mlflow

from footplate.record.journal import read_metrics
from footplate.record.rundir import RunDir
from footplate.record.state import get_status
from footplate.tracking.params import read_params

Footplate = Callable[..., CompletedProcess[str]]

_FILL = """
import sys
import mlflow
from mlflow.entities import Metric

client = mlflow.MlflowClient(tracking_uri=sys.argv[1])
wings = client.create_experiment("wings")
for number, status in enumerate(["FINISHED", "FAILED", "KILLED", "RUNNING"]):
    tags = {"mlflow.user": "ada", "mlflow.source.name": "train.py"}
    run = client.create_run(wings, run_name=f"Wing Nr. {number}", start_time=1_700_000_000_000 + number, tags=tags)
    client.log_param(run.info.run_id, "learning_rate", 0.1 / (number + 1))
    points = [
        Metric(name, value, 1_700_000_000_000 + step * 1000, step)
        for step in range(1200)
        for name, value in [("loss", 1 / (step + 1 + number)), ("accuracy", step / 1200)][: 1 if step % 10 else 2]
    ]
    for at in range(0, len(points), 1000):
        client.log_batch(run.info.run_id, metrics=points[at : at + 1000])
    client.log_metric(run.info.run_id, "odd", float("nan"), 1_700_000_000_000, 7)
    client.log_text(run.info.run_id, "a note", "notes/a.txt")
    if status != "RUNNING":
        client.set_terminated(run.info.run_id, status, end_time=1_700_000_060_000)
client.create_run(client.create_experiment("empty"), run_name="nothing in it")
"""


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server and put runs into its store."""
    folder, port = tmp_path_factory.mktemp("mlflow"), find_free_port()
    with run_mlflow(folder, port):
        # Through the store itself: that takes a tenth of the time, and what is read is the server.
        subprocess.run(
            [sys.executable, "-c", _FILL, f"sqlite:///{folder}/store.db"], check=True, timeout=300, cwd=folder
        )
        yield f"http://127.0.0.1:{port}"


def test_runs_come_whole_and_once(uri: str, tmp_path: Path, footplate: Footplate) -> None:
    arguments = ("import", "mlflow", uri, "--experiment", "wings")
    first = json.loads(footplate(*arguments, "--artifacts", "--json", check=0).stdout)
    assert (first["new"], first["known"], first["left"]) == (3, 0, 1)
    assert first["runs"][3]["reason"] == "it is running: import it when it has ended"
    again = footplate(*arguments, check=0)
    assert "0 runs imported, 3 known already, 1 run left out" in again.stderr
    run = RunDir(path=tmp_path / "runs" / first["runs"][0]["run_id"])
    assert run.id.startswith("wing-nr-0-")
    metrics = read_metrics(run)
    assert [(point.step, point.value) for point in metrics["loss"]] == [(step, 1 / (step + 1)) for step in range(1200)]
    assert metrics["loss"][10].time == 1_700_000_010.0
    assert len(metrics["accuracy"]) == 120
    assert math.isnan(metrics["odd"][0].value)
    assert read_params(run) == {"learning_rate": "0.1"}
    assert (run.artifacts / "notes" / "a.txt").read_text() == "a note"
    assert [get_status(RunDir(path=tmp_path / "runs" / one["run_id"])).state for one in first["runs"][:3]] == [
        "succeeded",
        "failed",
        "cancelled",
    ]
    found = footplate("runs", "--where", "metrics.loss < 0.1 and params.learning_rate < 0.09 and experiment = wings")
    assert found.stdout.count("wing-nr-") == 2
    footplate("compare", first["runs"][0]["run_id"], first["runs"][1]["run_id"], check=0)
    assert "loss" in footplate("report", run.id, check=0).stdout
    footplate("rm", run.id, "--yes", check=0)
    assert "1 run imported, 2 known" in footplate(*arguments, check=0).stderr


def test_an_import_that_was_killed_is_done_anew(uri: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "footplate", "import", "mlflow", uri, "--experiment", "wings", "--json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while not list(tmp_path.glob("runs/.importing-*/attempts/*/journal*")) and time.monotonic() < limit:
        time.sleep(0.002)
    process.kill()
    process.wait()
    known = len(list(tmp_path.glob("runs/wing-*")))
    assert known < 3
    again = json.loads(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120).stdout)
    assert (again["new"], again["known"]) == (3 - known, known)
    assert not list(tmp_path.glob("runs/.importing-*"))


def test_what_is_not_there_is_named(uri: str, tmp_path: Path, footplate: Footplate) -> None:
    told = footplate("import", "mlflow", uri, "--experiment", "tails", check=2).stderr
    assert "has no experiment tails" in told
    assert "it has Default, empty, wings" in told
    assert "there is no file nowhere.db" in footplate("import", "mlflow", "sqlite:///nowhere.db", check=2).stderr
    told = footplate("import", "mlflow", f"http://me:secret@127.0.0.1:{find_free_port()}", check=1, timeout=120).stderr
    assert "does not answer" in told
    assert "secret" not in told


def test_a_run_that_footplate_told_mlflow_is_left_where_it_is(tmp_path: Path, footplate: Footplate) -> None:
    place = f"sqlite:///{tmp_path}/own.db"
    (tmp_path / "job.py").write_text("print('done')\n")
    footplate("run", "--", sys.executable, "job.py", env={"MLFLOW_TRACKING_URI": place}, check=0)
    told = json.loads(footplate("import", "mlflow", place, "--json", check=0).stdout)
    assert (told["new"], told["known"]) == (0, 1)
