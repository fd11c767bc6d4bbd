"""The guidelines for batch, learning rate and checkpoints, as data, and the rules that compare with them."""

# ruff: noqa: D401  the docstring of a check is the text of its documentation page

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from footplate.profile.facts import Facts
from footplate.profile.findings import Severity
from footplate.profile.lint.rule import Check, Hit, Rule, find_horizon
from footplate.profile.model import Profile

__all__ = [
    "CHECKPOINTS_KEPT",
    "CHECKPOINT_STEPS",
    "LEARNING_RATES",
    "PLATFORMS",
    "RULES",
    "PlatformGuideline",
    "RateGuideline",
    "find_platform",
    "get_purpose",
]


@dataclass(frozen=True, kw_only=True)
class PlatformGuideline:
    """What is usual on one kind of GPU."""

    name: str
    """Its name, for people."""
    words: tuple[str, ...]
    """Words of `metadata.gpu_type` or a GPU's name that mean it."""
    min_memory_gb: float
    """Least memory of such a GPU."""
    batch: tuple[int, int]
    """Samples per GPU, from and to."""
    accumulation: tuple[int, int]
    """Accumulation steps, from and to."""


@dataclass(frozen=True, kw_only=True)
class RateGuideline:
    """Which learning rates are usual for one purpose, with Adam and its kin."""

    purpose: str
    """What is done, in words."""
    low: float
    """From."""
    high: float
    """To."""


PLATFORMS = (
    PlatformGuideline(
        name="A100 80 GB", words=("a100", "h100", "h200"), min_memory_gb=70, batch=(128, 256), accumulation=(2, 4)
    ),
    PlatformGuideline(name="A100 40 GB", words=("a100",), min_memory_gb=0, batch=(64, 128), accumulation=(4, 8)),
    PlatformGuideline(name="RTX 4090", words=("4090", "3090"), min_memory_gb=0, batch=(32, 64), accumulation=(8, 16)),
    PlatformGuideline(
        name="Jetson AGX", words=("jetson", "orin", "xavier"), min_memory_gb=0, batch=(8, 16), accumulation=(16, 32)
    ),
)
"""Batch per GPU and accumulation by platform; of two that fit, the first whose memory is there."""

_TARGETS = {"workstation": "RTX 4090", "embedded": "Jetson AGX"}
"""Platforms of `metadata.target_platform` that mean one kind of GPU."""

LEARNING_RATES = {
    "scratch": RateGuideline(purpose="training from scratch", low=1e-3, high=1e-3),
    "fine-tuning": RateGuideline(purpose="fine-tuning", low=1e-4, high=5e-4),
    "transfer": RateGuideline(purpose="transfer learning", low=1e-5, high=1e-4),
}
"""Learning rates by purpose."""

CHECKPOINT_STEPS = (1000, 5000)
"""Steps between two checkpoints, from and to."""
CHECKPOINTS_KEPT = (3, 5)
"""Checkpoints kept, from and to."""

_TOLERANCE = 3.0
"""A learning rate within this factor of the guideline is not worth a word."""


def find_platform(profile: Profile, facts: Facts) -> PlatformGuideline | None:
    """Return the guideline of the GPU that is meant: by the profile, else the one that is there; None for others."""
    there = facts.device.gpus if facts.device is not None else ()
    text = (profile.metadata.gpu_type or (there[0][0] if there else "")).lower()
    memory_gb = profile.resources.memory_per_gpu_gb or (there[0][1] if there else 0.0)
    if "80" in text:
        memory_gb = 80.0
    elif "40gb" in text.replace(" ", ""):
        memory_gb = 40.0
    named = [row for row in PLATFORMS if any(word in text for word in row.words) and memory_gb >= row.min_memory_gb]
    if named:
        return named[0]
    wanted = _TARGETS.get(profile.metadata.target_platform.lower(), "")
    return next((row for row in PLATFORMS if row.name == wanted), None)


def get_purpose(profile: Profile) -> str:
    """Return ``scratch``, ``fine-tuning`` (all of a trained network is trained further) or ``transfer``."""
    transfer = profile.transfer_learning
    if not (transfer.enabled or transfer.pretrained_model_path):
        return "scratch"
    return "fine-tuning" if transfer.strategy == "full" else "transfer"


