"""Whether an attempt that ended before its time is followed by another one; pure, without a clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from footplate.record import exit_codes
from footplate.record.cause import Cause

__all__ = ["Decision", "End", "RestartPolicy", "Restarts"]

_MAX_PREEMPTIONS = 100
_NEVER = frozenset({Cause.config_error, Cause.time_limit})


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """What a job wants to be started again after."""

    after_failure: bool = False
    """Also after a failure; without it only after a preemption, which has left a checkpoint."""
    max_restarts: int = 3
    """Failures that are followed by another attempt."""
    delay_s: float = 60.0
    """Wait before the next attempt."""

    def to_json(self) -> dict[str, Any]:
        """Return it as job.json holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RestartPolicy:
        """Read it back; TypeError or ValueError when it is not one."""
        return cls(
            after_failure=bool(value.get("after_failure", False)),
            max_restarts=int(value.get("max_restarts", 3)),
            delay_s=float(value.get("delay_s", 60.0)),
        )


@dataclass(frozen=True, kw_only=True)
class End:
    """How an attempt has ended."""

    exit_code: int
    cause: Cause | None = None
    evidence: str = ""
    step: int | None = None
    """The last step that is known."""
    cancelled: bool = False


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether there is another attempt."""

    starts: bool
    reason: str = ""
    """Why there is none although one was asked for; empty when there is nothing to say."""


class Restarts:
    """Counts what the attempts of one wrapper have died of. A resume by hand begins to count anew."""

    def __init__(self) -> None:
        self._num_failures = 0
        self._num_preemptions = 0
        self._last: End | None = None

    def decide(self, policy: RestartPolicy | None, end: End) -> Decision:
        """Return whether an attempt that has ended like this is followed by another one."""
        last, self._last = self._last, end
        if policy is None or end.cancelled or end.exit_code == exit_codes.DONE or end.cause in _NEVER:
            return Decision(starts=False)
        if end.exit_code == exit_codes.CHECKPOINTED:
            return self._decide_preempted()
        if not policy.after_failure:
            return Decision(starts=False)
        if last is not None and _is_same_error(last, end):
            where = "" if end.step is None else f" at the same step ({end.step:,})"
            return Decision(starts=False, reason=f"not started again: the same error{where} twice in a row")
        if self._num_failures >= policy.max_restarts:
            return Decision(starts=False, reason=f"not started again: max_restarts ({policy.max_restarts}) is used up")
        self._num_failures += 1
        return Decision(starts=True)

    def _decide_preempted(self) -> Decision:
        self._num_preemptions += 1
        if self._num_preemptions > _MAX_PREEMPTIONS:
            return Decision(starts=False, reason=f"not started again: preempted more than {_MAX_PREEMPTIONS} times")
        return Decision(starts=True)


def _is_same_error(last: End, end: End) -> bool:
    """Tell whether an error is one that another attempt does not mend."""
    return end.cause is Cause.user_error and (last.cause, last.evidence, last.step) == (
        end.cause,
        end.evidence,
        end.step,
    )
