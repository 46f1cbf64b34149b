"""Settling of a layer after a step on its word lines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from hrat import physics
from hrat.encoding import Readout
from hrat.simulation.spice.circuit import (
    Amplifier,
    CircuitError,
    CircuitLayer,
    Dialect,
    Floats,
    SpiceOptions,
    amplifier_of,
    check_chain,
    count_devices,
    pair_of,
    physical_grid,
)
from hrat.simulation.spice.dialects import check_dialect, comment, inside, kept, number, options_lines
from hrat.simulation.spice.layer import LayerText
from hrat.simulation.spice.memristor import ThresholdMemristor
from hrat.simulation.spice.ngspice import find_ngspice
from hrat.simulation.spice.runner import run_netlist
from hrat.spec import HardwareSpec

__all__ = ["Transient", "noise_gain", "time_constant_s", "transient", "transient_netlist"]

CONSTANTS_SHOWN = 25.0
"""Time constants until the end: what is left then is exp(-25) of the step."""
STEPS_OF_A_CONSTANT = 20.0
RISE_SHARE = 0.01
"""Rise time of the word lines, in time constants."""
DEVICE = "memristor"
"""Name of the subcircuit of devices with threshold."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Transient:
    """Amplifier outputs over time."""

    times_s: Floats
    """`(points,)`, not evenly spaced, s."""
    outputs_V: Floats
    """`(points, cols)`, V."""
    g_pos_S: Floats | None = None
    """Conductances at the end, `(rows, cols)`, S, where the devices are memristors with threshold."""
    g_neg_S: Floats | None = None

    def settling_s(self, tolerance_V: float) -> Floats:
        """When each output has come within the tolerance of its last value for good, `(cols,)`, s."""
        outside = np.abs(self.outputs_V - self.outputs_V[-1]) > tolerance_V
        # The point behind the last one that is outside; the first of all where none is.
        behind = len(outside) - np.argmax(outside[::-1], axis=0)
        return self.times_s[np.where(outside.any(axis=0), behind, 0)]


def noise_gain(layer: CircuitLayer, spec: HardwareSpec) -> Floats:
    """`1 + R_f G_total` of the last amplifier behind each bit line, `(cols,)`, no unit; wires left out of account.

    G_total is all that hangs at the summing node beside R_f: the devices, the resistor of the bias DAC, and in a
    two-stage read-out the one that brings the first amplifier's output instead of the devices of `I-`.
    """
    inner = Readout.of(spec).inner_amplifiers
    load_S = layer.g_pos_S.sum(axis=0) if inner else layer.g_pos_S.sum(axis=0) + layer.g_neg_S.sum(axis=0)
    resistors = int(inner) + int(layer.bias_V is not None)
    return physics.noise_gain(torch.from_numpy(load_S), layer.r_f_ohm, resistors).numpy()


def time_constant_s(layer: CircuitLayer, spec: HardwareSpec, amplifier: Amplifier, c_node_F: float = 0.0) -> float:
    """Estimate of the slowest time constant of a layer: that of its amplifiers, and of its lines, s.

    Amplifiers: `(1 + R_f G_total) / (2 pi gbw)`, twice that in a two-stage read-out. Lines: the capacitance of a whole
    bit line on R_f divided by the root of the loop gain is less than `sqrt(R_f C / (2 pi gbw))`; an ohm a segment adds
    nothing beside it.
    """
    of_amplifiers = float(noise_gain(layer, spec).max()) / (2.0 * math.pi * amplifier.gbw_Hz)
    if Readout.of(spec).inner_amplifiers:
        of_amplifiers += (2.0 + layer.r_f_ohm * float(layer.g_neg_S.sum(axis=0).max())) / (
            2.0 * math.pi * amplifier.gbw_Hz
        )
    lines_F = 2.0 * layer.lines * c_node_F
    return of_amplifiers + math.sqrt(layer.r_f_ohm * lines_F / (2.0 * math.pi * amplifier.gbw_Hz))


