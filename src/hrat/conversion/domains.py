"""Pass 2: which values are voltages, which are digital numbers, and why."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import fx, nn

from hrat.circuit import OPS, Op
from hrat.conversion.blocks import Block, behind_crossbars, geometry_of
from hrat.conversion.network import Network
from hrat.conversion.norm_paths import operation_behind
from hrat.conversion.signals import factor_of, unite_signals
from hrat.conversion.trace import LINEAR_MODULES
from hrat.encoding import LayerReadout
from hrat.nn import DigitalOperationRow, InputDac, OutputAdc, Recurrence

__all__ = ["Domains", "digital_rows", "mark_domains"]


@dataclass
class Domains:
    """Which nodes yield voltages and which compute digitally; all others yield digital data without arithmetic."""

    analog: set[fx.Node] = field(default_factory=set)
    """Values with a scale in volts."""
    summed: set[fx.Node] = field(default_factory=set)
    """Layers whose tiles have ADCs of their own: what leaves them has a scale in volts, but is a digital sum."""
    digital: dict[fx.Node, str] = field(default_factory=dict)
    """Digital operations -> the reason."""
    factors: dict[fx.Node, float] = field(default_factory=dict)
    """Analog products with a positive number, which need no hardware: the scale of the signal takes them."""

    def is_voltage(self, node: fx.Node) -> bool:
        """Whether a wire carries the value."""
        return node in self.analog and node not in self.summed


def mark_domains(network: Network, blocks: list[Block]) -> Domains:
    """Signals stay analog as long as hardware without converters can work on them."""
    _alphas_to_factors(network)
    factors = {n: factor for n in network.graph.nodes if (factor := factor_of(network, n)) is not None and factor > 0}
    domains = _marked(network, factors)
    if unite_signals(network, domains, blocks).is_consistent:
        return domains
    # Somewhere a signal meets a multiple of itself, and both would have to have the same scale: one product after the
    # other becomes analog, as long as that does not happen.
    chosen: dict[fx.Node, float] = {}
    for node, factor in factors.items():
        domains = _marked(network, {**chosen, node: factor})
        if unite_signals(network, domains, blocks).is_consistent:
            chosen[node] = factor
    return _marked(network, chosen)


def _alphas_to_factors(network: Network) -> None:
    """`torch.add(x, y, alpha=c)` is `x + c y`: a product and a sum, each of which may be analog."""
    for node in list(network.graph.nodes):
        op, alpha = network.op(node), node.kwargs.get("alpha", 1)
        if op is None or op.signals != "two" or alpha == 1 or len(node.all_input_nodes) != len(node.args):
            continue
        added = node.all_input_nodes[-1]
        with network.graph.inserting_before(node):
            product = network.graph.call_function(OPS["mul"].function, (added, alpha))
        seen = added.meta["seen"]
        product.meta = {**added.meta, "seen": replace(seen, peak=abs(alpha) * seen.peak)}
        node.args, node.kwargs = (node.args[0], product), {}


def _marked(network: Network, factors: dict[fx.Node, float]) -> Domains:
    """Go through the graph once; products that have no part in `factors` are digital."""
    domains = Domains()
    behind = behind_crossbars(network)
    for node in network.graph.nodes:
        module, op = network.module_at(node), network.op(node)
        if isinstance(module, LINEAR_MODULES):
            domains.analog.add(node)
            if LayerReadout.of(geometry_of(module, node), network.spec).tiles is not None:
                domains.summed.add(node)
        elif node in factors and domains.is_voltage(node.all_input_nodes[0]):
            domains.analog.add(node)
            domains.factors[node] = factors[node]
        elif op is not None and _stays_analog(network, domains, node, op):
            domains.analog.add(node)
        elif isinstance(module, Recurrence) or _computes(network, domains, node, op):
            why = _why_no_factor(network, domains, node) or _why_digital(network, node, module, op, node in behind)
            domains.digital[node] = why
    return domains


def digital_rows(network: Network, domains: Domains) -> list[DigitalOperationRow]:
    """The digital operations for the report, with the converters that stand beside them."""
    periphery = network.spec.periphery
    adc_bits = periphery.adc_bits if periphery.limit_adc else None
    dac_bits = periphery.input_dac_bits if periphery.limit_input_dac else None
    rows = []
    for node, why in domains.digital.items():
        module, op = network.module_at(node), network.op(node)
        steps = isinstance(module, Recurrence)
        name = f"{module.kind} gates" if isinstance(module, Recurrence) else op.name if op else "batch_norm"
        reads = any(isinstance(network.module_at(source), OutputAdc) for source in node.all_input_nodes)
        readers = _readers_behind_layout(network, domains, node)
        drives = any(isinstance(network.module_at(user), InputDac) for user in readers)
        path = list(node.meta.get("nn_module_stack", {}).values())
        place = f"{path[-1][0]}/{node.name}" if path and path[-1][0] else node.name
        rows.append(
            DigitalOperationRow(
                place, name, why, adc_bits if reads or steps else None, dac_bits if drives or steps else None
            )
        )
    return rows


def _stays_analog(network: Network, domains: Domains, node: fx.Node, op: Op) -> bool:
    if not op.analog or not node.meta["seen"].is_tensor:
        return False
    if op.casts and not _keeps_values(node):
        return False
    if op.name == "prelu" and not _is_constant(_slopes(node)):
        return False
    if op.name == "pad" and (node.kwargs.get("value") or (node.args[3:] and node.args[3])):
        return False
    if op.signals == "two" and len(node.args) < 2:
        return False
    return all(isinstance(arg, fx.Node) and domains.is_voltage(arg) for arg in network.signal_args(node, op))


def _keeps_values(node: fx.Node) -> bool:
    """Whether a change of number type rounds nothing: volts would be rounded elsewhere than numbers are."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    seen, before = node.meta["seen"], source.meta["seen"]
    return bool(seen.is_real and seen.step <= before.step)


