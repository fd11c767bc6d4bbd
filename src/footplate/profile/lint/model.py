"""Rules about the network, and about the loss that fits the task."""

# ruff: noqa: D401  the docstring of a check is the text of its documentation page

from __future__ import annotations

from collections.abc import Iterator

from footplate.profile.facts import Facts
from footplate.profile.findings import Severity
from footplate.profile.lint.rule import Hit, Rule, find_task, get_data
from footplate.profile.model import Profile
from footplate.profile.sections.model import Model
from footplate.profile.size import find_image_shape, find_sequence_shape
from footplate.profile.tasks import TASKS

__all__ = ["RULES"]

_TRANSFORMERS = ("transformer", "lightweight_transformer", "gpt")
_TRANSFORMER_ONLY = ("num_attention_heads", "intermediate_size", "attention_dropout", "max_position_embeddings")


def check_architecture_shape(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """The network cannot take inputs of the data's shape.

    A `cnn` takes images: [height, width], [channels, height, width] or [height, width, channels]. A row of a table has
    no neighbours to convolve over. A `transformer` takes sequences and cannot take a single number.

    To mend it, use `mlp` for tables, or data of the right shape.
    """
    shape = get_data(facts).input_shape
    name = profile.model.architecture
    takes = {"cnn": "images ([H, W], [C, H, W] or [H, W, C])", "transformer": "sequences ([length, features])"}
    fits = {"cnn": find_image_shape, "transformer": find_sequence_shape}
    if name in fits and fits[name](shape) is None:
        yield Hit(
            path="model.architecture",
            also=("data.train_data",),
            message=f"a {name} takes {takes[name]}, but an input of the data has shape {list(shape)}",
            fix="set model.architecture: mlp",
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

    Attention heads, intermediate size and positions belong to the transformer; an `mlp` or `cnn` does not use them.

    To mend it, take the key out, or choose the transformer.
    """
    name = profile.model.architecture
    if name not in ("mlp", "cnn"):
        return
    for argument in _TRANSFORMER_ONLY:
        if profile.is_set(f"model.{argument}") and getattr(profile.model, argument) is not None:
            yield Hit(
                path=f"model.{argument}",
                also=("model.architecture",),
                message=f"is not used: it belongs to the transformer, and the architecture is {name}",
                fix=f"take model.{argument} out",
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
