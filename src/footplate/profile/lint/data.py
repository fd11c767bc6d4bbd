"""Rules about the data, and those that report what inspecting has found: of the data, the network, the command."""

# ruff: noqa: D401  the docstring of a check is the text of its documentation page

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from footplate.profile.facts import Facts
from footplate.profile.findings import Severity
from footplate.profile.lint.rule import Check, Hit, Rule, find_tasks, get_data
from footplate.profile.model import Profile
from footplate.profile.sections.data import IMAGE_ARCHITECTURES

__all__ = ["RULES"]

_PREPROCESSING = "data.preprocessing"


def check_nothing_to_train(profile: Profile, _: Facts) -> Iterator[Hit]:
    """There is neither data to train on nor code to run.

    A profile trains without code on `data.train_data`, or runs code of your own from `entrypoint`. This one does
    neither.

    To mend it, name the data or the code.
    """
    if not profile.data.train_data and not profile.entrypoint.is_set:
        yield Hit(
            path="data.train_data",
            message="no data and no entrypoint: there is nothing to train on and nothing to run",
            fix="name a file in data.train_data (sklearn:digits to try), or entrypoint.script: train.py",
        )


def check_missing_path(_: Profile, facts: Facts) -> Iterator[Hit]:
    """A file or folder that the profile names does not exist.

    Relative paths start from the directory in which the command is typed. Without its data, its script or the
    checkpoint it is to begin with a training cannot start; other files that are missing are a warning.

    To mend it, correct the path, or type the command where the path is right.
    """
    for path, name in facts.missing_paths:
        is_needed = path.startswith(("data.", "entrypoint.", "fault_tolerance."))
        yield Hit(
            path=path,
            message=f"{name} does not exist",
            fix=f"correct {path}, or type the command elsewhere",
            severity=None if is_needed else Severity.warning,
        )


def check_problem(section: str) -> Check:
    """Return the rule that reports what inspecting one section has found."""

    def check(_profile: Profile, facts: Facts) -> Iterator[Hit]:
        for fault in facts.problems:
            if fault.key.partition(".")[0] == section:
                yield Hit(path=fault.key, message=fault.message, fix=fault.hint or f"correct {fault.key}")

    return check


def _describe(check: Check, text: str) -> Check:
    check.__doc__ = text
    return check


