"""Follows a model's forward pass with symbols in the place of tensors.

Beyond what torch.fx does by itself:

* Python may ask for what the example tells and a chip has to know when it is built: numbers of dimensions, number
  types, and sizes. A size that Python needs as a number (a loop over time steps, a branch on a length) is that of the
  example from there on, and the graph gets a check that says so if another size comes (`expect` in
  `hrat.circuit.operations`). Sizes that only reach other operations stay free.
* Arguments that the example does not give keep their defaults.
* The value of a tensor is never known here: a branch on it cannot be followed, which a chip could not do either.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.proxy import TraceError
from torch.nn.modules import transformer
from torch.utils._pytree import tree_leaves, tree_map

from hrat.circuit import OPS

__all__ = ["ModelTracer"]

KNOWN_ATTRIBUTES = frozenset(
    ("dtype", "ndim", "layout", "requires_grad", "itemsize", "is_sparse", "is_nested", "is_quantized", "is_leaf")
)
"""Attributes of a tensor that are equal for every input of the example's kind."""
KNOWN_METHODS = frozenset(("dim", "ndimension", "is_floating_point", "is_complex", "is_contiguous", "element_size"))
"""Methods and functions whose results are equal for every input of the example's kind."""
PLACE = frozenset(("device", "is_cuda", "is_cpu", "is_mps", "is_meta", "is_xpu", "get_device"))
"""Attributes of a tensor's device: known while tracing, and free to change afterwards."""
FACTORIES = ("arange", "zeros", "ones", "full", "empty", "eye", "linspace", "tril_indices", "triu_indices")
"""Functions that take sizes and no tensor, which torch.fx does not see."""


class Symbol(fx.Proxy):
    """A value of the traced model."""

    tracer: ModelTracer

    def __getattr__(self, name: str) -> Any:
        if name == "shape":
            return self.size()
        if name in KNOWN_ATTRIBUTES:
            return getattr(self.tracer.example_of(self.node), name)
        if name in ("T", "mT"):
            return self.transpose(-2, -1)
        return _Attribute(self, name)

    def __len__(self) -> int:
        value = self.tracer.example_of(self.node)
        if isinstance(value, Tensor):
            return int(self.tracer.known(self.size(0).node))
        if isinstance(value, torch.Size):
            return len(value)
        return int(self.tracer.known(self.tracer.create_proxy("call_function", len, (self,), {}).node, tell=False))

    def __index__(self) -> int:
        return int(self.tracer.known(self.node))

    def __int__(self) -> int:
        return int(self.tracer.known(self.node))

    def __float__(self) -> float:
        return float(self.tracer.known(self.node))

    def __format__(self, form: str) -> str:
        return format(repr(self), form)


class _Attribute(fx.proxy.Attribute, Symbol):
    """An attribute of a value; a method if it is called."""

    def __getattr__(self, name: str) -> Any:
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
        self.fixed: dict[str, Any] = {}
        """Arguments of the example that hold no numbers: the network keeps them."""
        self.where = ""
        """The module that was entered last."""
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._evaluates = False
        self._examples: dict[fx.Node, Any] = {}
        self._checked: set[fx.Node] = set()

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
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        """An attribute of a module: a symbol if it is a parameter."""
        return attr_val if self._evaluates else super().getattr(attr, attr_val, parameter_proxy_cache)

    def trace(self, root: Any, concrete_args: Any = None) -> fx.Graph:
        """The graph of a model."""
        with _sizes_to_factories(self), _without_fused_paths():
            return super().trace(root, concrete_args)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """A placeholder for each argument of the example that holds numbers; all others are as the example has them."""
        del is_module, concrete_args
        args: list[Any] = [self.root]
        names = []
        for name, value in self.given.items():
            if any(
                isinstance(leaf, Tensor | int | float) and leaf is not True and leaf is not False
                for leaf in tree_leaves(value)
            ):
                proxy = self.create_proxy("placeholder", name, (), {})
                self._examples[proxy.node] = tree_map(self._faked, value)
                args.append(proxy)
                names.append(name)
        self.fixed = fixed = {name: value for name, value in self.given.items() if name not in names}

        def call(root: nn.Module, *values: Any) -> Any:
            arguments = fixed | dict(zip(names, values, strict=True))
            positional, keywords = _in_order(root_fn, {name: arguments[name] for name in self.given})
            return self._only_values(root_fn(root, *positional, **keywords), "output")

        return call, args

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
        proxy = super().create_proxy(kind, target, args, kwargs, name, type_expr, proxy_factory_fn)
        if kind in ("call_method", "call_function") and _name_of(target) in KNOWN_METHODS:
            return self.example_of(proxy.node)
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

    def _only_values(self, value: Any, name: str) -> Any:
        """Outputs of the model, without objects that are no nests of tensors, such as a cache of keys and values."""
        if isinstance(value, dict):
            return {key: self._only_values(part, f"{name} '{key}'") for key, part in value.items()}
        if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
            return type(value)(self._only_values(part, f"{name} [{index}]") for index, part in enumerate(value))
        kinds = (fx.Proxy, Tensor, int, float, str, type(None), tuple)
        if isinstance(value, kinds):
            return value
        self.notes.append(f"{name} ({type(value).__name__}) is no tensor and is left out")
        return None


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


@contextmanager
def _sizes_to_factories(tracer: ModelTracer) -> Iterator[None]:
    """`torch.zeros(x.size(0))` becomes part of the graph like `x.new_zeros(x.size(0))`."""
    originals = {name: getattr(torch, name) for name in FACTORIES}

    def seen(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if any(isinstance(leaf, fx.Proxy) for leaf in tree_leaves((args, kwargs))):
                return tracer.create_proxy("call_function", function, args, kwargs)
            return function(*args, **kwargs)

        return call

    try:
        for name, function in originals.items():
            setattr(torch, name, seen(function))
        yield
    finally:
        for name, function in originals.items():
            setattr(torch, name, function)


def _as_told(mask: Tensor | None, is_causal: bool | None = None, size: int | None = None) -> bool:
    return bool(is_causal)


def _dtype_of(mask: Any) -> torch.dtype | None:
    return None if mask is None else mask.dtype


@contextmanager
def _without_fused_paths() -> Iterator[None]:
    """`nn.TransformerEncoderLayer` has a second, fused way to compute the same in eval mode: not that one.

    Nor does it matter whether the mask that is given happens to be a causal one, which `nn.TransformerEncoder` looks
    for in its values: the mask is used as it is.
    """
    was, detect = torch.backends.mha.get_fastpath_enabled(), transformer._detect_is_causal_mask
    dtype_of = F._none_or_dtype
    torch.backends.mha.set_fastpath_enabled(False)
    transformer._detect_is_causal_mask = _as_told
    F._none_or_dtype = _dtype_of  # type: ignore[assignment]  # the original one wants a Tensor
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)
        transformer._detect_is_causal_mask = detect
        F._none_or_dtype = dtype_of
