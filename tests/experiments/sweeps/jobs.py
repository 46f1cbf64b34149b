"""Jobs for tests/sweeps, in a module that worker processes can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def dies_at_first(number: int, folder: str, times: int) -> str:
    """The job's number, but for job 1, which kills its worker the first times that it is begun."""
    begun = Path(folder) / f"{number}"
    count = len(begun.read_text()) if begun.is_file() else 0
    begun.write_text("x" * (count + 1))
    if number == 1 and count < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"job {number}"


def fails(number: int, folder: str, times: int) -> str:
    """Raises, which a job must not."""
    raise ZeroDivisionError(number)


def waits(number: int, folder: str) -> None:
    """Takes long, and leaves word of how it ended."""
    try:
        (Path(folder) / f"{number}").write_text("begun")
        time.sleep(600)
    finally:
        (Path(folder) / f"{number}").write_text("ended in order")
