"""The model that `prepare` returns, and ways to look into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn

from hrat.circuit import ModelCircuit, ScaleRef, TensorRef
from hrat.errors import ConversionError
from hrat.nn.call_form import Arguments, Form
from hrat.nn.crossbar_layer import CrossbarLayer
from hrat.nn.device_errors import NoiseSource
from hrat.nn.numbers import DigitalBorder
from hrat.nn.pickling import graph_from_state, state_of_graph
from hrat.nn.report import ConversionReport
from hrat.nn.signals import Scale
from hrat.spec import HardwareSpec

__all__ = [
    "PreparedModel",
    "crossbar_layers",
    "layers_with_scales",
    "restrictions",
    "tensor_value",
]


class PreparedModel(nn.Module):
    """A network under the hardware's restrictions, called like the original one.

    `graph` is the converted network, `circuit` the chip that it trains for, as `hrat.deploy` writes it, `report` says
    what conversion did, `spec` is the hardware. What PyTorch does with a module works: `state_dict`, `.to`,
    `copy.deepcopy`, pickle and `torch.save`, `torch.compile`, autocast, DDP. `torch.export` takes `graph`, the network
    within, and not the model itself.
    """

    def __init__(
        self,
        graph: fx.GraphModule,
        circuit: ModelCircuit,
        spec: HardwareSpec,
        report: ConversionReport,
        noise: NoiseSource,
        *,
        arguments: Arguments,
        form: Form = Form(),  # noqa: B008  # it cannot be changed
    ) -> None:
        """Wrap the converted network.

        Args:
            graph: the network.
            circuit: the network's circuit, with the places of its numbers in `graph`.
            spec: the hardware.
            report: what conversion did.
            noise: where programming errors are drawn from.
            arguments: how the network is called.
            form: types of what it returns.
        """
        super().__init__()
        self.arguments = arguments
        self.form = form
        self.graph = graph
        kind = next(module.weight.dtype for module in graph.modules() if isinstance(module, CrossbarLayer))
        for module in graph.modules():
            if isinstance(module, DigitalBorder):
                module.number_type = module.number_type.to(kind)
        self.circuit = circuit
        self.spec = spec
        self.report = report
        self.noise = noise

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Outputs of the network, with the arguments and the output type of the original model.

        Raises:
            ConversionError: an argument that the network was not prepared for, or torch.export of this model.
        """
        if torch.compiler.is_exporting():
            raise ConversionError(
                "torch.export cannot take a prepared model, whose network is called 'graph' like the graph of what it "
                "exports; export that network: torch.export.export(model.graph, args)"
            )
        return self.form.put_together(self.graph(*self.arguments.bound(args, kwargs)))

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        state["_modules"] = dict(state["_modules"])
        state["_modules"]["graph"] = state_of_graph(self.graph)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        modules = dict(state["_modules"])
        modules["graph"] = graph_from_state(modules["graph"])
        super().__setstate__({**state, "_modules": modules})  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        """The hardware's name."""
        return f"spec={self.spec.name!r}, devices={self.report.devices:,}"


def crossbar_layers(model: nn.Module) -> dict[str, CrossbarLayer]:
    """The layers on crossbars by name, in the order in which the network calls them."""
    if not isinstance(model, PreparedModel):
        raise ConversionError(f"expected a model that hrat.prepare returned, got {type(model).__name__}")
    return {name: _layer_at(model, name) for name in model.circuit.first_calls()}


def layers_with_scales(model: PreparedModel) -> Iterator[tuple[CrossbarLayer, Tensor, Tensor]]:
    """Each layer with its `alpha_in` and `alpha_out`, as its first call has them."""
    for name, call in model.circuit.first_calls().items():
        yield _layer_at(model, name), tensor_value(model, call.alpha_in), tensor_value(model, call.alpha_out)


def tensor_value(model: PreparedModel, origin: ScaleRef | TensorRef) -> Tensor:
    """What the model has at a place that its circuit names; a scale is `()` or `(channels,)`, V per digital unit."""
    if isinstance(origin, TensorRef):
        tensor: Tensor = attrgetter(origin.path)(model.graph)
        return tensor
    scale = model.graph.get_submodule(origin.scale)
    assert isinstance(scale, Scale)
    alpha: Tensor = scale()
    if origin.factor != 1:
        alpha = alpha * origin.factor
    return alpha if origin.repeats == 1 else alpha.repeat_interleave(origin.repeats)


def _layer_at(model: PreparedModel, path: str) -> CrossbarLayer:
    layer = model.graph.get_submodule(path)
    assert isinstance(layer, CrossbarLayer)
    return layer


@contextmanager
def restrictions(model: nn.Module, spec: HardwareSpec) -> Iterator[None]:
    """Run `model` under another spec of the same device window for a while, such as `spec.only("error")`."""
    changed = [(m, m.spec) for m in model.modules() if isinstance(getattr(m, "spec", None), HardwareSpec)]
    try:
        for module, _ in changed:
            module.spec = spec  # type: ignore[assignment]
        yield
    finally:
        for module, before in changed:
            module.spec = before
