"""Energy, time and area that a chip would take, from its spec, its conductances and the voltages of real inputs."""

from __future__ import annotations

import math
from typing import Any

import torch

from hrat.artifacts import Assumption, Deployment, Estimate, LayerEstimate, ProgrammedChip
from hrat.circuit import Adc, Converter, Dac, Node, OutputRescale, Recurrence, layer_of
from hrat.encoding import Readout
from hrat.errors import HratError
from hrat.physics import conversion_J, settling_s
from hrat.simulation.batches import batches
from hrat.simulation.metered import Metered
from hrat.simulation.network import ChipSolver
from hrat.spec import COST_SOURCES, HardwareSpec

__all__ = ["estimate"]

LIMIT_IMAGES = 100
EXACT_BITS = 8
"""Resolution at which a converter is counted where its restriction is off, bits."""


@torch.no_grad()
def estimate(
    chip: ProgrammedChip, data: Any, *, limit: int | None = LIMIT_IMAGES, label_key: str | None = None
) -> Estimate:
    """Energy, time and area of a chip for one input.

    Energy of devices: `v^2 G t` at the voltages that the inputs cause; of their drivers: the loss between supply and
    signal; of amplifiers: power at rest times the time of a matrix-vector product; of converters: a share per code.
    The figures are those of the spec's section `costs`; `assumptions` of the result names each, with its source.

    Limits: digital operations, buffers, control, programming and wires are not counted; a convolution uses its arrays
    for one position after another; layers that could run side by side are counted one after another.

    Args:
        chip: one chip; of several the first is taken.
        data: what `hrat.simulate` takes.
        limit: use the first `limit` inputs only.
        label_key: as of `hrat.simulate`.

    Raises:
        HratError: no data, or data that the network cannot take.
        ValueError: inputs that are not finite.
    """
    if not isinstance(chip, ProgrammedChip):
        raise HratError(f"expected the chips that hrat.program returned, got {type(chip).__name__}")
    one = chip[0]
    deployment = one.deployment
    solver = ChipSolver(one, solvers=dict.fromkeys(one.layers, Metered()))
    n_images = 0
    sizes: dict[str, int] = {}
    for batch in batches(one, data, limit, torch.device("cpu"), label_key=label_key):
        sizes = sizes or ChipSolver.sizes(one, batch.inputs, batch.n_images)
        solver.compute(batch.inputs)
        n_images += batch.n_images
    if not n_images:
        raise HratError("there is nothing to estimate on: the data holds no inputs")
    recurrent = {node.layer for node in deployment.graph if isinstance(node, Recurrence)}
    layers = []
    for name, values in _converted(deployment, sizes).items():
        amounts = {what: amount / n_images for what, amount in solver.statistics[name].items()}
        if name in recurrent:  # the state passes a DAC and an ADC at every step
            _, rows, cols = deployment.layers[name].geometry.matrix_shape
            values = amounts["products"] * rows, amounts["products"] * cols
        layers.append(_layer(one, name, amounts, *values))
    return Estimate(
        spec=deployment.spec.name,
        chip_seed=one.seeds[0],
        n_images=n_images,
        layers=tuple(layers),
        assumptions=tuple(_assumptions(deployment.spec)),
    )


def _layer(
    chip: ProgrammedChip, name: str, amounts: dict[str, float], dac_values: float, adc_values: float
) -> LayerEstimate:
    """`amounts` are the meter's for one input; `dac_values` and `adc_values` pass converters for one."""
    deployment, layer = chip.deployment, chip.deployment.layers[name]
    costs, periphery = deployment.spec.costs, deployment.spec.periphery
    groups, rows, cols = layer.array_shape
    products = amounts["products"]
    mvm_s = costs.mvm_s if costs.mvm_s is not None else _settling_s(chip, name)
    sums = 1 if layer.tile_adc_V is None else len(layer.tile_adc_V)
    outputs, lines = groups * cols, groups * rows
    n_amplifiers = groups * Readout.of(deployment.spec).count_amplifiers(rows, cols, sums)
    dac_bits = _bits(periphery.input_dac_bits, periphery.limit_input_dac)
    bias_bits = _bits(periphery.bias_dac_bits, periphery.limit_bias_dac)
    adc_bits = _bits(periphery.adc_bits, periphery.limit_adc)
    tile_bits = _bits(periphery.tile_adc_bits, periphery.limit_tile_adc)
    n_bias = outputs if layer.bias_codes is not None else 0
    n_in = lines if dac_values else 0
    n_out = outputs if adc_values else 0
    tile_values = 0.0 if layer.tile_adc_V is None else products * outputs * sums
    n_tile = 0 if layer.tile_adc_V is None else outputs * sums
    area_m2 = (
        layer.n_devices * costs.device_m2
        + n_amplifiers * costs.amplifier_m2
        + costs.dac_m2_per_code * (n_in * 2**dac_bits + n_bias * 2**bias_bits)
        + costs.adc_m2_per_code * (n_out * 2**adc_bits + n_tile * 2**tile_bits)
    )
    return LayerEstimate(
        name=name,
        products=products,
        mvm_s=mvm_s,
        macs=products * math.prod(layer.geometry.matrix_shape),
        devices_J=amounts["devices_W"] * mvm_s,
        drive_J=amounts["drive_W"] * mvm_s,
        amplifiers_J=n_amplifiers * costs.amplifier_W * products * mvm_s,
        dac_J=dac_values * conversion_J(dac_bits, costs.dac_J_per_code),
        adc_J=adc_values * conversion_J(adc_bits, costs.adc_J_per_code)
        + tile_values * conversion_J(tile_bits, costs.adc_J_per_code),
        n_devices=layer.n_devices,
        n_amplifiers=n_amplifiers,
        n_dacs=n_in + n_bias,
        n_adcs=n_out + n_tile,
        area_m2=area_m2,
    )


