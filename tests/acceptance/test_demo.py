"""Runs what `make demo` runs, and checks that it really learns: real handwritten digits to at least 98.5 %."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

Footplate = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_demo_learns_and_says_where_its_report_is(footplate: Footplate, tmp_path: Path) -> None:
    footplate("init", "quickstart", check=0)
    done = footplate("train", "--json", check=0)
    result = json.loads(done.stdout)
    assert result["state"] == "succeeded"
    assert result["metrics"]["test/accuracy"] >= 0.985
    assert Path(result["report"]).is_file()
    assert "report" in done.stderr
    assert re.search(r"test/accuracy +0\.9[89]|test/accuracy +1", done.stderr)


def test_make_demo_types_the_same() -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").split("\ndemo:")[1].split("\n\n")[0]
    assert re.findall(r"footplate (\w+(?: \w+)?)", lines) == ["init quickstart", "train"]
