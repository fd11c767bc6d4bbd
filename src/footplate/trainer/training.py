"""A whole training: assemble, train, judge, and write down what came out."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from footplate.data.load import LoadedData
from footplate.errors import RecordError
from footplate.profile.model import Profile, get_model_section
from footplate.record.journal import Journal
from footplate.record.rundir import RunDir
from footplate.trainer.architectures import count_model_parameters
from footplate.trainer.assemble import Parts, assemble
from footplate.trainer.checkpoints.checkpoint import Checkpointer, Stateful, Watched, resume
from footplate.trainer.checkpoints.saver import make_saver
from footplate.trainer.device import describe_device
from footplate.trainer.distributed.agreement import Agreement
from footplate.trainer.distributed.world import ALONE, World
from footplate.trainer.drill import make_strikes
from footplate.trainer.ending import note_step
from footplate.trainer.final import FinalResult, judge_finally
from footplate.trainer.hooks import BestWeights, Hook, JournalWriter, LogWriter, StopEarly, choose_monitor
from footplate.trainer.interrupt import Interrupt
from footplate.trainer.loading.feed import Feed
from footplate.trainer.loop import Loop, run_loop
from footplate.trainer.memory.limits import get_peak_gb
from footplate.trainer.memory.recovery import Surroundings
from footplate.trainer.memory_plan import guard_judge, make_recovery, make_surroundings
from footplate.trainer.meter import Meter
from footplate.trainer.monitors import make_monitors
from footplate.trainer.progress import Progress
from footplate.trainer.ranks import watch_ranks
from footplate.trainer.schedule import make_is_due, make_timer
from footplate.trainer.step_hooks import make_step_hooks
from footplate.trainer.weights import load_weights, save_description, save_from_first

__all__ = ["train_model"]

_FINAL_LIMIT_S = 5.0
"""After an interruption the final evaluation may take so long; the one who interrupted is waiting."""
_log = logging.getLogger("footplate")


def train_model(
    profile: Profile, data: LoadedData, run: RunDir, journal: Journal, interrupt: Interrupt, world: World = ALONE
) -> dict[str, Any]:
    """Train the profile's model on the data, write weights, metrics and result.json; return the result.

    A request to stop is answered after the current step: the weights are saved, and what was reached is judged.
    Of several processes all call it, and the first one writes.
    """
    parts = assemble(profile, data, world)
    run.artifacts.mkdir(exist_ok=True)
    if world.is_first:
        save_description(run.artifacts / "model.json", get_model_section(profile), data, parts.task)
    _announce(parts, journal)
    progress, meter = Progress(num_train=len(parts.train)), Meter(world)
    around = make_surroundings(parts, progress, journal, run.path)
    with interrupt.deferred():
        best = _train(parts, around, meter, run, journal, interrupt)
        final = _finish(parts, around, best, run.artifacts, interrupt)
        result = _make_result(parts, progress, meter, best, final)
        if progress.stopped_by == "preempted":  # it goes on elsewhere
            journal.event("preempted", step=progress.step)
        else:
            _write_down(parts, progress, run, journal, final, result)
    return result


def _announce(parts: Parts, journal: Journal) -> None:
    """Say what is about to be trained."""
    horizon, num_parameters = parts.horizon, count_model_parameters(parts.model)
    _log.info("device: %s, %s", describe_device(parts.device), parts.precision.name)
    _log.info("model:  %s, %s parameters", parts.profile.model.architecture, f"{num_parameters:,}")
    _log.info(
        "length: %s steps = %.4g epochs × %s steps of %s samples",
        f"{horizon.total_steps:,}",
        horizon.num_epochs,
        f"{horizon.steps_per_epoch:,}",
        f"{horizon.effective_batch:,}",
    )
    journal.event(
        "start",
        total_steps=horizon.total_steps,
        steps_per_epoch=horizon.steps_per_epoch,
        epochs=horizon.num_epochs,
        device=str(parts.device),
        processes=parts.world.size,
        num_parameters=num_parameters,
    )


def _train(
    parts: Parts, around: Surroundings, meter: Meter, run: RunDir, journal: Journal, interrupt: Interrupt
) -> BestWeights:
    """Put the loop together as the profile asks, go on from a checkpoint if there is one, and run it.

    Return the hook that kept the best weights.
    """
    profile, progress = parts.profile, around.progress
    recovery = make_recovery(parts, around)
    agreement = Agreement(parts.world, lambda: interrupt.reason or recovery.find_stop())

    hooks, best, monitored = _make_hooks(parts, run.artifacts, journal)
    hooks += watch_ranks(parts, agreement, journal)
    hooks += make_strikes(journal, lambda: interrupt.requested, is_first=parts.world.is_first)
    monitors = make_monitors(parts, recovery, around, journal, lambda: interrupt.requested)
    hooks += monitors.hooks

    validation = Feed(parts.data.val, parts.device, parts.data_world)
    judge = guard_judge(parts.make_judge(profile.validation.metrics, *monitored), around, parts)
    timer = make_timer(profile)

    # From here on everything stands as the checkpoint has it: what is made later is no part of it.
    shared: dict[str, Stateful] = {type(one).__name__: one for one in hooks} | {"Recovery": recovery, "Timer": timer}
    watched = Watched(shared=shared, own={"Meter": meter}, best=best, check=meter.check)
    attempt = resume(parts, progress, run, journal, watched)
    checkpointer = Checkpointer(parts, run, watched, attempt=attempt)
    saver = make_saver(checkpointer, parts, journal, by_first=agreement.by_first, best=best)
    loop = Loop(
        stepper=parts.stepper,
        recovery=recovery,
        feed=parts.train,
        seed=profile.reproducibility.seed,
        step_size=parts.horizon.effective_batch,
        learning_rate_at=parts.get_learning_rate,
        total_steps=parts.horizon.total_steps,
        ends_by=parts.horizon.ends_by,
        log_frequency=profile.training.log_frequency,
        is_evaluation_due=make_is_due(profile, parts.horizon.evaluation_interval, agreement.by_first, timer),
        evaluate=lambda: judge.evaluate(validation, should_stop=monitors.watch(agreement.find_stop)),
        hooks=hooks,
        saver=saver,
        find_stop=agreement.find_stop,
    )
    try:
        run_loop(loop, progress, meter)
        agreement.close()
        recovery.raise_if_exhausted()
    except Exception as error:
        note_step(error, progress.step)
        saver.abandon()
        raise
    finally:
        with ExitStack() as ends:  # in reverse order, and each whatever became of the others
            for hook in hooks:
                ends.callback(hook.close)
            ends.callback(parts.train.close)
            ends.callback(_write_best, best, progress)
            ends.callback(saver.close)
    return best


def _write_best(best: BestWeights, progress: Progress) -> None:
    """Write the best weights; where they cannot be, an end that has another reason keeps it."""
    is_failing = sys.exc_info()[0] is not None
    try:
        best.write()
    except RecordError as error:
        if not (is_failing or progress.is_asked_to_stop):
            raise
        _log.warning("the best weights cannot be written: %s", error.message)


def _make_hooks(parts: Parts, artifacts: Path, journal: Journal) -> tuple[list[Hook], BestWeights, list[str]]:
    """Return the hooks in the order they are told, the one that keeps the best weights, and the metrics they go by."""
    profile, stopping = parts.profile, parts.profile.training.early_stopping
    has_validation = len(parts.data.val) > 0
    best_key = "validation.save_best_metric"
    best_metric = choose_monitor(profile.validation.save_best_metric, key=best_key, has_validation=has_validation)
    file = artifacts / "model.safetensors"
    mode = profile.validation.save_best_mode
    best = BestWeights(parts.judged, file, journal, metric=best_metric, mode=mode, writes=parts.world.is_first)
    writer = JournalWriter(journal, with_throughput=profile.monitoring.track_throughput)
    hooks: list[Hook] = [*make_step_hooks(parts, artifacts, journal), writer]
    hooks += [LogWriter(parts.horizon.total_steps), best]
    monitored = [best_metric]
    if stopping.enabled:
        stop_key = "training.early_stopping.monitor"
        monitor = choose_monitor(stopping.monitor, key=stop_key, has_validation=has_validation)
        hooks.append(StopEarly(stopping, journal, metric=monitor))
        monitored.append(monitor)
    return hooks, best, monitored


def _finish(
    parts: Parts, around: Surroundings, best: BestWeights, artifacts: Path, interrupt: Interrupt
) -> FinalResult:
    """Save the last weights and judge the best ones; what is preempted is judged by the attempt that ends it."""
    progress = around.progress
    if progress.stopped_by == "preempted":
        return FinalResult()
    save_from_first(parts.model, artifacts / "last.safetensors", parts.world)
    _choose_best(parts, best, artifacts)
    final = _judge(parts, around, interrupt)
    if final.is_broken_off and "preempted" in parts.world.gather(interrupt.reason):
        progress.stopped_by = "preempted"
        return FinalResult()
    return final


def _choose_best(parts: Parts, best: BestWeights, artifacts: Path) -> None:
    """Put the best weights into the model; without any evaluation the last ones are the best there are."""
    file = artifacts / "model.safetensors"
    if best.step is None:
        save_from_first(parts.judged, file, parts.world)
    else:
        parts.world.broadcast(None)  # the first process has written it
        load_weights(parts.judged, file)


def _judge(parts: Parts, around: Surroundings, interrupt: Interrupt) -> FinalResult:
    settings = parts.profile.post_training.final_evaluation
    if not settings.enabled:
        return FinalResult()
    deadline = time.monotonic() + _FINAL_LIMIT_S if interrupt.requested else None

    def should_stop() -> bool:
        return interrupt.requested if deadline is None else time.monotonic() > deadline

    sample = next(parts.train.iterate(1)).inputs
    test = Feed(parts.data.test, parts.device, parts.data_world)
    judge = replace(guard_judge(parts.make_judge(settings.test_metrics), around, parts), with_tables=True)
    return judge_finally(settings, judge, test, sample, should_stop)


def _make_result(
    parts: Parts, progress: Progress, meter: Meter, best: BestWeights, final: FinalResult
) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    if final.confusion is not None:
        tables = {"confusion": final.confusion, "classes": list(parts.task.classes)}
    return {
        "task": parts.task.kind,
        "metrics": {**best.metrics, **final.metrics},
        "best": {} if best.step is None else {"step": best.step, "metric": best.metric, "value": best.value},
        "steps": progress.step,
        "epochs": progress.epochs_done,
        "train_s": meter.train_s,
        "samples_per_s": progress.samples / meter.train_s if meter.train_s else 0.0,
        "memory": get_peak_gb(parts.device),
        "stopped_by": progress.stopped_by,
        "gates": final.gates,
        "files": {
            "model": "artifacts/model.safetensors",
            "last": "artifacts/last.safetensors",
            "description": "artifacts/model.json",
        },
        "tables": tables,
    }


def _write_down(
    parts: Parts, progress: Progress, run: RunDir, journal: Journal, final: FinalResult, result: Mapping[str, Any]
) -> None:
    """Record what came out, in the journal and in result.json, and say it."""
    if final.confusion is not None:
        journal.table("confusion", progress.step, {"classes": parts.task.classes, "counts": final.confusion})
    for name, table in final.tables.items():
        journal.table(name, progress.step, table)
    if final.metrics:
        journal.metrics(progress.step, final.metrics)
    event = "interrupted" if progress.stopped_by == "interrupted" else "finish"
    journal.event(event, step=progress.step, by=progress.stopped_by)
    if parts.world.is_first:
        run.write_json("result.json", result)
    _report(result)


def _report(result: Mapping[str, Any]) -> None:
    """Say what came out."""
    _log.info(
        "ended by %s after %s steps, %.1f s of training",
        result["stopped_by"],
        f"{result['steps']:,}",
        result["train_s"],
    )
    if result["best"]:
        _log.info("best weights: step %s, %s %.4g", *(result["best"][name] for name in ("step", "metric", "value")))
    for name, value in result["metrics"].items():
        if name.startswith("test/"):
            _log.info("%-16s %.5g", name, value)
    for gate in result["gates"]:
        verdict = "passed" if gate["passed"] else "FAILED"
        _log.info("gate %s: %.4g, limit %.4g: %s", gate["name"], gate["value"], gate["limit"], verdict)
