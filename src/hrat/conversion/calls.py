"""Calls of functions with parameters of the model become modules, so that conversion has one form of each operation.

`F.linear(x, self.w)`, `x @ self.w`, `torch.einsum("bi,oi->bo", x, self.w)` and `torch.addmm(self.b, x, self.w)` are
linear layers, `F.conv2d(x, self.w)` is a
convolution, `F.batch_norm(x, self.mean, self.var, ...)` a batch norm, `F.dropout(x)` a module that knows train and
eval. Calls with the same parameters become calls of one module: they are one set of devices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from hrat.conversion.einsum import einsums_to_products
from hrat.conversion.modes import refuse_statistics_of_the_batch
from hrat.nn import FrozenBatchNorm, TurnedLinear

__all__ = ["BatchNorm", "calls_to_modules", "computes_its_weight"]

_LINEAR: dict[Any, type[nn.Module]] = {
    F.linear: nn.Linear,
    F.conv1d: nn.Conv1d,
    F.conv2d: nn.Conv2d,
    F.conv3d: nn.Conv3d,
    F.conv_transpose1d: nn.ConvTranspose1d,
    F.conv_transpose2d: nn.ConvTranspose2d,
    F.conv_transpose3d: nn.ConvTranspose3d,
}
_DROPOUT: dict[Any, type[nn.Module]] = {
    F.dropout: nn.Dropout,
    F.dropout1d: nn.Dropout1d,
    F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d,
    torch.dropout: nn.Dropout,
}
_CONV_NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED_NAMES = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_BATCH_NORM_NAMES = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_INSTANCE_NORM_NAMES = (
    "input",
    "running_mean",
    "running_var",
    "weight",
    "bias",
    "use_input_stats",
    "momentum",
    "eps",
)
_TURNED = ("t", "transpose", "swapaxes", "permute")

_Made = tuple[nn.Module, Any, str]
"""A module, the node that enters it, and a name for it."""


class InstanceNorm(_InstanceNorm):
    """An instance norm of any number of dimensions, in batches."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept inputs of any number of dimensions."""

    def _get_no_batch_dim(self) -> int:
        """No number of dimensions is that of a single image."""
        return -1


class BatchNorm(_BatchNorm):
    """A batch norm of any number of dimensions."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept inputs of any number of dimensions."""


def computes_its_weight(node: fx.Node) -> bool:
    """Whether a call is a convolution whose weight is computed from parameters; one from signals alone is digital."""
    if node.op != "call_function" or node.target not in _LINEAR or node.target is F.linear:
        return False
    todo, seen = [_given(node, _CONV_NAMES).get("weight")], set()
    while todo:
        each = todo.pop()
        if isinstance(each, fx.Node) and each not in seen:
            seen.add(each)
            if each.op == "get_attr" and _parameter(each.graph.owning_module, each) is not None:
                return True
            todo += each.all_input_nodes
    return False


def calls_to_modules(module: fx.GraphModule) -> None:
    """Replace all calls of functions with parameters of a traced model by calls of modules."""
    module_names: dict[Any, str] = {}
    graph = module.graph
    einsums_to_products(graph, lambda node: _held(module, node)[0] is not None)
    for node in list(graph.nodes):
        build = _builder(node)
        if build is None:
            continue
        # The same parameters with the same options are the same module.
        turned = tuple(_is_turned(source) for source in node.all_input_nodes)
        frozen = node.meta.get("stays_frozen")
        key = (node.target, *_parameters_of(node), *(repr(v) for v in _options_of(node)), turned, frozen)
        replacement = build(module, node)
        if replacement is None:
            continue
        new, source, name = replacement
        if key not in module_names or isinstance(new, tuple(_DROPOUT.values())):
            while hasattr(module, name):
                name += "_"
            module.add_submodule(name, new.train(module.training))
            module_names[key] = name
        with graph.inserting_before(node):
            node.replace_all_uses_with(graph.call_module(module_names[key], (source,)))
        graph.erase_node(node)
    graph.eliminate_dead_code()


