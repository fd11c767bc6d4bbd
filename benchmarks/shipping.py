"""Measures how metrics get to trackers: what a call costs the training, how many arrive a second, and whether all do.

python benchmarks/shipping.py [--values 100000] [--rounds 4]

A real MLflow server is started on this machine. Then: the time of a training step with a tracker that is down, and with
one that never answers, beside none. Exits with 1 below 5,000 metrics/s over HTTP, when a value is missing, or when a
dead tracker costs a step more than 1 %. The limit of a call is that of ``benchmarks/journal.py``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import socket
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tabulate import tabulate

from footplate.record.files import write_json
from footplate.record.journal import Journal, read_journal
from footplate.record.receipt import make_receipt, write_receipt
from footplate.record.run_info import RunInfo, write_run_info
from footplate.record.rundir import RunDir

RATE_LIMIT, STEP_LIMIT = 5_000.0, 1.01
NAMES = tuple(f"train/metric_{number}" for number in range(10))
WAIT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Row:
    way: str
    call_us: float
    """Median time that a call with ten metrics takes the training."""
    per_s: float
    """Values that arrived in a second, from the first call until all were stored."""
    told: int
    stored: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=int, default=100_000, help="metrics for each way; the slow ones get fewer")
    parser.add_argument("--rounds", type=int, default=4, help="trainings with each tracker; 0: none")
    parser.add_argument("--seconds", type=float, default=12.0, help="length of one training, about")
    options = parser.parse_args()
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with tempfile.TemporaryDirectory() as folder:
        rows = measure_ways(Path(folder), options.values)
        print(tabulate([list(vars(row).values()) for row in rows], list(Row.__annotations__), floatfmt=",.1f"))
        journal = [row for row in rows if row.way.startswith("footplate")]
        failed = [row.way for row in journal if row.told != row.stored]
        rate = get_rate(rows[0], rows[1])
        print(f"{rows[1].way}, beyond the start of the shipper: {rate:,.0f} metrics/s")
        failed += [rows[1].way] if rate < RATE_LIMIT else []
        if options.rounds:
            failed += show_steps(Path(folder), options.rounds, options.seconds)
    print(f"limits: {RATE_LIMIT:,.0f} metrics/s into MLflow, a step × {STEP_LIMIT} (or twice what A/A differs)")
    print("FAILED: " + ", ".join(failed) if failed else "passed")
    return 1 if failed else 0


def measure_ways(folder: Path, num_values: int) -> list[Row]:
    with serve_mlflow(folder) as (uri, database):
        server = {"mlflow": {"tracking_uri": uri}}
        return [
            measure_footplate(folder, "MLflow over HTTP", num_values // 20, server, database),
            measure_footplate(folder, "MLflow over HTTP", num_values, server, database),
            measure_footplate(folder, "TensorBoard", num_values, {"tensorboard": {}}, database),
            measure_footplate(folder, "W&B offline", num_values, {"wandb": {}}, database),
            measure_mlflow(uri, database, num_values // 100, is_async=False),
            measure_mlflow(uri, database, num_values // 10, is_async=True),
            measure_tensorboard(folder / "peer", num_values),
            measure_wandb(folder, num_values),
            *measure_trackio(folder, num_values),
        ]


def get_rate(short: Row, long: Row) -> float:
    """Return how many values a second arrive once the shipper has started: the difference of two runs."""
    return (long.stored - short.stored) / (long.stored / long.per_s - short.stored / short.per_s)


def measure_footplate(folder: Path, title: str, num_values: int, trackers: dict[str, Any], database: Path) -> Row:
    """Journal first, then a shipper that starts from nothing: its start is in the time, as it is for a short run."""
    run = RunDir.create(folder / "runs", "bench")
    info = {"name": "bench", "kind": "train", "host": "", "user": "", "version": "0", "cwd": str(folder)}
    times = {"created_at": "2026-01-01T00:00:00+00:00"}
    write_run_info(run, RunInfo(id=run.id, argv=("python",), **info, **times))  # type: ignore[arg-type]
    attempt = run.new_attempt()
    write_json(attempt.job_path, {"argv": ["true"], "cwd": str(folder), "trackers": trackers})
    begin = time.perf_counter()
    with Journal(attempt.journal_path()) as journal:
        call_us = time_calls(journal.metrics, num_values // len(NAMES))
    ended = replace(make_receipt(run, 1), exit_code=0, ended_at="2026-01-01T01:00:00+00:00")
    write_receipt(attempt, ended)
    command = [sys.executable, "-m", "footplate.tracking.shipping", str(run.path), "--once"]
    subprocess.run(command, check=True, timeout=1800, env={**os.environ, "WANDB_MODE": "offline"})
    seconds = time.perf_counter() - begin
    told = sum(len(entry.data["values"]) for entry in read_journal(attempt.journal_path()))
    [name] = trackers
    count = {
        "mlflow": lambda: count_mlflow(database, run.id),
        "tensorboard": lambda: count_tensorboard(run.path / "tensorboard"),
        "wandb": lambda: count_wandb(run.path / "wandb"),
    }
    stored = count[name]()
    return Row(way=f"footplate → {title}", call_us=call_us, per_s=stored / seconds, told=told, stored=stored)


def measure_mlflow(uri: str, database: Path, num_values: int, *, is_async: bool) -> Row:
    import mlflow

    mlflow.set_tracking_uri(uri)
    name = f"peer-{is_async}"
    begin = time.perf_counter()
    with mlflow.start_run(run_name=name):
        call_us = time_calls(
            lambda step, values: mlflow.log_metrics(values, step=step, synchronous=not is_async),
            num_values // len(NAMES),
        )
        if is_async:
            mlflow.flush_async_logging()
    seconds = time.perf_counter() - begin
    told = num_values // len(NAMES) * len(NAMES)
    stored = count_mlflow(database, name)
    way = f"mlflow.log_metrics, {'asynchronous' if is_async else 'synchronous'}"
    return Row(way=way, call_us=call_us, per_s=stored / seconds, told=told, stored=stored)


def measure_tensorboard(folder: Path, num_values: int) -> Row:
    from torch.utils.tensorboard import SummaryWriter

    begin = time.perf_counter()
    writer: Any = SummaryWriter(str(folder))

    def write(step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    call_us = time_calls(write, num_values // len(NAMES))
    writer.close()
    seconds = time.perf_counter() - begin
    stored = count_tensorboard(folder)
    way = "torch SummaryWriter"
    return Row(way=way, call_us=call_us, per_s=stored / seconds, told=num_values, stored=stored)


def measure_wandb(folder: Path, num_values: int) -> Row:
    import wandb

    begin = time.perf_counter()
    settings = wandb.Settings(console="off", x_disable_stats=True, silent=True)
    run = wandb.init(project="peer", mode="offline", dir=str(folder), settings=settings)
    call_us = time_calls(lambda step, values: run.log(values, step=step), num_values // len(NAMES))
    run.finish()
    seconds = time.perf_counter() - begin
    told, stored = num_values // len(NAMES) * len(NAMES), 0
    end = time.monotonic() + 10  # its service may still write when `finish` returns
    while stored < told and time.monotonic() < end:
        time.sleep(0.2)
        stored = count_wandb(folder / "wandb")
    return Row(way="wandb.log, offline", call_us=call_us, per_s=stored / seconds, told=told, stored=stored)


def measure_trackio(folder: Path, num_values: int) -> list[Row]:
    """Measure it where `make bench` has installed it, in an environment of its own."""
    python = Path(".work/trackio/bin/python")
    if not python.exists():
        return []
    command = [str(python), str(Path(__file__).with_name("trackio_peer.py")), str(num_values), str(folder / "trackio")]
    done = subprocess.run(command, check=True, timeout=1800, stdout=subprocess.PIPE)
    return [Row(way="trackio.log, local", **json.loads(done.stdout.splitlines()[-1]))]


def time_calls(write: Callable[[int, dict[str, float]], object], num_calls: int) -> float:
    """Return the median time of a call in microseconds."""
    times = []
    for step in range(num_calls):
        values = {name: step * 1e-3 + place for place, name in enumerate(NAMES)}
        before = time.perf_counter_ns()
        write(step, values)
        times.append(time.perf_counter_ns() - before)
    return statistics.median(times) / 1e3


def count_mlflow(database: Path, name: str) -> int:
    """Return how many values the store itself has of a run."""
    query = "SELECT count(*) FROM metrics JOIN runs USING (run_uuid) WHERE runs.name = ?"
    with sqlite3.connect(database) as connection:
        [(count,)] = connection.execute(query, (name,))
    return int(count)


def count_tensorboard(folder: Path) -> int:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return sum(len(events.Scalars(name)) for name in events.Tags()["scalars"])


def count_wandb(folder: Path) -> int:
    """Return how many values there are in the one log below a folder; its form is LevelDB's behind seven bytes."""
    from wandb.proto import wandb_internal_pb2

    [path] = folder.glob("offline-run-*/*.wandb")
    data, at, body, count = path.read_bytes(), 7, b"", 0
    while at < len(data):
        left = 32_768 - at % 32_768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        body = (b"" if kind in (1, 2) else body) + data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record: Any = wandb_internal_pb2.Record()
            record.ParseFromString(body)
            count += sum(item.nested_key[0] in NAMES for item in record.history.item)
    return count


