"""What must hold of every mutant: an answer or a refusal in words, soon, in little memory, and no file elsewhere."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import hypothesis
import pytest
from hypothesis import HealthCheck

MOST_SECONDS = 10
MOST_BYTES = 2**30

QUICK = hypothesis.settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
"""For the suite that runs at every change."""
SLOW = hypothesis.settings(
    max_examples=int(os.environ.get("HRAT_FUZZ", "600")),
    suppress_health_check=list(HealthCheck),
    deadline=None,
    derandomize=False,
    database=None,
)
"""For the hunt; HRAT_FUZZ sets the number of mutants of each kind."""


@contextmanager
def bounded(outside: Path) -> Iterator[None]:
    """Fail what takes too long, takes too much memory, or makes a file beside `outside`."""
    before_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    before_files = sorted(outside.parent.iterdir())

    def too_long(_: int, __: FrameType | None) -> None:
        pytest.fail(f"took longer than {MOST_SECONDS} s")

    previous = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before_bytes
    assert grown < MOST_BYTES, f"took {grown:,} bytes more"
    assert sorted(outside.parent.iterdir()) == before_files, "a file appeared outside the folder"
