"""What is recorded is in TensorBoard's files, once, as its own reader shows it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image
from recorded import add_attempt, end, make_metrics, make_run, write_entries
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from footplate.record.journal import read_metrics
from footplate.record.rundir import RunDir
from footplate.tracking.shipping.logbook import Logbook

HISTOGRAM = {"low": -1.0, "high": 1.0, "counts": [2, 6], "num_not_finite": 0}
NOTHING = {"low": 0.0, "high": 0.0, "counts": [], "num_not_finite": 8}


def make_command(run: RunDir) -> list[str]:
    return [sys.executable, "-m", "footplate.tracking.shipping", str(run.path), "--once"]


def ship(run: RunDir) -> None:
    assert subprocess.run(make_command(run), timeout=100, check=False).returncode == 0


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0})
    events.Reload()
    return events


def check_stored(run: RunDir, folder: Path) -> None:
    stored = {}
    for events in (read(folder), read(folder / "system")):
        for name in events.Tags()["scalars"]:
            stored[name] = [(one.step, one.value) for one in events.Scalars(name)]
    recorded = {name: [(point.step, point.value) for point in points] for name, points in read_metrics(run).items()}
    assert stored == recorded


def make_resumed_run(folder: Path, steps: int = 300) -> RunDir:
    """Return a run whose second attempt does some steps again, with another speed; all values fit 32 bits."""
    run = make_run(folder, {"tensorboard": {"log_histograms": True}})
    first = add_attempt(run)
    write_entries(first.journal_path("system"), make_metrics(range(1000, 1010), system__cpu_percent=1.0))
    write_entries(first.journal_path(), make_metrics(range(steps), train__loss=0.5, speed=100.0))
    value = {"layer": HISTOGRAM, "dead": NOTHING}
    write_entries(first.journal_path(), [{"t": 1.0, "kind": "table", "name": "weights", "step": 5, "value": value}])
    second = add_attempt(run)
    write_entries(second.journal_path(), [{"t": time.time(), "kind": "rewind", "step": steps - 50}])
    write_entries(second.journal_path(), make_metrics(range(steps - 49, steps + 50), train__loss=0.5, speed=90.0))
    end(run, second)
    return run


def test_scalars_and_histograms_are_told_once_and_a_resume_replaces_what_it_does_again(tmp_path: Path) -> None:
    run = make_resumed_run(tmp_path)
    ship(run)
    folder = run.path / "tensorboard"
    check_stored(run, folder)
    [histogram] = read(folder).Histograms("weights/layer")
    assert (histogram.step, histogram.histogram_value.bucket) == (5, [2, 6])
    assert Logbook.read(run, "tensorboard").where == f"tensorboard --logdir {folder}"
    before = {path: path.read_bytes() for path in folder.rglob("events.*")}
    ship(run)
    assert {path: path.read_bytes() for path in folder.rglob("events.*")} == before


def test_pictures_are_written_at_the_end_once(tmp_path: Path) -> None:
    run = make_run(tmp_path, {"tensorboard": {"log_images": True}})
    attempt = add_attempt(run)
    write_entries(attempt.journal_path(), make_metrics(range(10), train__loss=0.5))
    (run.artifacts / "plots").mkdir()
    Image.new("RGB", (4, 3)).save(run.artifacts / "plots" / "a.png")
    (run.artifacts / "no-picture.png").write_bytes(b"text")
    names = ("plots/a.png", "no-picture.png", "gone.png")
    run.write_json("artifacts.json", [{"path": name, "size": 1, "sha256": name} for name in names])
    end(run, attempt)
    for _ in range(2):
        ship(run)
        further = add_attempt(run)  # the run goes on, and ends once more
        end(run, further)
    events = read(run.path / "tensorboard")
    assert events.Tags()["images"] == ["plots/a"]
    [picture] = events.Images("plots/a")
    assert (picture.step, picture.width, picture.height) == (9, 4, 3)


def test_a_resume_in_several_processes_drops_nothing_of_another_process(tmp_path: Path) -> None:
    run = make_run(tmp_path, {"tensorboard": {}})
    for first, last in ((0, 100), (51, 150)):
        attempt = add_attempt(run)
        for rank, name in enumerate(("train__loss", "rank1__step_s")):
            journal = attempt.journal_path(f"rank{rank}")
            if first:
                write_entries(journal, [{"t": time.time(), "kind": "rewind", "step": first - 1}])
            write_entries(journal, make_metrics(range(first, last), **{name: 0.5}))
    end(run, attempt)
    ship(run)
    stored = {}
    for folder in (run.path / "tensorboard", run.path / "tensorboard" / "rank1"):
        events = read(folder)
        stored |= {name: [one.step for one in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert stored == {"train/loss": [*range(150)], "rank1/step_s": [*range(150)]}


def test_what_a_killed_process_wrote_beyond_its_position_is_not_there_twice(tmp_path: Path) -> None:
    run = make_resumed_run(tmp_path)
    ship(run)
    folder = run.path / "tensorboard"
    [file] = folder.glob("events.*")
    whole = file.read_bytes()
    book = Logbook.read(run, "tensorboard")
    book.positions, book.is_closed = {}, False
    book.memory = {}  # killed after it had written all and before it could say so
    book.write(run, "tensorboard")
    ship(run)
    assert file.read_bytes() == whole
    file.write_bytes(whole + b"half a rec")
    book = Logbook.read(run, "tensorboard")
    book.is_closed = False
    book.write(run, "tensorboard")
    write_entries(run.get_attempt(2).journal_path(), make_metrics([400], train__loss=0.5))
    ship(run)
    check_stored(run, folder)


def test_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path) -> None:
    run = make_resumed_run(tmp_path, steps=20_000)
    chance = random.Random(5)
    for _ in range(5):
        process = subprocess.Popen(make_command(run))
        limit = time.monotonic() + 60
        while not list(run.path.glob("tensorboard/events.*")) and time.monotonic() < limit:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 1.2))
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    ship(run)
    check_stored(run, run.path / "tensorboard")
