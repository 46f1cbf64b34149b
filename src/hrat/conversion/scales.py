"""Pass 4: each scale of a signal gets its start; signals that meet share one."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from hrat.conversion.blocks import Block, geometry_of, has_channels_in_dim_1
from hrat.conversion.network import Network
from hrat.conversion.signals import Signals
from hrat.conversion.trace import LINEAR_MODULES
from hrat.nn import GradientStop, InputDac, OutputRescale, Scale, SwingClamp

__all__ = ["ScaleMode", "Scales"]

ScaleMode = Literal["signal", "channel"]

SIGMAS_OF_BATCH_NORM = 3.0
"""Where batch norm fixes the size of a signal, its peak is taken this many standard deviations out."""


class Scales:
    """The scales of a network; each is made when it is first asked for."""

    def __init__(
        self, network: Network, signals: Signals, blocks: list[Block], *, mode: ScaleMode, output_peak: float
    ) -> None:
        """Prepare to make scales; none is made yet.

        Args:
            network: the network whose module and graph get the scales.
            signals: which values share a scale.
            blocks: the linear operations.
            mode: one scale for a signal, or one for each channel where these can vanish into weights.
            output_peak: magnitude that the network's outputs must be able to reach, in digital units.
        """
        self.network = network
        self.signals = signals
        self.mode = mode
        self.output_peak = output_peak
        self.made: dict[str, Scale] = {}
        self._folder = ""
        self._nodes: dict[fx.Node, fx.Node] = {}
        self._names: dict[fx.Node, str] = {}
        self._bases: dict[fx.Node, float] = {}
        self._multiples: dict[tuple[fx.Node, float], fx.Node] = {}
        module = network.module
        self._normalised = {b.node: module.get_submodule(str(b.after.target)) for b in blocks if b.after}

    def node_of(self, value: fx.Node) -> fx.Node:
        """The graph node that yields the scale of a value."""
        root = self.signals.find(value)
        if root not in self._nodes:
            nodes = self.network.graph.nodes
            members = [n for n in nodes if n in self.signals.parent and self.signals.find(n) is root]
            members = members or [root]
            self._bases[root] = self.signals.ratio(members[0])
            name = str(members[0].target if members[0].op == "call_module" else members[0].name).replace(".", "_")
            while name in self.made:  # `block.0` beside `block_0`
                name += "_"
            channels = self._channels(members) if self.mode == "channel" else None
            self._nodes[root] = self.new(name, Scale(self._first_alpha(members), channels))
            self._names[root] = name
        ratio = self._ratio(value)
        return self._nodes[root] if ratio == 1 else self._times(self._nodes[root], ratio)

    def _ratio(self, value: fx.Node) -> float:
        """What the scale of a value is of that of the first value on its wire."""
        return self.signals.ratio(value) / self._bases[self.signals.find(value)]

    def _times(self, scale: fx.Node, ratio: float) -> fx.Node:
        """The graph node of a scale times a number: of a signal on the same wire that differs by a factor."""
        if (scale, ratio) not in self._multiples:
            with self.network.graph.inserting_after(scale):
                self._multiples[scale, ratio] = self.network.graph.call_function(torch.mul, (scale, ratio))
        return self._multiples[scale, ratio]

    def name_of(self, value: fx.Node) -> str:
        """The name of a value's scale, once `node_of` was asked."""
        return self._names[self.signals.find(value)]

    def new(self, name: str, scale: Scale) -> fx.Node:
        """The graph node of a new scale."""
        module, graph = self.network.module, self.network.graph
        reference = next(p for p in module.parameters() if p.is_floating_point())
        self.made[name] = scale.to(reference.device, reference.dtype)
        if not self._folder:
            self._folder = self.network.free_name("scales")
            module.add_module(self._folder, nn.Module())
        module.add_submodule(f"{self._folder}.{name}", scale)
        computations = (node for node in graph.nodes if node.op not in ("placeholder", "get_attr"))
        with graph.inserting_before(cast(fx.Node, next(computations))):
            return graph.call_module(f"{self._folder}.{name}", ())

    def entering(self, block: Block) -> fx.Node:
        """The scale of the signal that enters, spread over positions where a flatten has made runs of a channel."""
        source = block.node.args[0]
        assert isinstance(source, fx.Node)
        scale = self.node_of(source)
        log_alpha = self.made[self.name_of(source)].log_alpha
        features = geometry_of(block.module, block.node).in_channels
        if log_alpha.ndim == 0 or log_alpha.numel() == features:
            return scale
        with self.network.graph.inserting_after(scale):
            return self.network.graph.call_function(torch.repeat_interleave, (scale, features // log_alpha.numel()))

    def _first_alpha(self, members: list[fx.Node]) -> float:
        """First value of a scale: the signal's peak, on the example or by batch norm, at the limit of its voltage."""
        module_at = self.network.module_at
        users = [user for node in members for user in node.users]
        drives_crossbar = any(isinstance(module_at(user), LINEAR_MODULES) for user in users) or any(
            isinstance(module_at(node), InputDac) for node in members
        )
        spec = self.network.spec
        limit_V = spec.device.v_read_V if drives_crossbar else spec.periphery.v_swing_V
        peaks = self._peaks(members)
        for node in members if not drives_crossbar else []:
            readers = [user for user in node.users if isinstance(module_at(user), OutputRescale)]
            if any(behind.op == "output" for user in readers for behind in user.users):
                peaks.append(self.output_peak * self._ratio(node))
        peak = max(peaks, default=0.0)
        return limit_V / (peak if peak > 0 else SIGMAS_OF_BATCH_NORM)

    def _peaks(self, members: list[fx.Node]) -> list[float]:
        """Peaks of a signal: as batch norms behind crossbars make them, or as the example shows them.

        Where values on one wire differ by a factor, in units of the first one.
        """
        peaks: list[float] = []
        for node in members:
            bn, ratio = self._normalised.get(node), self._ratio(node)
            if isinstance(bn, _BatchNorm):
                gamma = 1.0 if bn.weight is None else float(bn.weight.detach().abs().mean())
                beta = 0.0 if bn.bias is None else float(bn.bias.detach().abs().mean())
                peaks.append((beta + SIGMAS_OF_BATCH_NORM * gamma) * ratio)
            elif not any(n in self._normalised for n in members):
                peaks.append(node.meta["seen"].peak * ratio)
        return peaks

    def _channels(self, members: list[fx.Node]) -> int | None:
        """Number of channels that may have scales of their own in this group; None if they must share one."""
        counts: set[int] = set()
        for node in members:
            if not self._is_per_channel(node) or not all(self._keeps_channels(node, user) for user in node.users):
                return None
            if any(_is_frozen(self.network.module_at(place)) for place in (node, *node.users)):
                return None
            module = self.network.module_at(node)
            if isinstance(module, LINEAR_MODULES):
                counts.add(geometry_of(module, node).out_channels)
        return counts.pop() if len(counts) == 1 else None

    def _is_per_channel(self, node: fx.Node) -> bool:
        """Whether a node's output has channels that scales may differ in."""
        module, op, seen = self.network.module_at(node), self.network.op(node), node.meta["seen"]
        if isinstance(module, LINEAR_MODULES):
            return has_channels_in_dim_1(module, seen.shape)
        if isinstance(module, InputDac):
            return False
        if op is not None and op.name == "flatten":
            from_channels = bool(node.args[1:] in ((1,), (1, -1)) or node.kwargs.get("start_dim") == 1)
            # Behind it a channel is a run of positions: only a linear layer can take that apart again.
            return from_channels and all(isinstance(self.network.module_at(user), nn.Linear) for user in node.users)
        if node in self.signals.factors:
            return True
        if not isinstance(module, SwingClamp | GradientStop) and not (op is not None and op.per_channel):
            return False
        # A pool without a batch dimension: its dimension 1 is no channel.
        is_pool = op is not None and op.name[-2:] in ("1d", "2d", "3d")
        return not (is_pool and op is not None and len(seen.shape) != int(op.name[-2]) + 2)

    def _keeps_channels(self, node: fx.Node, user: fx.Node) -> bool:
        """Whether a reader takes dimension 1 of a value for its channels."""
        reader = self.network.module_at(user)
        return not isinstance(reader, LINEAR_MODULES) or has_channels_in_dim_1(reader, node.meta["seen"].shape)


def _is_frozen(module: nn.Module | None) -> bool:
    """Whether a linear operation's weights are not trained: scales of channels would move its conductances."""
    return isinstance(module, nn.Linear | _ConvNd) and not module.weight.requires_grad
