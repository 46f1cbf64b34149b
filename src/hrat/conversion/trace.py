"""Tracing of an `nn.Module` to a graph in one normal form.

torch.fx is used rather than torch.export: its graph keeps modules, their names, the training/eval switch and a free
batch size, all of which training needs and an exported program has lost. What it cannot follow is Python control flow
that depends on the data, which a crossbar chip could not do either. How it is helped: `hrat.conversion.tracer`.

Normal form: linear operations, batch norms, dropouts and recurrences are module calls; all else is a function of the
table `hrat.circuit.operations`; each node carries what it yields on the example (`node.meta`).
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils.parametrize import is_parametrized

from hrat.batches import plain_value
from hrat.circuit import op_of, why_outside
from hrat.conversion.arguments import name_functions_one_way, put_in_order
from hrat.conversion.calls import calls_to_modules, computes_its_weight
from hrat.conversion.describe import OWN_FOLDER, describe
from hrat.conversion.gradients import cut_gradients
from hrat.conversion.in_place import make_functional
from hrat.conversion.modes import compare_modes
from hrat.conversion.tracer import ModelTracer
from hrat.conversion.written_out import is_written_out
from hrat.errors import ConversionError
from hrat.nn import DROPOUTS, Arguments, Form, Recurrence, TurnedLinear, is_drop_path, is_dropout

__all__ = [
    "LINEAR_MODULES",
    "Seen",
    "Traced",
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
VALUES_LOOKED_AT = 1_000_000
"""Most values of a signal that are searched for its peak; of larger ones a sample is."""


@dataclass(frozen=True)
class Seen:
    """Result of a node on the example input."""

    is_tensor: bool
    shape: tuple[int, ...] = ()
    peak: float = 0.0
    """The 99.9 % quantile of the magnitude, in digital units."""
    is_real: bool = False
    """Whether it holds floating-point numbers, not integers or booleans."""
    step: float = 0.0
    """Relative distance of neighbouring floating-point numbers of its type."""


def example_args(example_input: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """An example input as positional and keyword arguments: a tensor, a tuple or list of arguments, or a dict."""
    if isinstance(example_input, dict):
        return (), dict(example_input)
    if isinstance(example_input, tuple | list):
        return tuple(example_input), {}
    return (example_input,), {}


@dataclass(frozen=True)
class Traced:
    """A model's graph in normal form, its nodes annotated with what they yield on the example."""

    module: fx.GraphModule
    notes: list[str]
    """Notes for the user."""
    arguments: Arguments
    """How the network is called."""
    form: Form
    """Types of what it returns."""
    own_gradients: tuple[str, ...]
    """Autograd functions that were followed through their forward."""
    coarsest: float
    """Relative precision of the coarsest numbers on the way from inputs to outputs."""


def trace(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], notes: Sequence[str] = ()) -> Traced:
    """The model's graph in normal form.

    Args:
        model: the model in eval mode; it is not changed, but its parameters are shared with the result.
        args: positional example arguments.
        kwargs: keyword example arguments.
        notes: what is known of the model already.

    Raises:
        ConversionError: the model has control flow that depends on the data, or an operation outside the table.
    """
    given, arguments = _arguments_by_name(model, args, kwargs)
    tracer, graph = _followed(model, given)
    tracer.notes[:0] = notes
    if tracer.looks_at_mode:
        tracer.notes += _modes(model, given, graph)
    else:
        _freeze_functions(graph)
    _rename_clashing(tracer.root, graph)
    module = fx.GraphModule(tracer.root, graph, class_name=type(model).__name__)
    put_in_order(graph)
    make_functional(graph, tracer)
    graph.eliminate_dead_code()
    cut_gradients(graph, tracer)
    calls_to_modules(module)
    _attributes_to_calls(graph)
    tracer.notes.extend(name_functions_one_way(graph, describe))
    graph.lint()
    module.recompile()
    coarsest = _annotate(module, {name: plain_value(value) for name, value in given.items()})
    _drop_checks_of_tensors(graph)
    for node in graph.nodes:
        _refuse_unknown(node, module)
    module.recompile()
    arguments = replace(arguments, free=tuple(tracer.free), fixed=tracer.fixed, skeletons=tracer.skeletons)
    return Traced(module, tracer.notes, arguments, tracer.form, tuple(dict.fromkeys(tracer.own_gradients)), coarsest)


def _followed(model: nn.Module, given: dict[str, Any]) -> tuple[ModelTracer, fx.Graph]:
    tracer = ModelTracer(_is_leaf, given)
    try:
        return tracer, tracer.trace(model)
    except ConversionError:
        raise
    except Exception as error:  # fx raises whatever the model's own code raises on a proxy
        raise ConversionError(_control_flow_message(model, tracer, error)) from error


