"""Pass 3: converters where values pass between voltages and digital numbers, and the swing of summing amplifiers."""

from __future__ import annotations

from torch import fx

from hrat.conversion.domains import Domains
from hrat.conversion.network import Network
from hrat.conversion.trace import LINEAR_MODULES
from hrat.nn import GradientStop, InputDac, OutputAdc, OutputRescale, SwingClamp

__all__ = ["insert_borders"]


def insert_borders(network: Network, domains: Domains) -> None:
    """DACs where a crossbar reads a digital value, ADCs in front of digital operations, rescaling at the outputs."""
    borders = _Borders(network, domains)
    for node in list(network.graph.nodes):
        op = network.op(node)
        if isinstance(network.module_at(node), LINEAR_MODULES):
            borders.in_front_of_crossbar(node)
        elif op is not None and op.name == "detach" and node in domains.analog:
            borders.stop_gradient(node)
        elif node not in domains.analog:
            borders.in_front_of_digital(node)
        elif op is not None and op.amplifier:
            borders.behind_amplifier(node)


class _Borders:
    """One converter for each signal, however many read it."""

    def __init__(self, network: Network, domains: Domains) -> None:
        self.network = network
        self.domains = domains
        self.dacs: dict[fx.Node, fx.Node] = {}
        self.adcs: dict[fx.Node, fx.Node] = {}
        self.rescaled: dict[fx.Node, fx.Node] = {}

    def in_front_of_crossbar(self, node: fx.Node) -> None:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        if self.domains.is_voltage(source):
            return
        if source in self.domains.summed:
            source = self._rescaled(source)
        if source not in self.dacs:
            name = f"{source.name}_dac"
            self.dacs[source] = self.network.insert_behind(source, name, InputDac(self.network.spec))
            self.domains.analog.add(self.dacs[source])
        node.args = (self.dacs[source],)

    def in_front_of_digital(self, node: fx.Node) -> None:
        is_output = node.op == "output"
        for source in node.all_input_nodes:
            if source not in self.domains.analog or not (is_output or self.network.reads_values(node)):
                continue
            needs_no_adc = is_output or source in self.domains.summed
            node.replace_input_with(source, self._rescaled(source) if needs_no_adc else self._adc(source))

    def behind_amplifier(self, node: fx.Node) -> None:
        users = list(node.users)
        clamped = self.network.insert_behind(node, f"{node.name}_swing", SwingClamp(self.network.spec))
        self.domains.analog.add(clamped)
        for user in users:
            user.replace_input_with(node, clamped)

    def stop_gradient(self, node: fx.Node) -> None:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        stop = self.network.insert_behind(source, node.name, GradientStop())
        self.domains.analog.add(stop)
        node.replace_all_uses_with(stop)
        self.network.graph.erase_node(node)

    def _adc(self, source: fx.Node) -> fx.Node:
        if source not in self.adcs:
            name = f"{source.name}_adc"
            self.adcs[source] = self.network.insert_behind(source, name, OutputAdc(self.network.spec))
        return self.adcs[source]

    def _rescaled(self, source: fx.Node) -> fx.Node:
        """The digital value of a signal that passes no ADC here."""
        if source not in self.rescaled:
            self.rescaled[source] = self.network.insert_behind(source, f"{source.name}_reader", OutputRescale())
        return self.rescaled[source]
