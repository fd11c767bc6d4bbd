"""The client: the platform's steps from Python, in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from recorded import add_attempt, end, make_metrics, make_run, write_entries

import footplate
from footplate.errors import NotFoundError, PlanError
from footplate.profile.load import load_profile_text

OWN = "entrypoint: {script: job.py}\nresources: {job_name: own}\nmonitoring: {health_check_interval: 1}\n"


def test_inspects_plans_launches_and_observes() -> None:
    Path("job.py").write_text("print('trained')\n")
    profile = load_profile_text(OWN)
    client = footplate.Client()
    plan = client.plan(profile, client.inspect(profile))
    assert not Path("runs").exists()
    assert plan.argv == (sys.executable, "job.py")

    run = client.launch(plan)
    status = client.wait(run)
    assert status.state == "succeeded"
    assert client.status(run).state == "succeeded"
    assert client.get_logs(run) == "trained\n"
    assert client.find(run.id[-6:]) == run
    assert [stored.id for stored in client.list_runs()] == [run.id]
    assert client.report(run).read_text().startswith(f"# Run {run.id}")
    assert set(client.get_metrics(run)) == set() or all(name.startswith("system/") for name in client.get_metrics(run))
    with pytest.raises(NotFoundError):
        client.get_result(run)  # a script of one's own writes none
    with pytest.raises(NotFoundError, match="no log of rank 3"):
        client.get_logs(run, rank=3)


def test_tells_trackers_what_waits(tmp_path: Path) -> None:
    run = make_run(tmp_path, {"tensorboard": {}})
    attempt = add_attempt(run)
    write_entries(attempt.journal_path(), make_metrics(range(10), train__loss=0.5))
    end(run, attempt)
    client = footplate.Client()
    [waiting] = client.list_trackers(run)
    assert (waiting.shipped, waiting.is_closed) == (0, False)
    assert waiting.waiting_bytes > 0
    [told] = client.sync(run, timeout_s=100)
    assert (told.shipped, told.waiting_bytes, told.is_closed, told.error) == (10, 0, True, "")
    assert told.where == f"tensorboard --logdir {run.path}/tensorboard"


def test_errors_of_the_lint_stop_a_launch() -> None:
    profile = load_profile_text(OWN)
    client = footplate.Client()
    with pytest.raises(PlanError, match=r"job\.py"):
        client.launch(client.plan(profile, client.inspect(profile)))
    assert not Path("runs").exists()


def test_waits_only_for_what_it_launched() -> None:
    Path("job.py").write_text("print('trained')\n")
    profile = load_profile_text(OWN)
    client = footplate.Client()
    run = client.launch(client.plan(profile, client.inspect(profile)))
    with pytest.raises(NotFoundError, match="was not launched by this client"):
        footplate.Client().wait(run)
    assert client.wait(run).state == "succeeded"


def test_a_wait_has_a_limit_and_can_be_repeated() -> None:
    Path("job.py").write_text(
        "import pathlib, time\nfor _ in range(3000):\n    if pathlib.Path('go').exists(): break\n    time.sleep(0.01)\n"
    )
    profile = load_profile_text(OWN)
    client = footplate.Client()
    run = client.launch(client.plan(profile, client.inspect(profile)))
    assert client.wait(run, timeout_s=0.1).state in ("starting", "running", "queued")
    Path("go").write_text("")
    assert client.wait(run, timeout_s=60).state == "succeeded"
