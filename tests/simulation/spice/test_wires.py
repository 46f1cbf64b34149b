"""Wires with resistance, against Kirchhoff's laws on every node."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hrat.simulation.spice import CircuitLayer, run_chain
from hrat.simulation.spice.circuit import Floats
from hrat.spec import HardwareSpec
from ngspice import needs_ngspice
from simulation.spice.circuits import IDEAL, READOUTS, by_kirchhoff, inputs_of, layer_of, spec_of

pytestmark = needs_ngspice

WIRES: dict[str, Any] = {
    "limit_wires": True,
    "limit_swing": False,
    "r_word_ohm": 2.0,
    "r_bit_ohm": 7.0,
    "r_driver_ohm": 60.0,
    "r_sense_ohm": 25.0,
}


def solved(layer: CircuitLayer, spec: HardwareSpec, v: Floats) -> Floats:
    return run_chain([layer], spec, v, IDEAL, throw=True).outputs[0]


def difference(got: Floats, want: Floats) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("drive", ["one_end", "both_ends"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (5, 4), (20, 11)])
def test_each_node_obeys_kirchhoff(shape: tuple[int, int], drive: str, readout: str) -> None:
    spec = spec_of(**WIRES, drive=drive, readout=readout)
    layer, v = layer_of(*shape), inputs_of(3, shape[0])
    assert difference(solved(layer, spec, v), by_kirchhoff(layer, spec, v)) < 1e-8


@pytest.mark.parametrize("name", ["r_word_ohm", "r_bit_ohm", "r_driver_ohm", "r_sense_ohm"])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("drive", ["one_end", "both_ends"])
def test_any_of_the_resistances_may_be_zero(name: str, kept: bool, drive: str) -> None:
    zeros = [key for key in WIRES if key.startswith("r_") and (key != name) is kept]
    spec = spec_of(**WIRES | dict.fromkeys(zeros, 0.0), drive=drive)
    layer, v = layer_of(5, 4), inputs_of(2, 5)
    assert difference(solved(layer, spec, v), by_kirchhoff(layer, spec, v)) < 1e-6


def test_wires_that_are_off_are_ideal() -> None:
    layer, v = layer_of(5, 4), inputs_of(2, 5)
    off = solved(layer, spec_of(**WIRES | {"limit_wires": False}), v)
    on = solved(layer, spec_of(**WIRES), v)
    assert difference(off, solved(layer, spec_of(limit_swing=False), v)) < 1e-12
    assert difference(on, off) > 1e-3


@pytest.mark.parametrize("readout", READOUTS)
def test_an_open_device_between_wires(readout: str) -> None:
    layer, v = layer_of(5, 4), inputs_of(2, 5)
    layer.g_pos_S[2, 1] = layer.g_neg_S[4, 3] = 0.0
    spec = spec_of(**WIRES, readout=readout)
    assert difference(solved(layer, spec, v), by_kirchhoff(layer, spec, v)) < 1e-8


def test_longer_lines_and_fewer_drivers_lose_more() -> None:
    layer, v = layer_of(8, 8, bias_V=None, g_neg_S=np.zeros((8, 8))), np.full((1, 8), 0.3)
    ideal = solved(layer, spec_of(limit_swing=False), v)
    both = solved(layer, spec_of(**WIRES, drive="both_ends"), v)
    one = solved(layer, spec_of(**WIRES), v)
    worse = solved(layer, spec_of(**WIRES | {"r_bit_ohm": 20.0}), v)
    assert (worse < one).all()
    assert (one < both).all()
    assert (both < ideal).all()


MUTATIONS: dict[str, dict[str, Any]] = {
    "word and bit lines swapped": {"r_word_ohm": 7.0, "r_bit_ohm": 2.0},
    "driver and sense swapped": {"r_driver_ohm": 25.0, "r_sense_ohm": 60.0},
    "driven at both ends": {"drive": "both_ends"},
    "no driver": {"r_driver_ohm": 0.0},
    "no sense resistance": {"r_sense_ohm": 0.0},
}


@pytest.mark.parametrize("mutation", sorted(MUTATIONS))
def test_a_wrong_wire_would_be_seen(mutation: str) -> None:
    spec = spec_of(**WIRES)
    layer, v = layer_of(5, 4), inputs_of(3, 5)
    wrong = spec.array.model_copy(update=MUTATIONS[mutation])
    assert difference(solved(layer, spec, v), by_kirchhoff(layer, spec, v, wrong)) > 1e-4


@pytest.mark.parametrize("readout", READOUTS)
def test_a_wrong_sign_or_end_would_be_seen(readout: str) -> None:
    spec = spec_of(**WIRES, readout=readout)
    layer, v = layer_of(5, 4, bias_V=None), inputs_of(3, 5)
    got = solved(layer, spec, v)
    partners = layer_of(5, 4, bias_V=None, g_pos_S=layer.g_neg_S, g_neg_S=layer.g_pos_S)
    far_word = layer_of(5, 4, bias_V=None, g_pos_S=layer.g_pos_S[:, ::-1], g_neg_S=layer.g_neg_S[:, ::-1])
    far_bit = layer_of(5, 4, bias_V=None, g_pos_S=layer.g_pos_S[::-1], g_neg_S=layer.g_neg_S[::-1])
    assert difference(got, by_kirchhoff(partners, spec, v)) > 1
    # Swapped partners with the sign put right are still not the same circuit: they stand on other lines.
    assert difference(got, -by_kirchhoff(partners, spec, v)) > 1e-4
    assert difference(got, by_kirchhoff(far_word, spec, v)[:, ::-1]) > 1e-4
    assert difference(got, by_kirchhoff(far_bit, spec, v[:, ::-1])) > 1e-4


def test_a_tile_is_reciprocal() -> None:
    # Drive line i and measure at line j, or the other way round: the same current. Seen from the bit lines' ends a tile
    # is itself turned over, wires with it; the lines of the open partners stretch segments twofold.
    layer = layer_of(6, 5, bias_V=None, g_neg_S=np.zeros((6, 5)))
    back = layer_of(5, 6, bias_V=None, g_pos_S=layer.g_pos_S[::-1, ::-1].T, g_neg_S=np.zeros((5, 6)), r_f_ohm=1.0)
    turned = {"r_word_ohm": 14.0, "r_bit_ohm": 1.0, "r_driver_ohm": 25.0, "r_sense_ohm": 60.0}
    forth_S = solved(layer, spec_of(**WIRES), np.eye(6)) / layer.r_f_ohm
    back_S = solved(back, spec_of(**WIRES | turned), np.eye(5))
    assert difference(back_S[::-1, ::-1].T, forth_S) < 1e-8
