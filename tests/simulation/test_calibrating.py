"""Calibration of chips by known inputs: what it finds, what it takes off, and what it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hrat
from hrat.errors import ArtifactError, HratError
from hrat.nn import use_chip
from hrat.simulation import Amplifier, Nodal, Spice, calibrate_chip
from hrat.spec import load_spec
from laws.checks import assert_same
from ngspice import needs_ngspice

OFFSET = {"periphery.amplifier_offset_V": 1e-3}


def case(changes: dict[str, Any], *, chips: int = 3) -> tuple[hrat.ProgrammedChip, Tensor, Any]:
    torch.manual_seed(0)
    layers = nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    model, x = nn.Sequential(*layers, nn.Linear(24, 7)).double(), torch.randn(8, 4, 4, 4, dtype=torch.float64)
    prepared = hrat.prepare(model, load_spec("generic-4bit").replace(changes), x).eval()
    return hrat.program(hrat.deploy(prepared), seed=3, chips=chips), x, prepared


def offsets_V(chip: hrat.ProgrammedChip, name: str) -> Tensor:
    """Offsets of the amplifiers at their outputs, by the noise gain of the conductances."""
    layer, rows = chip.deployment.layers[name], []
    for index in range(chip.n_chips):
        (own,) = chip.amplifiers(name, index)
        programmed = chip.layers[name]
        load_S = (programmed.g_pos_S[index] + programmed.g_neg_S[index]).sum(1).flatten()
        rows.append(own.offset_V[0] * (2 + layer.r_f_ohm * load_S))
    return torch.stack(rows)


def test_offsets_and_slopes_are_found() -> None:
    ideal = {"programming.limit_error": False}
    chip, _, _ = case({**OFFSET, "periphery.r_f_tolerance_rel": 0.02, **ideal})
    for name, slope in calibrate_chip(chip).slopes.items():
        tolerance = torch.stack([chip.amplifiers(name, index)[0].r_f_error[0] for index in range(chip.n_chips)])
        torch.testing.assert_close(slope, 1 + tolerance, rtol=0, atol=1e-9)
    chip, _, _ = case({**OFFSET, **ideal})
    for name, intercept_V in calibrate_chip(chip).intercepts_V.items():
        torch.testing.assert_close(intercept_V, offsets_V(chip, name), rtol=0, atol=1e-9)


@pytest.mark.parametrize("readout", ["two_stage", "reference_column"])
def test_offsets_of_inner_amplifiers_are_taken_off_too(readout: str) -> None:
    fine = {"periphery.bias_dac_bits": 12, "periphery.readout": readout, "programming.limit_error": False}
    chip, x, _ = case({**OFFSET, **fine})
    ideal = hrat.simulate(case(fine)[0], x).value

    def error(chips: hrat.ProgrammedChip) -> float:
        return float((hrat.simulate(chips, x).value - ideal).square().mean().sqrt())

    assert error(calibrate_chip(chip).chip) < 0.2 * error(chip)


def test_half_a_step_of_the_bias_dac_stays() -> None:
    fine = {"periphery.bias_dac_bits": 9, "programming.limit_error": False}
    chip, x, _ = case({**OFFSET, **fine})
    trimmed = calibrate_chip(chip).chip
    left = calibrate_chip(trimmed)
    for name, intercept_V in left.intercepts_V.items():
        step_V = chip.deployment.bias_step_V(name)
        assert step_V is not None
        assert float(intercept_V.abs().max()) <= 0.51 * step_V
        trim_V = trimmed.layers[name].trim_V
        assert trim_V is not None
        torch.testing.assert_close(trim_V / step_V, (trim_V / step_V).round(), rtol=0, atol=1e-6)
    ideal = hrat.simulate(case(fine)[0], x).value

    def error(chips: hrat.ProgrammedChip) -> float:
        return float((hrat.simulate(chips, x).value - ideal).square().mean().sqrt())

    assert error(trimmed) < 0.3 * error(chip)


def test_noise_is_taken_off_by_repetition() -> None:
    noisy = {**OFFSET, "periphery.amplifier_noise_V": 1e-3, "periphery.limit_bias_dac": False}
    chip, _, _ = case({**noisy, "programming.limit_error": False})
    scatter = []
    for repeats in (1, 64):
        found = calibrate_chip(chip, repeats=repeats)
        errors = [found.intercepts_V[name] - offsets_V(chip, name) for name in chip.layers]
        scatter.append(float(torch.cat([error.flatten() for error in errors]).square().mean().sqrt()))
    assert scatter[1] < 0.25 * scatter[0]


def test_trimmed_chips_are_the_same_for_training_solvers_and_files(tmp_path: Path) -> None:
    chip, x, prepared = case(OFFSET)
    trimmed = calibrate_chip(chip).chip
    value = hrat.simulate(trimmed, x).value
    assert not torch.equal(value, hrat.simulate(chip, x).value)
    for index in range(chip.n_chips):
        with torch.no_grad(), use_chip(prepared, trimmed, index):
            assert_same(prepared(x), value[index], "law 1", 1e-12)
    assert_same(value, hrat.simulate(trimmed, x, solver=Nodal()).value, "nodal", 1e-12)
    assert_same(value, hrat.simulate(trimmed, x, solver=Nodal(curvature_V=1e4)).value, "curved", 1e-6)
    assert_same(value[1:2], hrat.simulate(trimmed[1], x).value, "a chip alone", 1e-12)
    again = hrat.ProgrammedChip.load(trimmed.save(tmp_path / "chips"))
    assert torch.equal(hrat.simulate(again, x).value, value)


@needs_ngspice
@pytest.mark.parametrize("more", [{}, {"periphery.partial_sums": "adc", "array.rows": 7}], ids=["currents", "adcs"])
def test_spice_has_the_trimmed_biases(more: dict[str, Any]) -> None:
    chip, x, _ = case({**OFFSET, **more}, chips=1)
    trimmed = calibrate_chip(chip).chip
    spice = hrat.simulate(trimmed, x[:2], solver=Spice(amplifier=Amplifier(gain=None))).value
    assert_same(hrat.simulate(trimmed, x[:2]).value, spice, "SPICE", 1e-9)


def test_a_layer_without_a_bias_stays_as_it_is_and_says_what_was_measured() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 9, dtype=torch.float64)
    model = hrat.prepare(nn.Linear(9, 5, bias=False).double(), load_spec("generic-4bit").replace(OFFSET), x).eval()
    found = calibrate_chip(hrat.program(hrat.deploy(model)))
    assert all(layer.trim_V is None for layer in found.chip.layers.values())
    assert "intercept rms" in str(found)
    assert found.readings == 32 * 4


@pytest.mark.parametrize("arguments", [{"inputs": 2}, {"repeats": 0}])
def test_too_few_readings_are_refused(arguments: dict[str, int]) -> None:
    chip, _, _ = case(OFFSET, chips=1)
    with pytest.raises(HratError, match="expected at least 3 inputs and one reading of each"):
        calibrate_chip(chip, **arguments)


def test_a_file_with_trims_of_another_shape_is_refused(tmp_path: Path) -> None:
    chip, _, _ = case(OFFSET)
    trimmed = calibrate_chip(chip).chip
    name = next(iter(trimmed.layers))
    layer = trimmed.layers[name]
    assert layer.trim_V is not None
    wrong = {
        **trimmed.layers,
        name: type(layer)(g_pos_S=layer.g_pos_S, g_neg_S=layer.g_neg_S, trim_V=layer.trim_V[:, :2]),
    }
    path = hrat.ProgrammedChip(
        deployment=trimmed.deployment, layers=wrong, seeds=trimmed.seeds, scheme=trimmed.scheme
    ).save(tmp_path / "chips")
    with pytest.raises(ArtifactError, match="trim_V has shape"):
        hrat.ProgrammedChip.load(path)
