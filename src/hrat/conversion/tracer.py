"""Follows a model's forward pass with symbols in the place of tensors.

Beyond what torch.fx does by itself:

* Python may ask for what the example tells and a chip has to know when it is built: numbers of dimensions, number
  types, and sizes. A size that Python needs as a number (a loop over time steps, a branch on a length) is that of the
  example from there on, and the graph gets a check that says so if another size comes (`expect` in
  `hrat.circuit.operations`). Sizes that only reach other operations stay free.
* Arguments that the example does not give keep their defaults; tuples, lists, dicts and dataclasses of tensors arrive
  as what they are, with symbols inside.
* What changes a tensor in place is recorded as such (`hrat.conversion.in_place` makes it functional afterwards), and so
  is what was computed without gradients.
* The value of a tensor is never known here: a branch on it cannot be followed, which a chip could not do either.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.proxy import TraceError
from torch.utils._pytree import tree_leaves, tree_map

from hrat.batches import is_record, plain_value
from hrat.circuit import OPS
from hrat.conversion.nests import parts_of
from hrat.conversion.patches import followed
from hrat.errors import ConversionError
from hrat.nn import FREE, Form, taken_apart

__all__ = ["IN_PLACE_OPERATORS", "ModelTracer"]

NUMBER_TYPE = frozenset(("dtype", "is_floating_point", "is_complex"))
"""What tells the type of a tensor's numbers; a check of the kind of numbers goes into the graph."""
RANK = frozenset(("dim", "ndimension", "ndim"))
"""What tells a tensor's number of dimensions; a check goes into the graph."""
KNOWN_ATTRIBUTES = frozenset(("dtype", "ndim", "layout", "itemsize", "is_sparse", "is_nested", "is_quantized"))
"""Attributes of a tensor that are equal for every input of the example's kind."""
KNOWN_METHODS = frozenset(("dim", "ndimension", "is_floating_point", "is_complex", "is_contiguous", "element_size"))
"""Methods and functions whose results are equal for every input of the example's kind."""
PLACE = frozenset(("device", "is_cuda", "is_cpu", "is_mps", "is_meta", "is_xpu", "get_device"))
"""Attributes of a tensor's device: known while tracing, and free to change afterwards."""
FIELDS = frozenset(
    name
    for kind in vars(torch.return_types).values()
    if isinstance(kind, type)
    for name in dir(kind)
    if name in ("values", "indices") or not (name.startswith(("_", "n_")) or hasattr(Tensor, name))
)
"""Names of the parts of what torch's functions return, such as `values` and `indices`."""
CHANGES_GRADIENTS = {
    "register_hook": "changes gradients by a hook, which a chip's training would lose",
    "register_post_accumulate_grad_hook": "hooks a gradient, which conversion would lose",
    "requires_grad_": "asks for gradients of a value in the forward pass",
    "retain_grad": "keeps the gradient of a value in the forward pass, which conversion would lose",
    "backward": "computes gradients in the forward pass",
}
"""Methods that act on the backward pass alone, of which a traced graph keeps nothing."""
IN_PLACE_OPERATORS: dict[str, Callable[..., Any]] = {
    "__iadd__": operator.iadd,
    "__isub__": operator.isub,
    "__imul__": operator.imul,
    "__itruediv__": operator.itruediv,
    "__ifloordiv__": operator.ifloordiv,
    "__imod__": operator.imod,
    "__ipow__": operator.ipow,
    "__iand__": operator.iand,
    "__ior__": operator.ior,
    "__ixor__": operator.ixor,
    "__setitem__": operator.setitem,
}
"""Python's operators that change their left side, by the names of the methods behind them."""


