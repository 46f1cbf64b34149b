"""Nests of arguments: dataclasses among them are dicts of their fields to a graph."""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["is_record", "plain_value"]


def is_record(value: Any) -> bool:
    """Whether a value is an instance of a dataclass, and no dict as well."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type | dict)


def plain_value(value: Any) -> Any:
    """A nest of arguments without dataclasses: these become dicts of their fields."""
    if is_record(value):
        return {part.name: plain_value(getattr(value, part.name)) for part in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain_value(part) for key, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return tuple(map(plain_value, value))
    return type(value)(map(plain_value, value)) if type(value) in (tuple, list) else value
