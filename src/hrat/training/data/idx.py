"""The IDX file format of MNIST and its kin.

An IDX file is, with every number big-endian:

    byte 0, 1   zero
    byte 2      type of the elements (0x08 = unsigned byte, ...)
    byte 3      number of dimensions, n
    n x 4       size of each dimension, unsigned
    the rest    the elements, last dimension fastest

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section "File formats".
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrat.errors import DataError

__all__ = ["read_idx"]

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The array of an IDX file, plain or gzipped, in the machine's byte order.

    Gzip is recognised by its first two bytes, not by the file's name: an IDX file starts with two zeros, so the two
    cannot be mistaken for each other.

    Raises:
        DataError: the file cannot be read, is not IDX, is cut short, is too long, or is a damaged gzip.
    """
    path = Path(path)
    data = _read_bytes(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or data[3] == 0:
        raise DataError(
            f"{path} is not an IDX file: expected it to start with 00 00, a type out of "
            f"{', '.join(f'{code:02x}' for code in _TYPES)} and a number of dimensions above 0; "
            f"got {data[:4].hex(' ') or 'an empty file'}."
        )
    dtype, dims = np.dtype(_TYPES[data[2]]), data[3]
    start = 4 + 4 * dims
    if len(data) < start:
        raise DataError(f"{path} is cut short: its header of {dims} dimensions needs {start} bytes, got {len(data)}.")
    shape = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4))
    expected = start + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        fault = "is cut short" if len(data) < expected else "has bytes after its end"
        raise DataError(
            f"{path} {fault}: shape {shape} of {dtype.name} needs {expected} bytes, got {len(data)}. Fetch it anew."
        )
    # astype copies, which also makes the array writable (a view of `bytes` is not, and torch warns about that).
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _read_bytes(path: Path) -> bytes:
    """The bytes of a file, unzipped where it is gzip."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not data.startswith(_GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}). Fetch it anew.") from error
