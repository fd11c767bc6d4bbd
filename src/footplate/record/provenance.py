"""provenance.json: where the data came from and what the model was made of, as W3C PROV in JSON.

Source: PROV-DM (W3C Recommendation, 30 April 2013) and "The PROV-JSON Serialization" (W3C Member Submission).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from footplate.record.clock import get_utc_text
from footplate.record.run_info import RunInfo, read_run_info
from footplate.record.rundir import RunDir

__all__ = ["NAME", "describe_provenance", "write_provenance"]

NAME = "provenance.json"
"""Its name in the run directory."""


def write_provenance(
    run: RunDir, *, lineage: bool, model: bool, has_ended: bool, pretrained: Path | None = None
) -> None:
    """Write it anew from what the run has recorded so far; RecordError when that fails."""
    run.write_json(
        NAME, describe_provenance(run, lineage=lineage, model=model, has_ended=has_ended, pretrained=pretrained)
    )


def describe_provenance(
    run: RunDir, *, lineage: bool, model: bool, has_ended: bool, pretrained: Path | None = None
) -> dict[str, Any]:
    """Return the document.

    ``lineage``: each file of the data with its hash, the sets they make up, and what was done to them. ``model``: the
    weights, by what code, profile and environment they were made, who answers for them, and what they derive from.
    """
    info = read_run_info(run)
    document = _Document(info)
    training = document.add(
        "activity",
        "training",
        {"prov:startTime": info.created_at, **({"prov:endTime": get_utc_text()} if has_ended else {})},
    )
    user = document.add("agent", "user", {"prov:type": "prov:Person", "footplate:user": info.user})
    tool = document.add("agent", "footplate", {"prov:type": "prov:SoftwareAgent", "footplate:version": info.version})
    document.relate("wasAssociatedWith", activity=training, agent=user)
    document.relate("wasAssociatedWith", activity=training, agent=tool)
    document.relate("actedOnBehalfOf", delegate=tool, responsible=user)
    sets = list(_add_data(document, run, training, with_files=lineage))
    if model:
        _add_model(document, run, training, user, sets, pretrained)
    return document.to_json()


class _Document:
    """A PROV document of one run: names of this run's things are below its id."""

    def __init__(self, info: RunInfo) -> None:
        self._run = info.id
        self._records: dict[str, dict[str, dict[str, Any]]] = {}

    def add(self, kind: str, name: str, attributes: Mapping[str, Any]) -> str:
        """Add an entity, activity or agent and return how it is referred to."""
        reference = f"footplate:{self._run}/{name}"  # nobody's name: a field's name is not cleaned
        told = {key: value for key, value in attributes.items() if value not in (None, "", [], {})}
        self._records.setdefault(kind, {})[reference] = told
        return reference

    def relate(self, kind: str, **ends: str) -> None:
        """Add a relation between things that were added."""
        relations = self._records.setdefault(kind, {})
        relations[f"_:{kind}{len(relations) + 1}"] = {f"prov:{end}": reference for end, reference in ends.items()}

    def to_json(self) -> dict[str, Any]:
        """Return it as PROV-JSON."""
        return {"prefix": {"footplate": "urn:footplate:"}, **self._records}


def _add_data(document: _Document, run: RunDir, training: str, *, with_files: bool) -> Iterator[str]:
    """Add each set that the training has used, and yield it."""
    for name, one in ((run.find_json("data.json") or {}).get("sets") or {}).items():
        collection = document.add(
            "entity",
            f"data/{name}",
            {
                "prov:type": "prov:Collection",
                "footplate:source": one.get("source"),
                "footplate:version": one.get("version"),
                "footplate:files": len(one.get("files") or ()),
            },
        )
        document.relate("used", activity=training, entity=collection)
        for number, file in enumerate(one.get("files") or () if with_files else ()):
            member = document.add(
                "entity",
                f"data/{name}/{number}",
                {f"footplate:{key}": file.get(key) for key in ("path", "size", "modified_at", "sha256", "num_files")},
            )
            document.relate("hadMember", collection=collection, entity=member)
        yield collection
    if with_files:
        _add_preparation(document, run)


def _add_preparation(document: _Document, run: RunDir) -> None:
    """Add what was done to the data: split and normalised, as the description of the model has it."""
    described = run.find_json("artifacts/model.json") or {}
    plan = run.find_json("plan.json") or {}
    told = {
        "footplate:scaler": _to_text(described.get("scaler")),
        "footplate:encoding": _to_text(described.get("encoding")),
        "footplate:data": _to_text(plan.get("data")),
    }
    if any(told.values()):
        document.add("activity", "preparation", told)
        document.relate(
            "wasInformedBy", informed=f"footplate:{run.id}/training", informant=f"footplate:{run.id}/preparation"
        )


def _add_model(
    document: _Document, run: RunDir, training: str, user: str, sets: list[str], pretrained: Path | None
) -> None:
    code, result = run.find_json("code.json") or {}, run.find_json("result.json") or {}
    environment = run.find_json("env.json") or {}
    made_with = [
        document.add(
            "entity",
            "code",
            {"footplate:tree_hash": code.get("tree_hash"), "footplate:git_commit": code.get("git_commit")},
        ),
        document.add("entity", "profile", {"footplate:sha256": _hash_file(run.path / "profile.yaml")}),
        document.add(
            "entity",
            "environment",
            {
                "footplate:sha256": _hash_file(run.path / "env.json"),
                "footplate:python": (environment.get("python") or {}).get("version"),
                "footplate:torch": (environment.get("packages") or {}).get("torch"),
                "footplate:host": (environment.get("platform") or {}).get("host"),
            },
        ),
    ]
    for entity in made_with:
        document.relate("used", activity=training, entity=entity)
    weights = run.artifacts / "model.safetensors"
    if not (weights.exists() and result):
        return
    metrics = {f"footplate:{name}": value for name, value in (result.get("metrics") or {}).items()}
    model = document.add(
        "entity",
        "model",
        {
            "prov:label": "model.safetensors",
            "footplate:sha256": _hash_file(weights),
            "footplate:size": weights.stat().st_size,
            **{
                key: value for key, value in metrics.items() if isinstance(value, (int, float)) and math.isfinite(value)
            },
        },
    )
    document.relate("wasGeneratedBy", entity=model, activity=training)
    document.relate("wasAttributedTo", entity=model, agent=user)
    if pretrained is not None:
        before = document.add(
            "entity", "pretrained", {"footplate:path": str(pretrained), "footplate:sha256": _hash_file(pretrained)}
        )
        document.relate("used", activity=training, entity=before)
        sets = [*sets, before]
    for source in sets:
        document.relate("wasDerivedFrom", generatedEntity=model, usedEntity=source)


def _hash_file(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_text(value: object) -> str:
    return "" if value in (None, {}, [], ()) else json.dumps(value, sort_keys=True)[:2000]
