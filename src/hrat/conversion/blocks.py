"""Blocks of conversion: linear operations with their batch norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import fx, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from hrat.conversion.network import Network
from hrat.conversion.trace import LINEAR_MODULES
from hrat.encoding import Geometry
from hrat.nn import Recurrence

__all__ = ["Block", "behind_crossbars", "geometry_of", "has_channels_in_dim_1"]


@dataclass(eq=False)
class Block:
    """A linear operation with its batch norms, before it becomes a layer."""

    node: fx.Node
    module: nn.Module
    after: fx.Node | None = None
    before: fx.Node | None = None
    normalised: fx.Node | None = None
    """What the batch norm in front normalises, where something stands between it and the operation: an identity."""

    @property
    def key(self) -> tuple[Any, Any, Any]:
        """Calls of the same operation with the same batch norms share one set of devices."""
        return (
            self.node.target,
            self.after.target if self.after else None,
            self.before.target if self.before else None,
        )


def has_channels_in_dim_1(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a linear operation's input or output of this shape has its channels in dimension 1.

    Not without a batch dimension, where that one holds positions; of a linear layer over several positions neither.
    """
    assert isinstance(module, nn.Linear | _ConvNd)
    return len(shape) == (2 if isinstance(module, nn.Linear) else len(module.kernel_size) + 2)


def behind_crossbars(network: Network) -> set[fx.Node]:
    """Nodes whose values a crossbar has a part in, the linear operations and recurrences among them."""
    behind: set[fx.Node] = set()
    for node in network.graph.nodes:
        op = network.op(node)
        reads = op is None or op.reads_values
        if isinstance(network.module_at(node), (*LINEAR_MODULES, Recurrence)) or (
            reads and not behind.isdisjoint(node.all_input_nodes)
        ):
            behind.add(node)
    return behind


def geometry_of(module: nn.Module, node: fx.Node) -> Geometry:
    """The geometry of a linear layer or convolution."""
    if isinstance(module, nn.Linear):
        return Geometry(kind="linear", in_channels=module.in_features, out_channels=module.out_features)
    assert isinstance(module, _ConvNd)
    transposed = isinstance(module, _ConvTransposeNd)
    return Geometry(
        kind="conv_transpose" if transposed else "conv",
        in_channels=module.in_channels,
        out_channels=module.out_channels,
        kernel=tuple(module.kernel_size),
        stride=tuple(module.stride),
        padding=_padding(module),
        dilation=tuple(module.dilation),
        output_padding=tuple(module.output_padding) if transposed else (),
        groups=module.groups,
        padding_mode=module.padding_mode,
    )


def _padding(module: _ConvNd) -> tuple[tuple[int, int], ...]:
    if module.padding == "valid":
        return ((0, 0),) * len(module.kernel_size)
    if module.padding == "same":
        totals = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((int(p), int(p)) for p in module.padding)
