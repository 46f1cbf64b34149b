"""What changes a tensor in place becomes a value of its own, for all that reads the tensor later.

A circuit has values and no memory that is written over. `h += x` is `h2 = h + x`, and whoever reads `h` afterwards, by
whatever name, reads `h2`. Whether two nodes of the graph are the same memory is known from the example, on which the
network was run without numbers (`ModelTracer.example_of`). A change through a view is put back into the tensor that is
viewed where the view is an index; others are refused.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from hrat.circuit import OPS, op_of
from hrat.conversion.describe import describe
from hrat.conversion.tracer import IN_PLACE_OPERATORS, ModelTracer
from hrat.errors import ConversionError

__all__ = ["make_functional"]

_OPERATORS = set(IN_PLACE_OPERATORS.values())
_NAMES = {function: name[3:-2] for name, function in IN_PLACE_OPERATORS.items() if name != "__setitem__"}
"""`operator.iadd` -> "add"."""


def make_functional(graph: fx.Graph, tracer: ModelTracer) -> None:
    """Replace all that works in place.

    Raises:
        ConversionError: a change of a parameter or buffer, or of a view that cannot be followed.
    """
    changes = [node for node in graph.nodes if _works_in_place(node)]
    if not changes:
        return
    memory = _Memory(graph, tracer)
    for node in changes:
        target = node.args[0]
        if not isinstance(target, fx.Node):
            raise ConversionError(f"{describe(node)} changes what is no tensor of the network in place")
        memory.refuse_state(node, target)
        dtype = memory.dtype(target)
        _take_in_place_off(node)
        result = _in_dtype(graph, node, memory, dtype)
        memory.replace_later(node, target, result)


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def _works_in_place(node: fx.Node) -> bool:
    if node.op not in ("call_method", "call_function"):
        return False
    if node.target in _OPERATORS:
        return True
    if _asks_for_in_place(node):
        return True
    name = _name(node)
    # torch's own names end in one underscore where they work in place; Python's operators `and_`, `or_` do too.
    is_torchs = node.op == "call_method" or str(getattr(node.target, "__module__", "")) not in ("_operator", "operator")
    return is_torchs and name.endswith("_") and not name.endswith("__")


def _asks_for_in_place(node: fx.Node) -> bool:
    """Whether a function was asked to overwrite its input by `inplace=True`."""
    return node.op == "call_function" and bool(node.kwargs.get("inplace") or _at_place(node, "inplace"))


def _at_place(node: fx.Node, name: str) -> Any:
    names = _parameters(node.target)
    place = names.index(name) if name in names else len(node.args)
    return node.args[place] if place < len(node.args) else None


def _parameters(function: Any) -> list[str]:
    code = getattr(function, "__code__", None)
    return list(code.co_varnames[: code.co_argcount]) if code is not None else []


def _take_in_place_off(node: fx.Node) -> None:
    """The same operation as one that yields a new value."""
    if node.target is operator.setitem:
        node.target = OPS["with_items"].function
        return
    if node.target in _NAMES:
        node.target = OPS[_NAMES[node.target]].function
        return
    if _asks_for_in_place(node):
        if "inplace" in node.kwargs:
            node.kwargs = {**node.kwargs, "inplace": False}
        else:
            node.update_arg(_parameters(node.target).index("inplace"), False)
    name = _name(node)
    if not name.endswith("_"):
        return
    known = op_of(node.target) or op_of(name) or op_of(name[:-1])
    if known is None:
        return  # refused by name, like all that the table lacks
    node.op, node.target = "call_function", known.function


def _in_dtype(graph: fx.Graph, node: fx.Node, memory: _Memory, dtype: Any) -> fx.Node:
    """A tensor that is changed in place keeps its type of numbers."""
    made = memory.functional_dtype(node)
    if made is None or made == dtype:
        return node
    users = list(node.users)
    with graph.inserting_after(node):
        cast = graph.call_function(OPS["to"].function, (node, dtype))
    for user in users:
        user.replace_input_with(node, cast)
    memory.same(cast, node)
    return cast


class _Memory:
    """Which nodes are the same memory, on the example, as the network itself runs."""

    def __init__(self, graph: fx.Graph, tracer: ModelTracer) -> None:
        self.graph = graph
        self.tracer = tracer
        self.examples = {node: self._example(node) for node in graph.nodes if node.op != "output"}

    def _example(self, node: fx.Node) -> Any:
        try:
            return self.tracer.example_of(node)
        except Exception:  # sizes that depend on values: the run on the real example will say what is wrong
            return None

    def dtype(self, node: fx.Node) -> Any:
        return getattr(self.examples[node], "dtype", None)

    def functional_dtype(self, node: fx.Node) -> Any:
        """Type of the numbers that the operation yields where it makes a new value."""
        return getattr(self.tracer.evaluated(node), "dtype", None)

    def same(self, node: fx.Node, other: fx.Node) -> None:
        """A node that stands for another one, in the same memory."""
        self.examples[node] = self.examples[other]
        self.tracer.stands_for(node, self.examples[other])

    def refuse_state(self, node: fx.Node, target: fx.Node) -> None:
        """Refuse a change of what the network keeps.

        Raises:
            ConversionError: naming the parameter or buffer.
        """
        for other in self._sharing(target):
            if other.op == "get_attr" and (kept := self._kept(str(other.target))):
                raise ConversionError(
                    f"{describe(node)} changes the {kept} '{other.target}' in the forward pass, which no chip can do "
                    "and training would lose; expected a forward that leaves the model as it is: multiply by a mask in "
                    "forward (`F.linear(x, self.weight * self.mask)`), or keep such state outside of the model"
                )

    def _kept(self, path: str) -> str:
        *parents, name = path.split(".")
        owner = self.tracer.root.get_submodule(".".join(parents))
        if name in owner._parameters:
            return "parameter"
        return "buffer" if name in owner._buffers else ""

    def replace_later(self, node: fx.Node, target: fx.Node, result: fx.Node) -> None:
        """Let all that reads the changed memory later read the result.

        Raises:
            ConversionError: something reads it through a view that cannot be followed.
        """
        order = {each: index for index, each in enumerate(self.graph.nodes)}
        done = max(order[node], order[result])
        if node.target is OPS["with_items"].function:
            self.same(node, target)
        whole = self._put_back(target, result) if _is_view(target) else {}
        for other in self._sharing(target):
            later = [user for user in other.users if order.get(user, 0) > done]
            made_later = order.get(other, 0) > order[node] and other.op != "get_attr"  # from the result, that is
            if other in (node, result, *whole.values()) or made_later or not later:
                continue
            instead = whole.get(other)
            if instead is None and self._alike(other, target):
                instead = result
            if instead is None:
                raise ConversionError(
                    f"{describe(node)} changes memory in place that {describe(later[0])} reads through another view; "
                    "expected views that are read before the change, or changes of whole tensors: make a new tensor "
                    "(torch.cat, torch.where, h = h + x)"
                )
            for user in later:
                user.replace_input_with(other, instead)

    def _put_back(self, view: fx.Node, result: fx.Node) -> dict[fx.Node, fx.Node]:
        """For a change of `base[index]`: the base with the change in it."""
        whole: dict[fx.Node, fx.Node] = {}
        at = result
        while _is_view(view):
            base, index = view.args
            assert isinstance(base, fx.Node)
            with self.graph.inserting_after(at):
                at = self.graph.call_function(OPS["with_items"].function, (base, index, at))
            at.meta.update(result.meta)
            whole[base] = at
            self.same(at, base)
            view = base
        return whole

    def _sharing(self, target: fx.Node) -> Iterator[fx.Node]:
        """Nodes whose values are in the memory of another one's, it among them."""
        memory = _memory_of(self.examples[target])
        for node, value in list(self.examples.items()):
            if memory & _memory_of(value):
                yield node

    def _alike(self, node: fx.Node, target: fx.Node) -> bool:
        """Whether two nodes are the very same numbers."""
        one, other = self.examples[node], self.examples[target]
        if not isinstance(one, Tensor) or not isinstance(other, Tensor):
            return False
        return (
            one.shape == other.shape
            and one.stride() == other.stride()
            and one.storage_offset() == other.storage_offset()
            and one.dtype == other.dtype
        )


def _is_view(node: fx.Node) -> bool:
    return node.op == "call_function" and node.target is operator.getitem and isinstance(node.args[0], fx.Node)


def _memory_of(value: Any) -> frozenset[int]:
    if isinstance(value, nn.Module):
        return frozenset()
    return frozenset(leaf.untyped_storage()._cdata for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
