"""Rules about installed versions."""

# ruff: noqa: D401  the docstring of a check is the text of its documentation page

from __future__ import annotations

import re
from collections.abc import Iterator

from footplate.profile.facts import Facts
from footplate.profile.findings import Severity
from footplate.profile.lint.rule import Hit, Rule
from footplate.profile.model import Profile

__all__ = ["RULES", "TORCH_CEILING", "TORCH_FLOOR"]

TORCH_FLOOR = (2, 6)
"""Oldest torch that the built-in training runs on; the same as in the extra `train`."""
TORCH_CEILING = (2, 14)
"""First torch it was not tried on."""

_FLOOR = ".".join(map(str, TORCH_FLOOR))
_CONSTRAINT = f"torch>={_FLOOR},<{'.'.join(map(str, TORCH_CEILING))}"
_INSTALL = f"pip install 'footplate[train]' '{_CONSTRAINT}'"
_TRACKERS = ("mlflow", "tensorboard", "wandb")
_NAMES = {
    "python_version": ("python", "Python"),
    "pytorch_version": ("pytorch", "PyTorch"),
    "cuda_version": ("cuda", "CUDA"),
    "cudnn_version": ("cudnn", "cuDNN"),
    "tensorrt_version": ("tensorrt", "TensorRT"),
}


def check_torch(_: Profile, facts: Facts) -> Iterator[Hit]:
    """The built-in training has no torch that it runs on.

    It needs torch 2.6 or newer: older ones lack what it is built on (weights read without pickle, fused optimisers on
    the CPU). Code of your own from `entrypoint` may use any.

    To mend it, type the command of the finding.
    """
    found = facts.versions.get("pytorch", "")
    path = "environment.pytorch_version"
    if not found:
        yield Hit(path=path, message="torch is not installed here, and the built-in training needs it", fix=_INSTALL)
        return
    version = _parse(found)
    if version is None:
        return
    if version[:2] < TORCH_FLOOR:
        yield Hit(
            path=path, message=f"torch {found} is here, the built-in training needs {_FLOOR} or newer", fix=_INSTALL
        )
    elif version[:2] >= TORCH_CEILING:
        yield Hit(
            path=path,
            message=f"torch {found} is newer than any this was tried on ({_CONSTRAINT})",
            fix=f"if anything is odd: {_INSTALL}",
            severity=Severity.advice,
        )


def check_version(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """The profile was written for other versions than those installed.

    Numbers may differ in the last digits between versions, and times by more. `3.11` means any 3.11.x.

    To mend it, install the version that is declared, or declare the one that is there.
    """
    for name, (short, title) in _NAMES.items():
        declared = getattr(profile.environment, name)
        wanted, found = _parse(declared), _parse(facts.versions.get(short, ""))
        if wanted is None or (found is not None and found[: len(wanted)] == wanted):
            continue
        there = facts.versions.get(short) or "none"
        yield Hit(
            path=f"environment.{name}",
            message=f"written for {title} {declared}, here is {there}",
            fix=f"set environment.{name}: {there!r}" if found else f"install {title} {declared}, or take the key out",
        )


def check_tracker(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """A tracker is switched on whose library is not installed here.

    The training itself needs none of it: everything is recorded in the run directory, and `footplate sync` tells the
    tracker once its library is there.

    To mend it, type the command of the finding.
    """
    for name in _TRACKERS:
        if getattr(profile.logging, name).enabled and not facts.versions.get(name):
            yield Hit(
                path=f"logging.{name}.enabled",
                message=f"{name} is not installed here: what is recorded waits for `footplate sync`",
                fix=f"pip install 'footplate[{name}]'",
            )


def check_alerts(profile: Profile, _: Facts) -> Iterator[Hit]:
    """Alerts are switched on, but nobody is told, or never of the cost.

    To mend it, name an address or a webhook; of the cost is told where both `max_cost` and `price_per_hour` are set.
    """
    alerts = profile.monitoring.alerts
    if not alerts.enabled:
        return
    if not (alerts.email or alerts.slack_webhook or alerts.webhook):
        yield Hit(
            path="monitoring.alerts.enabled",
            message="alerts are on, and there is nobody to tell",
            fix="set monitoring.alerts.email, slack_webhook or webhook, or enabled: false",
        )
    if alerts.max_cost is not None and alerts.price_per_hour is None:
        yield Hit(
            path="monitoring.alerts.max_cost",
            message="the cost is not known without a price",
            fix="set monitoring.alerts.price_per_hour",
            severity=Severity.warning,
        )


def _parse(version: str) -> tuple[int, ...] | None:
    """Return the numbers of ``2.6.0+cu126`` as (2, 6, 0); None for what is no plain version."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in match[1].split(".")) if match else None


RULES = (
    Rule(
        code="torch-version",
        title="There is no torch that the training runs on",
        severity=Severity.error,
        check=check_torch,
        needs=("versions",),
        built_in_only=True,
    ),
    Rule(
        code="version-differs",
        title="Other versions than the profile was written for",
        severity=Severity.advice,
        check=check_version,
        needs=("versions",),
        keys=tuple(f"environment.{name}" for name in _NAMES),
    ),
    Rule(
        code="alerts-untold",
        title="Alerts that nobody is told",
        severity=Severity.error,
        check=check_alerts,
        keys=("monitoring.alerts.enabled", "monitoring.alerts.max_cost"),
    ),
    Rule(
        code="tracker-missing",
        title="A tracker whose library is not installed",
        severity=Severity.warning,
        check=check_tracker,
        needs=("versions",),
        keys=tuple(f"logging.{name}.enabled" for name in _TRACKERS),
    ),
)
