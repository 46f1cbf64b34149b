"""What is different in Python and PyTorch while a network is traced, so that symbols pass where tensors do.

Each patch is undone at the end of the trace, whatever happens in between.
"""

from __future__ import annotations

import builtins
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx import _symbolic_trace
from torch.nn.modules import transformer
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from hrat.conversion.tracer import ModelTracer

__all__ = ["followed"]

FACTORIES = (
    "arange",
    "as_tensor",
    "empty",
    "eye",
    "full",
    "linspace",
    "ones",
    "scalar_tensor",
    "tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
)
"""Functions that take sizes and no tensor, which torch.fx does not see."""
METHODS = (
    "__getitem__",
    "expand",
    "narrow",
    "new_empty",
    "new_full",
    "new_ones",
    "new_zeros",
    "repeat",
    "repeat_interleave",
    "reshape",
    "select",
    "tile",
    "unflatten",
    "view",
)
"""Methods by which a constant takes the size of an input."""


@contextmanager
def followed(tracer: ModelTracer, root: nn.Module) -> Iterator[None]:
    """All patches together, for the time of a trace of `root`."""
    with ExitStack() as stack:
        for patch in (
            _sizes_to_factories(tracer),
            _sizes_to_constants(tracer),
            _without_fused_paths(),
            _helpers_followed(),
            _assertions_without_values(),
            _builtins_see_symbols(tracer, root),
            _own_gradients_noted(tracer),
            _mode_watched(tracer),
            torch.enable_grad(),
        ):
            stack.enter_context(patch)
        yield


def _has_symbols(value: Any) -> bool:
    if isinstance(value, slice):
        return _has_symbols((value.start, value.stop, value.step))
    if isinstance(value, tuple | list):
        return any(map(_has_symbols, value))
    return isinstance(value, fx.Proxy)


@contextmanager
def _replaced(owner: Any, changes: dict[str, Any]) -> Iterator[None]:
    """Attributes of a class or module that are others for a while."""
    own = {name: vars(owner)[name] for name in changes if name in vars(owner)}
    try:
        for name, value in changes.items():
            setattr(owner, name, value)
        yield
    finally:
        for name in changes:
            if name in own:
                setattr(owner, name, own[name])
            else:
                delattr(owner, name)


