"""Rules about the network, and about the loss that fits the task."""

# ruff: noqa: D401  the docstring of a check is the text of its documentation page

from __future__ import annotations

from collections.abc import Iterator

from footplate.profile.architectures import ARCHITECTURES, MODEL_KEYS, find_misfit, get_architecture
from footplate.profile.facts import Facts
from footplate.profile.findings import Severity
from footplate.profile.lint.rule import Hit, Rule, find_task, get_data
from footplate.profile.model import Profile
from footplate.profile.sections.model import Model
from footplate.profile.size import find_device_kind
from footplate.profile.tasks import TASKS

__all__ = ["RULES"]

_TRANSFORMERS = ("transformer", "lightweight_transformer", "gpt")
_WITH_KERNELS = ("transformer", "gpt")
"""Architectures whose attention is torch's scaled_dot_product_attention."""


def check_architecture_task(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """The architecture does not learn what the data ask for.

    Each architecture answers for a whole sample, for each position of a sequence or for each pixel of an image, and
    not every one can do each: the table is in [the reference](../reference/architectures.md). A bidirectional network
    cannot be a language model: it sees the token that it must predict.

    To mend it, choose an architecture that the message names, or a class of your own.
    """
    yield from _find_misfit(profile, facts, "task", "direction")


def check_architecture_shape(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """The network cannot take inputs of the data's shape.

    `cnn`, `resnet` and `unet` take images: [height, width], [channels, height, width] or [height, width, channels]. A
    row of a table has no neighbours to convolve over. Transformers, `gpt` and recurrent networks take sequences of
    numbers or tokens, not a single number. A language model reads tokens.

    To mend it, use an architecture that the message names, or data of the right shape.
    """
    yield from _find_misfit(profile, facts, "input")


def _find_misfit(profile: Profile, facts: Facts, *kinds: str) -> Iterator[Hit]:
    model, signature = profile.model, get_data(facts).signature
    misfit = find_misfit(model.architecture, signature, bidirectional=model.bidirectional)
    if misfit is None or misfit.about not in kinds:
        return
    if misfit.about == "direction":
        yield Hit(
            path="model.bidirectional",
            also=("model.architecture",),
            message=misfit.message,
            fix="set model.bidirectional: false",
        )
        return
    others = f" (what fits: {', '.join(misfit.fitting)})" if len(misfit.fitting) > 1 else ""
    yield Hit(
        path="model.architecture",
        also=("data.task" if misfit.about == "task" else "data.train_data",),
        message=misfit.message,
        fix=f"set model.architecture: {misfit.fitting[0]}{others}" if misfit.fitting else "use a class of your own",
    )


def check_attention_heads(profile: Profile, _: Facts) -> Iterator[Hit]:
    """The attention heads do not divide the hidden size.

    Each head of a transformer works on an equal part of `hidden_size`; 12 heads cannot share 512 units.

    To mend it, choose a number of heads that divides `hidden_size`.
    """
    model = profile.model
    if not _is_transformer(model) or model.hidden_size % model.num_attention_heads == 0:
        return
    divisors = [heads for heads in range(1, model.hidden_size + 1) if model.hidden_size % heads == 0]
    nearest = min(divisors, key=lambda heads: abs(heads - model.num_attention_heads))
    rest = model.hidden_size / model.num_attention_heads
    yield Hit(
        path="model.num_attention_heads",
        also=("model.hidden_size",),
        message=f"hidden_size {model.hidden_size} / {model.num_attention_heads} heads = {rest:.2f}, no whole number",
        fix=f"set model.num_attention_heads: {nearest}",
    )


def check_positions(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """The sequences are longer than the transformer's positions.

    `max_position_embeddings` is the longest sequence the network can take. Longer ones cannot be trained on.

    To mend it, set it to the length of the sequences, or leave it out: then it is taken from the data.
    """
    model = profile.model
    declared = profile.data.input_shape
    shape = facts.data.input_shape if facts.data is not None else declared
    if not _is_transformer(model) or not shape or model.max_position_embeddings is None:
        return
    if model.max_position_embeddings < shape[0]:
        source = "the data" if facts.data is not None else "data.input_shape"
        yield Hit(
            path="model.max_position_embeddings",
            also=("data.input_shape",),
            message=f"{model.max_position_embeddings} positions, a sequence of {source} {list(shape)} has {shape[0]}",
            fix=f"set model.max_position_embeddings: {shape[0]} (or null)",
        )


def check_model_argument(profile: Profile, _: Facts) -> Iterator[Hit]:
    """A setting is given that this architecture does not have.

    Attention heads and positions belong to the transformers, `bidirectional` to the recurrent networks; of an `hf:`
    network its config.json decides everything. A setting that an architecture does not have changes nothing.

    To mend it, take the key out, or choose an architecture that has it.
    """
    name = profile.model.architecture
    entry = get_architecture(name)
    if entry is None:
        return
    for argument in MODEL_KEYS:
        if argument in entry.keys or not profile.is_set(f"model.{argument}"):
            continue
        if getattr(profile.model, argument) in (None, False):
            continue
        owners = [other for other, one in ARCHITECTURES.items() if argument in one.keys]
        belongs = "every built-in architecture" if len(owners) == len(ARCHITECTURES) else ", ".join(owners)
        yield Hit(
            path=f"model.{argument}",
            also=("model.architecture",),
            message=f"is not used: it belongs to {belongs}, and the architecture is {name}",
            fix=f"take model.{argument} out",
        )


def check_gradient_checkpointing(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """Gradient checkpointing finds no layers to compute again.

    `embedded_optimizations.gradient_checkpointing` keeps the inputs of each layer only and computes the layer again
    for the backward pass. What the layers of your own class are, it learns from the class's `layers`, an
    `nn.ModuleList` or `nn.Sequential`; of an `hf:` network transformers must support it. Without them nothing is saved.

    To mend it, keep the layers of the class in `self.layers`, or take the key out.
    """
    if profile.embedded_optimizations.gradient_checkpointing and facts.has_layers is False:
        yield Hit(
            path="embedded_optimizations.gradient_checkpointing",
            also=("model.architecture",),
            message=f"does nothing: {profile.model.architecture} has no stack of layers (`layers`)",
            fix="take embedded_optimizations.gradient_checkpointing out",
        )


def check_attention_kernel(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """Memory-efficient attention has no kernel for this training.

    `embedded_optimizations.use_memory_efficient_attention` allows only the kernels that never hold the whole matrix of
    scores. On the CPU torch has one such kernel, and it drops no attention weights: the first training step fails.

    To mend it, set `model.attention_dropout: 0`, or take the key out.
    """
    asked = profile.embedded_optimizations.use_memory_efficient_attention
    device = find_device_kind(profile, facts)
    if asked and device == "cpu" and profile.model.attention_dropout and profile.model.architecture in _WITH_KERNELS:
        yield Hit(
            path="model.attention_dropout",
            also=("embedded_optimizations.use_memory_efficient_attention", "model.architecture"),
            message=f"{profile.model.attention_dropout:g}: a CPU has no memory-efficient kernel that drops weights",
            fix="set model.attention_dropout: 0",
        )


def check_loss_task(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """The loss does not fit the targets.

    `binary_cross_entropy` tells two classes apart, or is for targets of several labels. `cross_entropy` needs classes,
    one for each sample, position or pixel: real numbers are no classes. `dice_cross_entropy` is for pixels only.

    To mend it, set `training.loss.type: auto`, which chooses by the targets, or the loss that is named.
    """
    data = get_data(facts)
    loss = profile.training.loss.type
    info = TASKS[data.kind]
    if loss == "binary_cross_entropy" and data.kind == "classification" and len(data.classes) > 2:
        yield Hit(
            path="training.loss.type",
            message=f"binary_cross_entropy tells 2 classes apart, the data have {len(data.classes)}",
            fix="set training.loss.type: cross_entropy",
        )
    if loss != "auto" and loss not in info.losses:
        yield Hit(
            path="training.loss.type",
            message=f"{loss} does not fit {info.words}; the targets are {_describe_targets(facts)}",
            fix=f"set training.loss.type: {' or '.join(info.losses)}",
        )


def check_label_smoothing(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """Label smoothing is set where there are no class probabilities to smooth.

    It spreads a share of the probability over the wrong classes, in `cross_entropy` and `dice_cross_entropy` only. A
    regression loss has no probabilities, and `binary_cross_entropy` does not use it.

    To mend it, take `label_smoothing` out.
    """
    training = profile.training
    task = find_task(profile, facts)
    loss: str = training.loss.type
    if loss == "auto" and task:
        loss = TASKS[task].losses[0]
    if training.label_smoothing and loss not in ("auto", "cross_entropy", "dice_cross_entropy"):
        how = " (auto)" if training.loss.type == "auto" else ""
        yield Hit(
            path="training.label_smoothing",
            also=("training.loss.type",),
            message=f"{training.label_smoothing:g} does nothing: it belongs to cross_entropy, the loss is {loss}{how}",
            fix="take training.label_smoothing out",
        )


def _is_transformer(model: Model) -> bool:
    return model.architecture in _TRANSFORMERS


def _describe_targets(facts: Facts) -> str:
    data = get_data(facts)
    shape = f" of shape {list(data.target_shape)}" if data.target_shape else ""
    return f"{data.target_dtype} numbers{shape}"


RULES = (
    Rule(
        code="architecture-task",
        title="The architecture does not learn this task",
        severity=Severity.error,
        check=check_architecture_task,
        needs=("data",),
        built_in_only=True,
    ),
    Rule(
        code="architecture-shape",
        title="The network cannot take the data's shape",
        severity=Severity.error,
        check=check_architecture_shape,
        needs=("data",),
        built_in_only=True,
    ),
    Rule(
        code="attention-heads",
        title="The heads do not divide the hidden size",
        severity=Severity.error,
        check=check_attention_heads,
    ),
    Rule(
        code="positions-too-few",
        title="The sequences are longer than the positions",
        severity=Severity.error,
        check=check_positions,
    ),
    Rule(
        code="model-argument",
        title="The architecture does not have this setting",
        severity=Severity.warning,
        check=check_model_argument,
        built_in_only=True,
    ),
    Rule(
        code="gradient-checkpointing",
        title="Gradient checkpointing finds no layers",
        severity=Severity.warning,
        check=check_gradient_checkpointing,
        built_in_only=True,
    ),
    Rule(
        code="attention-kernel",
        title="No kernel for memory-efficient attention",
        severity=Severity.error,
        check=check_attention_kernel,
        built_in_only=True,
    ),
    Rule(
        code="loss-task",
        title="The loss does not fit the targets",
        severity=Severity.error,
        check=check_loss_task,
        needs=("data",),
        keys=("training.loss.type",),
        built_in_only=True,
    ),
    Rule(
        code="label-smoothing",
        title="Label smoothing without class probabilities",
        severity=Severity.warning,
        check=check_label_smoothing,
    ),
)