def transient(
    layer: CircuitLayer,
    spec: HardwareSpec,
    input_V: Floats,
    options: SpiceOptions | None = None,
    *,
    duration_s: float | None = None,
    c_node_F: float = 0.0,
    memristor: ThresholdMemristor | None = None,
) -> Transient:
    """Drive the word lines from 0 V to `input_V` at time 0 and watch the outputs.

    Args:
        layer: one crossbar with its amplifiers.
        spec: tile size, wires, read-out.
        input_V: voltages on the word lines, `(rows,)`, V.
        options: the amplifier, and how to run ngspice.
        duration_s: simulated time; None for 25 of the slowest time constants by `time_constant_s`.
        c_node_F: capacitance to ground at each crossing, on the word line and on the bit line, F.
        memristor: what the devices are, beginning at the layer's conductances and with their `plus` at the word lines,
            in place of resistors. Word lines carry the opposite of the signal.

    Raises:
        CircuitError: something does not fit.
        SpiceFailure: there is no solution.
    """
    options = options or SpiceOptions()
    program = find_ngspice(options.ngspice)
    program.check_size(count_devices([layer]), wires=spec.array.limit_wires)
    text = transient_netlist(
        layer,
        spec,
        input_V,
        options,
        duration_s=duration_s,
        c_node_F=c_node_F,
        memristor=memristor,
        klu=program.has_klu,
    )
    plot = run_netlist(program, [text], time_limit_s=options.time_limit_s, keep=options.keep)[-1]
    outputs_V = plot.columns([f"v({layer.node}_out{j})" for j in range(layer.cols)])
    course = Transient(times_s=plot["time"], outputs_V=outputs_V)
    if memristor is None:
        return course
    states = _states(layer, spec, "ngspice")
    grid_S = np.zeros_like(physical_grid(layer, spec))
    for place, last in zip(states.values(), plot.columns([f"v({node})" for node in states])[-1], strict=True):
        grid_S[place] = memristor.conductance_of(last)
    g_pos_S, g_neg_S = pair_of(grid_S, spec)
    return replace(course, g_pos_S=g_pos_S, g_neg_S=g_neg_S)


def transient_netlist(
    layer: CircuitLayer,
    spec: HardwareSpec,
    input_V: Floats,
    options: SpiceOptions | None = None,
    *,
    duration_s: float | None = None,
    c_node_F: float = 0.0,
    memristor: ThresholdMemristor | None = None,
    dialect: Dialect = "ngspice",
    klu: bool = True,
) -> str:
    """Netlist that `transient` solves; arguments: see `transient` and `netlist`.

    Raises:
        CircuitError: something does not fit.
    """
    options = options or SpiceOptions()
    check_dialect(dialect)
    input_V = np.asarray(input_V, dtype=np.float64)
    check_chain([layer], input_V[None])
    constant_s = time_constant_s(layer, spec, options.amplifier, c_node_F)
    duration_s = CONSTANTS_SHOWN * constant_s if duration_s is None else duration_s
    if not 0.0 < duration_s < math.inf or not 0.0 <= c_node_F < math.inf:
        raise CircuitError(f"expected duration_s > 0 and c_node_F >= 0, got {duration_s} s and {c_node_F} F")
    step_s = min(constant_s / STEPS_OF_A_CONSTANT, duration_s / 50.0)
    devices, states = [], {}
    if memristor is not None:
        devices = [memristor.subcircuit(DEVICE, dialect)]
        grid_S = physical_grid(layer, spec)
        places = _states(layer, spec, dialect)
        states = {node: memristor.state_of(float(grid_S[place])) for node, place in places.items()}
    text = LayerText(
        layer,
        spec,
        amplifier_of(options.amplifier, spec),
        dialect,
        dynamic=True,
        c_node_F=c_node_F,
        memristor=DEVICE if memristor is not None else None,
    )
    lines = [
        comment(
            f"settling of {layer.name} ({spec.name}), amplifiers of {options.amplifier.gbw_Hz:g} Hz gain-bandwidth"
        ),
        *devices,
        *text.lines(None),
        "* ---- word lines, stepped at time 0",
        *_steps(layer, input_V, RISE_SHARE * constant_s),
        *(f".ic v({node})={number(state)}" for node, state in states.items()),
        *options_lines(options, dialect, klu=klu, analysis="tran"),
        f".tran {number(step_s)} {number(duration_s)} 0 {number(step_s)}",
        kept([*(f"{layer.node}_out{j}" for j in range(layer.cols)), *states], dialect, analysis="tran"),
        ".end",
    ]
    return "\n".join(lines) + "\n"


def _states(layer: CircuitLayer, spec: HardwareSpec, dialect: Dialect) -> dict[str, tuple[int, int]]:
    """The node that holds the state of each device, and the device's place in the physical grid."""
    grid_S = physical_grid(layer, spec)
    text = LayerText(layer, spec, Amplifier(), dialect)
    return {
        inside(f"x{tile}", f"q{i}_{j}", dialect): (rows.start + i, cols.start + j)
        for tile, rows, cols in text.tiles()
        for i, j in np.argwhere(grid_S[rows, cols]).tolist()
    }


def _steps(layer: CircuitLayer, input_V: Floats, rise_s: float) -> Iterator[str]:
    node = layer.node
    for k, value_V in enumerate(input_V.tolist()):
        yield f"V{node}_in{k} {node}_in{k} 0 PWL(0 0 {number(rise_s)} {number(value_V)})"