class Symbol(fx.Proxy):
    """A value of the traced model."""

    tracer: ModelTracer

    def __getattr__(self, name: str) -> Any:
        if name == "shape":
            return self.size()
        if name in KNOWN_ATTRIBUTES:
            return self.tracer.fact(self.node, name)
        if name == "requires_grad":
            return self.tracer.learns(self.node)
        if name == "data":
            return self.detach()
        if name in ("T", "mT"):
            return self.transpose(-2, -1)
        if name in FIELDS and (place := self.tracer.place_of(self.node, name)) is not None:
            return operator.getitem(self, place)
        if name in ("grad", "grad_fn"):
            raise ConversionError(
                f"{_place()} reads .{name} of a tensor in the forward pass, which no chip has; expected a forward that "
                "works without gradients"
            )
        return _Attribute(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("tracer", "node", "root", "attr", "_node"):
            object.__setattr__(self, name, value)
            return
        raise ConversionError(
            f"{_place()} sets .{name} of a tensor in the forward pass, which changes the model itself; "
            "expected weights that only training changes: multiply by a mask in forward "
            "(`F.linear(x, self.weight * self.mask)`), or set what is fixed before hrat.prepare"
        )

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})

    def __len__(self) -> int:
        value = self.tracer.example_of(self.node)
        if isinstance(value, Tensor):
            return int(self.tracer.known(self.size(0).node))
        if isinstance(value, torch.Size):
            for source in self.node.all_input_nodes[:1]:
                self.tracer.expect_rank(source)
            return len(value)
        return int(self.tracer.known(self.tracer.create_proxy("call_function", len, (self,), {}).node, tell=False))

    def __index__(self) -> int:
        return int(self.tracer.known(self.node))

    def __int__(self) -> int:
        return int(self.tracer.known(self.node))

    def __float__(self) -> float:
        return float(self.tracer.known(self.node))

    def __hash__(self) -> int:
        return id(self.node)

    def __format__(self, form: str) -> str:
        return format(repr(self), form)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """`np.float64(2) * x` is `2 * x`; other functions of numpy see the number that a size has."""
        plain = [value.item() if isinstance(value, np.generic) else value for value in inputs]
        by_python = _UFUNCS.get(ufunc.__name__)
        if method == "__call__" and by_python is not None and not kwargs:
            return by_python(*plain)
        numbers = [value.__float__() if isinstance(value, Symbol) else value for value in plain]
        return getattr(ufunc, method)(*numbers, **kwargs)


_UFUNCS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "true_divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "power": operator.pow,
    "remainder": operator.mod,
}


def _in_place(name: str) -> Callable[[Symbol, Any], Any]:
    changes = IN_PLACE_OPERATORS[name]
    plain: Callable[..., Any] = getattr(operator, name.replace("__i", "").rstrip("_").join(("__", "__")))

    def change(self: Symbol, other: Any) -> Any:
        if not isinstance(self.tracer.example_of(self.node), Tensor):
            return plain(self, other)  # numbers and tuples are made anew
        return self.tracer.create_proxy("call_function", changes, (self, other), {})

    return change


for _name in IN_PLACE_OPERATORS:
    if _name != "__setitem__":
        setattr(Symbol, _name, _in_place(_name))


class _Attribute(fx.proxy.Attribute, Symbol):
    """An attribute of a value; a method if it is called."""

    def __getattr__(self, name: str) -> Any:
        if name in ("type", "index") and self.attr == "device":
            return getattr(self.tracer.example_of(self.node), name)
        return _Attribute(self, name)