@contextmanager
def _sizes_to_factories(tracer: ModelTracer) -> Iterator[None]:
    """`torch.zeros(x.size(0))` becomes part of the graph like `x.new_zeros(x.size(0))`."""

    def seen(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if any(isinstance(leaf, fx.Proxy) for leaf in tree_leaves((args, kwargs))):
                return tracer.create_proxy("call_function", function, args, kwargs)
            return function(*args, **kwargs)

        return call

    with _replaced(torch, {name: seen(getattr(torch, name)) for name in FACTORIES}):
        yield


@contextmanager
def _sizes_to_constants(tracer: ModelTracer) -> Iterator[None]:
    """`torch.eye(3).repeat(x.size(0), 1, 1)` becomes part of the graph, in place of a repeat for the example's size."""

    def seen(name: str) -> Callable[..., Any]:
        original = getattr(Tensor, name)

        @functools.wraps(original)
        def call(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            if _has_symbols(args) or _has_symbols(tuple(kwargs.values())):
                return tracer.create_proxy("call_method", name, (self, *args), kwargs)
            return original(self, *args, **kwargs)

        return call

    with _replaced(Tensor, {name: seen(name) for name in METHODS}):
        yield


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
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            _replaced(transformer, {"_detect_is_causal_mask": _as_told}),
            _replaced(F, {"_none_or_dtype": _dtype_of}),  # the original one wants a Tensor
        ):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


@contextmanager
def _helpers_followed() -> Iterator[None]:
    """Functions behind `torch.fx.wrap` are followed like others: they may hold linear operations."""
    functions, methods = _symbolic_trace._wrapped_fns_to_patch, _symbolic_trace._wrapped_methods_to_patch
    kept = dict(functions), list(methods)
    functions.clear()
    methods.clear()
    try:
        yield
    finally:
        functions.update(kept[0])
        methods.extend(kept[1])


@contextmanager
def _assertions_without_values() -> Iterator[None]:
    """A model's own assertions about the values of tensors are dropped, which no chip could make."""

    def seen(check: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(check)
        def call(*args: Any, **kwargs: Any) -> Any:
            return None if _has_symbols((*args, *kwargs.values())) else check(*args, **kwargs)

        return call

    names = [name for name in vars(torch) if name == "_check" or name.startswith("_check_")]
    with _replaced(torch, {name: seen(getattr(torch, name)) for name in names}):
        yield


@contextmanager
def _builtins_see_symbols(tracer: ModelTracer, root: nn.Module) -> Iterator[None]:
    """In the network's own code a symbol is an instance of what it stands for, and `len(x)` stays free as a size does.

    Not by `Symbol.__class__`: torch's compiled code would believe that as well.
    """

    def length(value: Any) -> Any:
        return tracer.length(value) if isinstance(value, fx.Proxy) else builtins.len(value)

    def is_instance(value: Any, kinds: Any) -> bool:
        known = tracer.type_of(value.node) if builtins.isinstance(value, fx.Proxy) else None
        return builtins.isinstance(value, kinds) or (known is not None and issubclass(known, kinds))

    def is_tensor(value: Any) -> bool:
        return is_instance(value, Tensor)

    own = {"len": length, "isinstance": is_instance}
    changed = [(place, name) for place in _own_code(root) for name in own if name not in place]
    try:
        for place, name in changed:
            place[name] = own[name]
        with _replaced(torch, {"is_tensor": is_tensor}):
            yield
    finally:
        for place, name in changed:
            place.pop(name, None)


def _own_code(root: nn.Module) -> list[dict[str, Any]]:
    """Globals of the modules in whose packages the network was written, and of einops, which asks for types."""
    written = {str(type(module).__module__).partition(".")[0] for module in root.modules()} - {"torch", "hrat"}
    written.add("einops")
    return [
        vars(module)
        for name, module in list(sys.modules.items())
        if module is not None and name.partition(".")[0] in written
    ]


@contextmanager
def _own_gradients_noted(tracer: ModelTracer) -> Iterator[None]:
    """An autograd function is followed through its forward; that it has a gradient of its own is noted."""
    original = torch.autograd.Function.__dict__["apply"]

    def apply(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
        if not _has_symbols((*args, *kwargs.values())):
            return original.__get__(None, cls)(*args, **kwargs)
        tracer.own_gradients.append(cls.__name__)
        apart = cls.setup_context is not torch.autograd.Function.setup_context
        return cls.forward(*args, **kwargs) if apart else cls.forward(_Context(), *args, **kwargs)

    with _replaced(torch.autograd.Function, {"apply": classmethod(apply)}):
        yield


class _Context:
    """What an autograd function keeps for its backward pass, which is not followed."""

    def __getattr__(self, name: str) -> Any:
        return _nothing


def _nothing(*_: Any, **__: Any) -> None:
    """Takes what is kept."""


class _Mode:
    """`Module.training`, of which is noted who asks."""

    def __init__(self, tracer: ModelTracer) -> None:
        self.tracer = tracer

    def __get__(self, module: nn.Module | None, owner: Any = None) -> Any:
        if module is None:
            return self
        self.tracer.asked_for_mode(module)
        return module.__dict__["training"]

    def __set__(self, module: nn.Module, value: bool) -> None:
        module.__dict__["training"] = value


@contextmanager
def _mode_watched(tracer: ModelTracer) -> Iterator[None]:
    """Notes whether the network looks at `self.training`, so that it may compute something else in training."""
    with _replaced(nn.Module, {"training": _Mode(tracer)}):
        yield
