"""The graph of a prepared model as plain data, for pickle.

torch.fx pickles a graph as source code that it traces once more when it is read, through functions that are one step of
the graph here. So the nodes themselves are written, and put together again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from hrat.circuit import OPS
from hrat.errors import ConversionError

__all__ = ["graph_from_state", "state_of_graph"]


@dataclass(frozen=True)
class _NodeName:
    """A node of the graph among the arguments of another one."""

    name: str


@dataclass(frozen=True)
class _Operation:
    """A function of the table of operations, by the name that it has there."""

    name: str


def state_of_graph(module: fx.GraphModule) -> dict[str, Any]:
    """All that a graph module is made of, as data that can be pickled where its parts can."""

    def named(argument: Any) -> Any:
        return fx.map_arg(argument, lambda node: _NodeName(node.name))  # type: ignore[arg-type,return-value]

    names = {id(op.function): _Operation(name) for name, op in OPS.items()}
    own = vars(fx.GraphModule(nn.Module(), fx.Graph())).keys() - vars(nn.Module()).keys()  # what fx makes anew
    return {
        "class_name": type(module).__name__,
        "nodes": [
            (n.op, n.name, names.get(id(n.target), n.target), named(n.args), named(n.kwargs), n.type)
            for n in module.graph.nodes
        ],
        "attributes": {name: value for name, value in vars(module).items() if name not in own},
    }


def graph_from_state(state: dict[str, Any]) -> fx.GraphModule:
    """The inverse of `state_of_graph`.

    Raises:
        ConversionError: an operation of the user's own has not been registered here.
    """
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}

    def found(argument: Any) -> Any:
        if isinstance(argument, _NodeName):
            return nodes[argument.name]
        if isinstance(argument, tuple):
            return tuple(map(found, argument))
        if isinstance(argument, list):
            return [found(part) for part in argument]
        if isinstance(argument, dict):
            return {key: found(part) for key, part in argument.items()}
        if isinstance(argument, slice):
            return slice(found(argument.start), found(argument.stop), found(argument.step))
        return argument

    for op, name, target, args, kwargs, kind in state["nodes"]:
        if isinstance(target, _Operation):
            if target.name not in OPS:
                raise ConversionError(
                    f"the pickled model has the operation '{target.name}', which is not known here; expected the "
                    "module that registers it (hrat.operation) to be imported before the model is read"
                )
            target = OPS[target.name].function
        nodes[name] = graph.create_node(op, target, found(args), found(kwargs), name=name, type_expr=kind)
    root = nn.Module()
    vars(root).update(state["attributes"])
    module = fx.GraphModule(root, graph, class_name=state["class_name"])
    vars(module).update(state["attributes"])  # with what the graph does not name
    return module
