"""The last pass: which limits of a signal one circuit can apply at once.

Behind an amplifier come its swing, perhaps a ReLU, perhaps a pooling, and the read threshold of the next crossbar. All
of these only select or hold values, so that they commute:

    clamp_read(max_pool(relu(clamp_swing(v)))) = max_pool(clamp(v, 0, min(v_swing, v_read)))

and where nothing else reads the signal in between, the layer that yields it applies all of them in one go, which saves
a reading and a copy of the signal for each. The outputs of the network are the same to the last bit.
"""

from __future__ import annotations

from torch import fx

from hrat.circuit import Op, op_of
from hrat.nn import CrossbarLayer, InputDac

__all__ = ["fuse_clamps"]


def fuse_clamps(module: fx.GraphModule) -> None:
    """Set keywords of each layer's call for the limits behind and in front of it that the layer applies itself.

    `rectifies`: the ReLU behind it, which leaves the graph. `drives_word_lines`: the read threshold of the crossbars
    that read its output. `within_read`: its input is held within the read threshold already. `digital`: what the DAC in
    front of it reads.
    """
    for node in list(module.graph.nodes):
        if _is(module, node, CrossbarLayer):
            _take_relu(module, node)
    for node in module.graph.nodes:
        if _is(module, node, InputDac):
            readers = _readers(module, node)  # a DAC gives no more than the read threshold
            for user in list(node.users):
                if user in readers:
                    user.update_kwarg("digital", node.args[0])
        elif _is(module, node, CrossbarLayer):
            readers = _readers(module, node)
            if not readers or None in readers:
                continue
            node.update_kwarg("drives_word_lines", True)
        else:
            continue
        for reader in readers:
            if reader is not None:
                reader.update_kwarg("within_read", True)


def _is(module: fx.GraphModule, node: fx.Node, kind: type) -> bool:
    return node.op == "call_module" and isinstance(module.get_submodule(str(node.target)), kind)


def _op(node: fx.Node) -> Op | None:
    return op_of(node.target) if node.op in ("call_function", "call_method") else None


def _take_relu(module: fx.GraphModule, node: fx.Node) -> None:
    users = list(node.users)
    op = _op(users[0]) if len(users) == 1 else None
    if op is not None and op.rectifies:
        users[0].replace_all_uses_with(node)
        module.graph.erase_node(users[0])
        node.update_kwarg("rectifies", True)


def _readers(module: fx.GraphModule, node: fx.Node) -> list[fx.Node | None]:
    """The crossbars that read a signal, selected or not, and None for each other reader."""
    readers: list[fx.Node | None] = []
    for user in node.users:
        if _is(module, user, CrossbarLayer):
            readers.append(user)
        elif (op := _op(user)) is not None and (op.rectifies or op.picks(user.args, user.kwargs)):
            readers += _readers(module, user)
        else:
            readers.append(None)
    return readers
