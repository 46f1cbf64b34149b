"""A deployment's file: the layout of its JSON, and what must hold of its arrays before anything is done with them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from hrat.artifacts.decode import STRICT
from hrat.circuit import check_graph
from hrat.encoding import Geometry, LayerReadout, Readout
from hrat.errors import ArtifactError
from hrat.names import check_name
from hrat.physics import converter_step_V
from hrat.spec import HardwareSpec

if TYPE_CHECKING:
    from hrat.artifacts.deployment import DeployedLayer, Deployment

__all__ = [
    "LAYER_ARRAYS",
    "DeploymentData",
    "check_conductances",
    "check_deployment",
    "check_keys",
    "check_tile_adcs",
    "layer_arrays",
]

LAYER_ARRAYS = ("g_pos_S", "g_neg_S", "bias_V", "bias_codes", "row_inputs", "col_outputs", "tile_adc_V", "wanted_S")
"""Tensors of a layer; the first two are always there."""
REALS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
BEYOND_THE_WINDOW = 1_000.0
"""A conductance that exceeds the window so many times has another unit, or is none."""
MOST_R_F_OHM = 1e15
"""Feedback resistance beyond that of any resistor, and of the best insulation."""
ROUNDING = 1e-5
"""Of a target at the edge of the window, and of a bias beside its code, in the shortest type that they may have."""


@dataclass(frozen=True, kw_only=True)
class LayerData:
    """A layer as JSON."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    geometry: dict[str, Any]
    r_f_ohm: Annotated[float, Field(ge=0, le=MOST_R_F_OHM)]
    bias_full_scale_V: Annotated[float, Field(gt=0)] | None = None

    def shape(self) -> Geometry:
        """The geometry, checked."""
        check_name(self.name, "a layer", error=ArtifactError)
        try:
            return Geometry.from_dict(self.geometry)
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"layer '{self.name}': {error}") from error


@dataclass(frozen=True, kw_only=True)
class NodeData:
    """A node of the graph as JSON."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    op: str
    args: list[Any]
    kwargs: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class DeploymentData:
    """All of a deployment but its arrays."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    spec: dict[str, Any]
    layers: Annotated[tuple[LayerData, ...], Field(min_length=1)]
    graph: Annotated[tuple[NodeData, ...], Field(min_length=1)]
    fixed: dict[str, bool | str | None] = field(default_factory=dict)
    positional: tuple[str, ...] = ()
    number_type: Literal["", "float16", "bfloat16"] = ""


