"""What is taken out of texts, what stays, and the filter of a log at the edges of its pieces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from footplate.record import redact
from footplate.record.log_filter import LogFilter
from footplate.record.redact import Redactor

_ALL = Redactor(anonymize=True, pii=True, names=("Grace Hopper", "hopper"), hosts=("gpu-node-17.lab.example",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail grace.hopper@navy.example now", "mail <email> now"),
        ("by Grace  Hopper, and HOPPER again", "by <name>, and <name> again"),
        ("grace_hopper's model", "<name>'s model"),
        ("from 10.20.30.40:8080", "from <ip>:8080"),
        ("from 2001:db8::8a2e:370:7334.", "from <ip>."),
        ("on gpu-node-17.lab.example", "on <host>"),
        ("mac 0a:1b:2c:3d:4e:5f", "mac <mac>"),
        ("/home/grace/data/train.npz", "/home/<user>/data/train.npz"),
        ("/Users/grace", "/Users/<user>"),
        ("call +49 170 1234567 or (212) 555-0123", "call <phone> or <phone>"),
        ("card 4111 1111 1111 1111", "card <card>"),
        ("to GB82 WEST 1234 5698 7654 32", "to <iban>"),
        ("ssn 078-05-1120", "ssn <id>"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ012345", "<secret>"),
        ("AKIAABCDEFGHIJKLMNOP", "<secret>"),
        ("Authorization: Bearer abcdefghijkl.mnop", "Authorization: Bearer <secret>"),
        ("postgresql://me:hunter2@db:5432/x", "postgresql://<secret>@db:5432/x"),
        ("API_KEY=s3cr3t-value next", "API_KEY=<secret> next"),
        ("{'password': 'correct horse'}", "{'password': '<secret> horse'}"),
    ],
)
def test_what_names_somebody_is_replaced(text: str, expected: str) -> None:
    assert _ALL.clean_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "step 1,200/4,000  epoch 1.5  train/loss 0.6523  val/accuracy 0.7333",
        "listening on 127.0.0.1:5000 and [::1]:5000 at 12:34:56",
        "torch 2.13.0 on CUDA 12.4, started 2026-11-27T21:26:13.123456+00:00",
        "weights of 4,111,111 parameters, 1795242576.659966 s, 1795242576659966 µs",
        "lr +1.23456789e-05, tokens: 512, max_token=1024, token 3.141592653589793",
        "/srv/runs/model.safetensors graceful hoppers",
        "a 123-45-67890 b 1.2.3 c 1.2.3.4.5",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ],
)
def test_what_a_training_says_stays(text: str) -> None:
    assert _ALL.clean_text(text) == text


def test_each_protection_takes_out_its_own() -> None:
    text = "/home/grace 10.1.2.3 a@b.example +49 170 1234567 0a:1b:2c:3d:4e:5f"
    anonymized = Redactor(anonymize=True, pii=False).clean_text(text)
    assert anonymized == "/home/<user> <ip> <email> +49 170 1234567 <mac>"
    assert Redactor(anonymize=False, pii=True).clean_text(text) == "/home/grace <ip> <email> <phone> 0a:1b:2c:3d:4e:5f"


def test_values_are_cleaned_wherever_they_are_nested() -> None:
    again = Redactor.from_json(json.loads(json.dumps(_ALL.to_json())))
    value = {"found": ["by Grace Hopper", {"n": 3, "x": None}], "ok": True, "at": ("a@b.example",)}
    assert again.clean(value) == {"found": ["by <name>", {"n": 3, "x": None}], "ok": True, "at": ["<email>"]}


def test_the_user_and_the_machine_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ghopper")
    monkeypatch.setattr("socket.gethostname", lambda: "mark1.navy.example")
    here = Redactor(anonymize=True, pii=False)
    assert here.clean_text("ghopper on mark1, mark1.navy.example") == "<name> on <host>, <host>"
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    assert Redactor(anonymize=True, pii=False).clean_text("root logger") == "root logger"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"redact": _ALL.to_json()}))
    return path


def test_the_filter_cleans_what_comes_in_pieces(job: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    log = tmp_path / "log.txt"
    told = LogFilter(job, log, notes.append)
    for piece in (b"mail grace", b"@navy.example\nno \xff UTF-8\n 10%\r 20%\rlast gra", b"ce@navy.example"):
        os.write(told.target, piece)
        time.sleep(0.05)
    told.close_target()
    told.finish()
    assert log.read_bytes() == b"mail <email>\nno \xff UTF-8\n 10%\r 20%\rlast <email>"
    assert not notes


def test_a_filter_that_is_killed_is_started_again(job: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    log = tmp_path / "log.txt"
    told = LogFilter(job, log, notes.append)
    os.write(told.target, b"first\n")
    while not log.exists() or not log.read_bytes():
        time.sleep(0.01)
    told._process.kill()
    told._process.wait()
    os.write(told.target, b"second a@b.example\n")
    told.check()
    told.close_target()
    told.finish()
    assert log.read_text() == "first\nsecond <email>\n"
    assert "was started again" in notes[0]


def test_a_line_without_end_is_written_when_nothing_more_comes(job: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    told = LogFilter(job, log, print)
    os.write(told.target, b"password? ")
    limit = time.monotonic() + 20
    while not (log.exists() and log.read_bytes()) and time.monotonic() < limit:
        time.sleep(0.05)
    assert log.read_bytes() == b"password? "
    told.close_target()
    told.finish()


def test_a_full_disk_does_not_hold_up_the_job(job: Path) -> None:
    """The job would wait for ever in its print when nobody read the pipe."""
    if not Path("/dev/full").exists():
        pytest.fail("this test needs /dev/full")
    argv = [sys.executable, "-P", "-m", redact.__name__, str(job), "/dev/full"]
    done = subprocess.run(argv, input=b"line\n" * 50_000, timeout=60, check=False)
    assert done.returncode == 0
