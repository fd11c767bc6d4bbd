"""Folders of images: one folder for each class, or images and masks; decoded when they are read."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from footplate.data.rows import Array, Indices, LazyArray, Rows, describe_shape
from footplate.data.source import Source
from footplate.errors import DataError, MissingExtraError

__all__ = ["IMAGE_ENDINGS", "ImageFolder", "find_images", "open_images"]

IMAGE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
"""File endings of images."""
_LOOKED_AT = 20_000
"""Of so many images the headers are read before the start; of more, these many evenly chosen ones."""
_GREY = frozenset({"1", "L", "LA"})
_DEEP = frozenset({"I;16", "I;16B", "I;16L", "I"})
_KINDS = {"L": (np.uint8, ()), "RGB": (np.uint8, (3,)), "I;16": (np.uint16, ()), "F": (np.float32, ())}
"""How images become numbers, by Pillow's mode: type, and shape of a pixel."""


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """The files of a folder of images, by class or with a mask each."""

    root: Path
    images: tuple[str, ...]
    """Paths from the root, in the order of the classes and of their names."""
    classes: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    """Class of each image."""
    masks: tuple[str, ...] = ()
    """Mask of each image."""


def find_images(root: Path) -> ImageFolder | None:
    """Return the images of a folder; None where it has neither a folder for each class, nor images/ and masks/."""
    folders = sorted(
        entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith((".", "_"))
    )
    if {"images", "masks"} <= set(folders):
        return _pair_masks(root)
    found = {name: _list_images(root, name) for name in folders}
    classes = tuple(name for name in folders if found[name])
    if not classes:
        return None
    empty = [name for name in folders if not found[name]]
    if empty and len(classes) > 1:
        raise DataError(f"{root / empty[0]}: no images in it", hint="each folder is a class; take the empty one away")
    if len(classes) < 2:
        raise DataError(
            f"{root}: one folder with images only, `{classes[0]}`",
            hint="make a folder for each class, or the folders images/ and masks/ for segmentation",
        )
    labels = tuple(label for label, name in enumerate(classes) for _ in found[name])
    return ImageFolder(
        root=root, images=tuple(file for name in classes for file in found[name]), classes=classes, labels=labels
    )