def _bits(bits: int | None, limited: bool) -> int:
    return bits if limited and bits is not None else EXACT_BITS


def _settling_s(chip: ProgrammedChip, name: str) -> float:
    """Settling time of the slowest bit line of a layer, to half a step of the ADC, s."""
    deployment, layer, programmed = chip.deployment, chip.deployment.layers[name], chip.layers[name]
    spec = deployment.spec
    pos_S, neg_S = programmed.g_pos_S[0], programmed.g_neg_S[0]
    lines = Readout.of(spec).loads_S(pos_S, neg_S)
    # Tiles above one another share an amplifier, unless each has its own.
    rows = layer.array_shape[1] if layer.tile_adc_V is None else spec.array.rows
    g_line_S = max(float(part.sum(-2).max()) for line in lines for part in line.split(rows, dim=-2))
    bits = _bits(spec.periphery.adc_bits, spec.periphery.limit_adc)
    return settling_s(layer.r_f_ohm, g_line_S, spec.costs.amplifier_gbw_Hz, bits)


def _converted(deployment: Deployment, sizes: dict[str, int]) -> dict[str, tuple[float, float]]:
    """Conversions for one input by DACs in front of each layer, and by ADCs behind it.

    Layers that read the same converted signal, or whose outputs meet in front of the same ADC, have equal shares in it.
    Converters inside of a recurrence and ADCs between tiles are counted where the layer's products are.
    """
    graph = {node.name: node for node in deployment.graph}
    of_layer = {node.name: layer for node in deployment.graph if (layer := layer_of(node)) is not None}
    conversions = dict.fromkeys(deployment.layers, (0.0, 0.0))

    def share(layers: set[str], dac: float = 0.0, adc: float = 0.0) -> None:
        for layer in layers:
            before = conversions[layer]
            conversions[layer] = before[0] + dac / len(layers), before[1] + adc / len(layers)

    sources = {name: _sources(graph, name, of_layer) for name in of_layer}
    for node in deployment.graph:
        if isinstance(node, Dac):
            share({of_layer[name] for name, its in sources.items() if node.name in its}, dac=sizes[node.name])
        elif isinstance(node, Adc | OutputRescale):
            makers = {of_layer[name] for name in _sources(graph, node.name, of_layer) if name in of_layer}
            digital = {layer for layer in makers if deployment.layers[layer].tile_adc_V is not None}
            share(makers - digital, adc=sizes[node.name])
    return conversions


def _sources(graph: dict[str, Node], name: str, of_layer: dict[str, str]) -> set[str]:
    """Nodes that a node's value comes from with no layer or converter between, and the layers and converters there."""
    names: set[str] = set()
    ahead = list(graph[name].inputs())
    while ahead:
        source = ahead.pop()
        if source in names:
            continue
        names.add(source)
        if source not in of_layer and not isinstance(graph[source], Converter):
            ahead += graph[source].inputs()
    return names


def _assumptions(spec: HardwareSpec) -> list[Assumption]:
    costs, periphery = spec.costs, spec.periphery
    assumptions = []
    for field, default in type(costs).model_fields.items():
        value = getattr(costs, field)
        usual = COST_SOURCES[field] if value == default.default else "the spec, which names no source"
        source = spec.sources.get(f"costs.{field}", usual)
        shown = "as the amplifiers settle" if value is None else f"{value:g}"
        assumptions.append(Assumption(what=f"costs.{field}: {default.description}", value=shown, source=source))
    modelled = "the model"
    converters = {
        "input DACs": _bits(periphery.input_dac_bits, periphery.limit_input_dac),
        "bias DACs": _bits(periphery.bias_dac_bits, periphery.limit_bias_dac),
        "ADCs": _bits(periphery.adc_bits, periphery.limit_adc),
    }
    bits = ", ".join(f"{name} {n}" for name, n in converters.items())
    assumptions += [
        Assumption(
            what=f"Bits of the converters; {EXACT_BITS} where the restriction is off", value=bits, source="the spec"
        ),
        Assumption(
            what="An amplifier on each bit line, and an inverter on each word line (dual rail), a second amplifier "
            "for each output (two stages) or one for each tile's reference (reference column); tiles whose partial "
            "sums pass ADCs have amplifiers of their own",
            value="",
            source=modelled,
        ),
        Assumption(
            what="Positions of a convolution, and the layers, come one after another on one copy of the arrays",
            value="",
            source=modelled,
        ),
        Assumption(
            what="Each value is converted once and held; bias DACs hold their value and take no energy",
            value="",
            source=modelled,
        ),
        Assumption(
            what="Not counted: digital operations, buffers and sample-and-hold, control, wires, programming, what a "
            "layer takes while it waits, and the time of conversions",
            value="",
            source=modelled,
        ),
    ]
    return assumptions