def _modes(model: nn.Module, given: dict[str, Any], in_eval: fx.Graph) -> list[str]:
    """Notes on what a network that looks at `self.training` computes otherwise in training."""
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.random.fork_rng(devices=[]):
            for module in modes:
                module.training = True
            _, in_training = _followed(model, given)
    except ConversionError as error:
        return [
            "the network looks at self.training, and in training mode it cannot be followed; the prepared network "
            f"computes what eval mode does: {error}"
        ]
    finally:
        for module, training in modes.items():
            module.training = training
    notes = compare_modes(in_eval, in_training)
    _freeze_functions(in_eval)
    return notes


def _freeze_functions(graph: fx.Graph) -> None:
    """Functions that normalise by running statistics in both modes do so for good."""
    for node in graph.nodes:
        if node.target in (F.batch_norm, F.instance_norm) and not node.meta.get("knows_mode"):
            node.meta["stays_frozen"] = True


def _rename_clashing(root: nn.Module, graph: fx.Graph) -> None:
    """Parts of the network that bear names of properties of a graph module get others."""
    for name in [*root._modules, *root._parameters, *root._buffers]:
        if not hasattr(fx.GraphModule, name) or hasattr(nn.Module, name):
            continue
        new = f"{name}_"
        while hasattr(root, new):
            new += "_"
        for held in (root._modules, root._parameters, root._buffers):
            if name in held:
                held[new] = held.pop(name)  # type: ignore[assignment]
        for node in graph.nodes:
            if node.op in ("call_module", "get_attr") and str(node.target).split(".")[0] == name:
                node.target = new + str(node.target)[len(name) :]


