"""Starting and following runs: what is checked first, what is recorded, what arrives."""

import os
import resource
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from footplate.errors import CommandError, InputError, RecordError
from footplate.record.journal_reader import Entry
from footplate.record.restart import RestartPolicy
from footplate.record.run_info import read_run_info
from footplate.record.rundir import RunDir
from footplate.record.state import Cause, RunState, get_status
from footplate.runs.launch import RUN_DIR_TOKEN, JobSpec, PlacedCode, check_command, follow, launch
from footplate.runs.store import Store


def make_job(tmp_path: Path, *argv: str) -> JobSpec:
    code = tmp_path / "code"
    code.mkdir(exist_ok=True)
    return JobSpec(
        name="a test",
        kind="exec",
        argv=argv,
        cwd=code,
        output_dir=tmp_path / "runs",
        sidecar_interval_s=None,
    )


def make_python(tmp_path: Path, program: str) -> JobSpec:
    return make_job(tmp_path, sys.executable, "-c", program)


def test_a_run_directory_tells_everything_before_the_command_starts(tmp_path: Path) -> None:
    job = make_job(tmp_path, "true")
    (job.cwd / "train.py").write_text("print()\n")
    launched = launch(replace(job, profile_yaml="name: x\n", plan={"a": 1}, experiment="wing", parent="other-abcdef"))
    status = follow(launched)
    run = launched.run
    assert (status.state, status.exit_code) == (RunState.succeeded, 0)
    info = read_run_info(run)
    assert (info.id, info.name, info.argv, info.cwd) == (run.id, "a test", ("true",), str(job.cwd))
    assert (info.experiment, info.parent) == ("wing", "other-abcdef")
    assert run.id.startswith("a-test-")
    assert [path for path, _, _ in run.read_json("code.json")["files"]] == ["train.py"]
    assert "packages" in run.read_json("env.json")
    assert run.read_json("plan.json") == {"a": 1}
    assert (run.path / "profile.yaml").read_text() == "name: x\n"
    assert run.read_json("attempts/1/job.json")["argv"] == ["true"]
    assert launched.notes == ("code: 1 file, 8 B",)
    with Store() as store:
        assert store.find(run.id[-6:-1]).path == run.path


def test_a_new_output_directory_is_kept_out_of_git_and_an_old_one_left_alone(tmp_path: Path) -> None:
    follow(launch(make_job(tmp_path, "true")))
    assert (tmp_path / "runs" / ".gitignore").read_text() == "*\n"
    mine = tmp_path / "mine"
    mine.mkdir()
    follow(launch(replace(make_job(tmp_path, "true"), output_dir=mine)))
    assert not (mine / ".gitignore").exists()


def test_the_token_becomes_the_run_directory(tmp_path: Path) -> None:
    launched = launch(make_job(tmp_path, "echo", RUN_DIR_TOKEN, "{other}"))
    said: list[str] = []
    follow(launched, said.append)
    assert "".join(said) == f"{launched.run.path} {{other}}\n"
    assert read_run_info(launched.run).argv == ("echo", RUN_DIR_TOKEN, "{other}")


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        ((), "there is no command to run", "-- python train.py"),
        (("train.py",), "there is no command 'train.py'", "write python train.py"),
        (("mine",), "there is no command 'mine'", "write ./mine"),
        (("./train.py",), "./train.py is not executable", "python ./train.py"),
        (("./go.sh",), "./go.sh is not executable", "chmod +x ./go.sh"),
        (("./nothing",), "there is no file ./nothing", "looked in"),
        (("./folder",), "./folder is not a file", "program"),
        (("pythno3x",), "there is no command 'pythno3x'", "did you mean python3x?"),
        (("zzqqyyxx",), "there is no command 'zzqqyyxx'", "is it installed"),
    ],
)
def test_a_command_that_cannot_start_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], message: str, hint: str
) -> None:
    job = make_job(tmp_path, *argv)
    for name in ("train.py", "mine", "go.sh"):
        (job.cwd / name).write_text("")
    (job.cwd / "folder").mkdir()
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3x").write_text("#!/bin/sh\n")
    (programs / "python3x").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(CommandError) as caught:
        launch(job)
    assert caught.value.message == message
    assert hint in caught.value.hint
    assert not job.output_dir.exists()


