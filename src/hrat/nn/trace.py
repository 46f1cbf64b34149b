"""From an `nn.Module` to a graph in one normal form.

torch.fx is used rather than torch.export: its graph keeps modules, their names, the training/eval switch and a free
batch size, all of which training needs and an exported program has lost. What it cannot follow is Python control flow
that depends on the data, which a crossbar chip could not do either.

Normal form: linear operations, batch norms and dropouts are module calls; all else is a function of the table
`hrat.artifacts.ops`; each node carries what it yields on the example (`node.meta`).
"""

from __future__ import annotations

import copy
import traceback
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from hrat.artifacts.ops import op_of
from hrat.errors import ConversionError

__all__ = [
    "DROPOUT_MODULES",
    "LINEAR_MODULES",
    "Seen",
    "clone_for_conversion",
    "describe",
    "example_args",
    "refuse_parametrised",
    "trace",
]

LINEAR_MODULES = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
DROPOUT_MODULES = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
NOT_TRACEABLE = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Transformer, nn.TransformerEncoderLayer)

_FUNCTIONAL_LINEAR: dict[Any, type[nn.Module]] = {
    F.linear: nn.Linear,
    F.conv1d: nn.Conv1d,
    F.conv2d: nn.Conv2d,
    F.conv3d: nn.Conv3d,
    F.conv_transpose1d: nn.ConvTranspose1d,
    F.conv_transpose2d: nn.ConvTranspose2d,
    F.conv_transpose3d: nn.ConvTranspose3d,
}
_FUNCTIONAL_DROPOUT: dict[Any, type[nn.Module]] = {
    F.dropout: nn.Dropout,
    F.dropout1d: nn.Dropout1d,
    F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d,
    torch.dropout: nn.Dropout,
}


@dataclass(frozen=True)
class Seen:
    """What a node yielded on the example input."""

    is_tensor: bool
    shape: tuple[int, ...] = ()
    peak: float = 0.0
    """The 99.9 % quantile of the magnitude, in normal scale."""


