"""Ideal wires: the circuit is a matrix product, and each departure from it is the one that was put in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hrat.simulation.spice import Amplifier, CircuitLayer, SpiceOptions, run_chain
from hrat.simulation.spice.circuit import Floats
from hrat.simulation.spice.settling import noise_gain
from hrat.spec import HardwareSpec
from ngspice import needs_ngspice
from simulation.spice.circuits import IDEAL, READ_V, READOUTS, by_formula, inputs_of, layer_of, spec_of

pytestmark = needs_ngspice


def solved(layer: CircuitLayer, spec: HardwareSpec, v: Floats, options: SpiceOptions = IDEAL) -> Floats:
    return run_chain([layer], spec, v, options, throw=True).outputs[0]


def assert_close(got: Floats, want: Floats, rtol: float = 1e-9) -> None:
    assert np.abs(got - want).max() <= rtol * np.abs(want).max()


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (5, 4), (37, 23)])
def test_ideal_parts_are_a_matrix_product(shape: tuple[int, int], readout: str) -> None:
    layer, v = layer_of(*shape), inputs_of(3, shape[0])
    got = solved(layer, spec_of(readout=readout, limit_swing=False), v)
    assert_close(got, by_formula([layer], v, readout, np.inf)[0])


def test_sign_and_place_of_each_device() -> None:
    layer = layer_of(5, 4, bias_V=None)
    v = np.eye(5) * READ_V
    want_V = READ_V * layer.r_f_ohm * (layer.g_pos_S - layer.g_neg_S)
    for readout in READOUTS:
        assert_close(solved(layer, spec_of(readout=readout), v), want_V)


@pytest.mark.parametrize("readout", READOUTS)
def test_an_open_device_carries_nothing(readout: str) -> None:
    layer, v = layer_of(5, 4), inputs_of(2, 5)
    g_pos_S, g_neg_S = layer.g_pos_S.copy(), layer.g_neg_S.copy()
    g_pos_S[1, 2] = 0.0
    g_pos_S[:, 3] = g_neg_S[:, 3] = 0.0  # a whole pair of columns
    opened = replace(layer, g_pos_S=g_pos_S, g_neg_S=g_neg_S)
    assert_close(solved(opened, spec_of(readout=readout), v), by_formula([opened], v, readout)[0])


def test_many_inputs_are_single_inputs_however_they_are_cut() -> None:
    layer, v = layer_of(7, 3), inputs_of(5, 7)
    spec = spec_of()
    together = solved(layer, spec, v)
    assert together.shape == (5, 3)
    for chunk in (1, 2, 5):
        assert_close(solved(layer, spec, v, replace(IDEAL, chunk=chunk, workers=2)), together, 1e-12)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("gain", [None, 1e5])
def test_a_chain_of_layers(readout: str, gain: float | None) -> None:
    layers = [
        layer_of(20, 11, name="fc1", rectifies=True, clamp_V=READ_V, high_V=0.5),
        layer_of(11, 6, name="fc2", clamp_V=0.1, low_V=-0.5, high_V=0.5),
        layer_of(6, 2, name="fc3"),
    ]
    v = inputs_of(6, 20)
    result = run_chain(layers, spec_of(readout=readout), v, SpiceOptions(amplifier=Amplifier(gain=gain)))
    assert result.failure is None
    want = by_formula(layers, v, readout)
    # The swing, the ReLU and the read clamps are all met in this case.
    assert (want[0] == 0.0).any()
    assert (want[0] == 0.5).any()
    assert (want[0] > READ_V).any()
    assert (np.abs(want[1]) > 0.1).any()
    for got, wanted in zip(result.outputs, want, strict=True):
        assert np.abs(got - wanted).max() < (1e-9 if gain is None else 1e-3)
    assert result.stats["n_devices"] == 2 * (20 * 11 + 11 * 6 + 6 * 2)


# ---- amplifiers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [1e3, 1e5])
def test_finite_gain_costs_the_share_that_the_loop_has(gain: float) -> None:
    layer, v = layer_of(12, 5), inputs_of(3, 12)
    spec = spec_of()
    want = by_formula([layer], v, "dual_rail")[0] / (1.0 + noise_gain(layer, spec) / gain)
    got = solved(layer, spec, v, SpiceOptions(amplifier=Amplifier(gain=gain)))
    assert_close(got, want)
    assert np.abs(got - by_formula([layer], v, "dual_rail")[0]).max() > 1.0 / gain * np.abs(want).max()


@pytest.mark.parametrize("limits", [{"low_V": -0.2, "high_V": 0.15}, {"rectifies": True, "high_V": 0.15}])
@pytest.mark.parametrize("gain", [None, 1e5])
def test_outputs_stop_at_the_limits_and_leave_their_neighbours_alone(limits: dict[str, Any], gain: float) -> None:
    layer, v = layer_of(12, 8), 2.0 * inputs_of(6, 12)
    limited = replace(layer, **limits)
    options = SpiceOptions(amplifier=Amplifier(gain=gain))
    free, got = solved(layer, spec_of(), v, options), solved(limited, spec_of(), v, options)
    low_V, high_V = limited.limits_V
    assert ((free < low_V) | (free > high_V)).mean() > 0.3
    assert ((free > low_V) & (free < high_V)).mean() > 0.1
    assert np.abs(got - np.clip(free, low_V, high_V)).max() < 1e-9


@pytest.mark.parametrize("gain", [None, 1e5])
def test_the_first_amplifier_of_two_stages_saturates(gain: float | None) -> None:
    layer, v = layer_of(8, 5, bias_V=None), np.abs(inputs_of(4, 8))
    spec = spec_of(readout="two_stage", v_swing_V=0.5)
    got = solved(layer, spec, v, SpiceOptions(amplifier=Amplifier(gain=gain)))
    want = by_formula([layer], v, "two_stage", 0.5)[0]
    assert np.abs(want - by_formula([layer], v, "dual_rail")[0]).max() > 0.1
    assert np.abs(got - want).max() < (1e-9 if gain is None else 1e-3)


@pytest.mark.parametrize("gain", [None, 1e6])
def test_an_offset_appears_times_the_noise_gain(gain: float | None) -> None:
    layer, spec = layer_of(12, 5), spec_of()
    amplifier = Amplifier(gain=gain, offset_V=1e-3, seed=4)
    got = solved(layer, spec, np.zeros((1, 12)), SpiceOptions(amplifier=amplifier))[0]
    offsets_V = amplifier.offsets_V(layer.node, 5)
    assert np.unique(offsets_V).size == 5
    assert layer.bias_V is not None
    # Both the bias and the offset pass the same loop.
    want = layer.bias_V + noise_gain(layer, spec) * offsets_V
    assert_close(got, want, 1e-9 if gain is None else 1e-4)


def test_offsets_are_those_of_the_seed_and_the_layer() -> None:
    amplifier = Amplifier(offset_V=1e-3)
    assert np.array_equal(amplifier.offsets_V("a", 4), amplifier.offsets_V("a", 4))
    assert not np.array_equal(amplifier.offsets_V("a", 4), amplifier.offsets_V("b", 4))
    assert not np.array_equal(amplifier.offsets_V("a", 4), replace(amplifier, seed=1).offsets_V("a", 4))
    assert 0.8e-3 < amplifier.offsets_V("a", 1000).std() < 1.2e-3


@pytest.mark.parametrize("gain", [None, 1e3, 1e7])
def test_newton_finds_its_way_where_most_amplifiers_are_at_a_limit(gain: float | None) -> None:
    # Wires couple the amplifiers: one that has lost its virtual ground pulls at its neighbours' word lines.
    limits = {"low_V": -0.05, "high_V": 0.05, "clamp_V": 0.04}
    layers = [layer_of(20, 11, name="fc1", **limits), layer_of(11, 6, name="fc2", **limits)]
    spec = spec_of(readout="two_stage", v_swing_V=0.05, limit_wires=True, r_driver_ohm=200.0)
    options = SpiceOptions(amplifier=Amplifier(gain=gain, offset_V=1e-4))
    result = run_chain(layers, spec, inputs_of(6, 20), options)
    assert result.failure is None
    assert (np.abs(result.outputs[0]) > 0.05 - 1e-9).mean() > 0.5


@pytest.mark.parametrize("readout", READOUTS)
def test_a_bias_is_added_with_its_sign(readout: str) -> None:
    layer = layer_of(4, 3, bias_V=np.array([0.2, -0.1, 0.0]))
    got = solved(layer, spec_of(readout=readout), np.zeros((1, 4)))
    np.testing.assert_allclose(got[0], [0.2, -0.1, 0.0], atol=1e-12)
