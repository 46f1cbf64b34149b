"""The order in which a chip's graph is worked through, planned once for all batches.

Swing, rectifier and read threshold are clamps, each to an interval of its own. The plan changes where and how often
clamping is done, and no value:

* Two clamps in a row are one, to the interval that they have in common. An amplifier, its ReLU, max pooling and the
  word lines of the next layer thus need one clamp, to `[0, min(v_swing_V, v_read_V)]`; which of them merge is decided
  where training asks as well (`hrat.circuit.merging`).
* A clamp overwrites its input where nothing else reads that.
* What no device has a part in, such as the input converter, is done once for all chips.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from hrat.circuit.merging import (
    MergedClamps,
    holds_values,
    merged_clamps,
    picks_values,
    read_counts,
    rectifies,
    source_of,
    voltages,
)
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
from hrat.physics import amplifier_limits_V, relu_floor_V
from hrat.spec import HardwareSpec

__all__ = ["Plan", "PlannedNode", "make_plan"]

ANY_V = (-math.inf, math.inf)


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
    merged = merged_clamps(graph, holds_values if merge else _none)
    nodes = _as_clamps(graph, spec, summed, merged)
    outputs = [k for k, node in enumerate(nodes) if isinstance(node, Output)]
    if not outputs:
        raise ArtifactError("the graph of the deployment has no output")
    del nodes[outputs[0] + 1 :]
    of_devices = _of_devices(nodes)
    nodes.sort(key=lambda node: node.name in of_devices)  # stable: each stays behind those that it reads
    fresh = _fresh(nodes) if merge else set()
    planned = tuple(
        PlannedNode(node, isinstance(node, Within) and source_of(node) in fresh, ends)
        for node, ends in zip(nodes, _ends(nodes), strict=True)
    )
    first = sum(node.name not in of_devices for node in nodes)
    return Plan(planned[:first], planned[first:])


def _none(_: Node) -> bool:
    return False


def _as_clamps(graph: Sequence[Node], spec: HardwareSpec, summed: Container[str], merged: MergedClamps) -> list[Node]:
    """Crossbars as word lines, amplifier and swing; all clamps as `within`, each with those that merge into it."""
    swing_V = amplifier_limits_V(spec.periphery)
    v_read_V = spec.device.v_read_V if spec.device.limit_read_voltage else math.inf
    rectified = set(merged.rectifiers.values())
    on_wires = voltages(graph, summed)

    def rectified_V(name: str) -> tuple[float, float]:
        """What a ReLU leaves: a circuit does not reach 0 V as a number does."""
        return (relu_floor_V(spec.periphery) if name in on_wires else 0.0), math.inf

    def within(name: str, value: object, interval: tuple[float, float]) -> Node:
        if name in rectified:
            interval = _in_common(interval, rectified_V(name))
        if name in merged.drives_word_lines:
            interval = _in_common(interval, (-v_read_V, v_read_V))
        return _within(name, value, *interval)

    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Crossbar):
            lines, amplifier = f"{node.name}.word_lines", f"{node.name}.amplifier"
            high_V = math.inf if node.name in merged.within_read else v_read_V
            nodes.append(_within(lines, node.source, -high_V, high_V))
            nodes.append(Amplifier(amplifier, Ref(lines), node.layer))
            nodes.append(within(node.name, Ref(amplifier), ANY_V if node.layer in summed else swing_V))
        elif isinstance(node, ClampSwing):
            nodes.append(within(node.name, node.source, swing_V))
        elif isinstance(node, OpNode) and node.name in merged.rectifiers:
            nodes.append(_within(node.name, node.args[0], *ANY_V))
        elif isinstance(node, OpNode) and rectifies(node):
            nodes.append(within(node.name, node.args[0], rectified_V(node.name)))
        else:
            nodes.append(node)
    return nodes


def _within(name: str, value: object, low: float, high: float) -> Node:
    """The node that holds a value within an interval; one that passes it on if that has no end."""
    if (low, high) == ANY_V:
        return OpNode(name, "identity", (value,))
    return Within(name, value, low, high)


def _in_common(first: tuple[float, float], then: tuple[float, float]) -> tuple[float, float]:
    """One interval to clamp to in place of two: the second clamp's values of the ends of the first."""
    low, high = (min(max(end, then[0]), then[1]) for end in first)
    return low, high


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
    readers = read_counts(nodes)
    names: set[str] = set()
    for node in nodes:
        if readers[node.name] == 1 and (_makes_new(node) or (picks_values(node) and source_of(node) in names)):
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
