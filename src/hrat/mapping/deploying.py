"""`deploy`: read a chip's targets from a prepared model. Nothing is fitted or tuned here."""

from __future__ import annotations

import torch
from torch import Tensor

from hrat.artifacts import DeployedLayer, Deployment
from hrat.circuit import Input, layer_of
from hrat.errors import ConversionError
from hrat.nn import CrossbarLayer, PreparedModel, is_half, layers_with_scales, tensor_value
from hrat.physics import bias_full_scale_V, convert, converter_codes
from hrat.spec import HardwareSpec

__all__ = ["deploy"]


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
    circuit = model.circuit
    trained = dict(zip(circuit.first_calls(), layers_with_scales(model), strict=True))
    layers: dict[str, DeployedLayer] = {}
    tensors: dict[str, Tensor] = {}
    for node in circuit.nodes:  # in their order, so that the first number which is not finite is the one that is named
        name = layer_of(node)
        if name is not None and name not in layers:
            layers[name] = _layer(name, *trained[name], model.spec)
        for key in node.tensor_keys():
            tensors[key] = _tensor(key, tensor_value(model, circuit.tensors[key]))
    arguments = model.arguments
    fixed = {name: value for name, value in arguments.fixed.items() if value is None or isinstance(value, bool | str)}
    inputs = [node.argument for node in circuit.nodes if isinstance(node, Input)]
    # Only a call by position of other arguments than the inputs alone needs to be told.
    by_position = arguments.positional if list(arguments.positional) != inputs else ()
    kind = next(iter(trained.values()))[0].weight.dtype
    return Deployment(
        spec=model.spec,
        layers=layers,
        graph=circuit.nodes,
        tensors=tensors,
        fixed=fixed,
        positional=by_position,
        number_type=str(kind).removeprefix("torch.") if is_half(kind) else "",
    )


def _layer(name: str, layer: CrossbarLayer, alpha_in: Tensor, alpha_out: Tensor, spec: HardwareSpec) -> DeployedLayer:
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
    bias_V, codes, full_scale_V = targets.bias_V, None, None
    periphery = spec.periphery
    is_analog = layer.readout.tiles is None  # else the bias is added to the digital sum
    if bias_V is not None and is_analog and periphery.limit_bias_dac and periphery.bias_dac_bits is not None:
        converter = (periphery.bias_dac_bits, bias_full_scale_V(bias_V, periphery))
        full_scale_V = float(converter[1]) if periphery.bias_full_scale == "layer" else None
        codes = converter_codes(bias_V, *converter).to(torch.int32).cpu()
        bias_V = convert(bias_V, *converter)
    return DeployedLayer(
        name=name,
        geometry=layer.geometry,
        g_pos_S=g_pos_S.cpu().contiguous(),
        g_neg_S=g_neg_S.cpu().contiguous(),
        r_f_ohm=float(targets.range) / readout.full_S(spec.device),
        bias_V=None if bias_V is None else bias_V.cpu().clone(),
        bias_codes=codes,
        bias_full_scale_V=full_scale_V,
        tile_adc_V=None if layer.tile_adc_V is None else layer.tile_adc_V.cpu().clone(),
    )


def _tensor(key: str, value: Tensor) -> Tensor:
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise ConversionError(f"'{key}' is not finite; nothing was deployed. Did training diverge?")
    return value.detach().cpu().clone()
