"""A folder holds one run, and one process at a time trains into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hrat.errors import TrainingError
from hrat.files import path_within

__all__ = ["LOCK", "alone_in"]

LOCK = ".lock"
"""In the folder; the system lets go of it when its process ends, however that was."""


@contextmanager
def alone_in(folder: Path | None, *, wanted: bool = True) -> Iterator[None]:
    """Keep other processes out of a run's folder for a while. A process may hold it several times.

    Limits: where a file system does not know locks (some network mounts), nobody is kept out.

    Args:
        folder: made if it is not there; None where nothing is written.
        wanted: False where another rank of the same training sees to it.

    Raises:
        TrainingError: another process holds it.
        OSError: the folder cannot be written.
    """
    if folder is None or not wanted:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path_within(folder, LOCK), timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise TrainingError(
            f"another process trains into {folder}; expected one at a time. Wait for it, end it, or give another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()
