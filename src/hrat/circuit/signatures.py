"""Names and order of the arguments of torch's functions and of Tensor's methods, as torch itself tells them.

Functions written in Python have a signature; those of torch's core have schemas, one for each form (`max(input)`,
`max(input, dim, keepdim)`, `max(input, other)`). A method is named by a text, and its tensor is its first argument.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._jit_internal import boolean_dispatched

__all__ = ["NO_DEFAULT", "Parameter", "Signature", "bind", "result_names", "signatures_of"]

NO_DEFAULT = inspect.Parameter.empty
_ALSO = {"dim": ("axis",), "keepdim": ("keepdims",), "input": ("x", "a", "x1"), "other": ("x2",)}
"""Names by which torch takes arguments too, after NumPy's."""
_WRAPPED = "of_function"
"""Attribute of a function that has the arguments of another one."""


@dataclass(frozen=True)
class Parameter:
    """One argument of a function."""

    name: str
    default: Any = NO_DEFAULT
    keyword_only: bool = False
    kind: str = ""
    """Its type in a schema; empty where any value may stand."""

    def takes(self, value: Any) -> bool:
        """Whether a value written in the network's code may be meant for it; what is computed fits everywhere."""
        kind = self.kind.removesuffix("]").removeprefix("Optional[") if "Optional" in self.kind else self.kind
        if kind and isinstance(value, torch.dtype | torch.device | torch.memory_format | torch.layout):
            return kind in ("int", "Device")  # schemas hold number types and layouts as numbers
        if not kind or value is None or not isinstance(value, bool | int | float | str | list | tuple):
            return True
        if kind.startswith("List"):
            return isinstance(value, list | tuple) or (isinstance(value, int) and "int" in kind)
        words: dict[str, tuple[type, ...]] = {"str": (str,), "bool": (bool,), "int": (int,)}
        return isinstance(value, words.get(kind, (bool, int, float)))


@dataclass(frozen=True)
class Signature:
    """One form of a function."""

    parameters: tuple[Parameter, ...]
    receiver: int | None = None
    """Of a method: which argument is the tensor in front of the dot."""
    variadic: bool = False
    """Whether the last positional argument may be written as several values: `x.reshape(2, 3)`."""
    spread: bool = False
    """Whether it must be."""
    returns: tuple[str, ...] = ()
    """Names of the parts of its result."""

    @property
    def positional(self) -> list[Parameter]:
        """Arguments that need no name, in the order in which a call has them."""
        found = [p for p in self.parameters if not p.keyword_only]
        if self.receiver is not None:
            found.insert(0, found.pop(self.receiver))
        return found

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
        """A call's arguments by name; None if this form does not take them.

        Several values for one variadic argument become a tuple.
        """
        places = self.positional
        if len(args) > len(places) - self.spread and self.variadic:
            args = (*args[: len(places) - 1], tuple(args[len(places) - 1 :]))
        if len(args) > len(places):
            return None
        values = {place.name: value for place, value in zip(places, args, strict=False)}
        known = {p.name for p in self.parameters}
        for key, value in kwargs.items():
            name = key if key in known else next((n for n, also in _ALSO.items() if key in also), key)
            if name not in known or name in values:
                return None
            values[name] = value
        for parameter in self.parameters:
            if parameter.name not in values and parameter.default is NO_DEFAULT:
                return None
            if parameter.name in values and not parameter.takes(values[parameter.name]):
                return None
        return values

    def call(self, values: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments by name in the order of this form: without names up to the first that is left out."""
        rest = dict(values)
        args: list[Any] = []
        for place in self.positional:
            if place.name not in rest:
                break
            args.append(rest.pop(place.name))
        if self.spread and len(args) == len(self.positional) and isinstance(args[-1], list | tuple):
            args[-1:] = args[-1]
        return tuple(args), rest


def bind(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Signature, dict[str, Any]] | None:
    """The first form of a function or method that takes these arguments, and the arguments by name."""
    for signature in signatures_of(target):
        values = signature.bind(args, kwargs)
        if values is not None:
            return signature, values
    return None


def result_names(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the parts of what a call yields, such as `("values", "indices")`; empty if it has none."""
    bound = bind(target, args, kwargs)
    return () if bound is None else bound[0].returns


@functools.cache
def signatures_of(target: Any) -> tuple[Signature, ...]:
    """All forms of a function, or of a Tensor method by its name; empty if torch does not tell them."""
    target = getattr(target, _WRAPPED, target)
    if isinstance(target, str):
        method = getattr(Tensor, target, None)
        return (_of_python(method, 0) or _of_schemas(target, is_method=True)) if callable(method) else ()
    if target in boolean_dispatched:  # pooling with and without indices
        target = boolean_dispatched[target]["if_true"]
    found = _of_python(target)
    if found or not str(getattr(target, "__module__", None) or "torch").startswith("torch"):
        return found
    return _of_schemas(target.__name__, is_method=False)


def _of_python(function: Callable[..., Any], receiver: int | None = None) -> tuple[Signature, ...]:
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):  # built in
        return ()
    parameters = []
    spread = False
    for p in found.parameters.values():
        if p.kind is p.VAR_KEYWORD:
            return ()
        spread = spread or p.kind is p.VAR_POSITIONAL
        default = () if p.kind is p.VAR_POSITIONAL else p.default
        name = "input" if p.name == "self" else p.name
        parameters.append(Parameter(name, default, keyword_only=p.kind is p.KEYWORD_ONLY))
    return (Signature(tuple(parameters), receiver, variadic=spread, spread=spread),)


def _of_schemas(name: str, *, is_method: bool) -> tuple[Signature, ...]:
    forms = []
    for schema in torch._C._jit_get_schemas_for_operator(f"aten::{name}"):
        arguments = schema.arguments
        kinds = [str(a.type) for a in arguments]
        yielded = [str(r.type) for r in schema.returns]
        if any(a.is_out for a in arguments) or not any("Tensor" in kind for kind in (*kinds, *yielded)):
            continue
        receiver = next((k for k, a in enumerate(arguments) if a.name == "self"), None)
        if is_method and receiver is None:
            continue
        parameters = tuple(
            Parameter(
                "input" if a.name == "self" else a.name,
                a.default_value if a.has_default_value() else NO_DEFAULT,
                a.kwarg_only,
                kind,
            )
            for a, kind in zip(arguments, kinds, strict=True)
        )
        places = [p for p in parameters if not p.keyword_only]
        lists = [p for p in places[1 if receiver == 0 else 0 :] if p.kind == "List[int]"]
        variadic = len(lists) == 1 and lists[0] is places[-1] and len(places) <= 1 + (receiver == 0)
        returns = tuple(r.name for r in schema.returns if r.name) if len(schema.returns) > 1 else ()
        forms.append(Signature(parameters, receiver if is_method else None, variadic, returns=returns))
    return tuple(forms)