def check_batch_guideline(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """Batch size or accumulation is outside what is usual on this GPU.

    Usual are, for each GPU: 128 to 256 samples with an accumulation of 2 to 4 on an A100 with 80 GB, 64 to 128 with
    4 to 8 on one with 40 GB, 32 to 64 with 8 to 16 on an RTX 4090, and 8 to 16 with 16 to 32 on a Jetson AGX.

    A smaller batch leaves the GPU waiting, a larger one may not fit its memory. This is advice: small networks and
    small data have other needs.

    To follow it, choose numbers of the guideline.
    """
    platform = find_platform(profile, facts)
    if platform is None:
        return
    training = profile.training
    pairs = (
        ("training.batch_size", training.batch_size, platform.batch),
        ("training.gradient_accumulation_steps", training.gradient_accumulation_steps, platform.accumulation),
    )
    for path, value, (low, high) in pairs:
        if profile.is_set(path) and not low <= value <= high:
            yield Hit(
                path=path,
                message=f"{value:,} is outside the guideline for {platform.name}: {low} to {high}",
                fix=f"set {path}: {min(max(value, low), high)}",
            )


def check_rate_guideline(profile: Profile, _: Facts) -> Iterator[Hit]:
    """The learning rate is far from what is usual for this purpose.

    Usual are 1e-3 with warm-up from scratch, 1e-4 to 5e-4 for fine-tuning, and 1e-5 to 1e-4 for transfer learning.

    The numbers hold for Adam and its kin; SGD is not compared. Up to three times less or more is not reported. Too high
    a learning rate diverges, too low a one wastes time.

    To follow it, start from the guideline and change it by what the loss does.
    """
    training = profile.training
    if not training.optimizer.lower().startswith(("adam", "nadam", "radam")):
        return
    guide = LEARNING_RATES[get_purpose(profile)]
    rate = training.learning_rate
    span = f"{guide.low:g}" if guide.low == guide.high else f"{guide.low:g} to {guide.high:g}"
    if rate * _TOLERANCE < guide.low or rate > guide.high * _TOLERANCE:
        nearest = guide.low if rate < guide.low else guide.high
        times = max(rate / nearest, nearest / rate)
        ratio = f"{times:,.0f}" if times >= 10 else f"{times:.2g}"
        yield Hit(
            path="training.learning_rate",
            message=f"{rate:g} is {ratio} times {'below' if rate < guide.low else 'above'} "
            f"the guideline for {guide.purpose}: {span}",
            fix=f"set training.learning_rate: {nearest:g}",
        )


def check_warm_up_guideline(profile: Profile, _: Facts) -> Iterator[Hit]:
    """A transformer starts at its full learning rate.

    From scratch the guideline is a learning rate of 1e-3 *with warm-up*: the first steps of a transformer are its most
    fragile ones, and a full step size there can spoil the training for good.

    To follow it, let the learning rate rise over the first 5 % of the steps.
    """
    training = profile.training
    if profile.model.architecture != "transformer" or get_purpose(profile) != "scratch":
        return
    if (
        training.scheduler.warmup_steps == 0
        and training.scheduler.type != "one_cycle"
        and training.learning_rate >= 1e-3
    ):
        yield Hit(
            path="training.scheduler.warmup_steps",
            also=("training.learning_rate",),
            message=f"a transformer from scratch at {training.learning_rate:g} from the first step on, without warm-up",
            fix="let training.scheduler.warmup_steps be 5 % of the steps",
        )


def check_checkpoint_guideline(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """Checkpoints are saved more or less often, or kept in another number, than is usual.

    Every 1,000 to 5,000 steps, and 3 to 5 kept: more often costs time and space, less often loses more work when the
    training is interrupted. With a single one kept, damage to it leaves none to go on from. A training that is shorter
    than 5,000 steps is not compared by steps.

    To follow it, choose numbers of the guideline.
    """
    saving = profile.training.checkpointing
    if not saving.enabled:
        return
    is_short = facts.data is not None and find_horizon(profile, facts).total_steps < CHECKPOINT_STEPS[1]
    pairs = (
        ("training.checkpointing.frequency", saving.frequency, CHECKPOINT_STEPS, "steps"),
        ("training.save_frequency", profile.training.save_frequency, CHECKPOINT_STEPS, "steps"),
        ("training.checkpointing.keep_last_n", saving.keep_last_n, CHECKPOINTS_KEPT, "checkpoints"),
    )
    for path, value, (low, high), unit in pairs:
        is_overruled = path == "training.save_frequency" and saving.frequency is not None
        if is_overruled or (is_short and unit == "steps"):
            continue
        if profile.is_set(path) and value is not None and not low <= value <= high:
            yield Hit(
                path=path,
                message=f"{value:,} {unit}; the guideline is {low:,} to {high:,}",
                fix=f"set {path}: {min(max(value, low), high)}",
            )


def _rule(code: str, title: str, check: Check) -> Rule:
    return Rule(code=code, title=title, severity=Severity.advice, check=check)


RULES = (
    _rule("batch-guideline", "Batch or accumulation outside the guideline", check_batch_guideline),
    _rule("learning-rate-guideline", "Learning rate outside the guideline", check_rate_guideline),
    _rule("warm-up-guideline", "A transformer without warm-up", check_warm_up_guideline),
    _rule("checkpoint-guideline", "Checkpoints outside the guideline", check_checkpoint_guideline),
)
