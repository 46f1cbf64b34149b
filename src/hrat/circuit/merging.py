"""Which limits of a signal one part of the circuit can apply at once: decided here, for training and simulation alike.

Behind an amplifier come its swing, perhaps a ReLU, perhaps a pooling, and the read threshold of the next crossbar. All
of these only select or hold values, so that they commute:

    clamp_read(max_pool(relu(clamp_swing(v)))) = max_pool(clamp(v, 0, min(v_swing, v_read)))

and where nothing else reads the signal in between, whoever yields it may apply all of them in one go, which saves a
reading and a copy of the signal for each. Outputs of the network are the same to the last bit. What limits the volts
have is of no matter here: the decision holds for every hardware, and with any restriction switched off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass

from hrat.circuit.nodes import ClampSwing, Crossbar, Dac, Node, OpNode, Ref
from hrat.circuit.operations import OPS

__all__ = [
    "MergedClamps",
    "holds_values",
    "merged_clamps",
    "picks_values",
    "read_counts",
    "reads_values",
    "rectifies",
    "source_of",
    "voltages",
]


@dataclass(frozen=True)
class MergedClamps:
    """Clamps that another part of the circuit applies as well, by the names of nodes."""

    rectifiers: dict[str, str]
    """Rectifiers, each with the node in front that holds values where the rectifier would."""
    drives_word_lines: frozenset[str]
    """Nodes that hold their result within the read threshold too, since nothing but crossbars reads it."""
    within_read: frozenset[str]
    """Crossbars whose voltages are within the read threshold already."""


def merged_clamps(
    graph: Sequence[Node], into: Callable[[Node], bool], *, rescaled: Container[str] = ()
) -> MergedClamps:
    """Decide which clamps merge.

    Args:
        graph: the nodes, each behind those that it reads.
        into: whether a node can apply further limits to its result.
        rescaled: values that their readers see through something which commutes with no clamp and is no node, such as
            dropout, which scales what it keeps.
    """
    signals = _Signals(graph, into, rescaled)
    rectifiers: dict[str, str] = {}
    for node in graph:
        front = signals.in_front_of_rectifier(node) if rectifies(node) else None
        if front is not None:
            rectifiers[node.name] = rectifiers.get(front, front)
    driving = frozenset(node.name for node in graph if into(node) and signals.drives_word_lines(node.name))
    within = (node.name for node in graph if isinstance(node, Crossbar) and signals.is_within_read(node, driving))
    return MergedClamps(rectifiers, driving, frozenset(within))


class _Signals:
    """Ways of signals through a graph, past what selects or holds values."""

    def __init__(self, graph: Sequence[Node], into: Callable[[Node], bool], rescaled: Container[str]) -> None:
        self.into = into
        self.rescaled = rescaled
        self.nodes = {node.name: node for node in graph}
        self.reads = Counter(name for node in graph for name in node.inputs())
        self.readers: dict[str, list[Node]] = {node.name: [] for node in graph}
        for node in graph:
            if reads_values(node):
                for name in dict.fromkeys(node.inputs()):
                    self.readers[name].append(node)

    def in_front_of_rectifier(self, node: Node) -> str | None:
        """The node that can rectify in the place of a rectifier, if nothing else reads the signal in between."""
        name = source_of(node)
        while name is not None and self.reads[name] == 1 and name not in self.rescaled:
            front = self.nodes[name]
            if self.into(front):
                return name
            name = source_of(front) if picks_values(front) else None
        return None

    def drives_word_lines(self, name: str) -> bool:
        """Whether crossbars read a signal, selected and rectified or not, and nothing else does."""
        readers = self.readers[name]
        return bool(readers) and name not in self.rescaled and all(self._is_word_line(node, name) for node in readers)

    def _is_word_line(self, reader: Node, name: str) -> bool:
        if isinstance(reader, Crossbar):
            return True
        passes = (rectifies(reader) or picks_values(reader)) and source_of(reader) == name
        return passes and self.drives_word_lines(reader.name)

    def is_within_read(self, crossbar: Crossbar, driving: Container[str]) -> bool:
        """Whether what yields a crossbar's voltages holds them within the read threshold, as every input DAC does."""
        name: str | None = crossbar.source.name
        while name is not None:
            node = self.nodes[name]
            if self.into(node) or isinstance(node, Dac):
                return isinstance(node, Dac) or name in driving
            name = source_of(node) if rectifies(node) or picks_values(node) else None
        return False


def voltages(graph: Iterable[Node], summed: Container[str] = ()) -> set[str]:
    """Names of the values that are voltages on wires; all others are digital numbers.

    Args:
        graph: the nodes, each behind those that it reads.
        summed: layers whose tiles have ADCs of their own, which yield digital sums.
    """
    names: set[str] = set()
    for node in graph:
        if (
            isinstance(node, Dac | ClampSwing)
            or (isinstance(node, Crossbar) and node.layer not in summed)
            or (isinstance(node, OpNode) and reads_values(node) and not names.isdisjoint(node.inputs()))
        ):
            names.add(node.name)
    return names


def holds_values(node: Node) -> bool:
    """Whether a node clamps what it yields: an amplifier with its swing, or a rectifier."""
    return isinstance(node, Crossbar | ClampSwing) or rectifies(node)


def rectifies(node: Node) -> bool:
    """Whether a node is a clamp to `[0, infinity)`."""
    return isinstance(node, OpNode) and OPS[node.operation].rectifies


def picks_values(node: Node) -> bool:
    """Whether each value of the result is one of the input's, the same one with or without a clamp in front."""
    return isinstance(node, OpNode) and OPS[node.operation].picks(node.args, dict(node.kwargs))


def source_of(node: Node) -> str | None:
    """The value that stands first among a node's arguments."""
    source = getattr(node, "source", None)
    return source.name if isinstance(source, Ref) else None


def read_counts(nodes: Iterable[Node]) -> Counter[str]:
    """How often each value is read, by what looks at more than its size."""
    return Counter(name for node in nodes if reads_values(node) for name in node.inputs())


def reads_values(node: Node) -> bool:
    """Whether a node looks at the values of its arguments, not at their sizes alone."""
    return not isinstance(node, OpNode) or OPS[node.operation].reads_values
