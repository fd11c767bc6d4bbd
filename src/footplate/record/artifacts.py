"""Artifacts: the files a run made, with their sizes and checksums."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from footplate.record.rundir import RunDir

__all__ = ["Artifact", "hash_file", "is_half_written", "list_artifacts", "write_artifacts"]

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One file that a run made."""

    path: str
    """Relative to the run's artifacts, with ``/``."""
    size: int
    """In bytes."""
    sha256: str


def list_artifacts(run: RunDir) -> list[Artifact]:
    """Return the files under the run's artifacts, by path; links and what vanishes meanwhile are not among them."""
    found = []
    for folder, _, names in os.walk(run.artifacts):
        for name in names:
            path = Path(folder, name)
            if is_half_written(name):
                continue
            try:
                if path.is_symlink() or not path.is_file():
                    continue
                size, digest = path.stat().st_size, hash_file(path)
            except OSError:  # temporary files of the job come and go
                continue
            found.append(Artifact(path=path.relative_to(run.artifacts).as_posix(), size=size, sha256=digest))
    return sorted(found, key=lambda artifact: artifact.path)


def write_artifacts(run: RunDir) -> list[Artifact]:
    """Write artifacts.json and return what is in it; RecordError when it cannot be written."""
    artifacts = list_artifacts(run)
    run.write_json("artifacts.json", [asdict(artifact) for artifact in artifacts])
    return artifacts


def is_half_written(name: str) -> bool:
    """Tell whether a file is the beginning of another one whose writer was killed: ``.model.safetensors.123.part``."""
    return name.startswith(".") and name.endswith(".part")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hex; raises OSError when it cannot be read."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
