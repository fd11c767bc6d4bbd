"""Rules about what is measured, watched and reported."""

# ruff: noqa: D401  the docstring of a check is the text of its documentation page

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from footplate.profile.facts import Facts, TaskKind
from footplate.profile.findings import Severity
from footplate.profile.lint.rule import Check, Hit, Rule, find_tasks, get_value
from footplate.profile.metrics import KNOWN_METRICS, METRICS, get_metrics, is_smaller_better
from footplate.profile.model import Profile
from footplate.profile.tasks import MAX_CONFUSION_CLASSES, TASKS

__all__ = ["RULES"]

_LISTS = ("validation.metrics", "post_training.final_evaluation.test_metrics")
_MONITORS = (
    ("training.early_stopping.monitor", "training.early_stopping.mode"),
    ("validation.save_best_metric", "validation.save_best_mode"),
)


def check_metric_task(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """A metric is listed that does not exist for this task.

    Accuracy counts right classes: a regression has none. A mean absolute error needs numbers: class labels are none.
    Perplexity is that of a language model, `iou` that of a segmentation. Such a metric is not computed.

    To mend it, take it out, or correct the loss or `data.task` if the task is the other one.
    """
    tasks = find_tasks(profile, facts)
    there_are = dict.fromkeys(name for task in tasks for name in get_metrics(task))
    for path in _LISTS:
        wrong = [name for name in _get_list(profile, path) if _belongs_to_another(name, tasks)]
        if wrong:
            yield Hit(
                path=path,
                also=("data.task" if profile.data.task != "auto" else "training.loss.type",),
                message=f"{', '.join(wrong)}: not computed, for this is {_say_what(profile, tasks)}",
                fix=f"take {', '.join(wrong)} out; there are {', '.join(there_are)}",
            )


def check_confusion_matrix(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """A confusion matrix is asked for where there is none.

    It counts which classes are mistaken for which. A regression has no classes, a multi-label classification several
    for one sample, a language model as many as tokens; and of more than 100 classes none is written.

    To mend it, set `include_confusion_matrix: false`.
    """
    path = "post_training.report.include_confusion_matrix"
    report = profile.post_training.report
    if not (report.enabled and report.include_confusion_matrix and profile.is_set(path)):
        return
    tasks = find_tasks(profile, facts)
    reason = ""
    if not any(TASKS[task].has_confusion for task in tasks):
        reason = f"there are no classes to be mistaken: this is {_say_what(profile, tasks)}"
    elif facts.data is not None and len(facts.data.classes) > MAX_CONFUSION_CLASSES:
        reason = (
            f"none is written of more than {MAX_CONFUSION_CLASSES} classes, and there are {len(facts.data.classes)}"
        )
    if reason:
        yield Hit(path=path, also=("training.loss.type",), message=reason, fix=f"set {path}: false")


def check_monitor(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """A metric is watched that is not computed.

    Early stopping and the choice of the best weights watch `train/loss` or a metric of the validation data, written
    `val/loss` or `val_loss`. One that does not exist, does not fit the task, or is not in `validation.metrics` never
    has a value.

    To mend it, watch a metric that is computed.
    """
    for path, _ in _MONITORS:
        if not _is_watched(profile, path):
            continue
        name = str(get_value(profile, path))
        reason, instead = _find_monitor_fault(profile, facts, name)
        if reason:
            yield Hit(
                path=path,
                also=("validation.metrics",) if "validation.metrics" in reason else (),
                message=f"{name} is not computed: {reason}",
                fix=f"set {path}: {instead}",
            )


def check_monitor_mode(profile: Profile, _: Facts) -> Iterator[Hit]:
    """The metric that is watched is better the other way round.

    With `max` for a loss, or `min` for an accuracy, the worst weights are kept as the best, and early stopping ends a
    training that gets better.

    To mend it, set the mode to `auto`, which knows it from the metric's name.
    """
    for path, mode_path in _MONITORS:
        name = _split(str(get_value(profile, path)))[1]
        mode = str(get_value(profile, mode_path))
        right = "min" if is_smaller_better(name) else "max"
        if _is_watched(profile, path) and name in KNOWN_METRICS and mode not in ("auto", right):
            better = "larger" if right == "max" else "smaller"
            yield Hit(
                path=mode_path,
                also=(path,),
                message=f"{mode}, but a {better} {name} is better: the worst weights would count as the best",
                fix=f"set {mode_path}: {right} (or auto)",
            )


def check_no_validation(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """A metric of the validation data is watched, but there are no validation data.

    Without them there is no `val/loss`, and `train/loss` stands in for it. It falls as long as the network learns its
    data by heart: early stopping acts too late, and the weights chosen as the best are those that know the training
    data best.

    To mend it, set `data.split.val: 0.1` or name a file in `data.val_data`.
    """
    data = profile.data
    if facts.data.num_val if facts.data is not None else data.val_data or data.split.val or not data.train_data:
        return
    for path, _ in _MONITORS:
        monitor = str(get_value(profile, path))
        if _is_watched(profile, path) and _split(monitor)[0] == "val":
            yield Hit(
                path=path,
                also=("data.split.val",),
                message=f"there are 0 validation samples to compute {monitor} on; train/loss stands in for it",
                fix="set data.split.val: 0.1, or data.val_data",
            )


def check_final_evaluation(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """A gate or test metric is set, but it is never measured.

    `target_latency_ms` and `target_memory_mb` are gates of the final evaluation, and test metrics need test data. With
    the evaluation switched off, or without test data, they are never looked at and the run passes unseen.

    To mend it, set `post_training.final_evaluation.enabled: true`, and keep test data.
    """
    final = profile.post_training.final_evaluation
    front = "post_training.final_evaluation"
    gates = {"target_latency_ms": final.target_latency_ms, "target_memory_mb": final.target_memory_mb}
    if not final.enabled:
        for name, limit in gates.items():
            if limit is not None:
                yield Hit(
                    path=f"{front}.{name}",
                    also=(f"{front}.enabled",),
                    message=f"the gate of {limit:g} {name[-2:].replace('mb', 'MB')} is never checked: "
                    "final_evaluation is off",
                    fix=f"set {front}.enabled: true",
                )
    elif facts.data is not None and facts.data.num_test == 0 and profile.is_set(f"{front}.test_metrics"):
        yield Hit(
            path=f"{front}.test_metrics",
            also=("data.split.test",),
            message="there are 0 test samples to compute them on",
            fix="set data.split.test: 0.1, or data.test_data",
        )


def _find_monitor_fault(profile: Profile, facts: Facts, monitor: str) -> tuple[str, str]:
    """Return why a monitor has no value and what to watch instead, or nothing."""
    split, name = _split(monitor)
    tasks = find_tasks(profile, facts)
    close = get_close_matches(name.lower(), KNOWN_METRICS, 1, 0.5)
    if name not in KNOWN_METRICS:
        return f"there is no metric {name!r}", f"val/{close[0] if close else 'loss'}"
    if split != "val" and (split, name) != ("train", "loss"):
        return "while it trains there are metrics of the validation data, and train/loss", f"val/{name}"
    if _belongs_to_another(name, tasks):
        return f"this is {_say_what(profile, tasks)}, which has none such", "val/loss"
    listed = [listed for listed in profile.validation.metrics if any(listed in get_metrics(task) for task in tasks)]
    if listed and name not in ("loss", *listed):
        return f"validation.metrics lists {', '.join(listed)} only", f"val/{listed[0]}, or add {name} to the list"
    return "", ""


def _belongs_to_another(name: str, tasks: Sequence[TaskKind]) -> bool:
    """Return whether a metric is one that none of these tasks has."""
    belongs = METRICS[name].tasks if name in METRICS else ()
    return bool(belongs) and not set(belongs) & set(tasks)


def _is_watched(profile: Profile, path: str) -> bool:
    return profile.training.early_stopping.enabled if path.startswith("training") else profile.is_set(path)


def _split(monitor: str) -> tuple[str, str]:
    """Return (split, metric) of ``val/loss``."""
    split, _, name = monitor.partition("/")
    return split, name


def _say_what(profile: Profile, tasks: Sequence[TaskKind]) -> str:
    """Return what is learnt, and how that is known."""
    words, loss = " or ".join(TASKS[task].words for task in tasks), profile.training.loss.type
    if profile.data.task != "auto":
        return f"{words} (data.task)"
    return f"{words} ({f'loss {loss}' if loss != 'auto' else 'by its targets'})"


def _get_list(profile: Profile, path: str) -> tuple[str, ...]:
    if path == "validation.metrics":
        return profile.validation.metrics
    final = profile.post_training.final_evaluation
    return final.test_metrics if final.enabled else ()


def _rule(code: str, title: str, severity: Severity, check: Check) -> Rule:
    return Rule(code=code, title=title, severity=severity, check=check, built_in_only=True)


RULES = (
    _rule("metric-task", "The metric does not exist for this task", Severity.warning, check_metric_task),
    _rule("confusion-matrix", "A confusion matrix where there is none", Severity.warning, check_confusion_matrix),
    _rule("monitor-not-computed", "A metric is watched that is not computed", Severity.error, check_monitor),
    _rule("monitor-mode", "The watched metric is better the other way round", Severity.error, check_monitor_mode),
    _rule("no-validation-data", "There are no validation data to watch", Severity.warning, check_no_validation),
    _rule("never-measured", "A gate or test metric is never measured", Severity.warning, check_final_evaluation),
)
