"""Nests of arguments: tuples, lists, dicts, named tuples and dataclasses, taken apart and made anew."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from hrat.batches import is_record, plain_value

__all__ = ["mapped", "parts_of", "tensors_in"]


def parts_of(given: Any) -> tuple[dict[Any, Any] | None, Callable[[dict[Any, Any]], Any]]:
    """Parts of a nest by key, and how to make another one like it; None for what is no nest."""
    if is_record(given):
        return {part.name: getattr(given, part.name) for part in dataclasses.fields(given)}, functools.partial(
            _record_like, given
        )
    if isinstance(given, dict):
        return dict(given), dict if type(given) is dict else functools.partial(_dict_like, given)
    if isinstance(given, tuple | list):
        if hasattr(given, "_fields"):
            return dict(enumerate(given)), lambda parts: type(given)(*parts.values())
        return dict(enumerate(given)), lambda parts: type(given)(parts.values())
    return None, lambda parts: given


def _record_like(given: Any, parts: dict[str, Any]) -> Any:
    made = copy.copy(given)
    for name, part in parts.items():
        object.__setattr__(made, name, part)
    return made


def _dict_like(given: dict[Any, Any], parts: dict[Any, Any]) -> Any:
    made = copy.copy(given)
    for key, part in parts.items():
        dict.__setitem__(made, key, part)
    return made


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A nest like another one with its tensors changed."""
    parts, make = parts_of(value)
    if parts is None:
        return change(value) if isinstance(value, Tensor) else value
    return make({key: mapped(part, change) for key, part in parts.items()})


def tensors_in(value: Any) -> list[Tensor]:
    """Tensors of a nest, in order."""
    if isinstance(value, Tensor):
        return [value]
    value = plain_value(value)
    if isinstance(value, dict):
        value = list(value.values())
    return [t for part in value for t in tensors_in(part)] if isinstance(value, tuple | list) else []