def _arguments_by_name(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[dict[str, Any], Arguments]:
    """The example's arguments by the names that the model's forward has for them, and how it is called."""
    signature = inspect.signature(type(model).forward)
    try:
        bound = signature.bind(model, *args, **kwargs)
    except TypeError as error:
        raise ConversionError(
            f"the example input does not fit {type(model).__name__}.forward{signature}: {error}; expected a tensor, a "
            "tuple of positional arguments, or a dict of keyword arguments"
        ) from error
    by_name: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            by_name.update({f"{name}_{index}": part for index, part in enumerate(value)})
        elif kind is inspect.Parameter.VAR_KEYWORD:
            by_name.update(value)
        else:
            by_name[name] = value
    own = list(signature.parameters.values())[1:]
    positional = tuple(p.name for p in own if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
    variable = next((p.name for p in own if p.kind is p.VAR_POSITIONAL), None)
    return by_name, Arguments(type(model).__name__, positional, variable)


def _is_leaf(module: nn.Module, name: str) -> bool:
    """Modules that conversion treats as a whole; it looks into all others."""
    del name
    if isinstance(module, Recurrence) or is_drop_path(module):
        return True
    if isinstance(module, _InstanceNorm):  # without running statistics it is a function of the input alone
        return module.track_running_stats
    if not isinstance(module, (*LINEAR_MODULES, *DROPOUTS, _BatchNorm)):
        return False
    # A subclass with a forward of its own computes something else: look inside it.
    own: Any = type(module)
    return any(own.forward is base.forward for base in own.__mro__ if base in _STANDARD)


_STANDARD: set[Any] = {
    *LINEAR_MODULES,
    TurnedLinear,
    *DROPOUTS,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
}


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
        hooked = [own for own, p in module.named_parameters(recurse=False) if p._backward_hooks or _post_hooks(p)]
        if hooked or module._backward_hooks or module._backward_pre_hooks:
            what = f"parameter '{hooked[0]}' of '{name}'" if hooked else f"'{name}' ({type(module).__name__})"
            raise ConversionError(
                f"{what} has gradient hooks, which conversion would silently drop; remove them, and put them onto the "
                "parameters of the prepared model (prepared.named_parameters())"
            )
        if any(isinstance(p, nn.UninitializedParameter) for p in module.parameters(recurse=False)):
            raise ConversionError(
                f"'{name}' ({type(module).__name__}) has no weights yet; run the model once on an input first"
            )
        if (_is_leaf(module, "") or is_written_out(module)) and (module._forward_hooks or module._forward_pre_hooks):
            raise ConversionError(
                f"'{name}' ({type(module).__name__}) has forward hooks, which conversion would silently drop; remove "
                "them first"
            )


def _post_hooks(parameter: nn.Parameter) -> bool:
    return bool(getattr(parameter, "_post_accumulate_grad_hooks", None))


def _is_normed_by_hook(module: nn.Module) -> bool:
    """Whether the module carries the older weight norm or spectral norm, which compute its weight in a hook."""
    hooks = module._forward_pre_hooks.values()
    return any(type(hook).__name__ in ("WeightNorm", "SpectralNorm") for hook in hooks)


def _control_flow_message(model: nn.Module, tracer: ModelTracer, error: Exception) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/torch/" not in frame.filename]
    own = [frame for frame in frames if not frame.filename.startswith(OWN_FOLDER)]
    fix = (
        "replace Python's if/while/for over tensor values by tensor operations, take that part out of the model that "
        "is prepared, or prepare its parts one by one"
    )
    if "pack_padded_sequence" in str(error):
        fix = "give padded sequences to the recurrent layer as they are, and leave out of the loss what is padding"
    place = f"{own[-1].filename}:{own[-1].lineno}: {own[-1].line}" if own else tracer.where
    return (
        f"the graph of {type(model).__name__} cannot be found: expected a forward whose steps do not depend on the "
        f"values of tensors, got {type(error).__name__}: {error}\n  at {place}\n"
        f"  fix: {fix}"
    )


def _name_functions_one_way(graph: fx.Graph) -> None:
    """`x.relu_()`, `torch.relu(x)` and `F.relu(x)` become the function that the table of operations has for them."""
    for node in graph.nodes:
        if node.op in ("call_function", "call_method"):
            op = op_of(node.target)
            assert op is not None  # all others have been refused
            node.op, node.target = "call_function", op.function


def _attributes_to_calls(graph: fx.Graph) -> None:
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target is getattr and node.args[1] in ("shape", "ndim", "device"):
            with graph.inserting_after(node):
                target = {"shape": "size", "ndim": "dim"}.get(node.args[1], node.args[1])
                function = op_of(target)
                assert function is not None
                node.replace_all_uses_with(graph.call_function(function.function, (node.args[0],)))
            graph.erase_node(node)


def _drop_checks_of_tensors(graph: fx.Graph) -> None:
    """A model's own assertions about sizes stay; about the values of signals no chip can make any."""
    for node in list(graph.nodes):
        op = op_of(node.target) if node.op == "call_function" else None
        checked = node.args[0] if op is not None and op.name in ("expect", "assert") else None
        if isinstance(checked, fx.Node) and checked.meta["seen"].is_tensor:
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _annotate(module: fx.GraphModule, given: dict[str, Any]) -> float:
    """Run the graph once on the example and note what each node yields; returns the coarsest precision on the way."""
    watcher = _Watcher(module)
    watcher.extra_traceback = False
    watcher.run(*(given[str(node.target)] for node in module.graph.nodes if node.op == "placeholder"))
    return watcher.coarsest


class _Watcher(fx.Interpreter):
    coarsest = 0.0

    def run_node(self, n: fx.Node) -> Any:
        try:
            with torch.no_grad():
                value = super().run_node(n)
        except ConversionError:
            raise
        except Exception as error:
            raise ConversionError(f"the example input does not pass through {describe(n)}: {error}") from error
        n.meta["seen"] = _seen(value)
        if isinstance(value, Tensor) and value.is_floating_point() and n.op not in ("placeholder", "get_attr"):
            self.coarsest = max(self.coarsest, torch.finfo(value.dtype).eps)
        if n.op == "call_module" and isinstance(loop := self.fetch_attr(str(n.target)), Recurrence):
            args_of_call, _ = self.fetch_args_kwargs_from_env(n)
            outputs, start = value[0], [part for part in args_of_call[1:2] if isinstance(part, Tensor)]
            products = [_seen(loop.product(state)).peak for state in (outputs, *start)]
            n.meta["state_peak"] = max(_seen(state).peak for state in (outputs, *start)) or 1.0
            n.meta["product_peak"] = max(products) or 1.0
        return value


def _seen(value: Any) -> Seen:
    if isinstance(value, tuple | list) and value and all(isinstance(part, Tensor) for part in value):
        return Seen(True, (), max(_seen(part).peak for part in value))
    if not isinstance(value, Tensor):
        return Seen(False)
    if not value.is_floating_point() or value.numel() == 0 or value.layout != torch.strided:
        return Seen(True, tuple(value.shape))
    values = value.detach().reshape(-1)
    magnitude = values[:: -(-values.numel() // VALUES_LOOKED_AT)].abs().float()
    rank = max(1, int(0.999 * magnitude.numel()))
    peak, step = float(magnitude.kthvalue(rank).values), torch.finfo(value.dtype).eps
    return Seen(True, tuple(value.shape), peak, is_real=True, step=step)


def _refuse_unknown(node: fx.Node, module: fx.GraphModule) -> None:
    if node.op in ("placeholder", "output", "get_attr"):
        return
    if node.op == "call_module":
        target = module.get_submodule(str(node.target))
        if isinstance(target, Recurrence):
            return
        if isinstance(target, (*LINEAR_MODULES, _BatchNorm, _InstanceNorm)) or is_dropout(target):
            if len(node.args) != 1 or node.kwargs:
                raise ConversionError(
                    f"{describe(node)} is called with more than its input (output_size?); give the layer an "
                    "output_padding instead"
                )
            return
    elif op_of(node.target) is not None and not computes_its_weight(node):
        return
    if computes_its_weight(node):
        raise ConversionError(
            f"{describe(node)} is a convolution whose weight is computed in the forward pass; expected a parameter of "
            "the model, which devices can hold: compute it once and put the result into a convolution"
        )
    why = why_outside(node.target)
    raise ConversionError(
        f"{describe(node)} is not among the operations that a chip can do, on voltages or digitally"
        f"{f': it {why}' if why else ''}; replace it by one "
        "that docs/operations.md lists, move it out of the model that is prepared, or register it: hrat.operation"
    )
