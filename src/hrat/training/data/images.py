"""A folder of images by class: `train/CLASS/*.png` and `test/CLASS/*.png`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrat.errors import DataError, MissingDependencyError

__all__ = ["is_image_folder", "read_images"]

PARTS = ("train", "test")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
GRAY = ("1", "L", "LA", "I", "I;16", "F")
"""Modes of Pillow with one channel of brightness."""


def is_image_folder(folder: Path) -> bool:
    """Whether it has the folders of images by class."""
    return all((folder / part).is_dir() for part in PARTS)


def read_images(
    folder: Path, part: str, classes: tuple[str, ...] | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """Images uint8 `(N, C, H, W)`, labels int64 `(N,)`, and the names of the classes in the order of the labels.

    Args:
        folder: holds a folder for each part.
        part: `train` or `test`.
        classes: names of the classes, where they are known; those of the part's folders, sorted, if None.

    Raises:
        DataError: no images, an unknown class, or images that differ in size or in colours.
        MissingDependencyError: Pillow is not installed.
    """
    root = folder / part
    names = tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir()))
    if classes is not None:
        unknown = [name for name in names if name not in classes]
        if unknown:
            raise DataError(f"{root / unknown[0]}: a class without images in train; expected {', '.join(classes)}.")
    known = names if classes is None else classes
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    first: Path | None = None
    for label, name in enumerate(known):
        for path in sorted(path for path in (root / name).glob("*") if path.suffix.lower() in SUFFIXES):
            image = _read(path)
            first = first or path
            if images and image.shape != images[0].shape:
                raise DataError(
                    f"{path}: an image of {_words(image)}, but {first} has {_words(images[0])}; expected all images of "
                    "one size, and all gray or all in colour: resize them first."
                )
            images.append(image)
            labels.append(label)
    if not images:
        raise DataError(f"{root} holds no images; expected {part}/CLASS/*.png, or {', '.join(SUFFIXES[1:4])} and such.")
    return np.stack(images), np.array(labels, dtype=np.int64), known


def _read(path: Path) -> NDArray[np.uint8]:
    """`(C, H, W)`."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingDependencyError('images are read by Pillow; pip install "hrat[images]"') from error
    try:
        with Image.open(path) as opened:
            image = opened.convert("L" if opened.mode in GRAY else "RGB")
            pixels = np.asarray(image, dtype=np.uint8)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be read as an image: {error}. Mend it, or take it out of the folder."
        ) from error
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _words(image: NDArray[np.uint8]) -> str:
    channels, height, width = image.shape
    return f"{width} x {height} pixels {'in colour' if channels == 3 else 'in gray'}"