class ModelTracer(fx.Tracer):
    """Traces one model on one example."""

    proxy_buffer_attributes = True
    record_stack_traces = True

    def __init__(self, is_leaf: Callable[[nn.Module, str], bool], given: dict[str, Any]) -> None:
        """Prepare to trace.

        Args:
            is_leaf: whether a module stays a call of a module.
            given: the example's arguments by name.
        """
        super().__init__()
        self.is_leaf = is_leaf
        self.given = given
        self.notes: list[str] = []
        self.free: list[str] = []
        """Arguments of the example that hold numbers: the graph takes them."""
        self.fixed: dict[str, Any] = {}
        """Arguments of the example that hold no numbers: the network keeps them."""
        self.skeletons: dict[str, Any] = {}
        """See `hrat.nn.call_form.Arguments`."""
        self.form = Form()
        """Types of the outputs."""
        self.own_gradients: list[str] = []
        """Names of the autograd functions that were followed."""
        self.looks_at_mode = False
        """Whether the network asked for `self.training`."""
        self.where = ""
        """The module that was entered last."""
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._evaluates = False
        self._examples: dict[fx.Node, Any] = {}
        self._checked: set[Any] = set()
        self._constants: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    # -- what torch.fx asks for

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module stays a call."""
        self.where = f"{module_qualified_name} ({type(m).__name__})"
        return self.is_leaf(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A module's call: followed, or a node."""
        made_on_the_way = m not in (self.submodule_paths or {}) and next(m.parameters(), None) is None
        if self._evaluates or made_on_the_way:
            return forward(*args, **kwargs)
        if not args and list(kwargs) == ["input"] and self.is_leaf(m, ""):
            args, kwargs = (kwargs["input"],), {}
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        """An attribute of a module: a symbol if it is a parameter."""
        return attr_val if self._evaluates else super().getattr(attr, attr_val, parameter_proxy_cache)

    def trace(self, root: Any, concrete_args: Any = None) -> fx.Graph:
        """The graph of a model."""
        with followed(self, root):
            return super().trace(root, concrete_args)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """A placeholder for each argument of the example that holds numbers; all others are as the example has them."""
        del is_module, concrete_args
        args: list[Any] = [self.root]
        for name, given in self.given.items():
            value = plain_value(given)
            if any(_is_number(leaf) for leaf in tree_leaves(value)):
                proxy = self.create_proxy("placeholder", name, (), {})
                self._examples[proxy.node] = tree_map(self._faked, value)
                args.append(proxy)
                self.free.append(name)
            else:
                _refuse_hidden_tensors(name, given)
                self.fixed[name] = given

        def call(root: nn.Module, *values: Any) -> Any:
            unpacked = {
                name: self._unpacked(name, self.given[name], v) for name, v in zip(self.free, values, strict=True)
            }
            arguments = self.fixed | unpacked
            positional, keywords = _in_order(root_fn, {name: arguments[name] for name in self.given})
            outputs, self.form = taken_apart(root_fn(root, *positional, **keywords), self._output, "output")
            return outputs

        return call, args

    def _unpacked(self, name: str, given: Any, proxy: Any) -> Any:
        """An argument as the model takes it: nests are real ones, with symbols for the numbers in them."""
        parts, make = parts_of(given)
        if parts is None:
            return proxy
        self.skeletons[name] = _skeleton(given)
        return make({key: self._part(f"{name}[{key!r}]", part, proxy, key) for key, part in parts.items()})

    def _part(self, place: str, given: Any, nest: Any, key: Any) -> Any:
        if not any(_is_number(leaf) for leaf in tree_leaves(plain_value(given))):
            _refuse_hidden_tensors(place, given)
            return given
        proxy = nest[key]
        parts, make = parts_of(given)
        if parts is None:
            return proxy
        return make({inner: self._part(f"{place}[{inner!r}]", part, proxy, inner) for inner, part in parts.items()})

    def _output(self, value: Any, place: str) -> Any:
        """A value that the model returns: one that is no tensor, such as a cache of keys and values, is left out."""
        if isinstance(value, fx.Proxy | Tensor | int | float | str | type(None) | torch.Size):
            return value
        self.notes.append(f"{place} ({type(value).__name__}) is no tensor and is left out")
        return None

    def create_arg(self, a: Any) -> Any:
        """A value as an argument of a node."""
        if isinstance(a, fx.Proxy):
            return a.node
        if isinstance(a, np.generic):
            return a.item()
        if isinstance(a, Tensor) and not isinstance(a, nn.Parameter) and a not in self.tensor_attrs:
            a = self._as_it_is_now(a)
        return super().create_arg(a)

    def _as_it_is_now(self, constant: Tensor) -> Tensor:
        """A constant that the model made, which it may go on to change: each state of it is a constant of its own."""
        if any(constant is buffer for buffer in self.root.buffers()):
            return constant
        key = id(constant), constant._version
        if key not in self._constants:
            # The original stays alive beside its copy, so that no other tensor gets its id.
            self._constants[key] = constant, constant.clone()
        return self._constants[key][1]

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """A node, which knows whether it was made without gradients."""
        node = super().create_node(kind, target, *args, **kwargs)
        if not torch.is_grad_enabled():
            node.meta["no_grad"] = True
        return node

    def proxy(self, node: fx.Node) -> Symbol:
        """A symbol for a node."""
        return Symbol(node, self)

    def create_proxy(
        self,
        kind: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any = None,
        proxy_factory_fn: Any = None,
    ) -> Any:
        """A symbol for what an operation yields, or its value where that is known."""
        named = _name_of(target)
        if kind == "call_method" and named in CHANGES_GRADIENTS:
            raise ConversionError(f"{_place()} calls {named}(), which {CHANGES_GRADIENTS[named]}; {_NO_HOOKS}")
        if kind == "call_method" and named in IN_PLACE_OPERATORS:
            kind, target = "call_function", IN_PLACE_OPERATORS[named]
        if kind == "call_function" and named in LIST_FUNCTIONS and args and isinstance(args[0], fx.Proxy):
            args = (list(self.iter(args[0])), *args[1:])
        proxy = super().create_proxy(kind, target, args, kwargs, name, type_expr, proxy_factory_fn)
        if kind in ("call_method", "call_function") and named in KNOWN_METHODS:
            return self.known_method(proxy.node, named)
        return proxy

    def to_bool(self, obj: fx.Proxy) -> bool:
        """The branch that the example takes."""
        return bool(self.known(obj.node, tell=False))

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The parts of a tuple or tensor."""
        return iter([obj[index] for index in range(len(obj))])  # type: ignore[index]

    # -- what the example tells

    def example_of(self, node: fx.Node) -> Any:
        """Result of a node on the example: tensors without numbers in them, and sizes."""
        if node not in self._examples:
            for each in _behind(node, self._examples):
                self._evaluates = True
                try:
                    with self._fake, torch.no_grad():
                        self._examples[each] = self._value(each)
                finally:
                    self._evaluates = False
        return self._examples[node]

    def stands_for(self, node: fx.Node, value: Any) -> None:
        """Set what a node yields on the example."""
        self._examples[node] = value

    def evaluated(self, node: fx.Node) -> Any:
        """What a node yields on the example as it is now, whatever it yielded before."""
        self._evaluates = True
        try:
            with self._fake, torch.no_grad():
                return self._value(node)
        finally:
            self._evaluates = False

    def type_of(self, node: fx.Node) -> type[Any] | None:
        """Type of a node's value on the example, for tensors and numbers; None for others, or where it has none."""
        if self._evaluates:
            return None
        try:
            value = self.example_of(node)
        except Exception:  # asking for a type must not fail: the operation itself will say what is wrong
            return None
        if isinstance(value, Tensor):
            return nn.Parameter if self._is_parameter(node) else Tensor
        return type(value) if type(value) in (int, float, bool) else None

    def _is_parameter(self, node: fx.Node) -> bool:
        return node.op == "get_attr" and isinstance(self._attribute(node), nn.Parameter)

    def place_of(self, node: fx.Node, name: str) -> int | None:
        """Index of a named part of what a function of torch returned; None if it returned something else."""
        value = self.example_of(node)
        if not isinstance(value, tuple) or not hasattr(type(value), name):
            return None
        part = getattr(value, name)
        return next(index for index, each in enumerate(value) if each is part)

    def learns(self, node: fx.Node) -> bool:
        """Whether a value has a gradient in training: it comes from a parameter that trains, or from such an input."""
        todo, seen = [node], {node}
        while todo:
            each = todo.pop()
            if each.meta.get("no_grad") or _name_of(each.target) in ("detach", "detach_"):
                continue
            if each.op == "call_module" and any(
                p.requires_grad for p in self.root.get_submodule(str(each.target)).parameters()
            ):
                return True
            if each.op == "get_attr" and getattr(self._attribute(each), "requires_grad", False):
                return True
            if each.op == "placeholder" and any(
                isinstance(leaf, Tensor) and leaf.requires_grad for leaf in tree_leaves(self.given[str(each.target)])
            ):
                return True
            todo += [source for source in each.all_input_nodes if source not in seen]
            seen.update(each.all_input_nodes)
        return False

    def length(self, value: fx.Proxy) -> Any:
        """`len` of a symbol, which for a tensor is its first size, as a symbol."""
        if isinstance(self.example_of(value.node), Tensor):
            return value.size(0)
        return len(value)

    def asked_for_mode(self, module: nn.Module) -> None:
        """A module was asked for its `training`."""
        if not self._evaluates and not isinstance(module, _TORCH_TRANSFORMERS):
            self.looks_at_mode = True

    def fact(self, node: fx.Node, name: str) -> Any:
        """An attribute of the example that other inputs must have as well: a check goes into the graph."""
        value = getattr(self.example_of(node), name)
        if name in RANK:
            self.expect_rank(node)
        elif name in NUMBER_TYPE:
            self._expect_kind(node)
        return value

    def known_method(self, node: fx.Node, name: str) -> Any:
        """Result of a method that tells such a fact."""
        if name in RANK:
            self._expect(node, ("rank", node.args[0]))
        elif name in NUMBER_TYPE and isinstance(node.args[0], fx.Node):
            self._expect_kind(node.args[0])
        return self.example_of(node)

    def expect_rank(self, node: fx.Node) -> None:
        """Put a check of a tensor's number of dimensions into the graph."""
        if ("rank", node) not in self._checked and isinstance(self.example_of(node), Tensor):
            self._expect(self.create_node("call_method", "dim", (node,), {}), ("rank", node))

    def _expect_kind(self, node: fx.Node) -> None:
        """Put a check of a tensor's kind of numbers into the graph, where it is that of an input."""
        if self._is_of_input(node) and ("kind", node) not in self._checked:
            self._expect(self.create_node("call_function", OPS["number_kind"].function, (node,), {}), ("kind", node))

    def _expect(self, fact: fx.Node, key: Any) -> None:
        if key not in self._checked and self._depends_on_sizes(fact):
            self._checked.add(key)
            self.create_node("call_function", OPS["expect"].function, (fact, self.example_of(fact), _place()), {})

    def _is_of_input(self, node: fx.Node) -> bool:
        """Whether a value's numbers are those of an input, on which no module with weights has worked yet."""
        todo = [node]
        for each in todo:
            if each.op == "placeholder":
                return True
            if each.op != "call_module":
                todo += [source for source in each.all_input_nodes if source not in todo]
        return False

    def known(self, node: fx.Node, *, tell: bool = True) -> Any:
        """Value of a node on the example where Python needs a number; adds a check to the graph, a note if `tell`.

        Raises:
            TraceError: it is a tensor, whose numbers are not known.
        """
        if node.op == "get_attr":
            return self._attribute(node)  # a buffer of one number: as constant as the model itself
        value = self.example_of(node)
        if isinstance(value, Tensor):
            raise TraceError("the values of a tensor decide what is computed")
        if node not in self._checked and self._depends_on_sizes(node):
            self._checked.add(node)
            place = _place()
            self.create_node(
                "call_function",
                OPS["expect"].function,
                (node, value, place),
                {},
            )
            if tell:
                self.notes.append(f"a size stays at {value}, as in the example input: {place}")
        return value

    def _depends_on_sizes(self, node: fx.Node) -> bool:
        """Whether another input could yield another value, and no other device alone."""
        todo, seen = [node], {node}
        sized = False
        while todo:
            each = todo.pop()
            name = _name_of(each.target)
            if name in PLACE or (name == "getattr" and each.args[1] in PLACE):
                return False
            if isinstance(self.example_of(each), Tensor):
                sized = sized or each.op != "get_attr"
                continue
            sized = sized or each.op == "placeholder"
            todo += [source for source in each.all_input_nodes if source not in seen]
            seen.update(each.all_input_nodes)
        return sized

    def _value(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_aggregate((node.args, node.kwargs), self._example_or_same)
        if node.op == "get_attr":
            return self._faked(self._attribute(node))
        if node.op == "call_module":
            return self.root.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _attribute(self, node: fx.Node) -> Any:
        was, self._evaluates = self._evaluates, True
        try:
            return functools.reduce(getattr, str(node.target).split("."), self.root)
        finally:
            self._evaluates = was

    def _example_or_same(self, value: Any) -> Any:
        return self._examples[value] if isinstance(value, fx.Node) else value

    def _faked(self, value: Any) -> Any:
        return self._fake.from_tensor(value, static_shapes=True) if isinstance(value, Tensor) else value


def _name_of(target: Any) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", "")


def _behind(node: fx.Node, known: dict[fx.Node, Any]) -> list[fx.Node]:
    """Nodes that must be computed for a node's value, each behind those that it reads."""
    needed, todo = {node}, [node]
    while todo:
        for source in todo.pop().all_input_nodes:
            if source not in known and source not in needed:
                needed.add(source)
                todo.append(source)
    return [each for each in node.graph.nodes if each in needed]


def _in_order(function: Callable[..., Any], arguments: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by name as positional and keyword ones: those of `*args` can have no names."""
    parameters = inspect.signature(function).parameters
    variable = [p.name for p in parameters.values() if p.kind is inspect.Parameter.VAR_POSITIONAL]
    if not variable:
        only = [p.name for p in parameters.values() if p.kind is inspect.Parameter.POSITIONAL_ONLY]
        return [arguments.pop(name) for name in only if name in arguments], arguments
    positional = [name for name in parameters if name in arguments]
    return [arguments.pop(name) for name in (*positional, *_numbered(variable[0], arguments))], arguments


def _numbered(name: str, arguments: dict[str, Any]) -> list[str]:
    return [key for key in arguments if key.startswith(f"{name}_") and key.removeprefix(f"{name}_").isdigit()]


def _place() -> str:
    """The line of the model's own source that asks."""
    frame = inspect.currentframe()
    while frame is not None:
        name = frame.f_code.co_filename
        if name != __file__ and "/torch/" not in name:
            return f"{Path(name).name}:{frame.f_lineno}"
        frame = frame.f_back
    return "in torch"


_TORCH_TRANSFORMERS = (
    nn.TransformerEncoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoder,
    nn.TransformerDecoderLayer,
    nn.Transformer,
)
"""Modules that look at their mode to choose between two ways to the same values."""
_NO_HOOKS = (
    "expected a forward pass that leaves gradients alone: use a registered operation with a gradient of its own "
    "(hrat.operation on the `apply` of a torch.autograd.Function), or do it in the training loop"
)
LIST_FUNCTIONS = frozenset(("cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "column_stack"))
"""Functions of a list of tensors, which may be what another function returned."""


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, Tensor | int | float) and not isinstance(leaf, bool)


def _skeleton(given: Any) -> Any:
    """A nest with `FREE` in the place of numbers."""
    parts, _ = parts_of(given)
    if parts is None:
        return FREE if _is_number(given) else given
    inner = {key: _skeleton(part) for key, part in parts.items()}
    return inner if isinstance(given, dict) or is_record(given) else list(inner.values())


def _refuse_hidden_tensors(place: str, value: Any) -> None:
    """Objects that hold tensors would become part of the network with those of the example.

    Raises:
        ConversionError: naming the argument.
    """
    for leaf in tree_leaves(value):
        held = getattr(leaf, "__dict__", None)
        if isinstance(held, dict) and any(isinstance(each, Tensor) for each in tree_leaves(list(held.values()))):
            raise ConversionError(
                f"argument '{place}' is a {type(leaf).__name__} that holds tensors, which a graph cannot take; "
                "expected tensors, numbers, and tuples, lists, dicts or dataclasses of them: pass what the network "
                "reads of it"
            )
