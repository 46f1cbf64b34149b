"""The graph of a chip: a list of typed nodes, each behind those that it reads.

Between crossbars stand operations of the table (`Op`, see `hrat.circuit.operations`); the other types are the parts at
the borders between volts and digital numbers, and what only a plan for simulation has (`Amplifier`, `Within`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

__all__ = [
    "Adc",
    "Amplifier",
    "ClampSwing",
    "Constant",
    "Converter",
    "Crossbar",
    "Dac",
    "Input",
    "Node",
    "OpNode",
    "Output",
    "OutputRescale",
    "Recurrence",
    "Ref",
    "TensorKey",
    "Within",
    "converters",
    "input_names",
    "layer_of",
    "map_nested",
]


@dataclass(frozen=True)
class Ref:
    """The result of another node."""

    name: str


@dataclass(frozen=True)
class TensorKey:
    """A tensor that is kept beside the graph."""

    key: str


@dataclass(frozen=True)
class Node:
    """One step of the network."""

    name: str

    OP: ClassVar[str]
    """Its name in files."""

    @property
    def op(self) -> str:
        """Its name in files."""
        return self.OP

    def inputs(self) -> list[str]:
        """Names of the nodes whose results it takes, in order, with repetitions."""
        return [leaf.name for leaf in self._leaves() if isinstance(leaf, Ref)]

    def tensor_keys(self) -> list[str]:
        """Keys of the tensors beside the graph that it takes, in order, with repetitions."""
        return [leaf.key for leaf in self._leaves() if isinstance(leaf, TensorKey)]

    def reading(self, instead: Mapping[str, str]) -> Self:
        """The node with other nodes in the place of some of those that it reads, by their names."""

        def change(leaf: Any) -> Any:
            return Ref(instead.get(leaf.name, leaf.name)) if isinstance(leaf, Ref) else leaf

        return replace(self, **{part.name: map_nested(getattr(self, part.name), change) for part in fields(self)})

    def _leaves(self) -> list[Any]:
        leaves: list[Any] = []

        def note(leaf: Any) -> Any:
            leaves.append(leaf)
            return leaf

        map_nested(tuple(getattr(self, part.name) for part in fields(self)), note)
        return leaves


@dataclass(frozen=True)
class Input(Node):
    """An argument of the network."""

    argument: str
    default: tuple[Any, ...] = ()
    """Empty, or the default value alone."""

    OP = "input"


@dataclass(frozen=True)
class Constant(Node):
    """A tensor that the network holds."""

    tensor: TensorKey

    OP = "constant"


@dataclass(frozen=True)
class Converter(Node):
    """A conversion between volts and digital numbers: `Dac`, `Adc` or `OutputRescale`."""

    source: Ref
    alpha: TensorKey
    """Volts for a digital value of 1: a number, or one for each channel."""


@dataclass(frozen=True)
class Dac(Converter):
    """Digital -> V: `DAC(clamp_read(alpha x))`."""

    OP = "dac"


@dataclass(frozen=True)
class Adc(Converter):
    """V -> digital, in front of digital operations."""

    OP = "adc"


@dataclass(frozen=True)
class OutputRescale(Converter):
    """V -> digital units, `x = v / alpha`, of a value that leaves the chip: no circuit does it."""

    OP = "reader"


@dataclass(frozen=True)
class Crossbar(Node):
    """V -> V: `clamp_swing(R_f (I+ - I-) + V_bias)`."""

    source: Ref
    layer: str

    OP = "crossbar"


@dataclass(frozen=True)
class ClampSwing(Node):
    """Output swing of an amplifier that adds."""

    source: Ref

    OP = "clamp_swing"


@dataclass(frozen=True)
class Recurrence(Node):
    """A recurrent layer: at each time step the state passes a DAC, the layer, an ADC and gates.

    See `hrat.circuit.recurrence`.
    """

    source: Ref
    states: tuple[Ref | None, ...]
    """States before the first time step; None for zeros."""
    layer: str
    alpha_state: TensorKey
    """Scale of the DAC in front of the layer, V per digital unit."""
    alpha_product: TensorKey
    """Scale of the ADC behind the layer, V per digital unit."""
    kind: str
    """A key of `hrat.circuit.recurrence.CELLS`."""
    time_dim: int
    reverse: bool

    OP = "recurrence"


@dataclass(frozen=True)
class Output(Node):
    """Outputs of the network: a value, or a nest of values."""

    value: Any

    OP = "output"


@dataclass(frozen=True)
class OpNode(Node):
    """An operation of the table."""

    operation: str
    """Its name in the table."""
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()

    @property
    def op(self) -> str:
        """Its name in the table."""
        return self.operation

    @property
    def source(self) -> Ref | None:
        """The value that stands first among its arguments."""
        return self.args[0] if self.args and isinstance(self.args[0], Ref) else None


@dataclass(frozen=True)
class Amplifier(Node):
    """V -> V: `R_f (G+ - G-)^T v + V_bias`, before the swing; only in the plan of a simulation."""

    source: Ref
    layer: str

    OP = "amplifier"


@dataclass(frozen=True)
class Within(Node):
    """A value held within `[low, high]`; only in the plan of a simulation."""

    source: Any
    low: float
    high: float

    OP = "within"


def layer_of(node: Node) -> str | None:
    """The layer whose arrays a node uses; None if it uses none."""
    return node.layer if isinstance(node, Crossbar | Recurrence | Amplifier) else None


def input_names(graph: tuple[Node, ...]) -> list[str]:
    """Names of the network's arguments, in order."""
    return [node.argument for node in graph if isinstance(node, Input)]


def converters(graph: tuple[Node, ...]) -> Iterator[tuple[str, str, TensorKey]]:
    """(name, name of its kind in files, scale) of each converter, those inside recurrences included."""
    for node in graph:
        if isinstance(node, Recurrence):
            yield f"{node.name}.state", Dac.OP, node.alpha_state
            yield f"{node.name}.product", Adc.OP, node.alpha_product
        elif isinstance(node, Converter):
            yield node.name, node.OP, node.alpha


def map_nested(value: Any, change: Callable[[Any], Any]) -> Any:
    """Apply `change` to every leaf of nested tuples, lists, dicts and slices."""
    if isinstance(value, tuple):
        return tuple(map_nested(part, change) for part in value)
    if isinstance(value, list):
        return [map_nested(part, change) for part in value]
    if isinstance(value, dict):
        return {key: map_nested(part, change) for key, part in value.items()}
    if isinstance(value, slice):
        return slice(*(map_nested(part, change) for part in (value.start, value.stop, value.step)))
    return change(value)
