"""The job's entry point: ``python -P -m footplate.worker {train,inspect,measure,replay}``.

With -P Python does not look for Footplate's own imports in the current directory, where a json.py may lie; the user's
classes are found there all the same.

Exit codes: 0 done · 1 failed · 64 the profile or the data cannot work: never retry · 75 preempted, run it again ·
76 out of memory · 130 interrupted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import sys
import traceback
from bdb import BdbQuit
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from footplate.errors import DataError, FootplateError, InputError, MemoryExhaustedError, MissingExtraError
from footplate.profile.costs import count_parameters
from footplate.profile.load import load_profile, load_profile_text
from footplate.profile.model import Profile
from footplate.profile.sections.model import BUILT_IN_ARCHITECTURES
from footplate.record.exit_codes import CHECKPOINTED, CONFIG_ERROR, DONE, FAILED, INTERRUPTED, OUT_OF_MEMORY
from footplate.record.files import write_json
from footplate.record.home import get_home
from footplate.record.provenance import write_provenance
from footplate.record.redact import Redactor, read_redactor
from footplate.record.rundir import Attempt, RunDir
from footplate.trainer.distributed.place import find_place
from footplate.trainer.ending import leave_word, send_output_to_rank_log
from footplate.trainer.failure import is_out_of_memory
from footplate.trainer.interrupt import Interrupt, Preempted

if TYPE_CHECKING:
    from torch import nn

    from footplate.data.load import LoadedData

__all__ = ["main"]

_log = logging.getLogger("footplate")

_OUT_OF_MEMORY_HINT = (
    "try, in this order: a smaller training.batch_size; more training.gradient_accumulation_steps (the same effective "
    "batch); embedded_optimizations.gradient_checkpointing; training.mixed_precision; a smaller model"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; messages go to stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verbs: dict[str, Callable[[list[str], Interrupt], int]] = {
        "train": _train,
        "inspect": _inspect,
        "measure": _measure,
        "replay": _replay,
    }
    if not arguments or arguments[0] not in verbs:
        return _fail(InputError(f"usage: python -m footplate.worker {{{','.join(verbs)}}} [RUN_DIR]"), CONFIG_ERROR)
    _share_cores()
    interrupt = Interrupt()
    try:
        with interrupt.installed():
            return verbs[arguments[0]](arguments[1:], interrupt)
    except KeyboardInterrupt as error:
        sys.stderr.write("interrupted before the training started\n")
        return _get_code(error)
    except FootplateError as error:
        return _fail(error, _get_code(error))
    except Exception as error:  # noqa: BLE001 — the last one to see it says it, and the exit code tells
        if is_out_of_memory(error):
            return _fail(FootplateError(f"out of memory: {error}", hint=_OUT_OF_MEMORY_HINT), _get_code(error))
        traceback.print_exc()
        return _get_code(error)


def _get_code(error: BaseException) -> int:
    """Return the exit code that tells an error."""
    if isinstance(error, KeyboardInterrupt):
        return CHECKPOINTED if isinstance(error, Preempted) else INTERRUPTED
    if isinstance(error, (InputError, MissingExtraError)):
        return CONFIG_ERROR
    if isinstance(error, MemoryExhaustedError):
        return OUT_OF_MEMORY
    return OUT_OF_MEMORY if not isinstance(error, FootplateError) and is_out_of_memory(error) else FAILED


def _share_cores() -> None:
    """Let threads that wait for one another sleep soon, unless the environment says how they wait.

    libgomp's threads spin for milliseconds, which holds the cores that another training needs: two at once on two
    cores took 28 times as long as one alone (benchmarks/RESULTS.md). It reads this when torch is loaded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _train(arguments: list[str], interrupt: Interrupt) -> int:
    """Train the profile of a run directory."""
    run, profile = _open(arguments)
    attempt = run.get_attempt(int(os.environ.get("FOOTPLATE_ATTEMPT", "1")))
    attempt.path.mkdir(parents=True, exist_ok=True)
    rank = find_place(profile).rank
    redactor = read_redactor(run)
    if redactor is not None:
        run = dataclasses.replace(run, clean=redactor.clean)
    stderr = send_output_to_rank_log(attempt, rank, redacts=redactor is not None)
    try:
        code, step = _train_attempt(run, attempt, profile, rank, interrupt, redactor)
    except BaseException as error:
        leave_word(attempt, rank, _get_code(error), error=error, step=None, stderr=stderr, redactor=redactor)
        raise
    leave_word(attempt, rank, code, step=step, stderr=stderr)
    return code


