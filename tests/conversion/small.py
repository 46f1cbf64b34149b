"""Small networks on their way through conversion, up to the pass that a test is about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx, nn

from hrat.circuit import ModelCircuit
from hrat.conversion.batch_norms import fuse_batch_norms, wrap_digital_batch_norms
from hrat.conversion.blocks import Block
from hrat.conversion.borders import insert_borders
from hrat.conversion.build import LayerBuilder
from hrat.conversion.clamp_fusion import fuse_clamps
from hrat.conversion.domains import Domains, mark_domains
from hrat.conversion.emit import emit_circuit
from hrat.conversion.network import Network
from hrat.conversion.scales import ScaleMode, Scales
from hrat.conversion.signals import Signals, unite_signals
from hrat.conversion.trace import trace
from hrat.nn import LayerRow, NoiseSource
from hrat.spec import HardwareSpec

__all__ = ["SPEC", "Small", "kind"]

SPEC = HardwareSpec().replace({"device.v_read_V": 0.3, "periphery.v_swing_V": 0.8, "array.rows": 8})


def kind(network: Network, node: fx.Node) -> str:
    """What a node is, in a word: the module's class, the operation's name, or what fx calls it."""
    module, op = network.module_at(node), network.op(node)
    return type(module).__name__ if module is not None else op.name if op is not None else node.op


@dataclass
class Small:
    """One network; each method does the next pass, after those in front of it."""

    model: nn.Module
    x: Any
    spec: HardwareSpec = SPEC
    mode: ScaleMode = "signal"
    network: Network = field(init=False)

    def __post_init__(self) -> None:
        args = self.x if isinstance(self.x, tuple) else (self.x,)
        self.network = Network(trace(self.model.eval(), args, {}), self.spec)

    def node(self, name: str) -> fx.Node:
        """The node of a name."""
        return next(node for node in self.network.graph.nodes if node.name == name)

    def kinds(self) -> list[str]:
        """What the nodes are, in their order, scales left out."""
        words = [kind(self.network, node) for node in self.network.graph.nodes]
        return [word for word in words if word not in ("Scale", "placeholder", "output")]

    def values(self) -> Tensor:
        """What the graph computes of the example in eval mode, as it stands."""
        self.network.graph.lint()
        self.network.module.recompile()
        out: Tensor = self.network.module.eval()(*(self.x if isinstance(self.x, tuple) else (self.x,)))
        return out

    def blocks(self) -> list[Block]:
        self._blocks = fuse_batch_norms(self.network)
        return self._blocks

    def domains(self) -> Domains:
        self._domains = mark_domains(self.network, self.blocks())
        return self._domains

    def borders(self) -> Domains:
        domains = self.domains()
        insert_borders(self.network, domains)
        return domains

    def signals(self) -> Signals:
        domains = self.borders()
        self._signals = unite_signals(self.network, domains, self._blocks)
        return self._signals

    def scales(self, output_peak: float = 10.0) -> Scales:
        signals = self.signals()
        return Scales(self.network, signals, self._blocks, mode=self.mode, output_peak=output_peak)

    def built(self) -> list[LayerRow]:
        rows = LayerBuilder(self.network, self.scales(), "one_pass", NoiseSource()).build(self._blocks)
        wrap_digital_batch_norms(self.network)
        self.network.drop_unused()
        return rows

    def emitted(self) -> ModelCircuit:
        self.built()
        return emit_circuit(self.network)

    def fused(self) -> ModelCircuit:
        return fuse_clamps(self.network, self.emitted())
