"""Pass 5: linear operations and recurrences become layers on crossbars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from torch import fx, nn
from torch.nn.modules.conv import _ConvNd

from hrat.conversion.blocks import Block, geometry_of
from hrat.conversion.network import Network
from hrat.conversion.scales import Scales
from hrat.encoding import tile_grid
from hrat.nn import (
    BatchNormForm,
    CrossbarLayer,
    CrossbarRecurrence,
    GradientStop,
    InputDac,
    LayerRow,
    NoiseSource,
    OutputAdc,
    OutputRescale,
    Recurrence,
    Scale,
    SharedError,
    TurnedLinear,
)

__all__ = ["LayerBuilder"]


@dataclass(frozen=True)
class LayerBuilder:
    """Puts layers in the place of the modules that a network has for its linear operations."""

    network: Network
    scales: Scales
    form: BatchNormForm
    noise: NoiseSource

    def build(self, blocks: list[Block]) -> list[LayerRow]:
        """Replace all linear operations, and give converters and output rescaling their scales.

        Returns:
            A row of the report for each layer, those of recurrences last.
        """
        for node in self.network.calls_of(OutputRescale, OutputAdc, InputDac, GradientStop):
            signal = node if isinstance(self.network.module_at(node), InputDac) else node.args[0]
            node.args = (*node.args, self.scales.node_of(cast(fx.Node, signal)))
        rows = self._linear_operations(blocks) + self._recurrences()
        marks = [block.normalised for block in blocks if block.normalised is not None]
        for node in (*self.scales.signals.factors, *marks):  # every reader has its scale: on the wire nothing is done
            node.replace_all_uses_with(node.all_input_nodes[0])
            self.network.graph.erase_node(node)
        return rows

    def _linear_operations(self, blocks: list[Block]) -> list[LayerRow]:
        calls: dict[tuple[Any, Any, Any], list[Block]] = {}
        for block in blocks:
            calls.setdefault(block.key, []).append(block)
        rows: list[LayerRow] = []
        built: dict[str, CrossbarLayer] = {}
        for same in calls.values():
            first = same[0]
            scales = [(self.scales.entering(block), self.scales.node_of(block.node)) for block in same]
            name = _free_name(str(first.node.target), built)
            layer = built[name] = self._layer(first)
            source = cast(fx.Node, first.node.args[0])
            names = self.scales.name_of(source), self.scales.name_of(first.node)
            rows.append(self._row(name, layer, first, names, _kind(first.module), len(same)))
            error = self._shared_error(first.node.name, layer, scales[0]) if len(same) > 1 else None
            for block, (scale_in, scale_out) in zip(same, scales, strict=True):
                block.node.args = (block.node.args[0], scale_in, scale_out, *([error] if error else []))
                block.node.target = name
                self._give_normalised(block, name)
        for name, layer in built.items():
            self.network.module.add_submodule(name, layer)
        return rows

    def _give_normalised(self, block: Block, name: str) -> None:
        """A batch norm from further in front takes its statistics there, and poolings on the way see its gains."""
        if block.normalised is None or block.before is None:
            return
        is_voltage = block.normalised in self.scales.signals.parent
        alpha = self.scales.node_of(block.normalised) if is_voltage else None
        block.node.kwargs = {"normalised": (block.normalised, alpha)}
        for node in self.network.graph.nodes:
            if node.op == "get_attr" and node.target == f"{block.before.target}.weight":
                node.target = f"{name}.batch_norm_before.weight"

    def _recurrences(self) -> list[LayerRow]:
        """The states' products go onto crossbars; their scales are those of the state and of its product."""
        calls: dict[str, list[fx.Node]] = {}
        for node in self.network.recurrences():
            calls.setdefault(str(node.target), []).append(node)
        return [self._recurrence(target, nodes) for target, nodes in calls.items()]

    def _recurrence(self, target: str, nodes: list[fx.Node]) -> LayerRow:
        module, spec = self.network.module, self.network.spec
        loop = module.get_submodule(target)
        assert isinstance(loop, Recurrence)
        block = Block(nodes[0], loop.product)
        layer = self._layer(block)
        name = target.replace(".", "_")
        while f"{name}_state" in self.scales.made:
            name += "_"
        peaks = max(node.meta["state_peak"] for node in nodes), max(node.meta["product_peak"] for node in nodes)
        scales = (
            self.scales.new(f"{name}_state", Scale(spec.device.v_read_V / peaks[0])),
            self.scales.new(f"{name}_product", Scale(spec.periphery.v_swing_V / peaks[1])),
        )
        module.add_submodule(target, CrossbarRecurrence(loop, layer, spec))
        error = self._shared_error(nodes[0].name, layer, scales) if len(nodes) > 1 else None
        for node in nodes:
            states = loop.at_start(tuple(node.args[1:]))  # type: ignore[arg-type]
            node.args = (node.args[0], states, *scales, *([error] if error else []))
        names = (f"{name}_state", f"{name}_product")
        return self._row(f"{target}.product", layer, block, names, f"{loop.kind} state", len(nodes))

    def _layer(self, block: Block) -> CrossbarLayer:
        module = block.module
        assert isinstance(module, nn.Linear | _ConvNd)
        submodule = self.network.module.get_submodule
        return CrossbarLayer(
            geometry_of(module, block.node),
            cast(nn.Parameter, module.weight),
            cast("nn.Parameter | None", module.bias),
            self.network.spec,
            batch_norm=submodule(str(block.after.target)) if block.after else None,  # type: ignore[arg-type]
            batch_norm_before=submodule(str(block.before.target)) if block.before else None,  # type: ignore[arg-type]
            form=self.form,
            noise=self.noise,
            turned=isinstance(module, TurnedLinear),
        )

    def _shared_error(self, name: str, layer: CrossbarLayer, scales: tuple[fx.Node, fx.Node]) -> fx.Node:
        """A layer that is called several times is one set of devices: its error is drawn once."""
        graph = self.network.graph
        error = self.network.free_name(f"{name}_error")
        self.network.module.add_submodule(error, SharedError(layer))
        last_scale = max(scales, key=list(graph.nodes).index)
        with graph.inserting_after(last_scale):
            return graph.call_module(error, scales)

    def _row(
        self, name: str, layer: CrossbarLayer, block: Block, scales: tuple[str, str], kind: str, calls: int
    ) -> LayerRow:
        shape, spec = layer.geometry.matrix_shape, self.network.spec
        fused = [f"{n.target} (in front)" for n in (block.before,) if n] + [str(n.target) for n in (block.after,) if n]
        bits = f"{spec.periphery.tile_adc_bits} bits" if spec.periphery.limit_tile_adc else "exact"
        return LayerRow(
            name=name,
            kind=kind,
            groups=shape[0],
            rows=shape[1],
            cols=shape[2],
            tiles=len(tile_grid(shape, spec.array)),
            batch_norm=", ".join(fused),
            bias=layer.bias is not None or layer.batch_norm is not None or layer.batch_norm_before is not None,
            scale_in=scales[0],
            scale_out=scales[1],
            calls=calls,
            devices=layer.readout.n_devices,
            tile_adc_bits="" if layer.readout.tiles is None else bits,
        )


def _kind(module: nn.Module) -> str:
    """What a layer was in the network, in a word."""
    return "Linear" if isinstance(module, TurnedLinear) else type(module).__name__


def _free_name(wanted: str, built: dict[str, CrossbarLayer]) -> str:
    """A name for a layer that is not taken: one linear module with several batch norms becomes several layers."""
    name, number = wanted, 2
    while name in built:
        name, number = f"{wanted}_copy{number}", number + 1
    return name
