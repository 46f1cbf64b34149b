"""Law 4, the circuit agrees: behavioural == nodal on ideal wires == SPICE with ideal parts; nodal == SPICE on wires.

Whole networks; single tiles are held against other solvers in tests/simulation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import hrat
from hrat.simulation.spice import find_ngspice
from hrat.spec import HardwareSpec
from hrat.testing.circuit import IDEAL_SPICE, nodal_agrees, outputs_and_voltages
from laws.checks import assert_same
from laws.networks import NETWORKS, SPECS, network
from laws.strategies import hardware, layers
from ngspice import needs_ngspice

WIRES = {"r_word_ohm": 2.0, "r_bit_ohm": 0.7, "r_driver_ohm": 30.0, "r_sense_ohm": 11.0}


def chip_of(name: str, spec: str, **changes: Any) -> tuple[hrat.ProgrammedChip, Any]:
    model, x = network(name)
    hardware = SPECS[spec].replace({"array.rows": 12, "array.cols": 5, **changes})
    return hrat.program(hrat.deploy(hrat.prepare(model, hardware, x)), seed=2), x


@pytest.mark.parametrize("spec", ["harsh", "harsh two-stage", "wan2022", "tile ADCs", "tile ADCs two-stage"])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_nodal_is_behavioural_where_wires_are_ideal(name: str, spec: str) -> None:
    chip, x = chip_of(name, spec)
    nodal_agrees(chip, x, 1e-12).require()


@needs_ngspice
@pytest.mark.parametrize("spec", ["harsh", "harsh two-stage", "tile ADCs"])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_spice_with_ideal_parts_is_behavioural(name: str, spec: str) -> None:
    if name == "lenet5" and not find_ngspice().has_klu:
        pytest.skip("too large for an ngspice without KLU")
    chip, x = chip_of(name, spec)
    if isinstance(x, Tensor):
        x = x[: 1 if name == "lenet5" else 3]  # LeNet-5 takes a second for each image
    value, voltages_V = outputs_and_voltages(chip, x)
    spice_value, spice_V = outputs_and_voltages(chip, x, IDEAL_SPICE)
    assert_same(spice_V, voltages_V, "law 4, voltages in SPICE", 1e-9)
    assert_same(spice_value, value, "law 4, SPICE", 1e-9)


@needs_ngspice
@given(case=layers, spec=hardware, drive=st.sampled_from(["one_end", "both_ends"]))
def test_any_layer_at_any_depth(case: tuple[nn.Module, Tensor], spec: HardwareSpec, drive: str) -> None:
    layer, x = case
    prepared = hrat.prepare(nn.Sequential(layer), spec.replace({"array.rows": 4, "array.cols": 3}), x)
    ideal = hrat.program(hrat.deploy(prepared), seed=3).with_array(limit_wires=False)
    value = hrat.simulate(ideal, x).value
    assert_same(hrat.simulate(ideal, x, solver="nodal").value, value, "law 4, nodal", 1e-12)
    assert_same(hrat.simulate(ideal, x, solver=IDEAL_SPICE).value, value, "law 4, SPICE", 1e-9)
    wired = ideal.with_array(limit_wires=True, drive=drive, **WIRES)
    nodal, spice = (hrat.simulate(wired, x, solver=solver).value for solver in ("nodal", IDEAL_SPICE))
    assert_same(spice, nodal, "law 4, SPICE with wires", 1e-6)


@needs_ngspice
@pytest.mark.parametrize("drive", ["one_end", "both_ends"])
@pytest.mark.parametrize("spec", ["harsh", "harsh two-stage", "tile ADCs", "tile ADCs two-stage"])
def test_spice_with_wires_is_nodal(spec: str, drive: str) -> None:
    chip, x = chip_of("fc4", spec, limit_wires=True, drive=drive, **WIRES)
    x = x[:3]
    _, without_V = outputs_and_voltages(chip.with_array(limit_wires=False), x)
    _, nodal_V = outputs_and_voltages(chip, x, "nodal")
    _, spice_V = outputs_and_voltages(chip, x, IDEAL_SPICE)
    assert_same(spice_V, nodal_V, "law 4, voltages with wires", 1e-6)
    first = next(iter(chip.layers))
    assert float((without_V[first] - nodal_V[first]).abs().max()) > 1e-3  # wires do something here


@needs_ngspice
def test_a_layer_may_be_in_spice_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 4)).double()
    x = torch.rand(2, 1, 6, 6, dtype=torch.float64)
    chip = hrat.program(hrat.deploy(hrat.prepare(model.eval(), SPECS["harsh"], x)), seed=1)
    whole = hrat.simulate(chip, x).value
    for layer in ("0", "4"):
        mixed = hrat.simulate(chip, x, solver={layer: IDEAL_SPICE, "*": "behavioural"})
        assert_same(mixed.value, whole, f"layer {layer} in SPICE", 1e-9)
        assert list(mixed.statistics) == [layer]


class Twice(nn.Module):
    """A shared layer of which one call has two ReLUs behind it and the other one none."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.last = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.shared(torch.relu(torch.relu(self.shared(x)))))


class Regrouped(nn.Module):
    """Outputs of several positions become the inputs of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 4), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x)).flatten(1))


@needs_ngspice
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Dropout(), nn.ReLU(), nn.Linear(5, 2)), (3, 6)),
        (Twice(), (3, 6)),
        (Regrouped(), (2, 3, 5)),
    ],
    ids=["two ReLUs", "two ReLUs behind one call of a shared layer", "flatten that widens"],
)
def test_what_lies_between_layers_is_in_the_circuit(model: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(4)
    x = torch.randn(shape, dtype=torch.float64)
    chip = hrat.program(hrat.deploy(hrat.prepare(model.double().eval(), SPECS["harsh"], x)))
    value, voltages_V = outputs_and_voltages(chip, x)
    spice_value, spice_V = outputs_and_voltages(chip, x, IDEAL_SPICE)
    assert_same(spice_value, value, "law 4, SPICE", 1e-9)
    assert_same(spice_V, voltages_V, "law 4, voltages", 1e-9)


@pytest.mark.parametrize("mutation", ["swapped parasitics", "swapped partners"])
def test_law_4_would_notice(mutation: str) -> None:
    chip, x = chip_of("fc4", "harsh", limit_wires=True, **WIRES)
    right = hrat.simulate(chip, x, solver="nodal").value
    if mutation == "swapped parasitics":
        chip = chip.with_array(r_word_ohm=WIRES["r_bit_ohm"], r_bit_ohm=WIRES["r_word_ohm"])
    else:
        swapped = {
            name: replace(layer, g_pos_S=layer.g_neg_S, g_neg_S=layer.g_pos_S) for name, layer in chip.layers.items()
        }
        chip = replace(chip, layers=swapped)
    with pytest.raises(AssertionError, match="differs"):
        assert_same(hrat.simulate(chip, x, solver="nodal").value, right, "law 4", 1e-6)
