"""Seeds of random numbers, checked where they enter."""

from __future__ import annotations

import hashlib
from numbers import Integral
from typing import Any

from hrat.errors import SeedError

__all__ = ["MOST_SEED", "check_seed", "seed_of_place"]

MOST_SEED = 2**63 - 1
"""Largest seed that every generator in use takes, but those of numpy that take less."""


def check_seed(seed: Any, what: str = "seed", *, most: int = MOST_SEED) -> int:
    """The seed as Python's own whole number.

    Args:
        seed: as it is given.
        what: what it is called in the message.
        most: the largest one.

    Raises:
        SeedError: it is no whole number (`True`, `1.0` and `"1"` are none), negative or too large.
    """
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= int(seed) <= most:
        raise SeedError(f"{what}: expected a whole number from 0 to {most}, got {seed!r}")
    return int(seed)


def seed_of_place(seed: int, place: str) -> int:
    """A seed of its own for each chip and place on it; neighbours share nothing, whatever the seeds."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{place}".encode()).digest()[:8], "little", signed=True)
