"""Fits a line to points by gradient descent; knows nothing of Footplate but one environment variable."""

import argparse
import json
import os
import random
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100)
    steps = parser.parse_args().steps
    random.seed(1)
    points = [(x / 50, 3 * x / 50 - 1 + random.gauss(0, 0.1)) for x in range(50)]
    slope = offset = 0.0
    for step in range(steps):
        errors = [(slope * x + offset - y, x) for x, y in points]
        slope -= 0.2 * sum(error * x for error, x in errors) / len(points)
        offset -= 0.2 * sum(error for error, _ in errors) / len(points)
        if step % 50 == 0:
            print(f"step {step}: loss {sum(error**2 for error, _ in errors) / len(points):.4f}")
    folder = Path(os.environ.get("FOOTPLATE_OUTPUT_DIR", "."))
    (folder / "line.json").write_text(json.dumps({"slope": slope, "offset": offset}))


if __name__ == "__main__":
    main()
