"""The profile: what was asked for, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import PrivateAttr

from footplate.profile.fields import Section, Text, key
from footplate.profile.sections.compliance import Compliance
from footplate.profile.sections.data import Data
from footplate.profile.sections.distributed import Distributed
from footplate.profile.sections.embedded import EmbeddedOptimizations, PowerManagement
from footplate.profile.sections.entrypoint import Entrypoint
from footplate.profile.sections.environment import Environment
from footplate.profile.sections.fault_tolerance import FaultTolerance
from footplate.profile.sections.federated import Federated
from footplate.profile.sections.logging import Logging
from footplate.profile.sections.metadata import Metadata
from footplate.profile.sections.model import Model
from footplate.profile.sections.monitoring import Monitoring
from footplate.profile.sections.post_training import PostTraining
from footplate.profile.sections.reproducibility import Debug, Reproducibility
from footplate.profile.sections.resources import Resources
from footplate.profile.sections.training import Training
from footplate.profile.sections.transfer_learning import TransferLearning
from footplate.profile.sections.validation import Validation
from footplate.profile.source import Source, Where
from footplate.profile.yaml_writer import write_yaml

__all__ = ["Profile", "get_model_section"]


class Profile(Section):
    """One training, as it was asked for."""

    extends: Text | None = key(None)
    """A template (`hpc`, `workstation` …) or a file whose keys hold where this file says nothing."""
    device: Literal["auto", "cpu", "cuda", "mps", "xpu", "xla"] = key(
        "auto", inactive_values={"xpu|xla": "not tried yet; use auto, cpu, cuda or mps"}
    )
    """Device each process computes on; `auto` = the first of cuda, mps, cpu that is there."""
    metadata: Metadata = key(Metadata)
    """Who wrote the profile, for what."""
    entrypoint: Entrypoint = key(Entrypoint)
    """Your own code instead of the built-in training."""
    model: Model = key(Model)
    """The network."""
    training: Training = key(Training)
    """The loop: batches, optimiser, length."""
    data: Data = key(Data)
    """What is trained on."""
    distributed: Distributed = key(Distributed)
    """One training on several devices."""
    resources: Resources = key(Resources)
    """Machines, devices, memory, time, places."""
    logging: Logging = key(Logging)
    """What is written where."""
    monitoring: Monitoring = key(Monitoring)
    """What is watched while the training runs."""
    reproducibility: Reproducibility = key(Reproducibility)
    """The same numbers again."""
    debug: Debug = key(Debug)
    """For finding faults."""
    fault_tolerance: FaultTolerance = key(FaultTolerance)
    """Going on after an interruption."""
    environment: Environment = key(Environment)
    """The versions the profile was written for."""
    validation: Validation = key(Validation)
    """When and by what the model is judged."""
    post_training: PostTraining = key(PostTraining)
    """What happens when the training is done."""
    power_management: PowerManagement = key(PowerManagement)
    """Power and heat."""
    embedded_optimizations: EmbeddedOptimizations = key(EmbeddedOptimizations)
    """Memory and speed of one device."""
    transfer_learning: TransferLearning = key(TransferLearning)
    """Starting from a trained model."""
    compliance: Compliance = key(Compliance)
    """Protections that act, and declarations that are recorded."""
    federated: Federated = key(Federated)
    """Training across sites."""
    sweep: Mapping[str, Any] = key({}, inactive="sweeps are not built yet; one training runs")
    """Search over keys of this profile."""
    backends: Mapping[str, Any] = key({}, inactive="clusters are not built yet; the training runs here")
    """Options of one backend, by its name; checked by that backend."""
    notes: Text = key("", recorded=True)
    """Text for people."""

    _source: Source = PrivateAttr(default_factory=Source)

    def attach_source(self, source: Source) -> None:
        """Keep where the keys came from; the loader calls this once."""
        self._source = source

    @property
    def base_dir(self) -> Path:
        """Directory that relative paths of the profile start from: the one it was loaded in."""
        return self._source.base_dir

    @property
    def file(self) -> str:
        """Name of the file the profile was loaded from; empty for one made in Python."""
        return self._source.file

    def where(self, path: str) -> Where | None:
        """Return the file and line of a key such as ``training.batch_size``; None when it is a default."""
        place = self._source.places.get(tuple(path.split(".")))
        return Where("--set", 0, place.written) if place and not place.line else place

    def is_set(self, path: str) -> bool:
        """Return whether a key was given: in the file, in what it extends, or as an override."""
        if self._source.values is not None:
            return _has(self._source.values, path.split("."))
        return _has(self.model_dump(exclude_unset=True), path.split("."))

    def to_yaml(self) -> str:
        """Return the resolved profile: the keys that were given, with `extends` and overrides put in.

        Secrets stay references.
        """
        values = self._source.values
        given = dict(self.model_dump(exclude_unset=True) if values is None else values)
        given.pop("extends", None)
        return write_yaml(given)


def _has(values: Any, parts: list[str]) -> bool:
    for part in parts:
        if not isinstance(values, Mapping) or part not in values:
            return False
        values = values[part]
    return True


def get_model_section(profile: Profile) -> Model:
    """Return the section ``model``, with the older spelling `training.dropout` in its place."""
    older = profile.training.dropout
    if older is None or "dropout" in profile.model.model_fields_set:
        return profile.model
    return profile.model.model_copy(update={"dropout": older})
