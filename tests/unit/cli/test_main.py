"""The command line as a whole: help, errors, exit codes, completion."""

import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from footplate.cli import PURPOSES, VERBS, main
from footplate.errors import FootplateError, NotFoundError, ProfileError

Footplate = Callable[..., "subprocess.CompletedProcess[str]"]
Verb = Callable[[Callable[[], object]], None]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Verb:
    """Return a function that adds a verb named `odd` which does what it is given."""

    def add(action: Callable[[], object]) -> None:
        module = types.ModuleType("odd_verb")

        @click.command("odd")
        @click.option("--json", "as_json", is_flag=True)
        def command(as_json: bool) -> object:
            return action()

        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "odd_verb", module)
        monkeypatch.setitem(VERBS, "odd", ("odd_verb:command", "does something odd"))

    return add


def throw(error: BaseException) -> Callable[[], object]:
    def action() -> object:
        raise error

    return action


def test_every_verb_has_one_purpose_and_help_fits_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(name for names in PURPOSES.values() for name in names) == sorted(VERBS)
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for name, (_, text) in VERBS.items():
        assert name in shown
        assert text in shown
    assert main([]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("name", ["run", "rerun", "runs", "status", "logs", "rm", "completion"])
def test_the_help_of_a_verb_fits_the_terminal_and_offers_json(name: str, footplate: Footplate) -> None:
    shown = footplate(name, "--help", check=0).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "--json" in shown


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("footplate 0.")


def test_an_unknown_verb_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stauts"]) == 2
    assert capsys.readouterr().err == "error: there is no verb 'stauts'\n  hint: did you mean `footplate status`?\n"
    assert main(["zzzzz"]) == 2
    assert "footplate --help" in capsys.readouterr().err


def test_a_wrong_option_names_the_help_of_its_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--limti", "3"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: No such option '--limti'.")
    assert "--limit" in told or "footplate runs --help" in told


def test_an_error_is_told_with_its_hint_and_as_json(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    verb(throw(NotFoundError("there is no x", hint="make one\nor two")))
    assert main(["odd"]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "error: there is no x\n  hint: make one\n  hint: or two\n")
    assert main(["odd", "--json"]) == 2
    told = capsys.readouterr()
    assert json.loads(told.out) == {"error": {"message": "there is no x", "hint": "make one\nor two", "problems": []}}
    assert told.err.startswith("error: there is no x\n")


def test_every_problem_of_a_profile_is_in_the_json(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    verb(throw(ProfileError("a.yaml: 2 problems", problems=["line 1: a", "line 2: b"])))
    assert main(["odd", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["problems"] == ["line 1: a", "line 2: b"]


def test_a_bug_is_called_a_bug(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    verb(throw(ZeroDivisionError("by nothing")))
    assert main(["odd"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: this is a bug in Footplate: ZeroDivisionError: by nothing\n")
    assert "Traceback" in told


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (lambda: None, 0),
        (lambda: 75, 75),
        (throw(FootplateError("no")), 1),
        (throw(KeyboardInterrupt()), 130),
        (throw(click.Abort()), 130),
        (throw(click.exceptions.Exit(3)), 3),
    ],
)
def test_exit_codes(verb: Verb, action: Callable[[], object], code: int) -> None:
    verb(action)
    assert main(["odd"]) == code


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "footplate", "completion", "bash"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert (process.stderr.read(), process.wait(60)) == (b"", 0)
    process.stderr.close()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed_for_each_shell(shell: str, footplate: Footplate) -> None:
    script = footplate("completion", shell, check=0).stdout
    assert "_FOOTPLATE_COMPLETE" in script
    assert json.loads(footplate("completion", "--json", env={"SHELL": f"/bin/{shell}"}, check=0).stdout) == {
        "shell": shell,
        "script": script.removesuffix("\n"),
    }


def test_an_unknown_shell_is_asked_for(footplate: Footplate) -> None:
    assert "which shell?" in footplate("completion", env={"SHELL": ""}, check=2).stderr


def complete(footplate: Footplate, words: str) -> list[str]:
    env = {"_FOOTPLATE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    return footplate(env=env, check=0).stdout.splitlines()


def test_verbs_options_and_run_ids_are_completed(footplate: Footplate) -> None:
    assert complete(footplate, "footplate r") == [
        f"plain,{verb}" for verb in ("run", "resume", "rerun", "replay", "runs", "report", "rm")
    ]
    assert complete(footplate, "footplate runs --li") == ["plain,--limit"]
    assert complete(footplate, "footplate logs ") == [""]
    footplate("run", "--name", "wing", "-q", "--", "true", check=0)
    (found,) = complete(footplate, "footplate logs wi")
    assert found.startswith("plain,wing-")
    suffix = found[-6:]
    assert complete(footplate, f"footplate rm {suffix}") == [found]
    assert complete(footplate, "footplate run -- tra") == ["file,tra"]


def test_keys_are_completed(footplate: Footplate) -> None:
    assert complete(footplate, "footplate explain training.lea") == ["plain,training.learning_rate"]
    assert complete(footplate, "footplate plan --set data.train_d") == ["plain,data.train_data="]


def test_a_command_that_removes_its_run_directory_is_told(footplate: Footplate) -> None:
    remove = 'sleep 0.3; until rm -rf "$FOOTPLATE_RUN_DIR"; do :; done'
    said = footplate("run", "--", "sh", "-c", remove, check=1).stderr
    assert "its directory is gone" in " ".join(said.split())
    assert "next" not in said


def test_a_current_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = ["sh", "-c", 'rmdir ../gone && "$0" -m footplate run -- true', sys.executable]
    done = subprocess.run(command, cwd=gone, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "error: the current directory is gone\n  hint: cd to one that is there\n",
    )
