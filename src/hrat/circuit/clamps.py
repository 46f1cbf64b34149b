"""The order in which a chip's graph is worked through, planned once for all batches.

Swing, rectifier and read threshold are clamps, each to an interval of its own. The plan changes where and how often
clamping is done, and no value:

* Two clamps in a row are one, to the interval that they have in common. Max pooling and layout pick values and keep
  their order, so that a clamp behind them may as well be done in front. An amplifier, its ReLU, max pooling and the
  word lines of the next layer thus need one clamp, to `[0, min(v_swing_V, v_read_V)]`.
* A clamp overwrites its input where nothing else reads that.
* What no device has a part in, such as the input converter, is done once for all chips.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from hrat.circuit.nodes import (
    Adc,
    Amplifier,
    ClampSwing,
    Crossbar,
    Dac,
    Node,
    OpNode,
    Output,
    OutputRescale,
    Recurrence,
    Ref,
    Within,
)
from hrat.circuit.operations import OPS
from hrat.errors import ArtifactError
from hrat.physics import amplifier_limits_V
from hrat.spec import HardwareSpec

__all__ = ["Plan", "PlannedNode", "make_plan"]


@dataclass(frozen=True)
class PlannedNode:
    """One node, and which values it may overwrite or free."""

    node: Node
    overwrites: bool
    """Whether it may write its result over its first argument."""
    ends: tuple[str, ...]
    """Values that no later node reads."""


@dataclass(frozen=True)
class Plan:
    """All nodes, each behind those that it reads."""

    for_all: tuple[PlannedNode, ...]
    """Nodes whose results depend on no device: computed once for all chips."""
    for_each: tuple[PlannedNode, ...]
    """Nodes computed for each chip; the last one yields what the network returns."""


def make_plan(graph: Sequence[Node], spec: HardwareSpec, *, merge: bool = True, summed: Container[str] = ()) -> Plan:
    """Plan a chip's graph.

    Args:
        graph: the nodes of the deployment.
        spec: the hardware, whose restrictions become clamps.
        summed: layers that yield digital sums, on which no swing acts.
        merge: False to keep the outputs of all amplifiers unchanged, under the names of their crossbar nodes.

    Raises:
        ArtifactError: the graph has no output.
    """
    nodes = _clamps_apart(graph, spec, summed)
    if merge:
        nodes = _merged(nodes)
    outputs = [k for k, node in enumerate(nodes) if isinstance(node, Output)]
    if not outputs:
        raise ArtifactError("the graph of the deployment has no output")
    del nodes[outputs[0] + 1 :]
    of_devices = _of_devices(nodes)
    nodes.sort(key=lambda node: node.name in of_devices)  # stable: each stays behind those that it reads
    fresh = _fresh(nodes) if merge else set()
    planned = tuple(
        PlannedNode(node, isinstance(node, Within) and _source(node) in fresh, ends)
        for node, ends in zip(nodes, _ends(nodes), strict=True)
    )
    first = sum(node.name not in of_devices for node in nodes)
    return Plan(planned[:first], planned[first:])


def _clamps_apart(graph: Sequence[Node], spec: HardwareSpec, summed: Container[str]) -> list[Node]:
    """Crossbars as word lines, amplifier and swing; all clamps as `within`."""
    swing_V = amplifier_limits_V(spec.periphery)
    v_read_V = spec.device.v_read_V if spec.device.limit_read_voltage else math.inf
    # What an input converter yields, at most its full scale, is within the read threshold already.
    converted = [Ref(node.name) for node in graph if isinstance(node, Dac)]
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Crossbar):
            lines, amplifier = f"{node.name}.word_lines", f"{node.name}.amplifier"
            high_V = math.inf if node.source in converted else v_read_V
            nodes.append(_within(lines, node.source, -high_V, high_V))
            nodes.append(Amplifier(amplifier, Ref(lines), node.layer))
            limits_V = (-math.inf, math.inf) if node.layer in summed else swing_V
            nodes.append(_within(node.name, Ref(amplifier), *limits_V))
        elif isinstance(node, ClampSwing):
            nodes.append(_within(node.name, node.source, *swing_V))
        elif isinstance(node, OpNode) and OPS[node.operation].rectifies:
            nodes.append(_within(node.name, node.args[0], 0.0, math.inf))
        else:
            nodes.append(node)
    return nodes


def _within(name: str, value: object, low: float, high: float) -> Node:
    """The node that holds a value within an interval; one that passes it on if that has no end."""
    if (low, high) == (-math.inf, math.inf):
        return OpNode(name, "identity", (value,))
    return Within(name, value, low, high)


def _merged(nodes: list[Node]) -> list[Node]:
    """Nodes with each clamp merged into the one in front of it, where nothing reads the value in between."""
    place = {node.name: k for k, node in enumerate(nodes)}
    readers = _readers(nodes)
    merged = list(nodes)

    def alone(name: str | None) -> Node | None:
        """The node that yields a value, if the value is read once."""
        return merged[place[name]] if name is not None and readers[name] == 1 else None

    for k, node in enumerate(nodes):
        if not isinstance(node, Within):
            continue
        front = alone(_source(node))
        while front is not None and _picks_values(front):
            front = alone(_source(front))
        if isinstance(front, Within):
            low, high = _in_common((front.low, front.high), (node.low, node.high))
            merged[place[front.name]] = Within(front.name, front.source, low, high)
            merged[k] = OpNode(node.name, "identity", (node.source,))
    return merged


def _in_common(first: tuple[float, float], then: tuple[float, float]) -> tuple[float, float]:
    """One interval to clamp to in place of two: the second clamp's values of the ends of the first."""
    low, high = (min(max(end, then[0]), then[1]) for end in first)
    return low, high


