"""The operations that a graph may hold between crossbars: one table for conversion, mapping and simulation.

`analog` operations commute with a positive scale, so a circuit can do them on voltages: rectifiers, pooling, layout,
sums. All others are **digital operations**, between an ADC and a DAC, for the reason that the table gives. Some only
ask for sizes and look at no value. A graph that is read from a file may name these operations and no others: a file can
never call what is not in this table.

To add one, add a line to the list in `hrat.circuit.lines` that fits it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.fx.node import has_side_effect

from hrat.circuit import functions, lines
from hrat.circuit.functions import MOST_BITS, MOST_VALUES
from hrat.circuit.lines import Line
from hrat.circuit.signatures import NO_DEFAULT, Signature, bind, signatures_of
from hrat.errors import HratError

__all__ = [
    "MOST_BITS",
    "MOST_VALUES",
    "OPS",
    "Op",
    "arguments_for",
    "op_of",
    "register",
    "ways_to_call",
    "ways_to_write",
]

Signals = Literal["first", "two", "list"]


@dataclass(frozen=True)
class Op:
    """One operation of the table."""

    name: str
    function: Callable[..., Any]
    """Function of the arguments; one for all ways to write the operation."""
    analog: bool
    """Whether it commutes with a positive scale."""
    signals: Signals = "first"
    """Which arguments carry signals: the first one, the first two, or a list in the first place."""
    amplifier: bool = False
    """Whether an amplifier yields the result, so that its output swing limits it."""
    per_channel: bool = False
    """Whether it treats the channels (dimension 1) apart, so that each may have a scale of its own."""
    why: str = ""
    """Why it is digital."""
    reads_values: bool = True
    """Whether the values of its arguments matter, not their sizes alone."""
    rectifies: bool = False
    """Whether it is a clamp to `[0, infinity)`, which an amplifier with a single supply does by itself."""
    factory: bool = False
    """Whether it makes a tensor without taking one, so that no argument tells on which device to make it."""
    selects: bool = False
    """Whether each value of its result is a value of its signal, so that it commutes with a clamp."""
    indices_at: int | None = None
    """Position of the argument that also asks for indices, which a clamp in front would change."""
    makes_new: bool = False
    """Whether its result has memory of its own; else it may be a view of its signal."""
    keeps_order: bool = False
    """Whether all values of its signal stay, in their order."""
    is_arithmetic: bool = False
    """Whether it computes new values from its signal, not layout alone: what counts where it has to be digital."""
    own: bool = False
    """Whether a user registered it, so that it belongs to no table of hrat's."""
    casts: bool = False
    """Whether it may yield another number type: digital where that is no real number."""

    def picks(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call of it selects values, and yields nothing that depends on the others."""
        asked = self.indices_at is not None and len(args) > self.indices_at and bool(args[self.indices_at])
        return self.selects and not asked and not kwargs.get("return_indices")


OPS: dict[str, Op] = {}
_BY_TARGET: dict[Any, Op] = {}


def register(op: Op, targets: list[Any]) -> None:
    """Put an operation into the table, under its name and for all functions and methods that stand for it."""
    OPS[op.name] = op
    _BY_TARGET.update(dict.fromkeys([*targets, op.function], op))


def _register(group: list[Line], **known: Any) -> None:
    for name, function, targets in group:
        register(Op(name, function, **known), targets)


_register(lines.RELU, analog=True, per_channel=True, is_arithmetic=True, makes_new=True, rectifies=True)
_register(lines.LEAKY_RELU, analog=True, per_channel=True, is_arithmetic=True, makes_new=True)
_POOLS = {"analog": True, "per_channel": True, "is_arithmetic": True, "makes_new": True}
_register(lines.MAX_POOLS, **_POOLS, selects=True, indices_at=6)
_register(lines.ADAPTIVE_MAX_POOLS, **_POOLS, selects=True, indices_at=2)
_register(lines.POOLS_BY_SIGN, analog=True, per_channel=True, is_arithmetic=True, makes_new=True, selects=True)
_register(lines.MEAN_POOLS, **_POOLS)
_register(lines.AS_THEY_ARE, analog=True, per_channel=True, selects=True, keeps_order=True)
_register(lines.IN_ORDER, analog=True, selects=True, keeps_order=True)
_register(lines.TURNED, analog=True, selects=True)
_register(lines.REDUCTIONS, analog=True, is_arithmetic=True)
_register(lines.LAYOUT, analog=True)
_register(lines.CASTS, analog=True, casts=True)
_register(lines.JOINED, analog=True, signals="list")
for _why, _ops in lines.DIGITAL:
    _register(_ops, analog=False, why=_why)
_register(lines.SIZES, analog=False, reads_values=False)
_register(lines.FACTORIES, analog=False, reads_values=False, factory=True)
has_side_effect(functions.expect)
has_side_effect(functions.assert_true)
_SUMS = {"analog": True, "signals": "two", "amplifier": True, "per_channel": True, "makes_new": True}
_register([("add", functions.add, [operator.add, operator.iadd, torch.add, "add", "add_"])], **_SUMS)
_register(
    [("sub", functions.sub, [operator.sub, operator.isub, torch.sub, torch.subtract, "sub", "sub_", "subtract"])],
    **_SUMS,
)


def op_of(target: Any) -> Op | None:
    """The operation of a function or of a Tensor method's name; None if the table has none."""
    try:
        return _BY_TARGET.get(target)
    except TypeError:  # not hashable
        return None


def ways_to_call(op: Op) -> list[Callable[..., Any]]:
    """The functions that stand for an operation in a network; its own function is the last one."""
    others = [t for t, known in _BY_TARGET.items() if known is op and callable(t) and t is not op.function]
    return [*others, op.function]


def ways_to_write(op: Op) -> list[Any]:
    """All functions, and names of Tensor methods, that mean an operation in a network."""
    return [target for target, known in _BY_TARGET.items() if known is op]


NO_EFFECT = frozenset(
    ("memory_format", "layout", "non_blocking", "copy", "pin_memory", "cudnn_enable", "cudnn_enabled", "_stacklevel")
)
"""Options that change how a result is computed or lies in memory, and no value."""


def arguments_for(
    op: Op, target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of one way to write an operation as those of the operation's own function.

    Args:
        op: the operation.
        target: the function or method that a network calls.
        args: positional arguments.
        kwargs: arguments by name.

    Raises:
        HratError: an option that the operation does not have.
    """
    forms = signatures_of(op.function)
    if kwargs.get("out") is not None:
        raise HratError("it writes its result into another tensor (out); expected a result of its own")
    if target is op.function or not forms or _same_arguments(signatures_of(target), forms):
        return tuple(args), {key: value for key, value in kwargs.items() if key != "out"}
    bound = bind(target, args, kwargs)
    if bound is None:
        return tuple(args), dict(kwargs)
    signature, values = bound
    foreign: list[str] = []
    for form in forms:
        named, foreign = _renamed(values, signature, form)
        if not foreign and form.bind((), named) is not None:
            return form.call(named)
    names = ", ".join(f"{name}={values[name]!r}" for name in foreign) or ", ".join(values)
    raise HratError(f"the operation '{op.name}' does not have this option: {names}; expected it left out")


def _same_arguments(one: Sequence[Signature], other: Sequence[Signature]) -> bool:
    def names(forms: Sequence[Signature]) -> list[tuple[list[str], set[str]]]:
        return [([p.name for p in f.positional], {p.name for p in f.parameters if p.keyword_only}) for f in forms]

    return bool(one) and names(one) == names(other)


def _renamed(values: Mapping[str, Any], signature: Signature, form: Signature) -> tuple[dict[str, Any], list[str]]:
    """Arguments by the names of another form: equal ones, else what stands in the same place; and names of the rest."""
    known, own = {p.name for p in form.parameters}, {p.name: p for p in signature.parameters}
    places = dict(zip((p.name for p in signature.positional), form.positional, strict=False))
    named: dict[str, Any] = {}
    foreign = []
    for name, value in values.items():
        place = places.get(name)
        if name in known:
            named[name] = value
        elif place is not None and place.name not in own:
            named[place.name] = value
        elif name not in NO_EFFECT and not _is_default(value, own[name].default):
            foreign.append(name)
    return named, foreign


def _is_default(value: Any, default: Any) -> bool:
    return default is not NO_DEFAULT and type(value) is type(default) and bool(value == default)
