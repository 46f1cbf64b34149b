"""The model that `prepare` returns, and ways to look into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, fx, nn

from hrat.errors import ConversionError
from hrat.nn.crossbar_layer import CrossbarLayer
from hrat.nn.device_errors import NoiseSource
from hrat.nn.recurrent import CrossbarRecurrence
from hrat.nn.report import ConversionReport
from hrat.nn.signals import Scale
from hrat.spec import HardwareSpec

__all__ = [
    "PreparedModel",
    "crossbar_layers",
    "layers_with_scales",
    "restrictions",
    "scale_value",
    "scales_of_call",
]


class PreparedModel(nn.Module):
    """A network under the hardware's restrictions, called like the original one.

    `graph` is the converted network, `report` says what conversion did, `spec` is the hardware. Everything that
    PyTorch does with a module works: `state_dict`, `.to`, `copy.deepcopy`, `torch.compile`, autocast, DDP.
    """

    def __init__(
        self,
        graph: fx.GraphModule,
        spec: HardwareSpec,
        report: ConversionReport,
        noise: NoiseSource,
        *,
        fixed: dict[str, Any] | None = None,
        output_type: type[Any] | None = None,
    ) -> None:
        """Wrap the converted network.

        Args:
            graph: the network.
            spec: the hardware.
            report: what conversion did.
            noise: where programming errors are drawn from.
            fixed: arguments that are part of the network, with their values.
            output_type: what the original network returned.
        """
        super().__init__()
        self.fixed = fixed or {}
        self.graph = graph
        self.spec = spec
        self.report = report
        self.noise = noise
        # A dict with attributes, such as the outputs of the transformers package, leaves the graph as a plain one.
        own_dict = output_type is not None and issubclass(output_type, dict) and output_type is not dict
        self.output_type = output_type if own_dict else None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Outputs of the network, with the arguments and the output type of the original model."""
        for name in self.fixed.keys() & kwargs.keys():
            value = kwargs.pop(name)
            if value is not self.fixed[name] and value != self.fixed[name]:
                raise ConversionError(
                    f"'{name}' is {self.fixed[name]!r} as in the example input, and part of the network; got "
                    f"{value!r}: prepare the model again with that value"
                )
        out = self.graph(*args, **kwargs)
        return out if self.output_type is None else self.output_type(**out)

    def extra_repr(self) -> str:
        """The hardware's name."""
        return f"spec={self.spec.name!r}, devices={self.report.devices:,}"


def crossbar_layers(model: nn.Module) -> dict[str, CrossbarLayer]:
    """The layers on crossbars by name, in the order in which the network calls them."""
    graph = model.graph if isinstance(model, PreparedModel) else model
    if not isinstance(graph, fx.GraphModule):
        raise ConversionError(f"expected a model that hrat.prepare returned, got {type(model).__name__}")
    layers: dict[str, CrossbarLayer] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module":
            target = graph.get_submodule(str(node.target))
            if isinstance(target, CrossbarLayer):
                layers[str(node.target)] = target
            elif isinstance(target, CrossbarRecurrence):
                layers[f"{node.target}.product"] = target.product
    return layers


def layers_with_scales(model: PreparedModel) -> Iterator[tuple[CrossbarLayer, Tensor, Tensor]]:
    """Each layer with its `alpha_in` and `alpha_out`, as its first call has them."""
    done: set[str] = set()
    for node in model.graph.graph.nodes:
        if node.op != "call_module" or str(node.target) in done:
            continue
        layer = model.graph.get_submodule(str(node.target))
        if isinstance(layer, CrossbarLayer | CrossbarRecurrence):
            done.add(str(node.target))
            alpha_in, alpha_out = (scale_value(model, alpha) for alpha in scales_of_call(node, layer))
            yield layer if isinstance(layer, CrossbarLayer) else layer.product, alpha_in, alpha_out


def scales_of_call(node: fx.Node, layer: CrossbarLayer | CrossbarRecurrence) -> tuple[fx.Node, fx.Node]:
    """The nodes of `alpha_in` and `alpha_out` where a layer is called."""
    first = 1 if isinstance(layer, CrossbarLayer) else 2  # behind the voltages, or the states too
    return node.args[first], node.args[first + 1]  # type: ignore[return-value]


def scale_value(model: PreparedModel, node: fx.Node) -> Tensor:
    """Value of a scale node of the graph, `()` or `(channels,)`: a `Scale`, or one repeated by a flatten."""
    if node.op == "call_function":
        source, repeats = node.args
        assert isinstance(source, fx.Node)
        assert isinstance(repeats, int)
        return scale_value(model, source).repeat_interleave(repeats)
    scale = model.graph.get_submodule(str(node.target))
    assert isinstance(scale, Scale)
    alpha: Tensor = scale()
    return alpha


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
