"""Measures a call of the journal beside other ways to write a metric to a file; exits with 1 above 10 µs.

All write one line for each call that is in the file when the call returns, so that a kill of the process loses none;
only the journal checks each line with a CRC.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tabulate import tabulate

from footplate.record.journal import Journal, read_journal

Write = Callable[[int, dict[str, float]], object]
LIMIT_US = 10.0
LIMITED = ("journal", 3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000, help="calls for each case")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, 3, 10):
            for name, open_writer in WRITERS.items():
                path = Path(folder) / f"{name}-{count}.txt"
                with open_writer(path, count) as write:
                    rows.append({"writer": name, "metrics": count, **measure(write, count, arguments.calls)})
                if name == "journal":
                    assert sum(1 for _ in read_journal(path)) == arguments.calls
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        print(tabulate([list(row.values()) for row in rows], headers=list(rows[0]), floatfmt=".1f", intfmt=","))
        print(f"limit: {LIMITED[0]} with {LIMITED[1]} metrics, median {LIMIT_US:.0f} µs")
    median = next(row["median_us"] for row in rows if (row["writer"], row["metrics"]) == LIMITED)
    return int(float(str(median)) > LIMIT_US)


def measure(write: Write, count: int, calls: int) -> dict[str, float]:
    """Return median and 99th percentile of a call in microseconds, and how many calls fit into a second."""
    names = [f"train/metric_{index}" for index in range(count)]
    times = []
    start = time.perf_counter()
    for step in range(calls):
        values = {name: place + step * 1e-3 for place, name in enumerate(names)}
        before = time.perf_counter_ns()
        write(step, values)
        times.append(time.perf_counter_ns() - before)
    elapsed = time.perf_counter() - start
    return {
        "median_us": round(statistics.median(times) / 1e3, 2),
        "p99_us": round(statistics.quantiles(times, n=100)[98] / 1e3, 2),
        "calls_per_s": round(calls / elapsed),
    }


@contextmanager
def open_journal(path: Path, count: int) -> Iterator[Write]:
    with Journal(path) as journal:
        yield journal.metrics


@contextmanager
def open_json(path: Path, count: int) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:
        yield lambda step, values: print(json.dumps({"t": time.time(), "step": step, **values}), file=file, flush=True)


@contextmanager
def open_csv(path: Path, count: int) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["t", "step", *range(count)])

        def write(step: int, values: dict[str, float]) -> None:
            writer.writerow([time.time(), step, *values.values()])
            file.flush()

        yield write


@contextmanager
def open_logging(path: Path, count: int) -> Iterator[Write]:
    logger = logging.getLogger("benchmark")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    try:
        yield lambda step, values: logger.info("step %d %s", step, values)
    finally:
        logger.removeHandler(handler)
        handler.close()


WRITERS = {
    "journal": open_journal,
    "print(json.dumps(…), flush=True)": open_json,
    "csv.writer + flush": open_csv,
    "logging.FileHandler": open_logging,
}

if __name__ == "__main__":
    sys.exit(main())
