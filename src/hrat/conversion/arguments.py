"""Arguments of calls in one order, whatever way the network writes them.

`torch.mean(input=x, dim=1)` becomes `torch.mean(x, 1)`, so that each later pass finds a signal in its place; and then
`x.softmax(1, torch.float)` and `torch.softmax(x, 1, torch.float)` become the table's function with its
own arguments. What torch says of its functions decides, not a list (`hrat.circuit.signatures`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx

from hrat.circuit import OPS, Op, arguments_for, bind, op_of, result_names
from hrat.errors import ConversionError, HratError

__all__ = ["name_functions_one_way", "put_in_order"]


def put_in_order(graph: fx.Graph) -> None:
    """Arguments by name go to their places, of all calls whose function torch describes; parts by name to numbers."""
    for node in list(graph.nodes):
        if node.op not in ("call_function", "call_method"):
            continue
        if node.target is getattr:
            _part_by_number(node)
        elif node.kwargs and (bound := _bound(node)) is not None:
            node.args, node.kwargs = bound[0].call(bound[1])


def _bound(node: fx.Node) -> Any:
    try:
        return bind(node.target, node.args, node.kwargs)
    except TypeError:  # not hashable
        return None


def _part_by_number(node: fx.Node) -> None:
    """`x.max(1).values` reads the first of two results."""
    source, name = node.args[0], node.args[1]
    if isinstance(source, fx.Node) and op_of(source.target) is not None:
        names = result_names(source.target, source.args, source.kwargs)
        if name in names:
            node.target, node.args = operator.getitem, (source, names.index(str(name)))


def name_functions_one_way(graph: fx.Graph, describe: Callable[[fx.Node], str]) -> list[str]:
    """`x.relu_()`, `torch.relu(x)` and `F.relu(x)` become the function that the table of operations has for them.

    Args:
        graph: a graph; calls of what is not in the table stay as they are.
        describe: words for a node in messages.

    Returns:
        Notes for the user.

    Raises:
        ConversionError: a call has an option that its operation does not have.
    """
    notes = []
    for node in graph.nodes:
        if node.op not in ("call_function", "call_method"):
            continue
        op = op_of(node.target)
        if op is None:
            continue
        try:
            args, kwargs = arguments_for(op, node.target, node.args, node.kwargs)
        except HratError as error:
            raise ConversionError(f"{describe(node)}: {error}") from error
        op = _with_indices(op, args, kwargs)
        node.op, node.target, node.args, node.kwargs = "call_function", op.function, args, kwargs
        _refuse_shared_table(node, op, describe)
        if op.name == "rrelu":
            notes.append(f"'{node.name}' (RReLU) has its mean slope in training too: no chip draws slopes")
    return notes


def _with_indices(op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Op:
    """Max pooling that also tells where the values stood is an operation of its own, which no circuit does."""
    return OPS[f"{op.name}_with_indices"] if op.selects and not op.picks(args, kwargs) else op


def _refuse_shared_table(node: fx.Node, op: Op, describe: Callable[[fx.Node], str]) -> None:
    """Refuse a table of embeddings that its own look-ups shorten (`max_norm`) where something else reads it too.

    PyTorch overwrites such rows at each look-up, so that the other reader sees a table which depends on all inputs
    before.

    Raises:
        ConversionError: the table is shared.
    """
    bound = bind(op.function, node.args, node.kwargs) if op.name in ("embedding", "embedding_bag") else None
    if bound is None or bound[1].get("max_norm") is None:
        return
    root, source = node.graph.owning_module, bound[1]["weight"]
    if root is None or not isinstance(source, fx.Node) or source.op != "get_attr":
        return
    table = _attribute(root, str(source.target))
    holders = [name for name, value in root.named_parameters(remove_duplicate=False) if value is table]
    others = [
        user.name
        for each in node.graph.nodes
        if each.op == "get_attr" and _attribute(root, str(each.target)) is table
        for user in each.users
        if user is not node
    ]
    if len(holders) > 1 or others:
        readers = ", ".join([*holders, *others])
        raise ConversionError(
            f"{describe(node)} has max_norm, so that PyTorch changes its table at each look-up, and the table is read "
            f"elsewhere too ({readers}); expected a table of its own, or no max_norm"
        )


def _attribute(root: Any, path: str) -> Tensor | Any:
    for part in path.split("."):
        root = getattr(root, part)
    return root
