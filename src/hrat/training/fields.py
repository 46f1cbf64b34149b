"""Dataclasses whose values come from outside: each field holds what its annotation says."""

from __future__ import annotations

import dataclasses
import math
import types
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

__all__ = ["settle_fields"]

WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "a table"}


def settle_fields(instance: Any, error: type[Exception], what: str) -> None:
    """Check every field against its annotation; a number of another library becomes Python's own.

    Args:
        instance: a dataclass, frozen or not.
        error: raised for a value of another kind.
        what: put in front of the field's name in its message, such as "training option ".

    Raises:
        Exception: `error`, with the name of the field, what was expected, and what was got.
    """
    hints = get_type_hints(type(instance))
    for field in dataclasses.fields(instance):
        value, hint = getattr(instance, field.name), hints[field.name]
        settled = _settled(value, hint)
        if settled is _Refused:
            raise error(f"{what}{field.name}: expected {_words(hint)}, got {value!r}")
        object.__setattr__(instance, field.name, settled)


class _Refused:
    """Marker for a value that is not of the kind."""


def _settled(value: Any, hint: Any) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return next((found for part in get_args(hint) if (found := _settled(value, part)) is not _Refused), _Refused)
    if origin is Literal:
        return value if value in get_args(hint) else _Refused
    if hint is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if hint is float and isinstance(value, Real) and not isinstance(value, bool):
        number = float(value) if not isinstance(value, Integral) else int(value)
        return _Refused if math.isnan(number) else number
    if hint in (int, float):
        return _Refused
    return value if isinstance(value, origin or hint) else _Refused


def _words(hint: Any) -> str:
    parts = get_args(hint)
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return " or ".join("none" if part is type(None) else _words(part) for part in parts)
    if origin is Literal:
        return "one of " + ", ".join(str(part) for part in parts)
    return WORDS.get(origin or hint, getattr(hint, "__name__", str(hint)))