def _builder(node: fx.Node) -> Callable[[fx.GraphModule, fx.Node], _Made | None] | None:
    if node.op == "call_method" and node.target == "matmul":
        return _of_matmul
    if node.op != "call_function":
        return None
    if node.target in _DROPOUT:
        return _of_dropout
    if node.target in _LINEAR:
        return _of_linear
    if node.target in (torch.addmm, torch.matmul, torch.mm):
        return _of_addmm if node.target is torch.addmm else _of_matmul
    if getattr(node.target, "__name__", "") == "matmul":  # x @ w
        return _of_matmul
    if node.target is F.instance_norm:
        return _of_instance_norm
    return _of_batch_norm if node.target is F.batch_norm else None


def _of_dropout(module: fx.GraphModule, node: fx.Node) -> _Made:
    given = _given(node, ("input", "p"))
    return _DROPOUT[node.target](given.get("p", 0.5)), given["input"], f"{node.name}_module"


def _of_matmul(module: fx.GraphModule, node: fx.Node) -> _Made | None:
    given = _given(node, ("input", "other"))
    source, weight = given["input"], given.get("other")
    own, turned = _held(module, weight)
    if own is None or not isinstance(source, fx.Node) or source.op == "get_attr":
        return None
    return _linear(own, None, turned=not turned), source, _name(_parameters_of(node)[0])


def _of_addmm(module: fx.GraphModule, node: fx.Node) -> _Made | None:
    given = _given(node, ("input", "mat1", "mat2"))
    (own, turned), bias = _held(module, given["mat2"]), _parameter(module, given["input"])
    if own is None or bias is None or bias.ndim != 1 or given.get("alpha", 1) != 1 or given.get("beta", 1) != 1:
        return None
    return _linear(own, bias, turned=not turned), given["mat1"], _name(_parameters_of(node)[-1])


def _of_linear(module: fx.GraphModule, node: fx.Node) -> _Made | None:
    kind = _LINEAR[node.target]
    transposed = "Transpose" in kind.__name__
    given = _given(node, _TRANSPOSED_NAMES if transposed else _CONV_NAMES)
    source, weight, bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
    b = None if bias is None else _parameter(module, bias)
    if bias is not None and b is None:
        return None
    if kind is nn.Linear:
        own, turned = _held(module, weight)
        return None if own is None else (_linear(own, b, turned=turned), source, _name(_parameters_of(node)[0]))
    w = _parameter(module, weight)
    if w is None:
        return None
    groups = cast(int, given.get("groups", 1))
    channels = (w.shape[0], w.shape[1] * groups) if transposed else (w.shape[1] * groups, w.shape[0])
    layer = _with_parameters(kind, (*channels, tuple(w.shape[2:])), w, b, **given)
    return layer, source, _name(_parameters_of(node)[0])


def _of_batch_norm(module: fx.GraphModule, node: fx.Node) -> _Made | None:
    given = _given(node, _BATCH_NORM_NAMES)
    refuse_statistics_of_the_batch(node, given.get("training", False))
    mean, var = (_tensor(module, given.get(name)) for name in ("running_mean", "running_var"))
    affine = [given.get("weight"), given.get("bias")]
    parts = [_tensor(module, part) for part in affine]
    frozen_for_good = node.meta.get("stays_frozen")
    if frozen_for_good and mean is not None and var is not None and all(_is_buffer(part) for part in parts):
        frozen = FrozenBatchNorm(*cast(list[Tensor], parts), mean, var, eps=given.get("eps", 1e-5))
        return frozen, given["input"], _norm_name(node)
    weight, bias = (None if part is None else _parameter(module, part) for part in affine)
    if (
        mean is None
        or var is None
        or any(part is not None and found is None for part, found in zip(affine, (weight, bias), strict=True))
    ):
        return None
    norm = BatchNorm(len(mean), given.get("eps", 1e-5), given.get("momentum", 0.1), affine=False)
    norm.stays_frozen = bool(node.meta.get("stays_frozen"))  # type: ignore[assignment]
    norm.running_mean, norm.running_var = mean, var
    norm.weight, norm.bias = weight, bias  # type: ignore[assignment]
    norm.affine = weight is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked = norm.num_batches_tracked.to(mean.device)
    return norm, given["input"], _norm_name(node)


