"""`deploy`: read a chip's targets from a prepared model. Nothing is fitted or tuned here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.nn.modules.batchnorm import _BatchNorm

from hrat.artifacts import DeployedLayer, Deployment
from hrat.circuit import (
    Adc,
    ClampSwing,
    Constant,
    Crossbar,
    Dac,
    Input,
    Node,
    OpNode,
    Output,
    OutputRescale,
    Recurrence,
    Ref,
    TensorKey,
    map_nested,
    op_of,
)
from hrat.errors import ConversionError
from hrat.nn import (
    CrossbarLayer,
    CrossbarRecurrence,
    DigitalBatchNorm,
    InputDac,
    OutputAdc,
    PreparedModel,
    Scale,
    SharedError,
    SwingClamp,
    is_dropout,
    scale_value,
    scales_of_call,
)
from hrat.nn import OutputRescale as OutputRescaleModule
from hrat.physics import convert, converter_codes

__all__ = ["deploy"]

_CONVERTERS = {InputDac: Dac, OutputAdc: Adc, OutputRescaleModule: OutputRescale}


@torch.no_grad()
def deploy(model: PreparedModel) -> Deployment:
    """Deployment of a trained model: the targets of a chip that computes what `model` computes in eval mode.

    Args:
        model: a trained model from `hrat.prepare`.

    Returns:
        Target conductances in siemens, feedback resistances, DAC codes and the graph of operations.

    Raises:
        ConversionError: `model` is not a prepared one, or has weights that are not finite.
    """
    if not isinstance(model, PreparedModel):
        raise ConversionError(
            f"expected a model that hrat.prepare returned, got {type(model).__name__}; call "
            "hrat.prepare(model, spec, example_input) first, and train what it returns"
        )
    return _Walk(model).run()


class _Walk:
    """Turns each node of the model's graph into one of the chip's."""

    def __init__(self, model: PreparedModel) -> None:
        self.model = model
        self.graph = model.graph
        self.layers: dict[str, DeployedLayer] = {}
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.stands_for: dict[str, str] = {}
        """Nodes -> the node whose result is theirs: dropout vanishes, and a layer that rectifies is two nodes."""

    def run(self) -> Deployment:
        for node in self.graph.graph.nodes:
            chip_node = self._node(node)
            if chip_node is not None:
                self.nodes.append(chip_node)
        return Deployment(spec=self.model.spec, layers=self.layers, graph=tuple(self.nodes), tensors=self.tensors)

    def _node(self, node: fx.Node) -> Node | None:
        if node.op == "placeholder":
            return Input(node.name, str(node.target), self._values(node.args))
        if node.op == "get_attr":
            key = str(node.target)
            value = self.graph
            for part in key.split("."):
                value = getattr(value, part)
            return Constant(node.name, self._keep(key, value))  # type: ignore[arg-type]
        if node.op == "output":
            return Output(node.name, *self._values(node.args))
        if node.op == "call_module":
            return self._module(node)
        if node.target is torch.repeat_interleave:
            return None  # a scale for each channel, spread over positions: part of the layers' weights by now
        op = op_of(node.target)
        assert op is not None  # prepare refuses all others
        if op.name == "identity":
            return OpNode(node.name, op.name, self._values(node.args[:1]))
        return OpNode(node.name, op.name, self._values(node.args), tuple(self._values(dict(node.kwargs)).items()))

    def _module(self, node: fx.Node) -> Node | None:
        module = self.graph.get_submodule(str(node.target))
        if isinstance(module, Scale | SharedError):
            return None
        source = self._values(node.args[:1])
        if isinstance(module, CrossbarLayer):
            self._layer(str(node.target), module, scales_of_call(node, module))
            crossbar = Crossbar(node.name, source[0], str(node.target))
            if not node.kwargs.get("rectifies"):
                return crossbar
            self.nodes.append(crossbar)
            self.stands_for[node.name] = f"{node.name}.relu"
            return OpNode(f"{node.name}.relu", "relu", (Ref(node.name),))
        if isinstance(module, CrossbarRecurrence):
            return self._recurrence(node, module)
        if isinstance(module, SwingClamp):
            return ClampSwing(node.name, source[0])
        if is_dropout(module):
            self.stands_for[node.name] = source[0].name
            return None
        if isinstance(module, DigitalBatchNorm):
            return self._batch_norm(node, module.batch_norm)
        kind = _CONVERTERS[type(module)]
        scale = node.args[1]
        assert isinstance(scale, fx.Node)
        return kind(node.name, source[0], self._keep(f"scale.{node.name}", scale_value(self.model, scale)))

    def _recurrence(self, node: fx.Node, loop: CrossbarRecurrence) -> Node:
        scales = scales_of_call(node, loop)
        layer = f"{node.target}.product"
        self._layer(layer, loop.product, scales)
        alphas = (
            self._keep(f"scale.{node.name}.{what}", scale_value(self.model, scale))
            for what, scale in zip(("state", "product"), scales, strict=True)
        )
        source, states = self._values(node.args[:2])
        alpha_state, alpha_product = alphas
        return Recurrence(
            name=node.name,
            source=source,
            states=tuple(states),
            layer=layer,
            alpha_state=alpha_state,
            alpha_product=alpha_product,
            kind=loop.kind,
            time_dim=loop.time_dim,
            reverse=loop.reverse,
        )

    def _batch_norm(self, node: fx.Node, bn: _BatchNorm) -> OpNode:
        args: list[Any] = []
        for part in ("running_mean", "running_var", "weight", "bias"):
            value = getattr(bn, part)
            args.append(None if value is None else self._keep(f"{node.target}.{part}", value))
        return OpNode(
            node.name, "batch_norm", (*self._values(node.args), *args), (("training", False), ("eps", bn.eps))
        )

    def _layer(self, name: str, layer: CrossbarLayer, scales: tuple[fx.Node, fx.Node]) -> None:
        if name in self.layers:
            return
        spec = self.model.spec
        alpha_in, alpha_out = (scale_value(self.model, scale) for scale in scales)
        targets = layer.targets(alpha_in, alpha_out)
        for what, value in (("weights", targets.fraction), ("window", targets.range), ("bias", targets.bias_V)):
            if value is not None and not bool(torch.isfinite(value).all()):
                raise ConversionError(
                    f"layer '{name}': its {what}, with batch norm and scales, are not finite; nothing was deployed. "
                    "Did training diverge?"
                )
        readout = layer.readout.amplifiers
        pos_S, neg_S = readout.encode(targets.fraction, layer.geometry, spec.device)
        g_pos_S = layer.geometry.to_matrix(pos_S)
        g_neg_S = readout.negatives(layer.geometry).to_matrix(neg_S)
        bias_V, codes = targets.bias_V, None
        periphery = spec.periphery
        is_analog = layer.readout.tiles is None  # else the bias is added to the digital sum
        if bias_V is not None and is_analog and periphery.limit_bias_dac and periphery.bias_dac_bits is not None:
            converter = (periphery.bias_dac_bits, periphery.v_bias_V)
            codes = converter_codes(bias_V, *converter).to(torch.int32).cpu()
            bias_V = convert(bias_V, *converter)
        self.layers[name] = DeployedLayer(
            name=name,
            geometry=layer.geometry,
            g_pos_S=g_pos_S.cpu().contiguous(),
            g_neg_S=g_neg_S.cpu().contiguous(),
            r_f_ohm=float(targets.range) / readout.full_S(spec.device),
            bias_V=None if bias_V is None else bias_V.cpu().clone(),
            bias_codes=codes,
            tile_adc_V=None if layer.tile_adc_V is None else layer.tile_adc_V.cpu().clone(),
        )

    def _keep(self, key: str, value: Tensor) -> TensorKey:
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ConversionError(f"'{key}' is not finite; nothing was deployed. Did training diverge?")
        self.tensors[key] = value.detach().cpu().clone()
        return TensorKey(key)

    def _values(self, nested: Any) -> Any:
        def change(value: Any) -> Any:
            if isinstance(value, fx.Node):
                name = value.name
                while name in self.stands_for:
                    name = self.stands_for[name]
                return Ref(name)
            return value

        # fx keeps lists and dicts as its own immutable types.
        return map_nested(_plain(nested), change)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_plain(part) for part in value)
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value
