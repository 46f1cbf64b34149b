"""Over time: a layer settles to its DC solution, and a memristor moves above its threshold only."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import hrat
from hrat.experiments.recipes.networks import lenet5
from hrat.simulation.spice import (
    Amplifier,
    CircuitError,
    SpiceOptions,
    ThresholdMemristor,
    circuit_layers,
    memristor_pulse,
    run_chain,
    transient,
)
from hrat.simulation.spice.settling import noise_gain
from ngspice import needs_ngspice
from simulation.spice.circuits import READOUTS, inputs_of, layer_of, spec_of

READ_V = 0.3


@needs_ngspice
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("wires", [False, True])
def test_a_layer_settles_to_its_dc_solution(readout: str, wires: bool) -> None:
    layer, v = layer_of(9, 4, high_V=0.2, low_V=-0.2), inputs_of(1, 9)
    spec = spec_of(readout=readout, limit_wires=wires, r_driver_ohm=20.0)
    settled = run_chain([layer], spec, v, throw=True).outputs[0][0]
    course = transient(layer, spec, v[0], c_node_F=1e-15)
    assert np.abs(course.outputs_V[-1] - settled).max() < 1e-6
    assert (course.settling_s(1e-3) > 0).any()
    assert (course.settling_s(1e-3) < course.times_s[-1] / 2).all()


@needs_ngspice
@pytest.mark.parametrize("name", ["0", "4", "15"])
def test_layers_of_lenet5_settle_to_their_dc_solution(name: str) -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 1, 28, 28, dtype=torch.float64)
    model = hrat.prepare(lenet5().double().eval(), "generic-4bit", image)
    chip = hrat.program(hrat.deploy(model), seed=1)
    (layer,) = circuit_layers(chip, 0, [name])
    v = inputs_of(1, layer.rows)
    settled = run_chain([layer], chip.deployment.spec, v, throw=True).outputs[0][0]
    course = transient(layer, chip.deployment.spec, v[0], c_node_F=1e-15)
    assert np.abs(course.outputs_V[-1] - settled).max() < 1e-9
    assert 0 < course.settling_s(1e-3).max() < course.times_s[-1] / 2


@needs_ngspice
@pytest.mark.parametrize("gbw_Hz", [1e6, 2e7])
def test_one_pole_has_the_time_constant_of_the_loop(gbw_Hz: float) -> None:
    layer, spec = layer_of(3, 1, bias_V=None), spec_of()
    options = SpiceOptions(amplifier=Amplifier(gbw_Hz=gbw_Hz))
    course = transient(layer, spec, np.full(3, 0.2), options)
    tau_s = noise_gain(layer, spec)[0] / (2 * math.pi * gbw_Hz)
    share = course.outputs_V[:, 0] / course.outputs_V[-1, 0]
    # The word lines rise for a hundredth of the time constant, half of which the output lags behind.
    want = 1 - np.exp(-(course.times_s - 0.005 * tau_s) / tau_s)
    later = course.times_s > 0.1 * tau_s
    assert np.abs(share - want)[later].max() < 2e-3
    assert course.settling_s(abs(course.outputs_V[-1, 0]) * math.exp(-3))[0] == pytest.approx(3 * tau_s, rel=0.03)


@needs_ngspice
def test_capacitance_of_the_lines_makes_the_outputs_ring() -> None:
    # A second pole at the summing node: the loop overshoots, and comes to rest at the same voltages.
    layer, spec, v = layer_of(9, 2), spec_of(), inputs_of(1, 9)[0]
    bare, loaded = (transient(layer, spec, v, c_node_F=c, duration_s=5e-5) for c in (0.0, 2e-10))
    last_V = bare.outputs_V[-1]
    assert np.abs(loaded.outputs_V[-1] - last_V).max() < 1e-6
    away = np.sign(last_V - bare.outputs_V[0])
    assert (((bare.outputs_V - last_V) * away).max(axis=0) < 1e-6).all()
    assert (((loaded.outputs_V - last_V) * away).max(axis=0) > 1e-3).all()


@needs_ngspice
def test_a_read_leaves_a_memristor_alone_and_a_pulse_above_threshold_does_not() -> None:
    memristor = ThresholdMemristor.of(spec_of())
    for v_V in (READ_V, -READ_V, 0.1):
        assert np.abs(memristor_pulse(memristor, 1e-4, v_V, 1e-3).g_S / 1e-4 - 1).max() < 1e-12
    last_S = [memristor_pulse(memristor, 1e-4, v_V, 1e-6).g_S[-1] for v_V in (-0.9, -0.5, 0.5, 0.9)]
    assert last_S == sorted(last_S)
    assert last_S[1] < 0.99e-4
    assert last_S[2] > 1.01e-4
    longer = memristor_pulse(memristor, 1e-4, 0.5, 2e-6)
    assert longer.g_S[-1] > last_S[2]
    assert (np.diff(longer.g_S) > -1e-9).all()
    assert memristor_pulse(memristor, 1e-4, 2.0, 1e-3).g_S[-1] <= memristor.g_max_S * (1 + 1e-6)


@needs_ngspice
def test_the_state_follows_the_law() -> None:
    # Far above the threshold with a flat top, w' = k (v / v_set - 1)^alpha (1 - w) has an exponential solution.
    memristor = ThresholdMemristor(g_min_S=1e-5, g_max_S=1e-4, v_set_V=0.5, v_reset_V=-1.0, rate_Hz=1e5, alpha=2.0)
    course = memristor_pulse(memristor, 1e-5, 1.5, 1e-6)
    w = (course.g_S - 1e-5) / 9e-5
    middle = (course.times_s > 0.2e-6) & (course.times_s < 0.9e-6)
    slope_Hz = np.polyfit(course.times_s[middle], -np.log1p(-w[middle]), 1)[0]
    assert slope_Hz == pytest.approx(1e5 * (1.5 / 0.5 - 1) ** 2, rel=1e-3)


def test_impossible_memristors_are_refused() -> None:
    with pytest.raises(CircuitError, match="v_reset_V < 0 < v_set_V"):
        ThresholdMemristor(g_min_S=1e-5, g_max_S=1e-4, v_set_V=0.5, v_reset_V=0.5)
    memristor = ThresholdMemristor.of(spec_of())
    with pytest.raises(CircuitError, match="within the window"):
        memristor.state_of(1.0)


@needs_ngspice
@pytest.mark.parametrize("readout", READOUTS)
def test_a_read_leaves_an_array_alone_and_a_pulse_above_threshold_does_not(readout: str) -> None:
    spec = spec_of(readout=readout, limit_wires=True, **{"array.rows": 4, "array.cols": 2})
    layer, v = layer_of(5, 3), inputs_of(1, 5)
    memristor = ThresholdMemristor(g_min_S=1e-5, g_max_S=2e-4, v_set_V=READ_V, v_reset_V=-READ_V)
    read = transient(layer, spec, v[0], memristor=memristor)
    settled = run_chain([layer], spec, v, throw=True).outputs[0][0]
    assert np.abs(read.outputs_V[-1] - settled).max() < 1e-6
    assert np.abs(read.g_pos_S / layer.g_pos_S - 1).max() < 1e-9
    assert np.abs(read.g_neg_S / layer.g_neg_S - 1).max() < 1e-9

    pulse = np.array([1.2, 0.0, -1.2, 0.0, 0.0])
    written = transient(layer, spec, pulse, memristor=memristor, duration_s=1e-6)
    moved_pos, moved_neg = written.g_pos_S - layer.g_pos_S, written.g_neg_S - layer.g_neg_S
    assert np.abs(moved_pos[[1, 3, 4]]).max() < 1e-9 * 2e-4
    assert np.abs(moved_neg[[1, 3, 4]]).max() < 1e-9 * 2e-4
    # Word lines carry the opposite of the signal; of two rails the second one the opposite of that.
    assert (moved_pos[0] < -1e-6).all()
    assert (moved_pos[2] > 1e-6).all()
    other_rail = 1 if readout == "dual_rail" else -1
    assert (other_rail * moved_neg[0] > 1e-6).all()
    assert (other_rail * moved_neg[2] < -1e-6).all()


@needs_ngspice
def test_an_open_device_stays_open() -> None:
    layer, spec = layer_of(3, 2), spec_of()
    layer.g_pos_S[1, 0] = 0.0
    memristor = ThresholdMemristor(g_min_S=1e-5, g_max_S=2e-4, v_set_V=READ_V, v_reset_V=-READ_V)
    read = transient(layer, spec, inputs_of(1, 3)[0], memristor=memristor)
    assert read.g_pos_S[1, 0] == 0.0
    assert np.count_nonzero(read.g_pos_S) == 5
