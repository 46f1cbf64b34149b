"""Errors that hrat raises. Each message says what was expected, what was got, where, and how to mend it.

Every one of them is a `HratError`, so that a program can catch all of hrat's refusals at once; those that stand for a
wrong value are a `ValueError` too.
"""

from __future__ import annotations

__all__ = [
    "ArtifactError",
    "ConversionError",
    "DataError",
    "HratError",
    "LawError",
    "MissingDependencyError",
    "NodeError",
    "SeedError",
    "SpecError",
    "TrainingError",
]


class HratError(Exception):
    """Base of every error that hrat raises on purpose."""


class SpecError(HratError, ValueError):
    """A hardware spec that contradicts itself, lacks a value or has an unknown key."""


class ConversionError(HratError, ValueError):
    """A model, or a part of it, that cannot be put on crossbars."""


class ArtifactError(HratError, ValueError):
    """A saved file that is damaged, foreign, or of another schema version."""


class DataError(HratError, ValueError):
    """A data set that is missing, incomplete or not what it should be."""


class TrainingError(HratError, RuntimeError):
    """A training run that cannot go on, such as one whose loss is no longer a number."""


class LawError(HratError, AssertionError):
    """A law or a contract that a network, an operation, a solver or a pulse model does not keep (`hrat.testing`)."""


class SeedError(HratError, ValueError):
    """A seed of random numbers that is no whole number, or out of range."""


class NodeError(HratError, RuntimeError):
    """A step of a network that cannot take what it is given, such as inputs of another shape."""


class MissingDependencyError(HratError, ImportError):
    """An optional package that is not installed; the message names the command that installs it."""