def _list_images(root: Path, folder: str) -> list[str]:
    """Return the images below a folder, as paths from the root."""
    files = []
    for where, folders, names in os.walk(root / folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(where, root)
        files += [
            f"{below}/{name}"
            for name in sorted(names)
            if os.path.splitext(name)[1].lower() in IMAGE_ENDINGS and not name.startswith(".")
        ]
    return files


def _pair_masks(root: Path) -> ImageFolder:
    images, masks = _list_images(root, "images"), _list_images(root, "masks")
    if not images:
        raise DataError(f"{root / 'images'}: no images in it", hint="check the path")
    by_name: dict[str, str] = {}
    for mask in masks:
        key = os.path.splitext(mask.removeprefix("masks/"))[0]
        by_name[key.removesuffix("_mask")] = by_name[key] = mask
    paired = [by_name.get(os.path.splitext(image.removeprefix("images/"))[0]) for image in images]
    lacking = [image for image, mask in zip(images, paired, strict=True) if mask is None]
    if lacking:
        raise DataError(
            f"{root / lacking[0]} has no mask; {len(lacking):,} of {len(images):,} images have none",
            hint="a mask has the name of its image: images/cat.jpg, masks/cat.png (or masks/cat_mask.png)",
        )
    return ImageFolder(root=root, images=tuple(images), masks=tuple(mask for mask in paired if mask is not None))


class _Images(LazyArray):
    """Images of one size, decoded when they are read."""

    def __init__(self, root: Path, files: Sequence[str], mode: str, size: tuple[int, int]) -> None:
        self._root = root
        self._files = files
        self._mode = mode
        dtype, pixel = _KINDS[mode.removesuffix(":index")]
        self.shape = (len(files), *size, *pixel)
        self.dtype = np.dtype(dtype)

    def read(self, indices: Indices) -> Array:
        result = np.empty((len(indices), *self.shape[1:]), self.dtype)
        for row, index in enumerate(indices.tolist()):
            file = self._root / self._files[index]
            pixels = _decode(file, self._mode)
            if pixels.shape != result.shape[1:]:
                raise _make_odd_size(file, pixels.shape[:2], self.shape[1:3], self._files[0])
            result[row] = pixels
        return result


def open_images(name: str, folder: ImageFolder) -> Source:
    """Open a folder of images: uint8 [H, W] where all are grey, else [H, W, 3], and their classes or masks."""
    files = folder.images
    mode, size = _look_at(folder.root, files, is_mask=False)
    inputs = Rows(parts=(_Images(folder.root, files, mode, size),), names=(name,), row_names=files)
    if folder.masks:
        mask_mode, mask_size = _look_at(folder.root, folder.masks, is_mask=True)
        if mask_size != size:
            raise DataError(
                f"{folder.root}: the images have {describe_shape(size)} pixels, the masks {describe_shape(mask_size)}",
                hint="a mask has one number for each pixel of its image",
            )
        masks = _Images(folder.root, folder.masks, mask_mode, size)
        targets = Rows(parts=(masks,), names=(name,), row_names=folder.masks)
    else:
        labels = np.array(folder.classes)[np.array(folder.labels, np.int64)]  # other sets may lack a class: by name
        targets = Rows(parts=(labels,), names=(name,), row_names=files)
    every = (*files, *folder.masks)
    return Source(
        name=name,
        inputs=inputs,
        targets=targets,
        class_names=folder.classes,
        files=tuple(folder.root / file for file in every),
        num_bytes=sum((folder.root / file).stat().st_size for file in every),
        task="segmentation" if folder.masks else None,
        is_image=True,
    )


def _look_at(root: Path, files: Sequence[str], *, is_mask: bool) -> tuple[str, tuple[int, int]]:
    """Return the mode in which all images can be read and their one size; only headers are read."""
    step = -(-len(files) // _LOOKED_AT)
    modes: Counter[str] = Counter()
    sizes: dict[tuple[int, int], list[str]] = {}
    for file in files[::step]:
        with _open(root / file) as image:
            modes[image.mode] += 1
            width, height = image.size
        sizes.setdefault((height, width), []).append(file)
    if len(sizes) > 1:
        usual, others = sorted(sizes.items(), key=lambda item: -len(item[1]))[:2]
        raise _make_odd_size(root / others[1][0], others[0], usual[0], usual[1][0], more=len(sizes) - 2)
    if is_mask:
        wrong = set(modes) - _GREY - _DEEP - {"P"}
        if wrong:
            raise DataError(
                f"{root / files[0]}: masks are in colour (Pillow's mode {sorted(wrong)[0]})",
                hint="write masks as grey or palette png: the number of the class in each pixel",
            )
        return ("I;16" if set(modes) & _DEEP else "L:index"), next(iter(sizes))
    if set(modes) <= _GREY:
        mode = "L"
    elif set(modes) <= _DEEP:
        mode = "I;16"
    elif set(modes) == {"F"}:
        mode = "F"
    elif set(modes) & (_DEEP | {"F"}):
        raise DataError(f"{root}: images of 16 bits and of 8 bits: {', '.join(sorted(modes))}", hint="write all alike")
    else:
        mode = "RGB"
    return mode, next(iter(sizes))


def _decode(file: Path, mode: str) -> Array:
    with _open(file) as image:
        try:
            if mode == "I;16" or (mode == "L:index" and image.mode in ("P", "L")):
                return np.asarray(image)  # a palette's index is the class; 16 bits are kept as they are
            if mode == "L:index":
                return np.asarray(image.convert("L")) if image.mode != "1" else np.asarray(image).astype(np.uint8)
            return np.asarray(image if image.mode == mode else image.convert(mode))
        except (OSError, ValueError, SyntaxError) as error:
            raise _make_unreadable(file, error) from error


def _open(file: Path) -> Any:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtraError("pillow", "train") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(file)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise _make_unreadable(file, error) from error


def _make_unreadable(file: Path, error: Exception) -> DataError:
    return DataError(
        f"{file}: cannot be read as an image: {error}",
        hint="the file is damaged or no image; write it again or take it away",
    )


def _make_odd_size(file: Path, found: Sequence[int], usual: Sequence[int], like: str, *, more: int = 0) -> DataError:
    others = f"; {more} more sizes" if more else ""
    return DataError(
        f"{file} has {found[1]} × {found[0]} pixels, {like} has {usual[1]} × {usual[0]}{others}",
        hint="bring all images to one size (width × height) before the training",
    )
