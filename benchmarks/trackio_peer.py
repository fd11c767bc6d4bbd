"""Logs metrics with trackio, in an environment of its own, and prints as JSON what shipping.py shows of it.

.work/trackio/bin/python benchmarks/trackio_peer.py NUM_VALUES FOLDER
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import statistics
import sys
import time
from pathlib import Path

NAMES = tuple(f"train/metric_{number}" for number in range(10))


def main() -> int:
    num_values, folder = int(sys.argv[1]), Path(sys.argv[2])
    os.environ |= {"TRACKIO_DIR": str(folder), "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    times = []
    with contextlib.redirect_stdout(sys.stderr):
        import trackio

        begin = time.perf_counter()
        trackio.init(project="peer", name="peer")
        for step in range(num_values // len(NAMES)):
            values = {name: step * 1e-3 + place for place, name in enumerate(NAMES)}
            before = time.perf_counter_ns()
            trackio.log(values, step=step)
            times.append(time.perf_counter_ns() - before)
        trackio.finish()
        seconds = time.perf_counter() - begin
    with sqlite3.connect(folder / "peer.db") as connection:
        rows = [json.loads(text) for (text,) in connection.execute("SELECT metrics FROM metrics")]
    stored = sum(len(row) for row in rows)
    told = num_values // len(NAMES) * len(NAMES)
    result = {"call_us": statistics.median(times) / 1e3, "per_s": stored / seconds, "told": told, "stored": stored}
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