def layer_arrays(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The tensors of a layer by the names of `LAYER_ARRAYS`; None for one that is not there.

    Raises:
        ArtifactError: one that every layer has is missing.
    """
    arrays = {key: tensors.get(f"layer/{name}/{key}") for key in LAYER_ARRAYS}
    for key in ("g_pos_S", "g_neg_S"):
        if arrays[key] is None:
            raise ArtifactError(f"the file lacks or garbles 'layer/{name}/{key}'; expected what Deployment.save writes")
    return arrays


def check_keys(tensors: Mapping[str, Tensor], layers: Collection[str]) -> None:
    """Refuse tensors that belong to nothing.

    Raises:
        ArtifactError: there is one.
    """
    expected_keys = {f"layer/{name}/{key}" for name in layers for key in LAYER_ARRAYS}
    stray = sorted(key for key in tensors if not key.startswith("graph/") and key not in expected_keys)
    if stray:
        raise ArtifactError(f"the file holds {stray[0]!r:.200}, which belongs to no layer of it")


def check_deployment(deployment: Deployment) -> None:
    """Refuse what cannot be programmed or simulated.

    Raises:
        ArtifactError: an array is missing, of another shape or type, or has values that no hardware has; a graph that
            is none.
    """
    for layer in deployment.layers.values():
        shape = _array_shape(layer)
        _check_lines_of_shared(layer, deployment.spec)
        readout = Readout.of(deployment.spec)
        negatives = (*shape[:2], readout.count_negatives(shape[2]))
        for name, value, of_array in (("g_pos_S", layer.g_pos_S, shape), ("g_neg_S", layer.g_neg_S, negatives)):
            check_conductances(value, of_array, f"layer '{layer.name}': {name}", deployment.spec)
            highest_S = deployment.spec.device.g_max_S * (1 + ROUNDING)
            if bool((value > highest_S).any()):
                raise ArtifactError(
                    f"layer '{layer.name}': {name} has a target of {float(value.max()):.4g} S; expected at most "
                    f"g_max_S = {deployment.spec.device.g_max_S:.4g} S"
                )
        _check_wanted(layer)
        _check_bias(layer, deployment.spec)
        check_tile_adcs(layer, deployment.spec)
    check_graph(deployment.graph, deployment.layers, deployment.tensors)


def check_conductances(value: Tensor, shape: tuple[int, ...], what: str, spec: HardwareSpec) -> None:
    """Refuse an array that holds no conductances.

    Args:
        value: the array.
        shape: that it should have.
        what: how the message begins.
        spec: whose window says what a conductance is.

    Raises:
        ArtifactError: another shape or type; values that are negative, not finite, or of another unit.
    """
    if tuple(value.shape) != shape:
        raise ArtifactError(f"{what} has shape {tuple(value.shape)}, expected {shape}")
    if value.dtype not in REALS:
        raise ArtifactError(f"{what} has numbers of type {value.dtype}; expected a real type such as float32")
    if not bool(torch.isfinite(value).all()) or bool((value < 0).any()):
        raise ArtifactError(f"{what} has values that are negative or not finite; expected conductances in S")
    limit_S = BEYOND_THE_WINDOW * spec.device.g_max_S
    if bool((value > limit_S).any()):
        raise ArtifactError(
            f"{what} has a value of {float(value.max()):.4g} S, over {BEYOND_THE_WINDOW:g} times g_max_S = "
            f"{spec.device.g_max_S:.4g} S; is it in another unit than S?"
        )


def _check_wanted(layer: DeployedLayer) -> None:
    if layer.wanted_S is None:
        return
    if tuple(layer.wanted_S.shape) != layer.geometry.matrix_shape or layer.wanted_S.dtype not in REALS:
        raise ArtifactError(
            f"layer '{layer.name}': wanted_S has shape {tuple(layer.wanted_S.shape)} of {layer.wanted_S.dtype}, "
            f"expected real numbers of shape {layer.geometry.matrix_shape}"
        )
    if not bool(layer.wanted_S.isfinite().all()):
        raise ArtifactError(f"layer '{layer.name}': wanted_S has values that are not finite")


def _check_bias(layer: DeployedLayer, spec: HardwareSpec) -> None:
    """The bias DAC's voltages, and its codes beside them."""
    bias_V, codes, outputs = layer.bias_V, layer.bias_codes, (layer.geometry.out_channels,)
    if bias_V is None:
        if codes is not None:
            raise ArtifactError(f"layer '{layer.name}' has bias_codes and no bias_V; expected both or neither")
        return
    if tuple(bias_V.shape) != outputs or bias_V.dtype not in REALS or not bool(bias_V.isfinite().all()):
        raise ArtifactError(
            f"layer '{layer.name}': bias_V has shape {tuple(bias_V.shape)} of {bias_V.dtype}, or values that are not "
            f"finite; expected a finite voltage for each of {outputs[0]} outputs"
        )
    if codes is None:
        return
    if tuple(codes.shape) != outputs or codes.dtype != torch.int32:
        raise ArtifactError(
            f"layer '{layer.name}': bias_codes has shape {tuple(codes.shape)} of {codes.dtype}, expected {outputs} of "
            "int32"
        )
    periphery = spec.periphery
    if not periphery.limit_bias_dac or periphery.bias_dac_bits is None:
        raise ArtifactError(
            f"layer '{layer.name}' has bias_codes, but its spec has no bias DAC that makes volts of them"
        )
    full_scale_V = layer.bias_full_scale_V or periphery.v_bias_V
    if full_scale_V > periphery.v_bias_V * (1 + ROUNDING):
        raise ArtifactError(
            f"layer '{layer.name}': bias_full_scale_V is {full_scale_V:g} V, expected at most the spec's v_bias_V = "
            f"{periphery.v_bias_V:g} V"
        )
    made_V = codes.double() * converter_step_V(periphery.bias_dac_bits, full_scale_V)
    if bool(((made_V - bias_V.double()).abs() > ROUNDING * periphery.v_bias_V).any()):
        raise ArtifactError(
            f"layer '{layer.name}': bias_V is not what bias_codes give with {periphery.bias_dac_bits} bits over "
            f"+-{full_scale_V:g} V; one of the three was changed"
        )


def check_tile_adcs(layer: DeployedLayer, spec: HardwareSpec) -> None:
    """Refuse a layer whose ADCs between tiles are not those that its spec asks for.

    Raises:
        ArtifactError: another number of full scales, or some that are not positive and finite.
    """
    row_tiles = LayerReadout.of(layer.geometry, spec).tiles
    shape = None if layer.tile_adc_V is None else tuple(layer.tile_adc_V.shape)
    expected = None if row_tiles is None else (row_tiles.count,)
    if shape != expected:
        raise ArtifactError(
            f"layer '{layer.name}': tile_adc_V has shape {shape}, expected {expected} with partial_sums = "
            f"'{spec.periphery.partial_sums}' on tiles of {spec.array.rows} rows"
        )
    full_scale_V = layer.tile_adc_V
    if full_scale_V is None:
        return
    is_real = full_scale_V.dtype in REALS
    if not is_real or not bool(((full_scale_V > 0) & full_scale_V.isfinite()).all()):
        raise ArtifactError(f"layer '{layer.name}': tile_adc_V has values that are not positive and finite")


def _check_lines_of_shared(layer: DeployedLayer, spec: HardwareSpec) -> None:
    """Weights that share a negative partner stay beside it."""
    moved = layer.col_outputs is not None or layer.wanted_S is not None
    if Readout.of(spec).shares_negatives and moved:
        raise ArtifactError(
            f"layer '{layer.name}': col_outputs or wanted_S, which a read-out '{spec.periphery.readout}' cannot have: "
            "its weights share their negative partners; expected neither"
        )


def _array_shape(layer: DeployedLayer) -> tuple[int, int, int]:
    """The shape that a layer's arrays should have, once its lines are found to be in order."""
    groups, rows, cols = layer.geometry.matrix_shape
    lines = rows
    for name, value, count in (("row_inputs", layer.row_inputs, rows), ("col_outputs", layer.col_outputs, cols)):
        if value is None:
            continue
        times = value.shape[-1] // count if value.ndim == 2 else 0
        if name == "col_outputs":
            times = min(times, 1)  # an output has one bit line
        every = torch.arange(count).repeat_interleave(times).expand(groups, -1)
        is_whole = value.dtype == torch.int64 and times > 0
        if not is_whole or value.shape != every.shape or not torch.equal(value.sort(-1).values, every):
            raise ArtifactError(
                f"layer '{layer.name}': {name} of shape {tuple(value.shape)} does not name each of {count} lines "
                f"equally often in {groups} group(s)"
            )
        if name == "row_inputs":
            lines = value.shape[-1]
    return groups, lines, cols
