"""Which values share a scale, and by which factors their scales differ.

A wire that carries `x` by the scale alpha carries `c x` by the scale alpha / c: a product with a positive number of the
network needs no hardware, but ties the scales of what it reads and of what it yields.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import fx

from hrat.conversion.blocks import Block
from hrat.conversion.network import Network
from hrat.nn import GradientStop, SwingClamp

if TYPE_CHECKING:
    from hrat.conversion.domains import Domains

__all__ = ["Signals", "factor_of", "unite_signals"]

SAME = 1e-9
"""Ratios that differ by less than this part are one."""


@dataclass
class Signals:
    """Which values share a scale, but for a factor: union-find over nodes."""

    parent: dict[fx.Node, fx.Node] = field(default_factory=dict)
    ratio_to_parent: dict[fx.Node, float] = field(default_factory=dict)
    factors: dict[fx.Node, float] = field(default_factory=dict)
    """Products with a positive number that need no hardware."""
    is_consistent: bool = True
    """Whether no signal has to have two scales at once."""

    def find(self, node: fx.Node) -> fx.Node:
        """The node that stands for all that share a scale with this one."""
        return self._find(node)[0]

    def ratio(self, node: fx.Node) -> float:
        """The scale of a value, in units of that of the node which stands for it."""
        return self._find(node)[1]

    def unite(self, a: fx.Node, b: fx.Node, ratio: float = 1.0) -> None:
        """Let two values, and all that share a scale with either, share one: `b` that of `a` times `ratio`."""
        # The earlier signal names the group.
        (first, of_a), (second, of_b) = self._find(a), self._find(b)
        between = of_a * ratio / of_b
        if first is not second:
            self.parent[second], self.ratio_to_parent[second] = first, between
        elif not math.isclose(between, 1.0, rel_tol=SAME):
            self.is_consistent = False

    def _find(self, node: fx.Node) -> tuple[fx.Node, float]:
        root, ratio = self.parent.setdefault(node, node), self.ratio_to_parent.setdefault(node, 1.0)
        while root is not self.parent[root]:
            ratio *= self.ratio_to_parent[root]
            root = self.parent[root]
        self.parent[node], self.ratio_to_parent[node] = root, ratio
        return root, ratio


def factor_of(network: Network, node: fx.Node) -> float | None:
    """The number by which a node multiplies a signal, if it does that and no more."""
    op = network.op(node)
    if op is None or op.name not in ("mul", "truediv") or not node.meta["seen"].is_tensor:
        return None
    operands = [*node.args, *node.kwargs.values()]
    numbers = [value for value in operands if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(operands) != 2 or len(numbers) != 1 or len(node.all_input_nodes) != 1:
        return None
    (number,) = numbers
    if op.name == "mul":
        return float(number)
    is_divisor = operands[1] is number and number != 0
    return 1 / number if is_divisor else None


def unite_signals(network: Network, domains: Domains, blocks: list[Block]) -> Signals:
    """Which values share a scale: those that an analog operation joins, and those of all calls of one layer."""
    signals = Signals(factors=domains.factors)
    for node in network.graph.nodes:
        op = network.op(node)
        if node in domains.factors:
            signals.unite(node.all_input_nodes[0], node, 1 / domains.factors[node])
        elif node in domains.analog and op is not None:
            for source in network.signal_args(node, op):
                signals.unite(source, node)
        elif isinstance(network.module_at(node), SwingClamp | GradientStop):
            signals.unite(node.args[0], node)
    shared: dict[tuple[Any, Any, Any], Block] = {}
    for block in blocks:
        first = shared.setdefault(block.key, block)
        if first is not block:
            signals.unite(first.node, block.node)
            signals.unite(first.node.args[0], block.node.args[0])  # type: ignore[arg-type]
    return signals