def test_python_is_python3_where_only_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "python3").symlink_to(sys.executable)
    with pytest.raises(CommandError) as caught:
        check_command(("python", "train.py"), tmp_path, str(tmp_path))
    assert caught.value.hint == "python3 is there: write python3"


def test_an_output_directory_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    job = make_job(tmp_path, "true")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError) as caught:
            launch(replace(job, output_dir=place))
        assert str(place) in caught.value.message
        assert "--output-dir" in caught.value.hint


def test_a_launch_that_fails_half_way_says_so_in_the_run_directory(tmp_path: Path) -> None:
    def fail(_run: RunDir, _job: JobSpec) -> PlacedCode:
        raise OSError(28, "No space left on device")

    with pytest.raises(RecordError, match="No space left on device") as caught:
        launch(make_job(tmp_path, "true"), place_code=fail)
    (run,) = [RunDir.open(path.parent) for path in (tmp_path / "runs").glob("*/run.json")]
    assert str(run.path) in caught.value.hint
    status = get_status(run)
    assert (status.state, status.cause) == (RunState.failed, Cause.platform)
    assert "No space left" in status.evidence[0]


def test_on_a_full_disk_the_run_directory_still_says_that_the_launch_failed(tmp_path: Path) -> None:
    def fill(run: RunDir, _job: JobSpec) -> PlacedCode:
        run.write_json("env.json", {"a": "b" * 10_000})
        # From here on no file may become larger than a receipt: much the same as a disk with little room.
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
        run.write_json("code.json", {"a": "b" * 10_000})
        return PlacedCode(cwd=run.path)

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(RecordError, match=r"code\.json: cannot be written"):
            launch(make_job(tmp_path, "true"), place_code=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    (run,) = [RunDir.open(path.parent) for path in (tmp_path / "runs").glob("*/run.json")]
    assert get_status(run).cause is Cause.platform


def test_a_run_is_seen_to_start_from_its_first_moment(tmp_path: Path) -> None:
    def look(run: RunDir, _job: JobSpec) -> PlacedCode:
        states.append(get_status(run).state)
        return PlacedCode(cwd=run.path)

    states: list[RunState] = []
    follow(launch(make_job(tmp_path, "true"), place_code=look))
    assert states == [RunState.starting]


def test_an_interrupted_launch_is_a_cancelled_run(tmp_path: Path) -> None:
    def interrupt(_run: RunDir, _job: JobSpec) -> PlacedCode:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch(make_job(tmp_path, "true"), place_code=interrupt)
    (run,) = [RunDir.open(path.parent) for path in (tmp_path / "runs").glob("*/run.json")]
    assert get_status(run).state is RunState.cancelled


def test_a_home_that_cannot_be_written_does_not_stop_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FOOTPLATE_HOME", str(tmp_path / "file" / "home"))
    launched = launch(make_job(tmp_path, "true"))
    assert follow(launched).state is RunState.succeeded
    assert "not in the index" in launched.notes[-1]


def test_secrets_reach_the_command_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "s3cr3t-value")
    job = make_python(tmp_path, "import os; print(os.environ['GIVEN'][::-1])")
    launched = launch(replace(job, env={"GIVEN": "${env:MY_TOKEN}"}))
    said: list[str] = []
    follow(launched, said.append)
    assert "".join(said) == "eulav-t3rc3s\n"
    for path in launched.run.path.rglob("*"):
        assert not path.is_file() or b"s3cr3t-value" not in path.read_bytes()


def test_nothing_of_the_log_is_lost_and_bytes_that_are_no_text_can_be_had_back(tmp_path: Path) -> None:
    program = (
        "import os\n"
        "for i in range(20000): print('line', i)\n"
        "os.write(1, 'é'.encode()[:1]); os.write(1, 'é'.encode()[1:] + b'\\xff and the end')"
    )
    said: list[str] = []
    follow(launch(make_python(tmp_path, program)), said.append)
    expected = "".join(f"line {i}\n" for i in range(20000)) + "é\udcff and the end"
    assert "".join(said) == expected