def _train_attempt(
    run: RunDir, attempt: Attempt, profile: Profile, rank: int, interrupt: Interrupt, redactor: Redactor | None
) -> tuple[int, int]:
    """Train as one of the processes; return the exit code and the optimiser steps done."""
    _start_logging(profile, rank, redactor)
    data = _load_data(profile)
    if rank == 0:
        from footplate.data.fingerprint import fingerprint

        run.write_json("data.json", fingerprint(profile))
        _write_provenance(run, profile, has_ended=False)
    with _torch_needed():
        from footplate.trainer.distributed.world import open_world
        from footplate.trainer.ranks import open_journal
        from footplate.trainer.training import train_model
    with open_journal(attempt, rank, redactor) as journal, open_world(profile) as world:
        journal.event("data", found=list(data.found))
        result = train_model(profile, data, run, journal, interrupt, world)
    if rank == 0:
        _write_provenance(run, profile, has_ended=result["stopped_by"] != "preempted")
    if result["stopped_by"] == "preempted":
        return CHECKPOINTED, result["steps"]
    was_interrupted = result["stopped_by"] == "interrupted" or interrupt.reason == "interrupted"
    return INTERRUPTED if was_interrupted else DONE, result["steps"]


def _write_provenance(run: RunDir, profile: Profile, *, has_ended: bool) -> None:
    settings, pretrained = profile.compliance, profile.transfer_learning.pretrained_model_path
    if not (settings.track_data_lineage or settings.track_model_provenance):
        return
    write_provenance(
        run,
        lineage=settings.track_data_lineage,
        model=settings.track_model_provenance,
        has_ended=has_ended,
        pretrained=profile.base_dir / pretrained if pretrained else None,
    )


def _replay(arguments: list[str], _interrupt: Interrupt) -> int:
    """Do one step of a run again and write what was seen: RUN_DIR STEP OUT [--pdb]."""
    run = RunDir(path=Path(arguments[0]).absolute())
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr, force=True)
    with _torch_needed():
        from footplate.trainer.replay import load_replayed, replay_step
    profile = load_replayed(run)
    data = _load_data(profile)
    with contextlib.suppress(BdbQuit):  # `q` in the debugger
        seen = replay_step(profile, data, run, int(arguments[1]), debug="--pdb" in arguments[3:])
        write_json(Path(arguments[2]), seen)
    return DONE


def _measure(arguments: list[str], interrupt: Interrupt) -> int:
    """Time some real steps of the profile of a run directory."""
    run, profile = _open(arguments)
    _start_logging(profile)
    data = _load_data(profile)
    with _torch_needed():
        from footplate.trainer.distributed.world import open_world
        from footplate.trainer.probe import measure_steps
    with open_world(profile) as world:
        result = measure_steps(profile, data, interrupt, world)
    if world.is_first:
        run.write_json("result.json", result)
    _log.info("%d steps, median %.4g ms", result["steps"], result["step_s"] * 1e3)
    return DONE


def _inspect(_arguments: list[str], _interrupt: Interrupt) -> int:
    """Read a profile from stdin and print what is to be known of its data and model, as JSON."""
    request = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):  # a user's module may print; stdout is for the answer
        facts = _look(load_profile_text(request["profile_yaml"]))
    sys.stdout.write(json.dumps(facts) + "\n")
    return DONE


def _look(profile: Profile) -> dict[str, Any]:
    problems: list[dict[str, str]] = []
    not_checked: list[str] = []
    data, num_parameters, has_layers = None, None, None
    try:
        from footplate.data.load import load_data

        data = load_data(profile)
    except DataError as error:
        problems.append(_make_problem("data.train_data", error))
    except MissingExtraError as error:
        not_checked.append(f"data: {_say(error)}")
    except Exception as error:  # noqa: BLE001 — a training would end by it too: it is said before one starts
        traceback.print_exc()
        told = FootplateError(
            f"reading the data failed: {type(error).__name__}: {error}",
            hint="Footplate did not expect this of data; check how they were written, and report it",
        )
        problems.append(_make_problem("data.train_data", told))
    if data is None:
        not_checked.append("model: its size depends on the data")
    else:
        if profile.model.architecture in BUILT_IN_ARCHITECTURES:
            num_parameters = count_parameters(profile.model, data.facts.signature)
        if num_parameters is None or ":" in profile.training.optimizer or profile.transfer_learning.is_on:
            try:
                num_parameters, has_layers = _build(profile, data, problems)
            except MissingExtraError as error:
                not_checked.append(f"model: {_say(error)}")
    return {
        "data": None if data is None else dataclasses.asdict(data.facts),
        "num_parameters": num_parameters,
        "has_layers": has_layers,
        "versions": _get_versions(),
        "problems": problems,
        "not_checked": not_checked,
    }


