"""What is said when a training has ended."""

from __future__ import annotations

import pytest

from footplate.cli.training_run import describe_end
from footplate.record.state import RunState, Status


@pytest.mark.parametrize(
    ("last_checkpoint", "num_steps", "told"),
    [
        (None, None, "nothing of it is kept"),
        ("step-00000020", None, "step-00000020 is kept"),  # by SIGTERM, or while the next attempt waited
        ("step-00000020", 33, "what was trained in 33 steps is kept"),
    ],
)
def test_a_cancelled_training_says_what_is_kept(last_checkpoint: str | None, num_steps: int | None, told: str) -> None:
    status = Status(state=RunState.cancelled, last_checkpoint=last_checkpoint)
    assert describe_end(status, num_steps=num_steps) == f"cancelled; {told}"
