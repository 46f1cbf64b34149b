"""Rewriting the graph of a network: steps 2 to 5 of `hrat.nn.convert`."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from hrat.circuit import OPS, Op, op_of
from hrat.encoding import LayerReadout, tile_grid
from hrat.errors import ConversionError
from hrat.nn.batch_norm import BatchNormForm
from hrat.nn.blocks import Block, Signals, geometry_of
from hrat.nn.crossbar_layer import CrossbarLayer
from hrat.nn.device_errors import NoiseSource
from hrat.nn.prepared import PreparedModel, crossbar_layers
from hrat.nn.recurrent import CrossbarRecurrence, Recurrence
from hrat.nn.report import ConversionReport, IslandRow, LayerRow
from hrat.nn.signals import InputDac, IslandAdc, IslandBatchNorm, Reader, Scale, SwingClamp
from hrat.nn.stages import unite_limits
from hrat.nn.trace import LINEAR_MODULES, Seen, Traced, describe, is_dropout
from hrat.spec import HardwareSpec

__all__ = ["Conversion", "ScaleMode", "SharedError"]

ScaleMode = Literal["signal", "channel"]

SIGMAS_OF_BATCH_NORM = 3.0
"""Where batch norm fixes the size of a signal, its peak is taken this many standard deviations out."""


class Conversion:
    """One network on its way; `run` takes the steps 2 to 5 of `hrat.nn.convert`."""

    def __init__(
        self,
        traced: Traced,
        spec: HardwareSpec,
        scales: ScaleMode,
        form: BatchNormForm,
        output_peak: float,
        noise: NoiseSource,
    ) -> None:
        self.module = traced.module
        self.graph = traced.module.graph
        self.fixed = traced.fixed
        self.spec = spec
        self.scale_mode = scales
        self.form: BatchNormForm = form
        self.output_peak = output_peak
        self.noise = noise
        self.notes = list(traced.notes)
        self.islands: dict[fx.Node, str] = {}
        """Operations of digital islands, and why they are."""
        self.analog: set[fx.Node] = set()
        self.summed: set[fx.Node] = set()
        """Layers whose tiles have ADCs of their own: what leaves them has a scale in volts, but is a digital sum."""
        self.signals = Signals()
        self.scale_nodes: dict[fx.Node, fx.Node] = {}
        self.scales: dict[str, Scale] = {}
        self.names: dict[fx.Node, str] = {}

    def run(self, output_type: type[Any] | None = None) -> PreparedModel:
        """The converted network.

        Args:
            output_type: what the original network returns.

        Raises:
            ConversionError: there is nothing to put on crossbars, or a batch norm keeps no statistics.
        """
        blocks = self._blocks()
        if not blocks and not self._recurrences():
            raise ConversionError(
                "the model has no linear layer or convolution that a crossbar could hold; expected at least one"
            )
        self._erase_fused(blocks)
        self._mark_domains()
        self._insert_borders()
        island_rows = self._island_rows()
        self._unite_signals(blocks)
        loops = len(self._recurrences())
        rows = {row.name: row for row in self._replace_by_layers(blocks) + self._replace_recurrences()}
        self._wrap_island_batch_norms()
        self.graph.eliminate_dead_code()
        self._drop_what_is_not_used()
        unite_limits(self.module)
        self.graph.lint()
        self.module.recompile()
        layers = crossbar_layers(self.module)
        if self.spec.periphery.partial_sums == "adc" and not any(layer.readout.tiles for layer in layers.values()):
            self.notes.append(
                f"no layer has more inputs than a tile has rows ({self.spec.array.rows}): there are no partial sums, "
                "and partial_sums = 'adc' has no effect"
            )
        report = ConversionReport(
            layers=[rows[name] for name in layers],
            islands=island_rows,
            scales={
                name: scale.log_alpha.numel() if scale.log_alpha.ndim else None for name, scale in self.scales.items()
            },
            notes=self.notes,
            adcs=self._count(IslandAdc) + len(self.summed) + loops,
            dacs=self._count(InputDac) + loops,
        )
        return PreparedModel(self.module, self.spec, report, self.noise, fixed=self.fixed, output_type=output_type)

    def _count(self, kind: type[nn.Module]) -> int:
        return sum(isinstance(self._module_at(node), kind) for node in self.graph.nodes)

    # -- 2. pairing

    def _module_at(self, node: fx.Node) -> nn.Module | None:
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _blocks(self) -> list[Block]:
        blocks = []
        taken: set[fx.Node] = set()
        for node in self.graph.nodes:
            module = self._module_at(node)
            if not isinstance(module, LINEAR_MODULES):
                continue
            block = Block(node, module)
            users = list(node.users)
            if len(users) == 1 and self._fuses_behind(users[0], module, node):
                block.after = users[0]
                taken.add(users[0])
            blocks.append(block)
        for block in blocks:
            source = block.node.args[0]
            if isinstance(source, fx.Node) and source not in taken and self._fuses_in_front(source, block):
                block.before = source
                taken.add(source)
        return blocks

    def _fuses_behind(self, node: fx.Node, module: nn.Module, source: fx.Node) -> bool:
        bn = self._module_at(node)
        if not isinstance(bn, _BatchNorm) or not self._keeps_statistics(node, bn):
            return False
        seen: Seen = source.meta["seen"]
        if isinstance(module, nn.Linear) and len(seen.shape) != 2:
            self.notes.append(
                f"{describe(node)} normalises dimension 1 of a {len(seen.shape)}-dimensional output of a linear layer, "
                "which is not its output channel: it stays a digital island"
            )
            return False
        return True

    def _fuses_in_front(self, node: fx.Node, block: Block) -> bool:
        bn = self._module_at(node)
        if not isinstance(bn, _BatchNorm) or len(node.users) != 1 or not self._keeps_statistics(node, bn):
            return False
        seen: Seen = node.meta["seen"]
        if isinstance(block.module, nn.Linear) and len(seen.shape) != 2:
            return False
        if geometry_of(block.module, block.node).pads_with_zeros:
            self.notes.append(
                f"{describe(node)} stands in front of '{block.node.target}', whose zero padding does not see its "
                "shift: it cannot be folded exactly and stays a digital island"
            )
            return False
        return True

    def _keeps_statistics(self, node: fx.Node, bn: _BatchNorm) -> bool:
        if bn.running_mean is not None:
            return True
        raise ConversionError(
            f"{describe(node)} '{node.target}' keeps no running statistics (track_running_stats=False): what it does "
            "depends on the batch, so no chip can do it; expected track_running_stats=True"
        )

    def _erase_fused(self, blocks: list[Block]) -> None:
        for block in blocks:
            if block.after is not None:
                block.after.replace_all_uses_with(block.node)
                self.graph.erase_node(block.after)
            if block.before is not None:
                block.node.replace_input_with(block.before, block.before.args[0])  # type: ignore[arg-type]
                self.graph.erase_node(block.before)

    # -- 3. voltages and digital numbers

    def _op(self, node: fx.Node) -> Op | None:
        if node.op in ("call_function", "call_method"):
            return op_of(node.target)
        if is_dropout(self._module_at(node)):
            return OPS["identity"]
        return None

    def _signal_args(self, node: fx.Node, op: Op) -> list[Any]:
        if op.signals == "list":
            first = node.args[0] if node.args else node.kwargs.get("tensors", ())
            return list(first)  # type: ignore[arg-type]
        if op.signals == "two":
            return list(node.args[:2])
        first = node.args[0] if node.args else node.kwargs.get("input")
        return [first]

    def _stays_analog(self, node: fx.Node, op: Op) -> bool:
        if not op.analog or not node.meta["seen"].is_tensor:
            return False
        if op.name == "to" and not node.meta["seen"].is_real:
            return False
        if op.name == "pad" and (node.kwargs.get("value") or (node.args[3:] and node.args[3])):
            return False
        if op.signals == "two" and (node.kwargs.get("alpha", 1) != 1 or len(node.args) < 2):
            return False
        return all(isinstance(arg, fx.Node) and self._is_voltage(arg) for arg in self._signal_args(node, op))

    def _is_voltage(self, node: fx.Node) -> bool:
        return node in self.analog and node not in self.summed

    def _mark_domains(self) -> None:
        behind: set[fx.Node] = set()  # what a crossbar has a part in
        for node in self.graph.nodes:
            module, op = self._module_at(node), self._op(node)
            only_sizes = op is not None and not op.reads_values
            if isinstance(module, (*LINEAR_MODULES, Recurrence)) or (
                not only_sizes and not behind.isdisjoint(node.all_input_nodes)
            ):
                behind.add(node)
            if isinstance(module, LINEAR_MODULES) or (op is not None and self._stays_analog(node, op)):
                self.analog.add(node)
                if isinstance(module, LINEAR_MODULES) and LayerReadout.of(geometry_of(module, node), self.spec).tiles:
                    self.summed.add(node)
            elif isinstance(module, Recurrence) or self._computes(node, op):
                why = self._why_digital(node, module, op)
                self.islands[node] = why if node in behind else f"in front of the first crossbar; {why}"

    def _computes(self, node: fx.Node, op: Op | None) -> bool:
        """Whether a digital node is arithmetic on signals: no layout of what is digital already, and no constant."""
        if node.op not in ("call_function", "call_module") or not self._reads_values(node):
            return False
        sources = [source for source in node.all_input_nodes if source.op != "get_attr"]
        if op is not None and op.analog and op.signals == "first" and not op.averages:
            return any(self._is_voltage(source) for source in sources)
        return bool(sources)

    def _why_digital(self, node: fx.Node, module: nn.Module | None, op: Op | None) -> str:
        if isinstance(module, Recurrence):
            return "gates multiply signals; the state passes a DAC and its product an ADC at every step"
        if op is None:
            return self._why_batch_norm_stays(node)
        if not op.analog:
            return op.why
        if op.signals == "first":
            return "what it reads is digital"
        return "one of its operands is digital or constant"

    def _why_batch_norm_stays(self, node: fx.Node) -> str:
        """Why no crossbar takes a batch norm."""
        source, readers = node.args[0], list(node.users)
        assert isinstance(source, fx.Node)
        if len(readers) == 1 and isinstance(self._module_at(readers[0]), LINEAR_MODULES):
            return f"the zero padding or the shape of '{readers[0].target}' behind it forbids fusing"
        if isinstance(self._module_at(source), LINEAR_MODULES):
            return f"the output of '{source.target}' is read elsewhere too, or normalised in another dimension"
        return f"stands between {self._word(source)} and {', '.join(map(self._word, readers))}, beside no crossbar"

    def _word(self, node: fx.Node) -> str:
        """What a person calls a node."""
        op = self._op(node)
        return op.name if op is not None else f"'{node.target}'"

    def _island_rows(self) -> list[IslandRow]:
        """What is digital, with the converters that stand beside it."""
        periphery = self.spec.periphery
        adc_bits = periphery.adc_bits if periphery.limit_adc else None
        dac_bits = periphery.input_dac_bits if periphery.limit_input_dac else None
        rows = []
        for node, why in self.islands.items():
            module, op = self._module_at(node), self._op(node)
            steps = isinstance(module, Recurrence)
            name = f"{module.kind} gates" if isinstance(module, Recurrence) else op.name if op else "batch_norm"
            reads = any(isinstance(self._module_at(source), IslandAdc) for source in node.all_input_nodes)
            drives = any(isinstance(self._module_at(user), InputDac) for user in self._readers_behind_layout(node))
            path = list(node.meta.get("nn_module_stack", {}).values())
            place = f"{path[-1][0]}/{node.name}" if path and path[-1][0] else node.name
            rows.append(
                IslandRow(place, name, why, adc_bits if reads or steps else None, dac_bits if drives or steps else None)
            )
        return rows

    def _readers_behind_layout(self, node: fx.Node) -> list[fx.Node]:
        """Who reads a digital value, changes of layout apart."""
        found: list[fx.Node] = []
        for user in node.users:
            op = self._op(user)
            layout = op is not None and op.analog and op.signals == "first" and user not in self.islands
            found += self._readers_behind_layout(user) if layout else [user]
        return found

    def _insert_borders(self) -> None:
        """DACs where a crossbar reads a digital value, ADCs where an island reads a voltage, readers at the outputs."""
        dacs: dict[fx.Node, fx.Node] = {}
        adcs: dict[tuple[fx.Node, str], fx.Node] = {}
        for node in list(self.graph.nodes):
            if isinstance(self._module_at(node), LINEAR_MODULES):
                source = node.args[0]
                assert isinstance(source, fx.Node)
                if self._is_voltage(source):
                    continue
                if source in self.summed:
                    source = self._read(source, adcs)
                if source not in dacs:
                    dacs[source] = self._border(f"{source.name}_dac", InputDac(self.spec), source)
                    self.analog.add(dacs[source])
                node.args = (dacs[source],)
            elif node not in self.analog:
                for source in node.all_input_nodes:
                    if source not in self.analog or (node.op != "output" and not self._reads_values(node)):
                        continue
                    if node.op == "output" or source in self.summed:
                        border = self._read(source, adcs)
                    else:
                        if (source, "adc") not in adcs:
                            adcs[source, "adc"] = self._border(f"{source.name}_adc", IslandAdc(self.spec), source)
                        border = adcs[source, "adc"]
                    node.replace_input_with(source, border)
            elif (op := self._op(node)) is not None and op.amplifier:
                users = list(node.users)
                clamped = self._border(f"{node.name}_swing", SwingClamp(self.spec), node)
                self.analog.add(clamped)
                for user in users:
                    user.replace_input_with(node, clamped)

    def _read(self, source: fx.Node, borders: dict[tuple[fx.Node, str], fx.Node]) -> fx.Node:
        """The digital value of a signal that needs no ADC of its own."""
        if (source, "reader") not in borders:
            borders[source, "reader"] = self._border(f"{source.name}_reader", Reader(), source)
        return borders[source, "reader"]

    def _reads_values(self, node: fx.Node) -> bool:
        """Whether a digital node has a use for the numbers of its arguments."""
        op = self._op(node)
        return bool(node.meta["seen"].is_tensor) and (op is None or op.reads_values)

    def _border(self, name: str, module: nn.Module, source: fx.Node) -> fx.Node:
        self.module.add_submodule(name, module)
        with self.graph.inserting_after(source):
            node = self.graph.call_module(name, (source,))
        node.meta["seen"] = source.meta["seen"]
        return node

    # -- 4. scales

    def _unite_signals(self, blocks: list[Block]) -> None:
        for node in self.graph.nodes:
            module = self._module_at(node)
            op = self._op(node)
            if node in self.analog and op is not None:
                for source in self._signal_args(node, op):
                    self.signals.unite(source, node)
            elif isinstance(module, SwingClamp):
                self.signals.unite(node.args[0], node)
        shared: dict[tuple[Any, Any, Any], Block] = {}
        for block in blocks:
            first = shared.setdefault(block.key, block)
            if first is not block:
                self.signals.unite(first.node, block.node)
                self.signals.unite(first.node.args[0], block.node.args[0])  # type: ignore[arg-type]

    def _scale_of(self, node: fx.Node, blocks: list[Block]) -> fx.Node:
        """The graph node that yields the scale of a signal; made when first asked for."""
        root = self.signals.find(node)
        if root not in self.scale_nodes:
            members = [n for n in self.graph.nodes if n in self.signals.parent and self.signals.find(n) is root]
            members = members or [root]
            name = str(members[0].target if members[0].op == "call_module" else members[0].name).replace(".", "_")
            channels = self._channels(members) if self.scale_mode == "channel" else None
            self.scale_nodes[root] = self._new_scale(name, Scale(self._first_alpha(members, blocks), channels))
            self.names[root] = name
        return self.scale_nodes[root]

    def _new_scale(self, name: str, scale: Scale) -> fx.Node:
        """The graph node of a new scale."""
        reference = next(p for p in self.module.parameters() if p.is_floating_point())
        self.scales[name] = scale.to(reference.device, reference.dtype)
        if "scales" not in dict(self.module.named_children()):
            self.module.add_module("scales", nn.Module())
        self.module.add_submodule(f"scales.{name}", scale)
        with self.graph.inserting_before(self._first_computation()):
            return self.graph.call_module(f"scales.{name}", ())

    def _first_computation(self) -> fx.Node:
        computations = (n for n in self.graph.nodes if n.op not in ("placeholder", "get_attr"))
        return cast(fx.Node, next(computations))

    def _first_alpha(self, members: list[fx.Node], blocks: list[Block]) -> float:
        """A start: the peak of the signal, on the example or as batch norm makes it, at the limit of its voltage."""
        drives_crossbar = any(
            isinstance(self._module_at(user), LINEAR_MODULES) for node in members for user in node.users
        ) or any(isinstance(self._module_at(node), InputDac) for node in members)
        limit = self.spec.device.v_read_V if drives_crossbar else self.spec.periphery.v_swing_V
        normalised = {block.node: self.module.get_submodule(str(block.after.target)) for block in blocks if block.after}
        peaks = []
        for node in members:
            bn = normalised.get(node)
            if isinstance(bn, _BatchNorm):
                gamma = 1.0 if bn.weight is None else float(bn.weight.detach().abs().mean())
                beta = 0.0 if bn.bias is None else float(bn.bias.detach().abs().mean())
                peaks.append(beta + SIGMAS_OF_BATCH_NORM * gamma)
            elif not any(n in normalised for n in members):
                peaks.append(node.meta["seen"].peak)
        read = any(
            isinstance(self._module_at(user), Reader) and any(reader.op == "output" for reader in user.users)
            for node in members
            for user in node.users
        )
        if read and not drives_crossbar:
            peaks.append(self.output_peak)
        peak = max(peaks, default=0.0)
        return limit / (peak if peak > 0 else SIGMAS_OF_BATCH_NORM)

    def _channels(self, members: list[fx.Node]) -> int | None:
        """How many channels may have scales of their own in this group; None if they must share one."""
        counts = set()
        for node in members:
            module, op, seen = self._module_at(node), self._op(node), node.meta["seen"]
            if isinstance(module, LINEAR_MODULES):
                if isinstance(module, nn.Linear) and len(seen.shape) != 2:
                    return None
                counts.add(geometry_of(module, node).out_channels)
            elif isinstance(module, InputDac):
                return None
            elif op is not None and op.name == "flatten":
                if node.args[1:] not in ((1,), (1, -1)) and node.kwargs.get("start_dim") != 1:
                    return None
                # Behind it a channel is a run of positions: only a linear layer can take that apart again.
                if any(not isinstance(self._module_at(user), nn.Linear) for user in node.users):
                    return None
            elif not isinstance(module, SwingClamp) and not (op is not None and op.per_channel):
                return None
            if op is not None and op.name[-2:] in ("1d", "2d", "3d") and len(seen.shape) != int(op.name[-2]) + 2:
                return None  # a pool without a batch dimension: its dimension 1 is no channel
            for user in node.users:
                reader = self._module_at(user)
                if isinstance(reader, nn.Linear) and len(seen.shape) != 2:
                    return None  # it mixes the last dimension, not the channels
                if isinstance(reader, _ConvNd) and len(seen.shape) != len(reader.kernel_size) + 2:
                    return None
        return counts.pop() if len(counts) == 1 else None

    # -- 5. layers

    def _replace_by_layers(self, blocks: list[Block]) -> list[LayerRow]:
        rows: list[LayerRow] = []
        calls: dict[tuple[Any, Any, Any], list[Block]] = {}
        for block in blocks:
            calls.setdefault(block.key, []).append(block)
        for node in [n for n in self.graph.nodes if isinstance(self._module_at(n), Reader | IslandAdc | InputDac)]:
            signal = node if isinstance(self._module_at(node), InputDac) else node.args[0]
            node.args = (*node.args, self._scale_of(signal, blocks))
        built: dict[str, CrossbarLayer] = {}
        for same in calls.values():
            scales = [(self._scale_for_input(block, blocks), self._scale_of(block.node, blocks)) for block in same]
            name = self._free_name(str(same[0].node.target), built)
            layer = self._layer(same[0])
            built[name] = layer
            source = same[0].node.args[0]
            assert isinstance(source, fx.Node)
            names = (self.names[self.signals.find(source)], self.names[self.signals.find(same[0].node)])
            rows.append(self._row(name, layer, same[0], names, type(same[0].module).__name__, len(same)))
            error = self._shared_error(same[0].node.name, layer, scales[0]) if len(same) > 1 else None
            for block, (scale_in, scale_out) in zip(same, scales, strict=True):
                block.node.args = (block.node.args[0], scale_in, scale_out, *([error] if error else []))
                block.node.target = name
        for name, layer in built.items():
            self.module.add_submodule(name, layer)
        return rows

    def _recurrences(self) -> list[fx.Node]:
        return [node for node in self.graph.nodes if isinstance(self._module_at(node), Recurrence)]

    def _replace_recurrences(self) -> list[LayerRow]:
        """The states' products go onto crossbars; their scales are those of the state and of its product."""
        rows: list[LayerRow] = []
        calls: dict[str, list[fx.Node]] = {}
        for node in self._recurrences():
            calls.setdefault(str(node.target), []).append(node)
        for target, nodes in calls.items():
            loop = self.module.get_submodule(target)
            assert isinstance(loop, Recurrence)
            block = Block(nodes[0], loop.product)
            layer = self._layer(block)
            name = target.replace(".", "_")
            v_read_V, v_swing_V = self.spec.device.v_read_V, self.spec.periphery.v_swing_V
            peaks = max(node.meta["state_peak"] for node in nodes), max(node.meta["product_peak"] for node in nodes)
            scales = (
                self._new_scale(f"{name}_state", Scale(v_read_V / peaks[0])),
                self._new_scale(f"{name}_product", Scale(v_swing_V / peaks[1])),
            )
            self.module.add_submodule(target, CrossbarRecurrence(loop, layer, self.spec))
            error = self._shared_error(nodes[0].name, layer, scales) if len(nodes) > 1 else None
            for node in nodes:
                states = loop.at_start(tuple(node.args[1:]))  # type: ignore[arg-type]
                node.args = (node.args[0], states, *scales, *([error] if error else []))
            names = (f"{name}_state", f"{name}_product")
            rows.append(self._row(f"{target}.product", layer, block, names, f"{loop.kind} state", len(nodes)))
        return rows

    def _wrap_island_batch_norms(self) -> None:
        for node in self.graph.nodes:
            module = self._module_at(node)
            if isinstance(module, _BatchNorm):
                self.module.add_submodule(str(node.target), IslandBatchNorm(module))

    def _drop_what_is_not_used(self) -> None:
        """Batch norms that were fused and parameters of functions live in the layers now, and nowhere else."""
        used = [str(node.target) for node in self.graph.nodes if node.op in ("call_module", "get_attr")]

        def serves(path: str) -> bool:
            return any(name == path or name.startswith(f"{path}.") or path.startswith(f"{name}.") for name in used)

        for path, module in list(self.module.named_modules(remove_duplicate=False)):
            if path and not serves(path):
                if _has(self.module, path):  # not yet gone with the module around it
                    self.module.delete_submodule(path)
                continue
            for name in list(module._parameters):
                if not serves(f"{path}.{name}" if path else name):
                    delattr(module, name)

    def _scale_for_input(self, block: Block, blocks: list[Block]) -> fx.Node:
        """The scale of the signal that enters, spread over positions where a flatten has made runs of a channel."""
        source = block.node.args[0]
        assert isinstance(source, fx.Node)
        scale = self._scale_of(source, blocks)
        channels = self.scales[self.names[self.signals.find(source)]].log_alpha.numel()
        features = geometry_of(block.module, block.node).in_channels
        if self.scales[self.names[self.signals.find(source)]].log_alpha.ndim == 0 or channels == features:
            return scale
        with self.graph.inserting_after(scale):
            return self.graph.call_function(torch.repeat_interleave, (scale, features // channels))

    def _shared_error(self, name: str, layer: CrossbarLayer, scales: tuple[fx.Node, fx.Node]) -> fx.Node:
        """A layer that is called several times is one set of devices: its error is drawn once."""
        self.module.add_submodule(f"{name}_error", SharedError(layer))
        last_scale = max(scales, key=list(self.graph.nodes).index)
        with self.graph.inserting_after(last_scale):
            return self.graph.call_module(f"{name}_error", scales)

    def _free_name(self, wanted: str, built: dict[str, CrossbarLayer]) -> str:
        """The same linear module with different batch norms needs several sets of devices, and names."""
        name, number = wanted, 2
        while name in built:
            name, number = f"{wanted}_copy{number}", number + 1
        return name

    def _layer(self, block: Block) -> CrossbarLayer:
        module = block.module
        assert isinstance(module, nn.Linear | _ConvNd)
        after = self.module.get_submodule(str(block.after.target)) if block.after else None
        before = self.module.get_submodule(str(block.before.target)) if block.before else None
        return CrossbarLayer(
            geometry_of(module, block.node),
            cast(nn.Parameter, module.weight),
            cast("nn.Parameter | None", module.bias),
            self.spec,
            batch_norm=after,  # type: ignore[arg-type]
            batch_norm_before=before,  # type: ignore[arg-type]
            form=self.form,
            noise=self.noise,
        )

    def _row(
        self, name: str, layer: CrossbarLayer, block: Block, scales: tuple[str, str], kind: str, calls: int
    ) -> LayerRow:
        shape = layer.geometry.matrix_shape
        fused = [f"{n.target} (in front)" for n in (block.before,) if n] + [str(n.target) for n in (block.after,) if n]
        return LayerRow(
            name=name,
            kind=kind,
            groups=shape[0],
            rows=shape[1],
            cols=shape[2],
            tiles=len(tile_grid(shape, self.spec.array)),
            batch_norm=", ".join(fused),
            bias=layer.bias is not None or layer.batch_norm is not None or layer.batch_norm_before is not None,
            scale_in=scales[0],
            scale_out=scales[1],
            calls=calls,
            tile_adc_bits=self._tile_adc_bits(layer),
        )

    def _tile_adc_bits(self, layer: CrossbarLayer) -> str:
        periphery = self.spec.periphery
        if layer.readout.tiles is None:
            return ""
        return f"{periphery.tile_adc_bits} bits" if periphery.limit_tile_adc else "exact"


class SharedError(nn.Module):
    """Draws the one error sample of a layer that is called several times in a forward pass."""

    def __init__(self, layer: CrossbarLayer) -> None:
        super().__init__()
        self._layer = (layer,)  # in a tuple: the layer is registered where it is called, not here a second time

    def forward(self, alpha_in: Tensor, alpha_out: Tensor) -> tuple[Tensor, Tensor] | None:
        """The error of `(G+, G-)` in siemens, or None where none is wanted."""
        return self._layer[0].draw_error(alpha_in, alpha_out)


def _has(module: nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True
