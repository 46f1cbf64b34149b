"""How a prepared model is called, and what it returns: the original's arguments and outputs around a graph of tensors.

A graph knows tensors, numbers, tuples, lists and dicts. What else a network takes or gives back (dataclasses, named
tuples, dicts with attributes) is taken apart in front of the graph and put together behind it; arguments that hold no
numbers, such as switches and None, are part of the network, and checked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hrat.batches import is_record, plain_value
from hrat.errors import ConversionError

__all__ = ["FREE", "Arguments", "Form", "taken_apart"]

FREE = "free"
"""Stands in a skeleton for what another call may give another value."""
_LEAF_KINDS = (Tensor, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)


@dataclass(frozen=True)
class Form:
    """The type of a nest of outputs, and those of its parts."""

    kind: type[Any] | None = None
    """A dataclass, named tuple or dict of the user's; None for what a graph returns as it is."""
    parts: Mapping[Any, Form] = field(default_factory=dict)
    """Forms of parts that are not plain, by key or index."""

    def put_together(self, value: Any) -> Any:
        """What the original returns, from what the graph does."""
        if self.parts:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            parts = {key: self.parts[key].put_together(part) if key in self.parts else part for key, part in items}
            value = parts if isinstance(value, dict) else type(value)(parts.values())
        if self.kind is None:
            return value
        if issubclass(self.kind, tuple):
            return self.kind(*value)
        return self.kind(**value) if dataclasses.is_dataclass(self.kind) else self.kind(value)


def taken_apart(value: Any, leaf: Callable[[Any, str], Any], place: str) -> tuple[Any, Form]:
    """A nest of outputs as tuples, lists and dicts, and its form.

    Args:
        value: what a network returned.
        leaf: what to put in the place of a value that is no nest, from the value and its place in words.
        place: the value's own place.
    """
    if is_record(value):
        items: Any = {part.name: getattr(value, part.name) for part in dataclasses.fields(value)}
        kind: type[Any] | None = type(value)
    elif isinstance(value, dict):
        items, kind = dict(value), None if type(value) is dict else type(value)
    elif isinstance(value, tuple | list) and not isinstance(value, torch.Size):
        items, kind = dict(enumerate(value)), type(value) if hasattr(value, "_fields") else None
    else:
        return leaf(value, place), Form()
    pairs = {key: taken_apart(part, leaf, f"{place} {key!r}") for key, part in items.items()}
    parts = {key: form for key, (_, form) in pairs.items() if form != Form()}
    plain: Any = {key: part for key, (part, _) in pairs.items()}
    if isinstance(value, tuple | list):
        plain = list(plain.values()) if isinstance(value, list) else tuple(plain.values())
    return plain, Form(kind, parts)


@dataclass(frozen=True)
class Arguments:
    """Arguments of a network: those that its graph takes, and those that are part of it."""

    network: str
    """Name of its class."""
    positional: tuple[str, ...] = ()
    """Names of its forward's positional parameters, in order."""
    variable: str | None = None
    """Name of its `*args`, if it has any: the graph has `args_0`, `args_1`, ..."""
    free: tuple[str, ...] = ()
    """Names of what the graph takes, in order."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that are part of the network, with their values."""
    skeletons: Mapping[str, Any] = field(default_factory=dict)
    """For each free argument that is a nest: the nest with `FREE` in the place of what may change."""

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        """Values for the graph, in its order.

        Raises:
            ConversionError: an argument is missing, unknown, or not what is part of the network.
        """
        given = {**dict(zip(self._names(len(args)), args, strict=True)), **kwargs}
        for name, value in given.items():
            if name in self.fixed:
                self._check(name, self.fixed[name], value)
            elif name not in self.free and value is not None:
                raise ConversionError(
                    f"{self.network} was prepared without the argument '{name}'; expected {self._expected()}: prepare "
                    "it again with an example input that has it"
                )
        missing = [name for name in self.free if name not in given]
        if missing:
            raise ConversionError(
                f"{self.network} was prepared with the argument '{missing[0]}', which is missing; expected "
                f"{self._expected()}"
            )
        return [self._plain(name, given[name]) for name in self.free]

    def _names(self, count: int) -> Iterator[str]:
        yield from self.positional[:count]
        beyond = count - len(self.positional)
        if beyond > 0 and self.variable is None:
            raise ConversionError(
                f"{self.network} takes {len(self.positional)} positional arguments, got {count}; expected "
                f"{self._expected()}"
            )
        for index in range(beyond):
            yield f"{self.variable}_{index}"

    def _expected(self) -> str:
        return ", ".join(self.free)

    def _plain(self, name: str, value: Any) -> Any:
        if isinstance(value, _LEAF_KINDS):
            if isinstance(self.skeletons.get(name, FREE), dict | tuple | list):
                raise ConversionError(
                    f"'{name}' of {self.network} was prepared as a {type(self.skeletons[name]).__name__} of parts, got "
                    f"{type(value).__name__}"
                )
            return value
        value = plain_value(value)
        if name in self.skeletons:
            self._check(name, self.skeletons[name], value)
        return value

    def _check(self, place: str, wanted: Any, value: Any) -> None:
        """Compare a value with what the network was prepared for."""
        if wanted is FREE:
            return
        if isinstance(wanted, dict | tuple | list) and isinstance(value, dict | tuple | list):
            keys = [list(nest) if isinstance(nest, dict) else range(len(nest)) for nest in (wanted, value)]
            if set(keys[0]) == set(keys[1]):
                for key in keys[0]:
                    self._check(f"{place}[{key!r}]", wanted[key], value[key])
                return
        elif value is wanted or (not isinstance(value, Tensor) and value == wanted):
            return
        raise ConversionError(
            f"'{place}' is {_in_words(wanted)} as in the example input, and part of the network; got "
            f"{_in_words(value)}: prepare the model again with that value"
        )


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return f"a dict of {', '.join(map(repr, value))}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
