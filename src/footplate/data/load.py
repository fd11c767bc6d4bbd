"""Loading: from the names in a profile to three checked, split and scaled sets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from footplate.data import checks, rows
from footplate.data.arrays import ArraySet
from footplate.data.found import Learnt, Part, count_classes, describe_data
from footplate.data.positions import find_position_classes, number_positions
from footplate.data.preprocessed import keep_scaled
from footplate.data.rows import Indices, Rows, as_matrix_rows
from footplate.data.scaler import Scaler, fit_scaler
from footplate.data.source import Source
from footplate.data.sources import open_source
from footplate.data.split import split_samples
from footplate.data.tables import ColumnEncoding, encode, fit_encoding
from footplate.data.targets import find_classes, to_class_numbers
from footplate.data.tasks import check_labels, find_task
from footplate.data.tokens import find_vocab_size
from footplate.errors import DataError
from footplate.profile.facts import DataFacts
from footplate.profile.model import Profile

__all__ = ["LoadedData", "load_data"]

SETS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedData:
    """Data ready to train on."""

    train: ArraySet
    """What is trained on."""
    val: ArraySet
    """What the training is watched by; may be empty."""
    test: ArraySet
    """What the result is judged by; may be empty."""
    facts: DataFacts
    """Counts, shapes, types, classes."""
    scaler: Scaler
    """What was done to the inputs (already applied), to be done to new inputs too."""
    found: tuple[str, ...]
    """What was found, in lines for people."""
    encoding: tuple[ColumnEncoding, ...] = ()
    """How the columns of a table became numbers, to be done to new rows too; empty for arrays."""
    target_names: tuple[str, ...] = ()
    """The target columns of a table: what each output means where it is no class; empty for arrays."""
    train_sha256: str = ""
    """Of all training samples, where no file tells whether they are the same: of a stream."""


def load_data(profile: Profile) -> LoadedData:
    """Read, check, split and scale the data of a profile.

    Raises DataError with file, position and what to do; MissingExtraError for a reader that is not installed.
    """
    sources = _open_sources(profile)
    learnt, targets = _find_targets(profile, sources)
    indices = _split(profile, targets, stratify=learnt.task == "classification")
    encoding = _fit_encoding(profile, sources["train"], indices["train"])
    inputs = {key: _get_inputs(profile, source, encoding) for key, source in sources.items()}
    _check_alike(inputs, targets)
    learnt = replace(learnt, vocab_size=find_vocab_size(profile, learnt.task, inputs, sources, targets))
    parts = _make_parts(sources, inputs, targets, indices)
    scaler, notes = _fit_scaler(profile, learnt, parts["train"])
    learnt = _count(learnt, parts)
    sets = _make_sets(profile, parts, learnt, scaler, encoding)
    return LoadedData(
        train=sets["train"],
        val=sets["val"],
        test=sets["test"],
        facts=_get_facts(profile, parts, sources, learnt),
        scaler=scaler,
        found=describe_data(parts, learnt, encoding, notes),
        encoding=encoding,
        target_names=tuple(column.name for column in table.targets) if (table := sources["train"].table) else (),
        train_sha256=sources["train"].sha256,
    )


def _open_sources(profile: Profile) -> dict[str, Source]:
    data = profile.data
    if not data.train_data:
        raise DataError("data.train_data is not set", hint="name a file, a directory, or sklearn:digits")
    mmap = profile.embedded_optimizations.use_mmap_datasets
    sources: dict[str, Source] = {}
    for key, name in (("train", data.train_data), ("val", data.val_data), ("test", data.test_data)):
        if not name:
            continue
        source = open_source(name, data, profile.base_dir, mmap=mmap, like=sources.get("train"))
        if isinstance(source.inputs, Rows):
            checks.check_lengths(source.name, source.inputs, source.targets)
            checks.check_numeric(source.inputs)
        train = sources.get("train", source)
        if (source.task, bool(source.vocab_size), source.is_image) != (
            train.task,
            bool(train.vocab_size),
            train.is_image,
        ):
            raise DataError(
                f"{source.name}: data of another kind than {train.name}",
                hint=f"data.{key}_data must be of the same kind as data.train_data",
            )
        sources[key] = _make_small(source, keep_inputs=profile.embedded_optimizations.cache_preprocessed_data)
    return sources


def _make_small(source: Source, *, keep_inputs: bool) -> Source:
    """Read at once what is read sample by sample, where it fits; inputs that are kept on disk are not read yet."""
    inputs, targets = source.inputs, source.targets
    if isinstance(inputs, Rows) and not (keep_inputs and source.files) and inputs.num_bytes <= rows.LAZY_BYTES:
        inputs = inputs.make_all()
    if targets.num_bytes <= rows.LAZY_BYTES:
        targets = targets.make_all()
    return replace(source, inputs=inputs, targets=targets)


def _find_targets(profile: Profile, sources: dict[str, Source]) -> tuple[Learnt, dict[str, Rows]]:
    """Return what is learnt, and the targets of each source: class numbers, labels, quantities or tokens."""
    train = sources["train"]
    task = find_task(profile, train)
    if task in ("sequence", "segmentation"):
        classes, counted = find_position_classes(profile, train)
        checks.check_same_shape({key: source.targets for key, source in sources.items()}, "targets")
        numbered = {
            key: number_positions(source, classes, counted if source is train else None)
            for key, source in sources.items()
        }
        counts = sum(item.counts for item in numbered.values())
        learnt = Learnt(task=task, classes=classes, class_counts=tuple(np.asarray(counts).tolist()))
        return learnt, {key: item.rows for key, item in numbered.items()}
    learnt = Learnt(task=task, classes=find_classes(profile, train, task))
    return learnt, {key: _get_targets(profile, source, learnt) for key, source in sources.items()}


def _get_targets(profile: Profile, source: Source, learnt: Learnt) -> Rows:
    if learnt.task == "classification" and learnt.classes is not None:
        return to_class_numbers(source, learnt.classes)
    if learnt.task == "multi_label":
        check_labels(source)
        checks.check_target_shape(profile, source.targets)
    if learnt.task == "regression":
        checks.check_quantities(source.targets)
        checks.check_target_shape(profile, source.targets)
        checks.check_finite(source.targets, "targets")
    return source.targets


def _split(profile: Profile, targets: dict[str, Rows], *, stratify: bool) -> dict[str, Indices]:
    """Return the samples of each set; those without data of their own get a share of the training data."""
    train = targets["train"]
    split = split_samples(
        len(train),
        0.0 if "val" in targets else profile.data.split.val,
        0.0 if "test" in targets else profile.data.split.test,
        profile.reproducibility.seed,
        train.parts[0][:] if stratify else None,
    )
    shares = {"train": split.train, "val": split.val, "test": split.test}
    return {key: np.arange(len(targets[key])) if key != "train" and key in targets else shares[key] for key in SETS}


def _fit_encoding(profile: Profile, train: Source, indices: Indices) -> tuple[ColumnEncoding, ...]:
    return () if train.table is None else fit_encoding(train.table, indices, profile.data.columns.missing)


def _get_inputs(profile: Profile, source: Source, encoding: tuple[ColumnEncoding, ...]) -> Rows:
    if (source.table is not None) != bool(encoding):
        told = "is a table, the training data are not" if source.table else "is no table, the training data are"
        raise DataError(f"{source.name} {told}", hint="give all sets in the same form")
    inputs = as_matrix_rows(source.inputs if isinstance(source.inputs, Rows) else encode(source.inputs, encoding))
    checks.check_input_shape(profile, inputs)
    checks.check_finite(inputs, "inputs")
    return inputs


def _check_alike(inputs: dict[str, Rows], targets: dict[str, Rows]) -> None:
    checks.check_same_shape(inputs, "inputs")
    checks.check_same_shape(targets, "targets")


def _fit_scaler(profile: Profile, learnt: Learnt, train: Part) -> tuple[Scaler, tuple[str, ...]]:
    """Return what is done to the inputs and quantities, and a note where it was found from a part of them."""
    settings, inputs = profile.data.preprocessing, train.inputs
    if learnt.vocab_size:
        return Scaler(), ()
    step = max(1, -(-inputs.num_bytes // rows.LAZY_BYTES)) if inputs.is_lazy else 1
    some = train.indices[::step]
    scaler = fit_scaler(
        settings,
        "cnn" if learnt.task == "segmentation" or train.source.is_image else profile.model.architecture,
        inputs,
        train.targets if learnt.task == "regression" else None,
        some,
    )
    if step == 1 or not settings.normalize:
        return scaler, ()
    return scaler, (f"mean and standard deviation are those of {len(some):,} of {len(train.indices):,} samples",)


def _make_parts(
    sources: dict[str, Source], inputs: dict[str, Rows], targets: dict[str, Rows], indices: dict[str, Indices]
) -> dict[str, Part]:
    owner = {key: key if key in sources else "train" for key in SETS}
    return {
        key: Part(source=sources[own], inputs=inputs[own], targets=targets[own], indices=indices[key])
        for key, own in owner.items()
    }


def _make_sets(
    profile: Profile,
    parts: dict[str, Part],
    learnt: Learnt,
    scaler: Scaler,
    encoding: tuple[ColumnEncoding, ...],
) -> dict[str, ArraySet]:
    kept: dict[int, Rows | None] = {}
    if profile.embedded_optimizations.cache_preprocessed_data and not learnt.vocab_size:
        for part in {id(part.source): part for part in parts.values()}.values():
            if part.source.files:
                kept[id(part.source)] = keep_scaled(part.inputs, part.source.files, scaler, encoding, profile.data)
    targets_only = replace(scaler, mean=None, std=None, clip=None)
    return {
        key: ArraySet(
            part.inputs if (scaled := kept.get(id(part.source))) is None else scaled,
            part.targets,
            part.indices,
            scaler if scaled is None else targets_only,
            classes=learnt.task not in ("regression", "multi_label"),
            tokens=bool(learnt.vocab_size),
        )
        for key, part in parts.items()
    }


def _count(learnt: Learnt, parts: dict[str, Part]) -> Learnt:
    if learnt.class_counts or learnt.classes is None:
        return learnt
    total = sum(count_classes(part, learnt) for part in parts.values())
    return replace(learnt, class_counts=tuple(int(count) for count in np.asarray(total)))


def _get_facts(profile: Profile, parts: dict[str, Part], sources: dict[str, Source], learnt: Learnt) -> DataFacts:
    train = parts["train"]
    return DataFacts(
        source=profile.data.train_data,
        num_train=len(train.indices),
        num_val=len(parts["val"].indices),
        num_test=len(parts["test"].indices),
        input_shape=train.inputs.shape,
        input_dtype=str(train.inputs.dtype),
        target_shape=() if learnt.task == "classification" else train.targets.shape,
        target_dtype=str(train.source.targets.dtype),
        classes=learnt.classes.names if learnt.classes else (),
        class_counts=learnt.class_counts,
        num_bytes=sum(source.num_bytes for source in sources.values()),
        task=learnt.task,
        vocab_size=learnt.vocab_size,
    )