def example_args(example_input: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """An example input as positional and keyword arguments: a tensor, a tuple or list of arguments, or a dict."""
    if isinstance(example_input, dict):
        return (), dict(example_input)
    if isinstance(example_input, tuple | list):
        return tuple(example_input), {}
    return (example_input,), {}


def trace(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> fx.GraphModule:
    """The model's graph in normal form, its nodes annotated with what they yield on the example.

    Args:
        model: in eval mode; it is not changed, but its parameters are shared with the result.
        args: positional example arguments.
        kwargs: keyword example arguments.

    Raises:
        ConversionError: the model has control flow that depends on the data, or an operation outside the table.
    """
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except ConversionError:
        raise
    except Exception as error:  # fx raises whatever the model's own code raises on a proxy
        raise ConversionError(_control_flow_message(model, tracer, error)) from error
    module = fx.GraphModule(tracer.root, graph, class_name=type(model).__name__)
    _inplace_to_functional(graph)
    graph.eliminate_dead_code()
    _functions_to_modules(module)
    _shape_attributes_to_calls(graph)
    graph.lint()
    module.recompile()
    _annotate(module, args, kwargs)
    for node in graph.nodes:
        _refuse_unknown(node, module)
    _name_functions_one_way(graph)
    module.recompile()
    return module


class _Tracer(fx.Tracer):
    """Follows the model into every module but the ones that conversion treats as a whole."""

    where: str = ""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        self.where = f"{qualified_name} ({type(module).__name__})"
        if isinstance(module, NOT_TRACEABLE):
            raise ConversionError(
                f"{self.where} cannot be put on crossbars yet: expected linear layers, convolutions, batch norms and "
                "functions between them, got a module that computes in a loop or in a fused kernel; write it out with "
                "nn.Linear and the operations between, or take it out of the model that is prepared"
            )
        leaf_types = (*LINEAR_MODULES, *DROPOUT_MODULES, _BatchNorm)
        if not isinstance(module, leaf_types):
            return False
        # A subclass with a forward of its own computes something else: look inside it.
        own: Any = type(module)
        return any(own.forward is base.forward for base in own.__mro__ if base in _STANDARD)


_STANDARD: set[Any] = {
    *LINEAR_MODULES,
    *DROPOUT_MODULES,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
}


def describe(node: fx.Node) -> str:
    """The node's name and the line of the model's source that made it."""
    text = f"node '{node.name}' ({node.op} {getattr(node.target, '__name__', node.target)})"
    for line in reversed((node.stack_trace or "").splitlines()):
        if line.strip().startswith("File"):
            return f"{text}, {line.strip()}"
    return text


def refuse_parametrised(model: nn.Module) -> None:
    """Refuse weights that are computed from others.

    Raises:
        ConversionError: naming the module.
    """
    for name, module in model.named_modules():
        if is_parametrized(module) or _is_normed_by_hook(module):
            raise ConversionError(
                f"'{name}' ({type(module).__name__}) computes its weight from other parameters (weight norm, spectral "
                "norm or another parametrisation); expected a plain weight: call "
                "torch.nn.utils.parametrize.remove_parametrizations (or remove_weight_norm, remove_spectral_norm) "
                "on it first"
            )
        if any(isinstance(p, nn.UninitializedParameter) for p in module.parameters(recurse=False)):
            raise ConversionError(
                f"'{name}' ({type(module).__name__}) has no weights yet; run the model once on an input first"
            )
        if isinstance(module, (*LINEAR_MODULES, _BatchNorm)) and (module._forward_hooks or module._forward_pre_hooks):
            raise ConversionError(
                f"'{name}' ({type(module).__name__}) has forward hooks, which conversion would silently drop; remove "
                "them first"
            )


def _is_normed_by_hook(module: nn.Module) -> bool:
    """Whether the module carries the older weight norm or spectral norm, which compute its weight in a hook."""
    hooks = module._forward_pre_hooks.values()
    return any(type(hook).__name__ in ("WeightNorm", "SpectralNorm") for hook in hooks)


def _control_flow_message(model: nn.Module, tracer: _Tracer, error: Exception) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/torch/" not in frame.filename]
    own = [frame for frame in frames if not frame.filename.endswith("hrat/nn/trace.py")]
    place = f"{own[-1].filename}:{own[-1].lineno}: {own[-1].line}" if own else tracer.where
    return (
        f"the graph of {type(model).__name__} cannot be found: expected a forward whose steps do not depend on the "
        f"values of tensors, got {type(error).__name__}: {error}\n  at {place}\n"
        "  fix: replace Python's if/while/for over tensor values by tensor operations, take that part out of the model "
        "that is prepared, or prepare its parts one by one"
    )


def _inplace_to_functional(graph: fx.Graph) -> None:
    """`relu_(x)` changes x for all who read it later: let them read the result instead."""
    order = {node: index for index, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
        by_name = str(name).endswith("_") and not str(name).endswith("__")
        if not (by_name or node.kwargs.get("inplace")) or not isinstance(node.args[0], fx.Node):
            continue
        for user in list(node.args[0].users):
            if order[user] > order[node]:
                user.replace_input_with(node.args[0], node)
        if "inplace" in node.kwargs:
            node.kwargs = {**node.kwargs, "inplace": False}


def _name_functions_one_way(graph: fx.Graph) -> None:
    """`x.relu_()`, `torch.relu(x)` and `F.relu(x)` become the function that the table of operations has for them."""
    for node in graph.nodes:
        if node.op in ("call_function", "call_method"):
            op = op_of(node.target)
            assert op is not None  # all others have been refused
            node.op, node.target = "call_function", op.function


def _shape_attributes_to_calls(graph: fx.Graph) -> None:
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target is getattr and node.args[1] in ("shape", "ndim"):
            with graph.inserting_after(node):
                method = "size" if node.args[1] == "shape" else "dim"
                node.replace_all_uses_with(graph.call_method(method, (node.args[0],)))
            graph.erase_node(node)


def _functions_to_modules(module: fx.GraphModule) -> None:
    """`F.linear(x, self.w)` becomes a module around the same parameter, `F.dropout` a module that knows train/eval."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        made: nn.Module | None = None
        if node.target in _FUNCTIONAL_DROPOUT:
            p = node.args[1] if len(node.args) > 1 else node.kwargs.get("p", 0.5)
            made = _FUNCTIONAL_DROPOUT[node.target](p)
        elif node.target in _FUNCTIONAL_LINEAR:
            made = _module_of_functional(module, node)
        if made is None:
            continue
        name = f"{node.name}_module" if node.target in _FUNCTIONAL_DROPOUT else _name_of_weight(node)
        while hasattr(module, name):
            name += "_"
        module.add_submodule(name, made)
        with graph.inserting_before(node):
            node.replace_all_uses_with(graph.call_module(name, (node.args[0] if node.args else node.kwargs["input"],)))
        graph.erase_node(node)
    graph.eliminate_dead_code()


def _name_of_weight(node: fx.Node) -> str:
    weight = node.args[1] if len(node.args) > 1 else node.kwargs["weight"]
    assert isinstance(weight, fx.Node)
    return f"{str(weight.target).replace('.', '_')}_crossbar"


def _module_of_functional(module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a functional call with parameters of the model stands for; None if its weight is computed."""
    linear_type = _FUNCTIONAL_LINEAR[node.target]
    names: list[str]
    if linear_type is nn.Linear:
        names = ["input", "weight", "bias"]
    elif "Transpose" in linear_type.__name__:
        names = ["input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"]
    else:
        names = ["input", "weight", "bias", "stride", "padding", "dilation", "groups"]
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    weight, bias = given.pop("weight"), given.pop("bias", None)
    given.pop("input")
    parameters: list[nn.Parameter | None] = []
    for source in (weight, bias):
        if source is None:
            parameters.append(None)
            continue
        if not isinstance(source, fx.Node) or source.op != "get_attr":
            return None
        value = _attribute(module, str(source.target))
        if not isinstance(value, nn.Parameter):
            return None
        parameters.append(value)
    w = parameters[0]
    assert w is not None
    has_bias = parameters[1] is not None
    made: nn.Module
    with torch.device("meta"):
        if linear_type is nn.Linear:
            made = nn.Linear(w.shape[1], w.shape[0], bias=has_bias)
        else:
            groups = cast(int, given.get("groups", 1))
            transposed = "Transpose" in linear_type.__name__
            channels = (w.shape[0], w.shape[1] * groups) if transposed else (w.shape[1] * groups, w.shape[0])
            made = linear_type(*channels, tuple(w.shape[2:]), bias=has_bias, **given)
    made.weight = w
    if has_bias:
        made.bias = parameters[1]  # type: ignore[assignment]
    return made.train(module.training)


def _attribute(module: nn.Module, path: str) -> Any:
    value: Any = module
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _annotate(module: fx.GraphModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Run the graph once on the example and note what each node yields."""
    names = [node.target for node in module.graph.nodes if node.op == "placeholder"]
    defaults = [node.args[0] if node.args else None for node in module.graph.nodes if node.op == "placeholder"]
    values = (
        list(args)
        + [kwargs.get(str(name), default) for name, default in zip(names, defaults, strict=True)][len(args) :]
    )
    _Watcher(module).run(*values)


class _Watcher(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        try:
            with torch.no_grad():
                value = super().run_node(n)
        except ConversionError:
            raise
        except Exception as error:
            raise ConversionError(f"the example input does not pass through {describe(n)}: {error}") from error
        n.meta["seen"] = _seen(value)
        return value


def _seen(value: Any) -> Seen:
    if isinstance(value, tuple | list) and value and all(isinstance(part, Tensor) for part in value):
        return Seen(True, (), max(_seen(part).peak for part in value))
    if not isinstance(value, Tensor):
        return Seen(False)
    if not value.is_floating_point() or value.numel() == 0:
        return Seen(True, tuple(value.shape))
    magnitude = value.detach().abs().flatten().float()
    rank = max(1, int(0.999 * magnitude.numel()))
    return Seen(True, tuple(value.shape), float(magnitude.kthvalue(rank).values))


def _refuse_unknown(node: fx.Node, module: fx.GraphModule) -> None:
    if node.op in ("placeholder", "output", "get_attr"):
        return
    if node.op == "call_module":
        target = module.get_submodule(str(node.target))
        if isinstance(target, (*LINEAR_MODULES, *DROPOUT_MODULES, _BatchNorm)):
            if len(node.args) != 1 or node.kwargs:
                raise ConversionError(
                    f"{describe(node)} is called with more than its input (output_size?); give the layer an "
                    "output_padding instead"
                )
            return
    elif op_of(node.target) is not None and not node.kwargs.get("return_indices"):
        return
    raise ConversionError(
        f"{describe(node)} is not among the operations that a chip or its digital islands can do; replace it by one "
        "that hrat.artifacts.ops lists, move it out of the model that is prepared, or add it to that table"
    )


def clone_for_conversion(model: nn.Module) -> nn.Module:
    """A copy of the model whose parameters are its own, in eval mode; a layer alone becomes a network of one layer."""
    copied = copy.deepcopy(model)
    return (nn.Sequential(copied) if isinstance(copied, LINEAR_MODULES) else copied).eval()