def _picks_values(node: Node) -> bool:
    """Whether each value of the result is one of the input's, the same one with or without a clamp in front."""
    return isinstance(node, OpNode) and OPS[node.operation].picks(node.args, dict(node.kwargs))


def _source(node: Node) -> str | None:
    """The value that stands first among a node's arguments."""
    source = getattr(node, "source", None)
    return source.name if isinstance(source, Ref) else None


def _readers(nodes: Iterable[Node]) -> Counter[str]:
    """Number of reads of each value."""
    return Counter(name for node in nodes if _reads_values(node) for name in node.inputs())


def _reads_values(node: Node) -> bool:
    return not isinstance(node, OpNode) or OPS[node.operation].reads_values


def _of_devices(nodes: Iterable[Node]) -> set[str]:
    """Values that a crossbar has a part in, and the output."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, Amplifier | Recurrence | Output) or not names.isdisjoint(node.inputs()):
            names.add(node.name)
    return names


def _fresh(nodes: Iterable[Node]) -> set[str]:
    """Values in memory of their own that one node reads and no more."""
    nodes = list(nodes)
    readers = _readers(nodes)
    names: set[str] = set()
    for node in nodes:
        if readers[node.name] == 1 and (_makes_new(node) or (_picks_values(node) and _source(node) in names)):
            names.add(node.name)
    return names


def _makes_new(node: Node) -> bool:
    """Whether a node's result has memory of its own."""
    if isinstance(node, OpNode):
        return OPS[node.operation].makes_new
    return isinstance(node, Amplifier | Within | Dac | Adc | OutputRescale)


def _ends(nodes: list[Node]) -> list[tuple[str, ...]]:
    """Values that no later node reads, for each node."""
    last: dict[str, int] = {}
    for step, node in enumerate(nodes):
        last.setdefault(node.name, step)
        last.update(dict.fromkeys(node.inputs(), step))
    ends: list[list[str]] = [[] for _ in nodes]
    for name, step in last.items():
        ends[step].append(name)
    return [tuple(names) for names in ends]