def _slopes(node: fx.Node) -> fx.Node:
    slopes = node.args[1] if len(node.args) > 1 else node.kwargs["weight"]
    assert isinstance(slopes, fx.Node)
    return slopes


def _is_constant(node: fx.Node) -> bool:
    """Whether a value is one of the network's numbers, or computed from these alone."""
    sources = node.all_input_nodes
    of_numbers = node.op == "call_function" and bool(sources)
    return node.op == "get_attr" or (of_numbers and all(_is_constant(source) for source in sources))


def _computes(network: Network, domains: Domains, node: fx.Node, op: Op | None) -> bool:
    """Whether a digital node is arithmetic on signals: no layout of what is digital already, and no constant."""
    if node.op not in ("call_function", "call_module") or not network.reads_values(node):
        return False
    sources = [source for source in node.all_input_nodes if source.op != "get_attr"]
    if op is not None and op.analog and op.signals == "first" and not op.is_arithmetic:
        return any(domains.is_voltage(source) for source in sources)
    return bool(sources)


def _why_digital(network: Network, node: fx.Node, module: nn.Module | None, op: Op | None, is_behind: bool) -> str:
    if not is_behind:
        why = _why_digital(network, node, module, op, True) if op is not None else "a DAC converts what it normalises"
        return f"in front of the first crossbar; {why}"
    if isinstance(module, Recurrence):
        return "gates multiply signals; the state passes a DAC and its product an ADC at every step"
    if op is None:
        return _why_batch_norm_stays(network, node)
    if not op.analog:
        return op.why
    if op.casts and not _keeps_values(node):
        return "rounds to a coarser number type"
    if op.name == "prelu" and not _is_constant(_slopes(node)):
        return "its slopes are signals"
    if op.signals == "first":
        return "what it reads is digital"
    return "one of its operands is digital or constant"


def _why_no_factor(network: Network, domains: Domains, node: fx.Node) -> str:
    """Why a product of a voltage with a number is digital; empty if it is none."""
    factor = factor_of(network, node)
    if factor is None or not domains.is_voltage(node.all_input_nodes[0]):
        return ""
    if factor > 0:
        return "what it reads and what it yields meet in one signal, which has one scale"
    return "the number is not positive, as scales are"


def _why_batch_norm_stays(network: Network, node: fx.Node) -> str:
    """Why no crossbar takes a batch norm."""
    source, readers = node.args[0], list(node.users)
    assert isinstance(source, fx.Node)
    operation = operation_behind(network, node)
    if operation is not None:
        return f"the zero padding or the shape of '{operation.target}' behind it forbids fusing"
    if isinstance(network.module_at(source), LINEAR_MODULES):
        return f"the output of '{source.target}' is read elsewhere too, or normalised in another dimension"
    return f"stands between {network.word(source)} and {', '.join(map(network.word, readers))}, beside no crossbar"


def _readers_behind_layout(network: Network, domains: Domains, node: fx.Node) -> list[fx.Node]:
    """Nodes that read a digital value, directly or through changes of layout."""
    readers: list[fx.Node] = []
    for user in node.users:
        op = network.op(user)
        layout = op is not None and op.analog and op.signals == "first" and user not in domains.digital
        readers += _readers_behind_layout(network, domains, user) if layout else [user]
    return readers