def _build(profile: Profile, data: LoadedData, problems: list[dict[str, str]]) -> tuple[int | None, bool | None]:
    """Build what code of the user's decides, note its problems; return the network's parameters, and if it has layers.

    The network is given two samples: that it does not take them is known before anything starts.
    """
    with _torch_needed():
        import torch

        from footplate.trainer.architectures import build_model, count_model_parameters, get_layer_stack
        from footplate.trainer.loading.feed import Feed
        from footplate.trainer.optim import build_optimizer
        from footplate.trainer.task import check_model_fits, make_task
    cpu = torch.device("cpu")
    try:
        model = build_model(profile, data.facts.signature)
        task = make_task(profile.training, data.facts, data.scaler)
        inputs = next(Feed(data.train, cpu).iterate(2)).inputs
        check_model_fits(model, task, inputs, name=profile.model.architecture)
    except InputError as error:
        problems.append(_make_problem("model.architecture", error))
        return None, None
    try:
        build_optimizer(profile.training, model.parameters(), cpu)
    except InputError as error:
        problems.append(_make_problem("training.optimizer", error))
    num_parameters = count_model_parameters(model)
    _try_transfer(profile, model, problems)
    return num_parameters, get_layer_stack(model) is not None


def _try_transfer(profile: Profile, model: nn.Module, problems: list[dict[str, str]]) -> None:
    """Take the pretrained weights and freeze as a training will; note what does not fit."""
    from footplate.trainer.transfer import make_freezer, take_weights

    settings = profile.transfer_learning
    if settings.pretrained_model_path and not (profile.base_dir / settings.pretrained_model_path).exists():
        return  # that is said already
    try:
        make_freezer(model, settings, take_weights(model, profile))
    except InputError as error:
        key = error.message.partition(":")[0]
        problems.append(_make_problem(key if key.startswith("transfer_learning.") else "transfer_learning", error))


def _make_problem(key: str, error: FootplateError) -> dict[str, str]:
    """Return an error as runs/inspect.py reads it; the key is not said twice."""
    return {"key": key, "message": error.message.removeprefix(f"{key}: "), "hint": error.hint}


def _open(arguments: list[str]) -> tuple[RunDir, Profile]:
    if len(arguments) != 1:
        raise InputError("the worker needs exactly one run directory")
    run = RunDir(path=Path(arguments[0]).absolute())
    profile = load_profile(run.path / "profile.yaml")
    if profile.training.compile.enabled and "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(get_home() / "cache" / "compiled")  # torch sets it when imported
    return run, profile


def _load_data(profile: Profile) -> LoadedData:
    """Load the data and say what was found, before torch is loaded: a mistake in them shows at once."""
    from footplate.data.load import load_data

    data = load_data(profile)
    _log.info("data:   %s", data.facts.source)
    for line in data.found:
        _log.info("        %s", line)
    return data


def _start_logging(profile: Profile, rank: int = 0, redactor: Redactor | None = None) -> None:
    """Send the log to stdout, line by line, and that of the first process to the profile's file; cleaned if asked."""
    settings = profile.logging
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if settings.log_file is not None and rank == 0:
        file = profile.base_dir / (settings.log_dir or "") / settings.log_file
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handlers.append(logging.FileHandler(file, encoding="utf-8"))
        except OSError as error:
            raise InputError(f"logging.log_file: {file} cannot be written: {error.strerror}") from error
    logging.basicConfig(level=settings.console_log_level, format=settings.log_format, handlers=handlers, force=True)
    if redactor is not None:
        for handler in handlers:
            handler.setFormatter(_CleanFormatter(settings.log_format, redactor))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


class _CleanFormatter(logging.Formatter):
    """Cleans what is logged, tracebacks too: the file of `logging.log_file` gets it as the log does."""

    def __init__(self, form: str | None, redactor: Redactor) -> None:
        super().__init__(form)
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.clean_text(super().format(record))


@contextlib.contextmanager
def _torch_needed() -> Iterator[None]:
    """Say which extra installs torch when it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name in ("torch", "safetensors"):
            raise MissingExtraError(error.name, "train") from error
        raise


def _get_versions() -> dict[str, str]:
    """Return the versions that are there, without importing torch."""
    versions = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    with contextlib.suppress(metadata.PackageNotFoundError):
        versions["pytorch"] = metadata.version("torch")
    torch = sys.modules.get("torch")
    if torch is not None and torch.version.cuda:
        versions["cuda"] = torch.version.cuda
    return versions


def _say(error: FootplateError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message


def _fail(error: FootplateError, code: int) -> int:
    sys.stderr.write(f"error: {error.message}\n")
    if error.hint:
        sys.stderr.write(f"  hint: {error.hint}\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
