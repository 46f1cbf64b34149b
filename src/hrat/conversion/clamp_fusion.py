"""The last pass: layers apply the limits around them at once, where `hrat.circuit.merging` says that they may.

A layer takes over a ReLU that directly follows it, and the read threshold where only crossbars read what it yields: one
clamp in place of three, to the same values.
"""

from __future__ import annotations

from dataclasses import replace

from hrat.circuit import Crossbar, Dac, ModelCircuit, Node, OpNode, Ref, merged_clamps, rectifies, voltages
from hrat.conversion.network import Network
from hrat.nn import CrossbarLayer, Rectifier, is_dropout

__all__ = ["fuse_clamps"]


def fuse_clamps(network: Network, circuit: ModelCircuit) -> ModelCircuit:
    """Set keywords of each layer's call for the limits behind and in front of it that the layer applies itself.

    `rectifies`: the ReLU behind it, which leaves the network's graph. `drives_word_lines`: the read threshold of the
    crossbars that read its output. `within_read`: its input is held within the read threshold already. `digital`: what
    the DAC in front of it reads.

    Returns:
        The circuit with the same parts; a ReLU that a layer took over stands behind that layer and has its name.
    """
    by_name = {node.name: node for node in network.graph.nodes}
    dropouts = (node for node in by_name.values() if is_dropout(network.module_at(node)))
    rescaled = {source.name for node in dropouts for source in node.all_input_nodes}
    merged = merged_clamps(circuit.nodes, lambda node: isinstance(node, Crossbar), rescaled=rescaled)
    nodes = {node.name: node for node in circuit.nodes}
    taken = {name: layer for name, layer in merged.rectifiers.items() if layer in nodes[name].inputs()}
    for name, layer in taken.items():
        by_name[name].replace_all_uses_with(by_name[layer])
        network.graph.erase_node(by_name[name])
    for layer in taken.values():
        by_name[layer].update_kwarg("rectifies", True)
    for node in circuit.nodes:
        if not isinstance(node, Crossbar):
            continue
        call = by_name[node.name]
        (source,) = (by_name[name] for name in node.inputs())
        if isinstance(nodes[source.name], Dac):
            call.update_kwarg("digital", source.args[0])
        if node.name in merged.drives_word_lines:
            call.update_kwarg("drives_word_lines", True)
        if node.name in merged.within_read:
            call.update_kwarg("within_read", True)
    _rectify_on_wires(network, circuit, {node.name for node in circuit.nodes if rectifies(node)} - taken.keys())
    return replace(circuit, nodes=_behind_their_layers(circuit.nodes, taken))


def _rectify_on_wires(network: Network, circuit: ModelCircuit, names: set[str]) -> None:
    """Put an amplifier with a single supply in the place of each of the named ReLUs that works on voltages."""
    summed = {
        call.layer
        for call in circuit.calls
        if isinstance(module := network.module.get_submodule(call.layer), CrossbarLayer) and module.readout.tiles
    }
    on_wires = voltages(circuit.nodes, summed)
    for node in [node for node in network.graph.nodes if node.name in names and node.name in on_wires]:
        name = f"{node.name}_rectifier"
        network.module.add_submodule(name, Rectifier(network.spec))
        with network.graph.inserting_before(node):
            rectifier = network.graph.call_module(name, (node.args[0],))
        node.replace_all_uses_with(rectifier)
        network.graph.erase_node(node)


def _behind_their_layers(nodes: tuple[Node, ...], taken: dict[str, str]) -> tuple[Node, ...]:
    """The nodes with each rectifier directly behind the layer that took it over."""
    renamed = {name: f"{layer}.relu" for name, layer in taken.items()}
    taking = set(taken.values())
    placed: list[Node] = []
    for node in nodes:
        if node.name in taken:
            continue
        placed.append(node.reading(renamed))
        if node.name in taking:
            placed.append(OpNode(f"{node.name}.relu", "relu", (Ref(node.name),)))
    return tuple(placed)