@contextmanager
def serve_mlflow(folder: Path) -> Iterator[tuple[str, Path]]:
    port = find_free_port()
    database = folder / "store.db"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(folder / "files")]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        uri = f"http://127.0.0.1:{port}"
        end = time.monotonic() + WAIT_S
        while not is_healthy(uri):
            if server.poll() is not None or time.monotonic() > end:
                raise SystemExit((folder / "server.log").read_text())
            time.sleep(0.1)
        yield uri, database
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(WAIT_S)


def is_healthy(uri: str) -> bool:
    try:
        with urlopen(f"{uri}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def find_free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def show_steps(folder: Path, num_rounds: int, seconds: float) -> list[str]:
    """Train beside no tracker (twice: A/A), one that is down and one that never answers, in turns."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(64)
        ways = {
            "none": "",
            "none (A/A)": "",
            "down": f"http://127.0.0.1:{find_free_port()}",
            "never answers": f"http://127.0.0.1:{deaf.getsockname()[1]}",
        }
        num_steps = max(200, int(seconds / train(folder, "", 400)))
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(num_rounds):
            for way, uri in ways.items():
                times[way].append(train(folder, uri, num_steps))
    ratios = {way: statistics.median(a / b for a, b in zip(times[way], times["none"], strict=True)) for way in ways}
    rows = [[way, statistics.median(taken) * 1e3, ratios[way]] for way, taken in times.items()]
    print(tabulate(rows, ["tracker", "step_ms", "ratio"], floatfmt=".3f"))
    noise = abs(ratios["none (A/A)"] - 1)
    return [way for way in ("down", "never answers") if ratios[way] > max(STEP_LIMIT, 1 + 2 * noise)]


def train(folder: Path, uri: str, num_steps: int) -> float:
    """Return the time of a step in seconds: the median over windows of ten, as other processes disturb some of them."""
    mlflow = json.dumps({"enabled": bool(uri), "tracking_uri": uri or None} if uri else {"enabled": False})
    (folder / "footplate.yaml").write_text(
        "metadata: {profile_name: steps}\n"
        "data: {train_data: 'sklearn:digits'}\n"
        "model: {architecture: mlp, hidden_size: 512, num_layers: 3}\n"
        f"training: {{batch_size: 64, max_epochs: 100000, max_steps: {num_steps}, log_frequency: 10,"
        f" eval_frequency: {num_steps}, checkpointing: {{enabled: false}}}}\n"
        f"logging: {{mlflow: {mlflow}}}\n"
        "resources: {num_cpus: 1}\ndevice: cpu\n"
    )
    environment = {**os.environ, "FOOTPLATE_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "footplate", "train", "--quiet", "--json"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    journal = Path(json.loads(done.stdout)["run_dir"]) / "attempts" / "1" / "journal.rank0.jsonl"
    points = [
        (entry.data["step"], entry.time)
        for entry in read_journal(journal)
        if entry.kind == "metrics" and "train/loss" in entry.data["values"]
    ]
    pairs = itertools.pairwise(points)
    return statistics.median((late - early) / (last - first) for (first, early), (last, late) in pairs)


if __name__ == "__main__":
    sys.exit(main())
