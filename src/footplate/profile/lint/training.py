"""Rules about the optimiser, the learning rate's shape, precision and restarts."""

# ruff: noqa: D401  the docstring of a check is the text of its documentation page

from __future__ import annotations

from collections.abc import Iterator

from footplate.profile.facts import Facts
from footplate.profile.findings import Severity
from footplate.profile.lint.rule import Hit, Rule
from footplate.profile.model import Profile
from footplate.profile.sections.training import OPTIMIZERS
from footplate.profile.size import find_device_kind

__all__ = ["RULES"]

_ADAMS = ("adam", "adamw")
_READ_BY = {
    "training.momentum": ("sgd", "rmsprop"),
    "training.adam_beta1": _ADAMS,
    "training.adam_beta2": _ADAMS,
    "training.adam_epsilon": _ADAMS,
}


def check_adam_weight_decay(profile: Profile, _: Facts) -> Iterator[Hit]:
    """Adam is used with weight decay.

    Adam adds weight decay to the gradients, where its own scaling takes most of it back: weights with large gradients
    are hardly decayed (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101). AdamW decays all weights alike,
    and that is nearly always what is meant.

    To mend it, use `adamw`, or take the weight decay out.
    """
    training = profile.training
    if training.optimizer.lower() == "adam" and training.weight_decay > 0:
        yield Hit(
            path="training.optimizer",
            also=("training.weight_decay",),
            message=f"adam with weight_decay {training.weight_decay:g} decays the gradients (L2), not the weights",
            fix="set training.optimizer: adamw",
        )


def check_optimizer_argument(profile: Profile, _: Facts) -> Iterator[Hit]:
    """A setting is given that the optimiser does not have.

    Momentum means nothing to Adam, and Adam's betas nothing to SGD: the value is not used.

    To mend it, take the key out, or choose the optimiser that it belongs to.
    """
    name = profile.training.optimizer.lower()
    if name not in OPTIMIZERS:
        return
    for path, readers in _READ_BY.items():
        if profile.is_set(path) and name not in readers:
            yield Hit(
                path=path,
                also=("training.optimizer",),
                message=f"is not used: {name} does not have it ({', '.join(readers[:2])} do)",
                fix=f"take {path} out",
            )


def check_schedule_constant(profile: Profile, _: Facts) -> Iterator[Hit]:
    """A decay is described, but the learning rate is constant.

    `scheduler.type` is `constant` unless it is set. `T_max` and `eta_min` then do nothing.

    To mend it, choose the type of decay.
    """
    scheduler = profile.training.scheduler
    if scheduler.type != "constant":
        return
    for path, value in (("T_max", scheduler.T_max), ("eta_min", scheduler.eta_min)):
        if value:
            yield Hit(
                path=f"training.scheduler.{path}",
                also=("training.scheduler.type",),
                message=f"{value:g} does nothing: the learning rate is constant",
                fix="set training.scheduler.type: cosine_annealing",
            )
            return


def check_schedule_shape(profile: Profile, _: Facts) -> Iterator[Hit]:
    """The numbers of the schedule contradict its name.

    A decay whose end (`eta_min`) is above its start (`learning_rate`) rises; a warm-up as long as `T_max` leaves no
    decay, and the learning rate falls at once from its highest value to its lowest; a schedule with a warm-up in its
    name and no `warmup_steps` has none.

    To mend it, correct the number that the finding names.
    """
    training, scheduler = profile.training, profile.training.scheduler
    if scheduler.type == "constant":
        return
    if scheduler.eta_min >= training.learning_rate:
        yield Hit(
            path="training.scheduler.eta_min",
            also=("training.learning_rate",),
            message=f"{scheduler.eta_min:g} is not below learning_rate {training.learning_rate:g}: nothing decays",
            fix=f"set training.scheduler.eta_min: {training.learning_rate / 100:g}",
        )
    if scheduler.T_max is not None and scheduler.warmup_steps >= scheduler.T_max:
        yield Hit(
            path="training.scheduler.warmup_steps",
            also=("training.scheduler.T_max",),
            message=f"{scheduler.warmup_steps:,} steps of warm-up leave nothing of T_max {scheduler.T_max:,}",
            fix=f"set training.scheduler.warmup_steps: {scheduler.T_max // 20}",
        )
    if scheduler.type == "linear_warmup_cosine" and scheduler.warmup_steps == 0:
        yield Hit(
            path="training.scheduler.type",
            also=("training.scheduler.warmup_steps",),
            message="linear_warmup_cosine with 0 warmup_steps has no warm-up",
            fix="set training.scheduler.warmup_steps (5 % of the steps is usual), or type: cosine_annealing",
        )


