"""The network on its way: the graph that all passes of conversion work on, and what each asks of its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import fx, nn

from hrat.circuit import OPS, Op, op_of
from hrat.conversion.trace import Traced
from hrat.nn import Recurrence, is_dropout
from hrat.spec import HardwareSpec

__all__ = ["Network"]


class Network:
    """A traced network and the hardware that it is to run on."""

    def __init__(self, traced: Traced, spec: HardwareSpec) -> None:
        self.module = traced.module
        self.graph = traced.module.graph
        self.arguments = traced.arguments
        self.form = traced.form
        self.spec = spec
        self.notes = list(traced.notes)
        """Notes on the conversion for the user, one sentence each."""

    def module_at(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls, if it calls one."""
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def op(self, node: fx.Node) -> Op | None:
        """The entry of the operations' table that a node is, if it is one."""
        if node.op in ("call_function", "call_method"):
            return op_of(node.target)
        return OPS["identity"] if is_dropout(self.module_at(node)) else None

    def word(self, node: fx.Node) -> str:
        """Name of a node in messages."""
        op = self.op(node)
        return op.name if op is not None else f"'{node.target}'"

    def signal_args(self, node: fx.Node, op: Op) -> list[Any]:
        """The arguments of an operation that are signals."""
        if op.signals == "list":
            first = node.args[0] if node.args else node.kwargs.get("tensors", ())
            return list(first)  # type: ignore[arg-type]
        if op.signals == "two":
            return list(node.args[:2])
        return [node.args[0] if node.args else node.kwargs.get("input")]

    def reads_values(self, node: fx.Node) -> bool:
        """Whether a digital node uses the values of its arguments, not their sizes alone."""
        op = self.op(node)
        return bool(node.meta["seen"].is_tensor) and (op is None or op.reads_values)

    def recurrences(self) -> list[fx.Node]:
        """Calls of recurrent layers."""
        return [node for node in self.graph.nodes if isinstance(self.module_at(node), Recurrence)]

    def calls_of(self, *kinds: type[nn.Module]) -> Iterator[fx.Node]:
        """Nodes that call a module of one of these kinds, in order; the graph may change on the way."""
        for node in list(self.graph.nodes):
            if isinstance(self.module_at(node), kinds):
                yield node

    def insert_behind(self, source: fx.Node, name: str, module: nn.Module) -> fx.Node:
        """Insert a call of a new module on a node's result; returns the new node. The name is one to begin with."""
        name = self.free_name(name)
        self.module.add_submodule(name, module)
        with self.graph.inserting_after(source):
            node = self.graph.call_module(name, (source,))
        node.meta["seen"] = source.meta["seen"]
        return node

    def free_name(self, wanted: str) -> str:
        """A name that no part of the network has."""
        while hasattr(self.module, wanted):
            wanted += "_"
        return wanted

    def drop_unused(self) -> None:
        """Remove unused modules and parameters, such as fused batch norms, which live in the layers."""
        self.graph.eliminate_dead_code()
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


def _has(module: nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True
