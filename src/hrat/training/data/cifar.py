"""The binary version of CIFAR-10 and CIFAR-100.

A file is a row of records without a header. A record is its label bytes, then 3,072 bytes of a 32x32 image: the red,
the green and the blue plane, each row by row.

    CIFAR-10    label, pixels             3,073 bytes
    CIFAR-100   coarse, fine, pixels      3,074 bytes

Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009, and the data sets' home page.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrat.errors import DataError

__all__ = ["read_cifar", "read_class_names"]

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32


def read_cifar(
    path: str | os.PathLike[str], label_limits: Sequence[int]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The images and labels of one CIFAR binary file.

    Args:
        path: the file.
        label_limits: the number of classes of each label byte of a record, in order: `(10,)` for CIFAR-10,
            `(20, 100)` for CIFAR-100. The last byte is the label that is returned.

    Returns:
        Images, uint8 `(records, 3, 32, 32)`, and labels, int64 `(records,)`.

    Raises:
        DataError: the file cannot be read, is not a whole number of records, is empty, or has a label out of range.
    """
    path = Path(path)
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    label_bytes = len(label_limits)
    record = label_bytes + _PIXELS
    if data.size == 0 or data.size % record:
        raise DataError(
            f"{path} is not a CIFAR binary file: expected a whole number of records of {record} bytes "
            f"({label_bytes} of labels, {_PIXELS} of pixels), got {data.size} bytes. Fetch it anew."
        )
    records = data.reshape(-1, record)
    for byte, limit in enumerate(label_limits):
        top = int(records[:, byte].argmax())
        if records[top, byte] >= limit:
            raise DataError(
                f"{path}: label byte {byte} of record {top} is {records[top, byte]}, expected 0 to {limit - 1}."
            )
    return records[:, label_bytes:].reshape(-1, *_SHAPE), records[:, label_bytes - 1].astype(np.int64)


def read_class_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The class names of a text file that has one a line; blank lines are passed over.

    Raises:
        DataError: the file cannot be read, or is not text.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a list of class names: {error}.") from error
    return tuple(line.strip() for line in lines if line.strip())
