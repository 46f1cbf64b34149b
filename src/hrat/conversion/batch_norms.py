"""Pass 1: each linear operation takes the batch norm behind it, or the one in front where that is exact."""

from __future__ import annotations

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from hrat.circuit import OPS
from hrat.conversion.blocks import Block, behind_crossbars, geometry_of, has_channels_in_dim_1
from hrat.conversion.network import Network
from hrat.conversion.norm_paths import pool_by_sign, way_in_front
from hrat.conversion.trace import LINEAR_MODULES, Seen, describe
from hrat.errors import ConversionError
from hrat.nn import DigitalBatchNorm

__all__ = ["fuse_batch_norms", "wrap_digital_batch_norms"]


def fuse_batch_norms(network: Network) -> list[Block]:
    """The linear operations of the network; batch norms that they take leave the graph.

    Raises:
        ConversionError: a batch norm keeps no statistics.
    """
    _refuse_without_statistics(network)
    blocks: list[Block] = []
    behind = behind_crossbars(network)
    taken: set[fx.Node] = set()
    for node in network.calls_of(*LINEAR_MODULES):
        module = network.module_at(node)
        assert module is not None
        block = Block(node, module)
        users = list(node.users)
        if len(users) == 1 and _fuses_behind(network, users[0], module, node):
            block.after = users[0]
            taken.add(users[0])
        blocks.append(block)
    ways: dict[Block, list[fx.Node]] = {}
    for block in blocks:
        way = way_in_front(network, block.node)
        # In front of the first crossbar it stays digital at no cost: folded, the DAC would see raw data, and whatever
        # offset these have would take most of its range and of the bias.
        if way and way[-1] in behind - taken and _fuses_in_front(network, way, block):
            ways[block] = way
            block.before = way[-1]
            taken.add(way[-1])
    for block in blocks:
        _note_frozen_weights(network, block)
        _erase(network, block, ways.get(block, []))
    return blocks


def wrap_digital_batch_norms(network: Network) -> None:
    """Batch norms that no crossbar takes are digital operations, frozen together with the fused ones."""
    for node in network.calls_of(_BatchNorm, _InstanceNorm):
        module = network.module_at(node)
        assert isinstance(module, _BatchNorm | _InstanceNorm)
        network.module.add_submodule(str(node.target), DigitalBatchNorm(module))


def _fuses_behind(network: Network, node: fx.Node, module: nn.Module, source: fx.Node) -> bool:
    bn = network.module_at(node)
    if not isinstance(bn, _BatchNorm):
        return False
    seen: Seen = source.meta["seen"]
    if not has_channels_in_dim_1(module, seen.shape):
        network.notes.append(
            f"{describe(node)} normalises dimension 1 of a {len(seen.shape)}-dimensional output of "
            f"'{source.target}', which is not its output channel: it stays a digital operation"
        )
        return False
    return True


def _fuses_in_front(network: Network, way: list[fx.Node], block: Block) -> bool:
    bn, node = network.module_at(way[-1]), way[-1]
    assert isinstance(bn, _BatchNorm)
    geometry, seen, read = geometry_of(block.module, block.node), node.meta["seen"], way[0].meta["seen"]
    if not has_channels_in_dim_1(block.module, read.shape) or geometry.in_channels % bn.num_features:
        return False
    if len(way) > 1 and len(seen.shape) < 3:
        return False
    if geometry.pads_with_zeros:
        network.notes.append(
            f"{describe(node)} stands in front of '{block.node.target}', whose zero padding does not see its "
            "shift: it cannot be folded exactly and stays a digital operation"
        )
        return False
    return True


def _refuse_without_statistics(network: Network) -> None:
    for node in network.calls_of(_BatchNorm, _InstanceNorm):
        bn = network.module_at(node)
        if isinstance(bn, _BatchNorm | _InstanceNorm) and bn.running_mean is None:
            raise ConversionError(
                f"{describe(node)} '{node.target}' keeps no running statistics (track_running_stats=False): what it "
                "does depends on the batch, so no chip can do it; expected track_running_stats=True"
            )


def _note_frozen_weights(network: Network, block: Block) -> None:
    weight = block.module.weight
    for node in (block.before, block.after):
        if node is not None and isinstance(weight, Tensor) and not weight.requires_grad:
            network.notes.append(
                f"the weights of '{block.node.target}' are frozen, but the batch norm '{node.target}' acts on its "
                "conductances too: they stay as they are if it is frozen as well (requires_grad_(False) on it, and "
                "hrat.nn.freeze_batch_norm for its statistics)"
            )


def _erase(network: Network, block: Block, way: list[fx.Node]) -> None:
    if block.after is not None:
        block.after.replace_all_uses_with(block.node)
        network.graph.erase_node(block.after)
    if block.before is None:
        return
    source = block.before.args[0]
    if len(way) == 1:
        block.node.replace_input_with(block.before, source)  # type: ignore[arg-type]
    else:
        gamma = getattr(network.module_at(block.before), "weight", None)
        if isinstance(gamma, Tensor):
            pool_by_sign(network, way, f"{block.before.target}.weight")
        with network.graph.inserting_before(block.before):
            block.normalised = network.graph.call_function(OPS["identity"].function, (source,))
        block.normalised.meta = {**source.meta}  # type: ignore[union-attr]
        block.before.replace_all_uses_with(block.normalised)
    network.graph.erase_node(block.before)