def test_the_journal_of_the_command_arrives_whole(tmp_path: Path) -> None:
    program = (
        "import os; from pathlib import Path; from footplate.record.journal import Journal\n"
        "place = Path(os.environ['FOOTPLATE_RUN_DIR'], 'attempts', os.environ['FOOTPLATE_ATTEMPT'])\n"
        "with Journal(place / 'journal.rank0.jsonl') as journal:\n"
        "    for step in range(500): journal.metrics(step, {'train/loss': 1.0})\n"
    )
    entries: list[Entry] = []
    follow(launch(make_python(tmp_path, program)), on_entry=entries.append)
    assert [entry.data["step"] for entry in entries] == list(range(500))


def test_a_second_interrupt_kills_what_ignores_the_first(tmp_path: Path) -> None:
    program = (
        "import signal, time\n"
        "signal.signal(signal.SIGINT, lambda *_: print('no', flush=True))\n"
        "print('ready', flush=True)\n"
        "time.sleep(600); time.sleep(600)\n"
    )
    said = ""

    def interrupt(text: str) -> None:
        nonlocal said
        said += text
        if text.startswith(("ready", "no")):
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    status = follow(launch(make_python(tmp_path, program)), interrupt)
    assert (status.state, status.signal, said) == (RunState.cancelled, "SIGKILL", "ready\nno\n")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_can_be_followed_outside_the_main_thread(tmp_path: Path) -> None:
    launched = launch(make_job(tmp_path, "echo", "hello"))
    said: list[str] = []
    thread = threading.Thread(target=follow, args=(launched, said.append))
    thread.start()
    thread.join(60)
    assert said == ["hello\n"]


def test_modules_beside_the_users_code_do_not_reach_the_wrapper(tmp_path: Path) -> None:
    job = make_job(tmp_path, "echo", "hello")
    (job.cwd / "json.py").write_text("raise SystemExit('this is not the json you look for')\n")
    assert follow(launch(job)).state is RunState.succeeded


def test_standard_input_of_a_training_is_empty(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    saved = os.dup(0)
    os.dup2(reader, 0)
    try:
        said: list[str] = []
        follow(launch(replace(make_job(tmp_path, "cat"), kind="train")), said.append)
    finally:
        os.dup2(saved, 0)
        for number in (reader, writer, saved):
            os.close(number)
    assert said == []


def test_an_output_directory_over_another_one_outlives_that(tmp_path: Path) -> None:
    job = make_job(tmp_path, "true")
    launched = launch(replace(job, output_dir=job.cwd / ".." / "runs"))
    follow(launched)
    job.cwd.rmdir()
    with Store() as store:
        assert store.find(launched.run.id).path == tmp_path / "runs" / launched.run.id


def test_the_following_attempts_are_followed_too(tmp_path: Path) -> None:
    policy = RestartPolicy(delay_s=0.3)
    program = "import os, sys; n = os.environ['FOOTPLATE_ATTEMPT']; print('try', n); sys.exit(0 if n == '3' else 75)"
    said: list[str] = []
    launched = launch(replace(make_python(tmp_path, program), restart=policy, resume_args=("--again",)))
    status = follow(launched, said.append, on_attempt=lambda attempt: said.append(f"-- attempt {attempt.number}\n"))
    assert "".join(said) == "try 1\n-- attempt 2\ntry 2\n-- attempt 3\ntry 3\n"
    assert (status.state, status.attempt) == (RunState.succeeded, 3)
    assert launched.run.read_json("attempts/3/job.json")["argv"][-1] == "--again"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_while_the_run_is_being_made_is_recorded_as_a_cancellation(
    tmp_path: Path, number: signal.Signals
) -> None:
    made: list[RunDir] = []

    def place(run: RunDir, job: JobSpec) -> PlacedCode:
        made.append(run)
        signal.raise_signal(number)
        return PlacedCode(cwd=job.cwd)

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        launch(make_job(tmp_path, "true"), place_code=place)
    assert get_status(made[0]).state is RunState.cancelled
    assert signal.getsignal(number) == before


def test_a_signal_that_comes_before_the_wrapper_is_ready_cancels_the_run(tmp_path: Path) -> None:
    launched = launch(make_job(tmp_path, "sleep", "600"))
    launched.process.terminate()  # at once: Python has not even started there
    assert launched.process.wait(120) == 130
    status = get_status(launched.run)
    assert status.state is RunState.cancelled, status
