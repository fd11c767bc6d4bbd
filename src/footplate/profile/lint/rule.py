"""What a rule of the lint is: a code, a severity, a function that looks, and the facts it needs for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from footplate.profile.facts import DataFacts, Facts, TaskKind
from footplate.profile.findings import Severity
from footplate.profile.horizon import Horizon, get_horizon
from footplate.profile.model import Profile
from footplate.profile.size import estimate_memory
from footplate.profile.tasks import find_tasks_of_loss

__all__ = ["NEEDS", "Check", "Hit", "Rule", "find_horizon", "find_task", "find_tasks", "get_data", "get_value"]


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One place where a rule holds; the lint makes a finding with code and lines of it."""

    path: str
    """Key it is about."""
    message: str
    """The reason, with its numbers."""
    fix: str
    """What to type."""
    also: tuple[str, ...] = ()
    """Other keys involved."""
    at: str = ""
    """Item of a list that is meant (``validation.metrics.2``), where it may stand on a line of its own."""
    severity: Severity | None = None
    """Where this one matters more or less than the rule says."""


Check = Callable[[Profile, Facts], Iterator[Hit]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. The docstring of ``check`` is the text of its documentation page."""

    code: str
    """Stable name, as `--allow` takes it."""
    title: str
    """What it finds, in a few words."""
    severity: Severity
    """How much it matters."""
    check: Check
    """Looks at the profile and the facts."""
    needs: tuple[str, ...] = ()
    """Facts without which it cannot look, by their names in ``NEEDS``."""
    keys: tuple[str, ...] = ()
    """Keys it is about: when none of them is set, a missing fact is not worth a word. Empty = always worth it."""
    built_in_only: bool = False
    """Whether it holds for the built-in training only, not for an entrypoint of the user's."""


NEEDS: dict[str, tuple[Callable[[Profile, Facts], bool], str]] = {
    "data": (lambda _, facts: facts.data is not None, "the data could not be looked at"),
    "device": (lambda _, facts: facts.device is not None, "the machine could not be looked at"),
    "versions": (lambda _, facts: bool(facts.versions), "the installed versions could not be looked at"),
    "step_s": (lambda _, facts: facts.step_s is not None, "the time of a step is not known (footplate plan --measure)"),
    "memory": (
        lambda profile, facts: estimate_memory(profile, facts) is not None,
        "the size of the network is not known",
    ),
}
"""Facts a rule can need: whether they are there, and what is said when they are not."""


def get_data(facts: Facts) -> DataFacts:
    """Return the facts of the data, for a rule that needs them."""
    if facts.data is None:
        raise ValueError("a rule that reads the data must say so: needs=('data',)")
    return facts.data


def get_value(profile: Profile, path: str) -> object:
    """Return the value of a dotted key."""
    value: object = profile
    for part in path.split("."):
        value = getattr(value, part)
    return value


def find_horizon(profile: Profile, facts: Facts) -> Horizon:
    """Return the horizon, for a rule that needs the data."""
    data = get_data(facts)
    return get_horizon(profile, data.num_train, num_val=data.num_val)


def find_task(profile: Profile, facts: Facts) -> TaskKind | Literal[""]:
    """Return what is learnt, or nothing when only the data could tell and were not seen."""
    tasks = find_tasks(profile, facts)
    return tasks[0] if len(tasks) == 1 else ""


def find_tasks(profile: Profile, facts: Facts) -> tuple[TaskKind, ...]:
    """Return what may be learnt: what the profile says, else what the data say, else what the loss leaves open."""
    if profile.data.task != "auto":
        return (profile.data.task,)
    possible = find_tasks_of_loss(profile.training.loss.type)
    if facts.data is not None and facts.data.kind in possible:
        return (facts.data.kind,)
    return possible
