"""The way of a signal from a batch norm to the linear operation that can take it, past pooling and changes of layout.

Batch norm is `g x + s` for each channel. Averages pass both on as they are, and so does a maximum where g is not
negative; where it is, the maximum of `g x + s` is g times the *minimum* of x, plus s. A flatten makes runs of a
channel, each of one gain and shift. Padding with zeros sees no shift, and a dropout drops to zero, not to s: these
two pass nothing on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import fx
from torch.nn.modules.batchnorm import _BatchNorm

from hrat.circuit import OPS, Op
from hrat.conversion.network import Network
from hrat.conversion.trace import LINEAR_MODULES
from hrat.nn import is_dropout

__all__ = ["operation_behind", "pool_by_sign", "way_in_front"]


def way_in_front(network: Network, node: fx.Node) -> list[fx.Node]:
    """The nodes between a linear operation and the batch norm in front of it, in this order, and the batch norm.

    Empty if there is none, or if something on the way mixes channels or does not pass a gain and a shift on.
    """
    way: list[fx.Node] = []
    for step in _upstream(node):
        if len(step.users) != 1:
            break
        way.append(step)
        if isinstance(network.module_at(step), _BatchNorm):
            return way
        if not _passes(network, step):
            break
    return []


def operation_behind(network: Network, node: fx.Node) -> fx.Node | None:
    """The linear operation to which the way of a batch norm leads, if it leads to one."""
    users = list(node.users)
    if len(users) != 1:
        return None
    if isinstance(network.module_at(users[0]), LINEAR_MODULES):
        return users[0]
    return operation_behind(network, users[0]) if _passes(network, users[0]) else None


def pool_by_sign(network: Network, way: list[fx.Node], gamma: str) -> None:
    """Let the maximum poolings on a way choose by the sign of each channel's gain.

    Args:
        network: the network.
        way: from `way_in_front`.
        gamma: path of the batch norm's weight, `(channels,)`.
    """
    for node in way:
        op = network.op(node)
        if op is None or not _is_max_pool(op):
            continue
        with network.graph.inserting_before(node):
            gain = network.graph.get_attr(gamma)
        gain.meta["seen"] = node.meta["seen"]
        signal, *rest = node.args
        node.args, node.target = (signal, gain, op.name, *rest), OPS["pool_by_sign"].function


def _upstream(node: fx.Node) -> Iterator[fx.Node]:
    while node.args and isinstance(node.args[0], fx.Node):
        node = node.args[0]
        yield node


def _passes(network: Network, node: fx.Node) -> bool:
    """Whether an operation of one signal passes a gain and a shift of each channel on as they are."""
    op, source = network.op(node), node.args[0] if node.args else None
    if op is None or not isinstance(source, fx.Node) or is_dropout(network.module_at(node)):
        return False
    before, after = source.meta["seen"].shape, node.meta["seen"].shape
    if op.keeps_order:
        return len(after) > 1 and (after[:2] == before[:2] or (len(after) == 2 and after[0] == before[0]))
    if op.name == "mean":
        return _averages_positions(node, len(before))
    has_batch = op.name[-2:] in ("1d", "2d", "3d") and len(before) == int(op.name[-2]) + 2
    return has_batch and (_is_max_pool(op) or op.name.startswith("adaptive_avg_pool") or _averages_all(node, op))


def _is_max_pool(op: Op) -> bool:
    return op.name.startswith(("max_pool", "adaptive_max_pool"))


def _averages_all(node: fx.Node, op: Op) -> bool:
    """Whether each result of a pooling is the mean of values alone, none of them of a padding."""
    if not op.name.startswith("avg_pool"):
        return False
    padding = _given(node, 3, "padding", 0)
    unpadded = not any(padding) if isinstance(padding, list | tuple) else padding == 0
    return unpadded and _given(node, 6, "divisor_override", None) is None


def _averages_positions(node: fx.Node, n_dims: int) -> bool:
    """Whether a mean leaves the dimensions of batch and channels alone."""
    dims = _given(node, 1, "dim", None)
    dims = (dims,) if isinstance(dims, int) else dims
    return isinstance(dims, list | tuple) and bool(dims) and all(d % n_dims > 1 for d in dims if isinstance(d, int))


def _given(node: fx.Node, at: int, name: str, otherwise: Any) -> Any:
    return node.args[at] if len(node.args) > at else node.kwargs.get(name, otherwise)
