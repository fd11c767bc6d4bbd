"""What is recorded is in MLflow, once: with a real server, whatever happens to it and to the process that tells it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recorded import add_attempt, end, make_metrics, make_run, write_entries
from trackers import Door, ask_mlflow, find_free_port, open_door, run_mlflow

from footplate.record.journal import read_metrics
from footplate.record.journal_reader import find_last_step
from footplate.record.receipt import find_receipt
from footplate.record.rundir import Attempt, RunDir
from footplate.tracking.shipping.logbook import Logbook

STEPS = 1500
EXPERIMENT = "counted"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = find_free_port()
    with run_mlflow(tmp_path_factory.mktemp("mlflow"), port):
        yield port


@pytest.fixture
def door(server: int) -> Iterator[Door]:
    with open_door(server) as door:
        yield door


def make_ended_run(folder: Path, port: int) -> RunDir:
    """Return a run that was interrupted and resumed: 4,508 different values."""
    run = make_run(folder, {"mlflow": {"tracking_uri": f"http://127.0.0.1:{port}", "experiment_name": EXPERIMENT}})
    (run.path / "profile.yaml").write_text("training: {batch_size: 16, optimizer: adamw}\n")
    first = add_attempt(run)
    write_entries(first.journal_path(), make_metrics(range(1000), train__loss=0.5, train__lr=0.1))
    write_entries(first.journal_path("system"), make_metrics(range(8), system__cpu_percent=1.0))
    second = add_attempt(run)
    write_entries(second.journal_path(), [{"t": time.time(), "kind": "rewind", "step": 900}])
    write_entries(second.journal_path(), make_metrics(range(901, STEPS), train__loss=0.5, train__lr=0.1))
    # the clock is set back in the middle
    late = make_metrics(range(STEPS), start=time.time() - 86_400, val__loss=2.0)
    write_entries(second.journal_path(), late)
    write_entries(second.journal_path(), [{"t": time.time(), "kind": "event", "name": "finish", "step": STEPS}])
    (run.artifacts / "weights.bin").write_bytes(b"123")
    run.write_json("artifacts.json", [{"path": "weights.bin", "size": 3, "sha256": ""}])
    end(run, second)
    return run


def ship(run: RunDir, *, timeout: float = 100.0) -> int:
    command = [sys.executable, "-m", "footplate.tracking.shipping", str(run.path), "--once"]
    done = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
    return done.returncode


def read_stored(run: RunDir, port: int) -> tuple[Any, dict[str, list[tuple[int, float]]]]:
    """Return the one MLflow run of a run, and every value it has."""
    experiment = ask_mlflow(port, "experiments/get-by-name", experiment_name=EXPERIMENT)["experiment"]["experiment_id"]
    wanted = {"experiment_ids": [experiment], "filter": f"tags.`footplate.run_id` = '{run.id}'"}
    [found] = ask_mlflow(port, "runs/search", wanted)["runs"]
    stored = {}
    for name in {one["key"] for one in found["data"].get("metrics", ())}:
        told = ask_mlflow(
            port, "metrics/get-history", run_id=found["info"]["run_id"], metric_key=name, max_results=25_000
        )
        stored[name] = sorted((int(one.get("step", 0)), float(one["value"])) for one in told["metrics"])
    return found, stored


def check_stored(run: RunDir, port: int) -> Any:
    """Compare what MLflow has with what the run has recorded: neither less nor more."""
    found, stored = read_stored(run, port)
    recorded = {name: [(point.step, point.value) for point in points] for name, points in read_metrics(run).items()}
    assert {name: len(values) for name, values in stored.items()} == {
        name: len(values) for name, values in recorded.items()
    }
    assert stored == recorded
    return found


def test_everything_is_told_once_and_told_again_changes_nothing(server: int, tmp_path: Path) -> None:
    run = make_ended_run(tmp_path, server)
    assert ship(run) == 0
    found = check_stored(run, server)
    assert (found["info"]["status"], found["info"]["run_name"]) == ("FINISHED", run.id)
    params = {one["key"]: one["value"] for one in found["data"]["params"]}
    assert params == {"training.batch_size": "16", "training.optimizer": "adamw"}
    assert {"key": "footplate.state", "value": "succeeded"} in found["data"]["tags"]
    assert ship(run) == 0
    (run.path / "shipping" / "mlflow.json").unlink()  # the position is lost: the run is found, all is told again
    assert ship(run) == 0
    check_stored(run, server)
    files = ask_mlflow(server, "artifacts/list", run_id=found["info"]["run_id"])["files"]
    assert {"artifacts", "events.jsonl", "profile.yaml"} <= {one["path"] for one in files}


def test_names_that_mlflow_does_not_take_hold_up_no_other_and_are_kept_apart(server: int, tmp_path: Path) -> None:
    place = {"tracking_uri": f"http://127.0.0.1:{server}", "experiment_name": EXPERIMENT}
    run = make_run(tmp_path, {"mlflow": place})
    attempt = add_attempt(run)
    names = ["a?b", "a!b", "/front", "a//b", "../up", ".", "x" * 300, "x" * 299 + "y", "größe", "plain/name"]
    entry = {"kind": "metrics", "step": 1, "values": {name: float(number) for number, name in enumerate(names)}}
    write_entries(attempt.journal_path(), [{"t": time.time(), **entry}])
    write_entries(attempt.journal_path(), [{"t": time.time(), "kind": "params", "values": {"long": "v" * 7000}}])
    # A step that MLflow's database cannot hold: the values beside it are told.
    late = [{"t": time.time(), "kind": "metrics", "step": step, "values": {"late": 1.0}} for step in (5, 1 << 70, 7)]
    write_entries(attempt.journal_path(), late)
    end(run, attempt)
    assert ship(run) == 0
    found, stored = read_stored(run, server)
    assert sorted(value for name, [(_, value), *_] in stored.items() if name != "late") == [*map(float, range(10))]
    assert {"größe", "plain/name"} <= set(stored)
    assert [len(one["value"]) for one in found["data"]["params"]] == [6000]
    assert "long has 7,000 characters: MLflow is told the first 6,000" in read_log(run)


def read_log(run: RunDir) -> str:
    return (run.path / "shipping" / "log.txt").read_text()


def test_a_password_in_an_address_is_written_down_and_shown_nowhere(
    server: int, tmp_path: Path, footplate: Any
) -> None:
    secret = "hunter2hunter2"  # of nobody
    environment = {"MLFLOW_TRACKING_URI": f"http://somebody:{secret}@127.0.0.1:{server}"}
    code = "import mlflow; mlflow.start_run(); mlflow.log_metric('own', 1.0)"
    done = footplate("run", "--name", "secret", "--", sys.executable, "-c", code, env=environment, check=0)
    run = RunDir.open(next((tmp_path / "runs").glob("secret-*")))
    told = json.loads((run.path / "shipping" / "mlflow.json").read_text())
    assert told["is_closed"]
    files = [path for path in run.path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert [path for path in files if not path.name.startswith("log.rank")] == []  # what MLflow itself prints
    assert secret not in done.stderr
    assert f"http://somebody:***@127.0.0.1:{server}/#/experiments/" in "".join(done.stderr.split())
    # From a shell without the variable nothing goes to another place.
    book = Logbook.read(run, "mlflow")
    book.is_closed = False
    book.write(run, "mlflow")
    write_entries(run.get_attempt(1).journal_path(), make_metrics([1], late=0.0))
    done = footplate("sync", run.id, check=1)
    assert "the environment variable MLFLOW_TRACKING_URI is not set" in " ".join(done.stderr.split())
    footplate("sync", run.id, env=environment, check=0)


@pytest.mark.parametrize("fault", ["500", "507", "deaf", "shut"])
def test_a_fault_in_the_middle_loses_and_doubles_nothing(fault: str, server: int, door: Door, tmp_path: Path) -> None:
    run = make_ended_run(tmp_path, door.port)
    door.fault, door.after = fault, 2
    assert ship(run) == 1
    book = Logbook.read(run, "mlflow")
    assert book.error
    assert not book.is_closed
    door.fault = ""
    assert ship(run) == 0
    check_stored(run, server)
    assert Logbook.read(run, "mlflow").error == ""


def test_kills_at_random_moments_lose_and_double_nothing(server: int, door: Door, tmp_path: Path) -> None:
    run = make_ended_run(tmp_path, door.port)
    door.slow_s = 0.1  # so that it is killed within its calls
    chance = random.Random(3)
    command = [sys.executable, "-m", "footplate.tracking.shipping", str(run.path), "--once"]
    kills = 0
    for _ in range(6):
        passed = door.batches
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        limit = time.monotonic() + 60
        while door.batches == passed and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.4))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert kills >= 2
    door.slow_s = 0.0
    assert ship(run) == 0
    check_stored(run, server)


def test_a_slow_tracker_gets_everything(server: int, door: Door, tmp_path: Path) -> None:
    run = make_ended_run(tmp_path, door.port)
    door.slow_s = 0.5
    assert ship(run, timeout=280) == 0
    check_stored(run, server)


def test_what_a_training_records_waits_for_a_server_that_is_down(server: int, footplate: Any, tmp_path: Path) -> None:
    port = find_free_port()
    place = f"tracking_uri: 'http://127.0.0.1:{port}', experiment_name: {EXPERIMENT}"
    (tmp_path / "footplate.yaml").write_text(
        "metadata: {profile_name: waits}\n"
        "data: {train_data: 'sklearn:iris'}\n"
        "training: {max_epochs: 3, log_frequency: 1}\n"
        f"logging: {{mlflow: {{enabled: true, {place}}}}}\n"
    )
    done = footplate("train", check=0)
    assert f"not told yet (http://127.0.0.1:{port}: Connection refused)" in " ".join(done.stderr.split())
    assert "footplate sync" in done.stderr
    run = RunDir.open(next((tmp_path / "runs").glob("waits-*")))
    assert "shipping" not in run.get_attempt(1).log_path().read_text()
    done = footplate("sync", check=1)
    assert "could not be told" in done.stderr
    with open_door(server) as door:
        job = run.get_attempt(1).job_path
        job.write_text(job.read_text().replace(str(port), str(door.port)))
        told = footplate("sync", "--json", check=0)
        assert '"waiting": 0' in told.stdout
    check_stored(run, server)
    assert "nothing waits" in footplate("sync", check=0).stderr


def test_a_training_that_is_killed_and_resumed_is_one_mlflow_run_with_everything_once(
    server: int, footplate: Any, tmp_path: Path
) -> None:
    place = f"tracking_uri: 'http://127.0.0.1:{server}', experiment_name: {EXPERIMENT}"
    (tmp_path / "footplate.yaml").write_text(
        "metadata: {profile_name: killed}\n"
        "data: {train_data: 'sklearn:iris'}\n"
        "training: {max_epochs: 300, log_frequency: 1, checkpointing: {frequency: 100}}\n"
        f"logging: {{mlflow: {{enabled: true, {place}}}}}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "footplate", "train", "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    attempt = wait_for_steps(tmp_path, 250)
    receipt = find_receipt(attempt)
    assert receipt is not None
    assert receipt.pid is not None
    for pid in (receipt.wrapper_pid, receipt.pid):
        os.kill(pid, signal.SIGKILL)
    assert process.wait(60) == 1
    run = RunDir.open(attempt.path.parent.parent)
    footplate("resume", run.id, "--quiet", check=0)
    assert [one.number for one in run.attempts()] == [1, 2]
    footplate("sync", run.id, check=0)  # what was told at once is left alone, the rest is told
    found, stored = read_stored(run, server)
    assert found["info"]["status"] == "FINISHED"
    recorded = read_metrics(run)
    assert set(stored) == set(recorded)
    losses = [(point.step, point.value) for point in recorded["train/loss"]]
    assert stored["train/loss"] == losses == sorted(set(losses))
    assert [step for step, _ in losses] == [*range(1, 1201)]


def wait_for_steps(folder: Path, number: int) -> Attempt:
    limit = time.monotonic() + 100
    while time.monotonic() < limit:
        for run in folder.glob("runs/*-*"):
            attempt = RunDir(path=run).get_attempt(1)
            if (find_last_step(attempt) or 0) >= number:
                return attempt
        time.sleep(0.01)
    raise AssertionError("the training did not get that far")
