"""Measures how long `footplate --help`, `--version` and `import footplate` take; exits with 1 above the limits.

Each number is the median of fresh interpreters that run one after the other, bytecode warm, with the time an
interpreter takes to do nothing beside it. `import footplate` is measured inside the interpreter, the others outside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from tabulate import tabulate

PYTHON = (sys.executable,)
IMPORT = "import time; start = time.perf_counter(); import footplate; print((time.perf_counter() - start) * 1e3)"
CASES: tuple[tuple[str, tuple[str, ...], float | None], ...] = (
    ("python -c pass", (*PYTHON, "-c", "pass"), None),
    ("import footplate", (*PYTHON, "-c", IMPORT), 50.0),
    ("footplate --help", (*PYTHON, "-m", "footplate", "--help"), 150.0),
    ("footplate --version", (*PYTHON, "-m", "footplate", "--version"), 150.0),
    ("footplate validate --help", (*PYTHON, "-m", "footplate", "validate", "--help"), None),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="fresh interpreters for each case")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _, command, _ in CASES:
        run(command, variables)  # writes the bytecode
    times: dict[str, list[float]] = {name: [] for name, _, _ in CASES}
    for _ in range(arguments.rounds):  # interleaved, so that a busy moment of the machine hits all alike
        for name, command, _ in CASES:
            times[name].append(run(command, variables))
    rows = [describe(name, times[name], limit) for name, _, limit in CASES]
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        print(tabulate([list(row.values()) for row in rows], headers=list(rows[0]), floatfmt=".1f", missingval="–"))
    return int(any(limit is not None and statistics.median(times[name]) > limit for name, _, limit in CASES))


def run(command: tuple[str, ...], variables: dict[str, str]) -> float:
    """Run it once and return its time in milliseconds: its own measurement where it prints one."""
    start = time.perf_counter()
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True, timeout=60)
    elapsed = (time.perf_counter() - start) * 1e3
    return float(done.stdout) if IMPORT in command else elapsed


def describe(name: str, times: list[float], limit: float | None) -> dict[str, object]:
    return {
        "case": name,
        "median_ms": round(statistics.median(times), 1),
        "min_ms": round(min(times), 1),
        "max_ms": round(max(times), 1),
        "limit_ms": limit,
    }


if __name__ == "__main__":
    sys.exit(main())