def _is_buffer(tensor: Tensor | None) -> bool:
    return tensor is not None and not isinstance(tensor, nn.Parameter)


def _norm_name(node: fx.Node) -> str:
    return f"{_name(_parameters_of(node)[0]).removesuffix('_crossbar')}_norm"


def _of_instance_norm(module: fx.GraphModule, node: fx.Node) -> _Made | None:
    """One by running statistics; without them it is a function of its input alone."""
    given = _given(node, _INSTANCE_NORM_NAMES)
    mean, var, weight, bias = (_tensor(module, given.get(name)) for name in _INSTANCE_NORM_NAMES[1:5])
    if mean is None or var is None:
        return None
    refuse_statistics_of_the_batch(node, given.get("use_input_stats", True))
    norm = InstanceNorm(len(mean), given.get("eps", 1e-5), given.get("momentum", 0.1), track_running_stats=True)
    norm.running_mean, norm.running_var = mean, var
    norm.weight, norm.bias = weight, bias  # type: ignore[assignment]
    norm.affine = weight is not None
    norm.stays_frozen = bool(node.meta.get("stays_frozen"))  # type: ignore[assignment]
    return norm, given["input"], f"{_name(_parameters_of(node)[0]).removesuffix('_crossbar')}_norm"


def _given(node: fx.Node, names: tuple[str, ...]) -> dict[str, Any]:
    return dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def _parameters_of(node: fx.Node) -> list[str]:
    """Names of the parameters and buffers that a call reads, looking through a transposition."""
    sources = [s.all_input_nodes[0] if _is_turned(s) else s for s in node.all_input_nodes]
    return [str(source.target) for source in sources if source.op == "get_attr"]


def _options_of(node: fx.Node) -> list[Any]:
    return [arg for arg in (*node.args, *node.kwargs.items()) if not isinstance(arg, fx.Node)]


def _is_turned(node: Any) -> bool:
    """Whether a node is a parameter with its two dimensions swapped."""
    if not isinstance(node, fx.Node) or node.op not in ("call_method", "call_function"):
        return False
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if name not in _TURNED or len(node.all_input_nodes) != 1 or node.all_input_nodes[0].op != "get_attr":
        return False
    first = node.args[1] if len(node.args) == 2 else None
    given = first if isinstance(first, tuple | list) else node.args[1:]
    dims = [d % 2 for d in (*given, *node.kwargs.values()) if isinstance(d, int)]
    if name == "permute":
        return dims == [1, 0]
    return sorted(dims) == [0, 1] if name != "t" else not dims


def _held(module: fx.GraphModule, source: Any) -> tuple[nn.Parameter | None, bool]:
    """The parameter of two dimensions that a product has on one side, and whether it is transposed there."""
    turned = _is_turned(source)
    parameter = _parameter(module, source.all_input_nodes[0] if turned else source)
    if parameter is None or parameter.ndim != 2:
        return None, False
    return parameter, turned


def _parameter(module: Any, source: Any) -> nn.Parameter | None:
    tensor = _tensor(module, source)
    return tensor if isinstance(tensor, nn.Parameter) else None


def _tensor(module: Any, source: Any) -> Tensor | None:
    if not isinstance(source, fx.Node) or source.op != "get_attr":
        return None
    value: Any = module
    for part in str(source.target).split("."):
        value = getattr(value, part)
    return value if isinstance(value, Tensor) else None


def _linear(weight: nn.Parameter, bias: nn.Parameter | None, *, turned: bool) -> nn.Module:
    """A linear layer that has the network's own parameter, `(out, in)`, or `(in, out)` where it is turned."""
    kind, sizes = (TurnedLinear, weight.shape) if turned else (nn.Linear, weight.shape[::-1])
    return _with_parameters(kind, tuple(sizes), weight, bias)


def _with_parameters(
    kind: type[nn.Module], sizes: Any, weight: nn.Parameter, bias: nn.Parameter | None, **options: Any
) -> nn.Module:
    with torch.device("meta"):
        layer = kind(*sizes, bias=bias is not None, **options)
    layer.weight = weight
    if bias is not None:
        layer.bias = bias
    return layer


def _name(parameter: str) -> str:
    return f"{parameter.replace('.', '_')}_crossbar"