def check_deterministic_benchmark(profile: Profile, _: Facts) -> Iterator[Hit]:
    """The same numbers each time and the fastest algorithm are asked for at once.

    `benchmark` lets cuDNN try its algorithms and keep the fastest, which may be another one each time; `deterministic`
    forbids that. Only one can hold, and `deterministic` does.

    To mend it, decide: `benchmark: false` for equal numbers, `deterministic: false` for speed.
    """
    wanted = {
        "reproducibility.benchmark": profile.reproducibility.benchmark,
        "embedded_optimizations.use_cudnn_benchmark": profile.embedded_optimizations.use_cudnn_benchmark,
    }
    if profile.reproducibility.deterministic and (path := next((path for path, on in wanted.items() if on), "")):
        yield Hit(
            path="reproducibility.deterministic",
            also=(path,),
            message=f"deterministic and {path} contradict each other; deterministic wins and the benchmark is off",
            fix=f"set {path}: false, or reproducibility.deterministic: false",
        )


def check_precision_device(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """Half precision (fp16) is asked for on a device without it.

    fp16 needs a GPU: on a CPU most operations do not exist in it. bf16 runs on CPUs too and needs no loss scaling.

    To mend it, use bf16, switch mixed precision off, or train on a GPU.
    """
    mixed = profile.training.mixed_precision
    if mixed.enabled and mixed.precision == "fp16" and find_device_kind(profile, facts) == "cpu":
        yield Hit(
            path="training.mixed_precision.precision",
            also=("device", "resources.num_gpus"),
            message="fp16 runs on GPUs only, and this training computes on the CPU",
            fix="set training.mixed_precision.precision: bf16, or mixed_precision.enabled: false",
        )


def check_loss_scale(profile: Profile, _: Facts) -> Iterator[Hit]:
    """A loss scale is given for bf16.

    Scaling the loss keeps small gradients from vanishing in fp16. bf16 has the range of float32 and needs none; the
    number is not used.

    To mend it, take `loss_scale` out.
    """
    mixed = profile.training.mixed_precision
    if mixed.enabled and mixed.precision == "bf16" and mixed.loss_scale != "dynamic":
        yield Hit(
            path="training.mixed_precision.loss_scale",
            also=("training.mixed_precision.precision",),
            message=f"{mixed.loss_scale:g} is not used: bf16 needs no loss scaling",
            fix="take training.mixed_precision.loss_scale out",
        )


def check_resume(profile: Profile, _: Facts) -> Iterator[Hit]:
    """A resume is asked for, but the checkpoints do not hold what it needs.

    Without the optimiser's state (`save_optimizer_state: false`) a resumed training starts its moments from nothing and
    goes another way. With `save_best_only: true` the newest checkpoint is the best one, which may lie far back: a
    restart loses all steps since. Without checkpoints there is nothing to go on from.

    To mend it, save the whole state at regular steps.
    """
    saving, wish = profile.training.checkpointing, profile.fault_tolerance
    if not wish.resume_from_checkpoint:
        return
    is_asked_for = wish.auto_restart or "resume_from_checkpoint" in wish.model_fields_set
    wrong = (
        ("enabled", not saving.enabled and is_asked_for, "there are no checkpoints to resume from", "true"),
        ("save_optimizer_state", not saving.save_optimizer_state, "a resume starts the optimiser from nothing", "true"),
        ("save_best_only", saving.save_best_only, "a resume goes back to the best step and loses all since", "false"),
    )
    for name, is_wrong, effect, value in wrong:
        if is_wrong:
            yield Hit(
                path=f"training.checkpointing.{name}",
                also=("fault_tolerance.resume_from_checkpoint",),
                message=f"with resume_from_checkpoint: true, {effect}",
                fix=f"set training.checkpointing.{name}: {value}",
            )


RULES = (
    Rule(
        code="adam-weight-decay",
        title="Adam with weight decay",
        severity=Severity.warning,
        check=check_adam_weight_decay,
    ),
    Rule(
        code="optimizer-argument",
        title="The optimiser does not have this setting",
        severity=Severity.warning,
        check=check_optimizer_argument,
        built_in_only=True,
    ),
    Rule(
        code="schedule-constant",
        title="A decay is described but not chosen",
        severity=Severity.warning,
        check=check_schedule_constant,
        built_in_only=True,
    ),
    Rule(
        code="schedule-shape",
        title="The schedule's numbers contradict its name",
        severity=Severity.warning,
        check=check_schedule_shape,
    ),
    Rule(
        code="deterministic-benchmark",
        title="Deterministic and benchmark at once",
        severity=Severity.warning,
        check=check_deterministic_benchmark,
    ),
    Rule(
        code="precision-device",
        title="fp16 on a device without it",
        severity=Severity.error,
        check=check_precision_device,
        built_in_only=True,
    ),
    Rule(
        code="loss-scale",
        title="A loss scale that is not used",
        severity=Severity.warning,
        check=check_loss_scale,
    ),
    Rule(
        code="resume-loses-progress",
        title="A resume would lose progress",
        severity=Severity.warning,
        check=check_resume,
    ),
)