def check_declared_shape(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """The data do not have the shape that the profile declares.

    `data.input_shape` and `data.output_shape` say what the data are believed to be. When they are something else, the
    wrong file is named or the profile is out of date.

    To mend it, correct the shape, or name the right data.
    """
    data, declared = facts.data, profile.data
    if data is None:
        return
    if declared.input_shape is not None and declared.input_shape != data.input_shape:
        yield Hit(
            path="data.input_shape",
            also=("data.train_data",),
            message=f"{list(declared.input_shape)} is declared, an input of the data has {list(data.input_shape)}",
            fix=f"set data.input_shape: {list(data.input_shape)}",
        )
    if declared.output_shape is None:
        return
    found = data.target_shape
    is_count = bool(data.classes) or data.kind == "language_model"
    if is_count:
        found = (data.num_outputs,)
    if (declared.output_shape or (1,)) != (found or (1,)):
        word = {"multi_label": "labels", "language_model": "tokens"}.get(data.kind, "classes")
        what = f"{found[0]:,} {word}" if is_count else f"targets of shape {list(found)}"
        yield Hit(
            path="data.output_shape",
            also=("data.train_data",),
            message=f"{list(declared.output_shape)} is declared, the data have {what}",
            fix=f"set data.output_shape: {list(found)}",
        )


def check_mean_std(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """Mean and standard deviation do not have one value for each feature.

    A list that is shorter or longer than the features belongs to other data (three values are usual for colour images)
    and cannot be applied.

    To mend it, give one value for each feature, one value for all, or `auto`, which takes them from the training data.
    """
    settings = profile.data.preprocessing
    shape = facts.data.input_shape if facts.data is not None else profile.data.input_shape
    lists = {
        name: value for name, value in (("mean", settings.mean), ("std", settings.std)) if isinstance(value, tuple)
    }
    if not settings.normalize or (facts.data is not None and facts.data.vocab_size):
        return
    num_features = _count_features(shape, profile.model.architecture)
    for name, values in lists.items():
        if num_features is not None and len(values) not in (1, num_features):
            yield Hit(
                path=f"{_PREPROCESSING}.{name}",
                also=("data.input_shape",),
                message=f"{len(values)} values for {num_features:,} features (inputs of shape {list(shape or ())})",
                fix=f"set {_PREPROCESSING}.{name}: auto",
            )
    if num_features is None and len(lists) == 2 and len({len(values) for values in lists.values()} - {1}) > 1:
        yield Hit(
            path=f"{_PREPROCESSING}.mean",
            also=(f"{_PREPROCESSING}.std",),
            message=f"{len(lists['mean'])} means and {len(lists['std'])} standard deviations",
            fix=f"set {_PREPROCESSING}.mean: auto and std: auto",
        )


def check_preprocessing(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """A setting of the preprocessing does nothing.

    `mean` and `std` count only with `normalize: true`. Targets are normalised in a regression only. Tokens are no
    quantities: they are neither normalised nor clipped.

    To mend it, do what the finding says.
    """
    settings = profile.data.preprocessing
    given = [name for name in ("mean", "std") if isinstance(getattr(settings, name), tuple)]
    if given and not settings.normalize:
        yield Hit(
            path=f"{_PREPROCESSING}.{given[0]}",
            also=(f"{_PREPROCESSING}.normalize",),
            message=f"{' and '.join(given)} do nothing: normalize is false",
            fix=f"set {_PREPROCESSING}.normalize: true",
        )
    if settings.normalize_targets and "regression" not in find_tasks(profile, facts):
        yield Hit(
            path=f"{_PREPROCESSING}.normalize_targets",
            message="does nothing: the targets are classes",
            fix=f"take {_PREPROCESSING}.normalize_targets out",
        )
    if facts.data is not None and facts.data.vocab_size:
        for name in ("normalize", "clip_range"):
            if getattr(settings, name):
                yield Hit(
                    path=f"{_PREPROCESSING}.{name}",
                    message="does nothing: the inputs are tokens",
                    fix=f"take {_PREPROCESSING}.{name} out",
                )


def check_data_setting(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """A setting of the data does nothing for these data.

    `sequence_length` cuts text and tokens; arrays have the length they were written with. `ignored_class` is for
    targets with one class for each position or pixel.

    To mend it, take the setting out, or name the data it is for.
    """
    data = get_data(facts)
    if profile.is_set("data.sequence_length") and not data.vocab_size:
        yield Hit(
            path="data.sequence_length",
            also=("data.train_data",),
            message=f"does nothing: the inputs are numbers of shape {list(data.input_shape)}, neither text nor tokens",
            fix="take data.sequence_length out",
        )
    if profile.data.ignored_class is not None and data.kind not in ("sequence", "segmentation"):
        yield Hit(
            path="data.ignored_class",
            also=("data.train_data",),
            message=f"does nothing: the task is {data.kind}, and the class of a whole sample is never ignored",
            fix="take data.ignored_class out",
        )


def _count_features(shape: tuple[int, ...] | None, architecture: str) -> int | None:
    """Return how many means there are: one a column, or one a channel; None when the shape is not known."""
    if shape is None:
        return None
    if len(shape) <= 1:
        return prod(shape)
    if len(shape) == 2:
        return 1 if architecture in IMAGE_ARCHITECTURES else shape[1]
    return shape[0] if len(shape) == 3 and not shape[-1] <= 4 < shape[0] else shape[-1]


_SEEN = """The {what} cannot be used as the profile describes {it}.

    Before anything starts, {looked}. {examples} The message says what was found, and where.

    To mend it, do what the message says, and type `footplate plan` again.
    """


def check_void_class(profile: Profile, facts: Facts) -> Iterator[Hit]:
    """A number that usually means "no class" is learnt as a class.

    In the masks of many data sets 255 marks pixels that nobody has judged, such as borders. Beside classes that are
    numbered from 0 it is taken for one more class unless `data.ignored_class` names it. In masks of 0 and 255 alone it
    is a class.

    To mend it, set `data.ignored_class: 255`; where 255 is a class, leave it: the warning stops nothing.
    """
    data = get_data(facts)
    classes = data.classes
    if data.kind != "segmentation" or profile.data.ignored_class is not None or len(classes) < 3:
        return
    if classes[-1] == "255" and classes[-2] != "254":
        yield Hit(
            path="data.train_data",
            also=("data.ignored_class",),
            message=f"255 is learnt as one of {len(classes)} classes ({classes[0]}, {classes[1]} … 255); "
            "in masks it often means no class",
            fix="set data.ignored_class: 255, if it means none",
        )


RULES = (
    Rule(
        code="nothing-to-train",
        title="Neither data nor code",
        severity=Severity.error,
        check=check_nothing_to_train,
    ),
    Rule(
        code="missing-path",
        title="A path does not exist",
        severity=Severity.error,
        check=check_missing_path,
    ),
    Rule(
        code="data",
        title="The data cannot be used",
        severity=Severity.error,
        check=_describe(
            check_problem("data"),
            _SEEN.format(
                what="data",
                it="them",
                looked="the data are looked at in a process of their own",
                examples="Empty files, NaN, labels out of range and columns that are not there are found then.",
            ),
        ),
    ),
    Rule(
        code="model",
        title="The network cannot be built",
        severity=Severity.error,
        check=_describe(
            check_problem("model"),
            _SEEN.format(
                what="network",
                it="it",
                looked="the network is built once in a process of its own and given two samples",
                examples="A class that is not there, refuses its arguments or gives the wrong shape is found then.",
            ),
        ),
    ),
    Rule(
        code="training",
        title="The optimiser or loss cannot be built",
        severity=Severity.error,
        check=_describe(
            check_problem("training"),
            _SEEN.format(
                what="optimiser or loss",
                it="it",
                looked="they are built once in a process of their own",
                examples="A class that is not there or refuses its arguments is found then.",
            ),
        ),
    ),
    Rule(
        code="entrypoint",
        title="The command cannot be started",
        severity=Severity.error,
        check=_describe(
            check_problem("entrypoint"),
            """Your own code cannot be started as the profile describes it.

    The command does not exist or is not executable, or its environment refers to a variable or file that is not there.
    The message says which.

    To mend it, do what the finding says, and type `footplate plan` again.
    """,
        ),
    ),
    Rule(
        code="resources",
        title="There is no place for the run",
        severity=Severity.error,
        check=_describe(
            check_problem("resources"),
            """No run directory can be made where the profile wants it.

    Each run gets a directory below `resources.output_dir`. That is a file, lies below one, or must not be written to.

    To mend it, name another directory.
    """,
        ),
    ),
    Rule(
        code="declared-shape",
        title="The data have another shape than declared",
        severity=Severity.error,
        check=check_declared_shape,
        needs=("data",),
        keys=("data.input_shape", "data.output_shape"),
        built_in_only=True,
    ),
    Rule(
        code="mean-std-length",
        title="Mean or standard deviation of another length than the features",
        severity=Severity.error,
        check=check_mean_std,
        built_in_only=True,
    ),
    Rule(
        code="preprocessing",
        title="A setting of the preprocessing does nothing",
        severity=Severity.warning,
        check=check_preprocessing,
        built_in_only=True,
    ),
    Rule(
        code="data-setting",
        title="A setting of the data does nothing",
        severity=Severity.warning,
        check=check_data_setting,
        needs=("data",),
        keys=("data.sequence_length", "data.ignored_class"),
        built_in_only=True,
    ),
    Rule(
        code="void-class",
        title="A number that often means no class is learnt",
        severity=Severity.warning,
        check=check_void_class,
        needs=("data",),
        keys=("data.ignored_class",),
        built_in_only=True,
    ),
)
