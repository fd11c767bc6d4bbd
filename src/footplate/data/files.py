"""Files: what a name in the profile means, which files lie behind it, and their format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from footplate.data.array_files import read_npy_header
from footplate.data.images import IMAGE_ENDINGS, ImageFolder, find_images
from footplate.errors import DataError

__all__ = ["FORMATS", "Located", "locate"]

FORMATS = {
    ".npz": "npz",
    ".npy": "npy",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "text",
}
"""File endings and the format they mean."""
_FORMAT_NAMES = ("npz", "npy", "parquet", "csv", "jsonl", "text", "tokens", "image_folder")
_TOLD = "npz, npy, parquet, csv, jsonl, text or tokens"
_TOKEN_ENDINGS = (".npy", ".bin")


@dataclass(frozen=True, kw_only=True)
class Located:
    """The files behind a name."""

    files: tuple[Path, ...]
    """In natural order: shard-2 before shard-10."""
    format: str
    folder: ImageFolder | None = None
    """The images, where the format is `image_folder`."""


def locate(name: str, form: str, base_dir: Path) -> Located:
    """Return the files behind a name and their format; ``form`` is `data.format`."""
    if "://" in name:
        raise DataError(f"{name}: data from afar are not built yet", hint="copy them here and name the path")
    if form not in ("auto", *_FORMAT_NAMES):
        raise DataError(f"data.format {form} is not read", hint=f"{', '.join(_FORMAT_NAMES)} are")
    path = base_dir / Path(name).expanduser()
    if not path.exists():
        raise DataError(f"{path}: does not exist", hint=f"the path is looked up from {base_dir}")
    if not path.is_dir():
        return _locate_file(path, form)
    if form == "image_folder":
        return _locate_images(path)
    names = sorted((entry.name for entry in path.iterdir() if entry.is_file()), key=_natural_key)
    files = [path / entry for entry in names if not entry.startswith((".", "_"))]
    formats = {file: _get_format_of(file, form) for file in files}
    known = [file for file in files if formats[file]]
    several = sorted({formats[file] for file in known})
    if "text" in several and len(several) > 1:  # a note beside the data
        known = [file for file in known if formats[file] != "text"]
        several.remove("text")
    if form == "auto" and several in ([], ["text"]) and (folder := find_images(path)) is not None:
        return Located(
            files=tuple(path / file for file in (*folder.images, *folder.masks)), format="image_folder", folder=folder
        )
    if not known:
        raise _make_nothing(path, form, names)
    if len(several) > 1:
        raise DataError(
            f"{path}: files of several formats: {', '.join(several)}", hint="choose one of them with data.format"
        )
    if several == ["npy"] and form == "auto" and all(_is_tokens(file) for file in known):
        several = ["tokens"]
    return Located(files=tuple(known), format=several[0])


def _locate_file(path: Path, form: str) -> Located:
    if form == "image_folder" or (form == "auto" and path.suffix.lower() in IMAGE_ENDINGS):
        raise DataError(
            f"{path}: one file, not a folder of images", hint="name the folder that holds one for each class"
        )
    found = FORMATS.get(path.suffix.lower(), "")
    if form == "auto" and not found:
        raise DataError(f"{path}: unknown kind of file", hint=f"set data.format to {_TOLD}")
    if form == "auto" and found == "npy" and _is_tokens(path):
        return Located(files=(path,), format="tokens")
    return Located(files=(path,), format=found if form == "auto" else form)


def _locate_images(path: Path) -> Located:
    folder = find_images(path)
    if folder is None:
        raise DataError(
            f"{path}: no folders with images in it",
            hint="expected a folder for each class with png, jpg … in it, or the folders images/ and masks/",
        )
    files = tuple(path / file for file in (*folder.images, *folder.masks))
    return Located(files=files, format="image_folder", folder=folder)


def _get_format_of(file: Path, form: str) -> str:
    """Return the format of a file of a directory, or nothing when it is none of those asked for."""
    if form == "tokens":
        return "tokens" if file.suffix.lower() in _TOKEN_ENDINGS else ""
    found = FORMATS.get(file.suffix.lower(), "")
    return found if form in ("auto", found) else ""


def _is_tokens(file: Path) -> bool:
    """Return whether an npy file holds one array [N] of unsigned numbers, and is not named as inputs or targets are."""
    if file.name.lower().startswith(("x", "y")):
        return False
    shape, _, dtype = read_npy_header(file)
    return len(shape) == 1 and dtype.kind == "u" and dtype.itemsize in (2, 4)


def _make_nothing(path: Path, form: str, names: list[str]) -> DataError:
    shown = ", ".join(names[:5]) or "nothing"
    if form == "auto" and any(Path(name).suffix.lower() in IMAGE_ENDINGS for name in names):
        return DataError(
            f"{path}: images without classes; it holds {shown}",
            hint="make a folder for each class and put its images there, or the folders images/ and masks/",
        )
    return DataError(
        f"{path}: no {_TOLD if form == 'auto' else form} files; it holds {shown}",
        hint="name the file or directory that holds the data",
    )


def _natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts if part], name
