"""`verify`: the same images at several depths, and what each difference comes from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import hrat
from hrat.reports import verification_figure, verification_table
from hrat.simulation import Amplifier, Behavioural, Nodal, Rung, Spice, ladder, verify
from ngspice import needs_ngspice


@pytest.fixture(scope="module")
def chip() -> hrat.ProgrammedChip:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    x = torch.randn(50, 10, dtype=torch.float64)
    spec = hrat.load_spec("generic-4bit", rows=6, cols=4, r_word_ohm=3.0, r_bit_ohm=3.0, limit_wires=True)
    return hrat.program(hrat.deploy(hrat.prepare(model.eval(), spec, x)), chips=2, seed=3)


@pytest.fixture(scope="module")
def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(2)
    return TensorDataset(torch.randn(12, 10, dtype=torch.float64, generator=generator), torch.arange(12) % 3)


def test_without_wires_nodal_differs_by_rounding_alone(chip: hrat.ProgrammedChip, data: TensorDataset) -> None:
    found = verify(chip.with_array(limit_wires=False), data, rungs=ladder(chip.deployment.spec, spice=False))
    assert [depth.name for depth in found.depths] == ["behavioural", "nodal"]
    assert (found.chip_seed, found.n_images) == (3, 12)
    assert found.depths[1].agreement == 1.0
    assert found.depths[1].accuracy == found.depths[0].accuracy
    assert max(layer.largest_V for layer in found.depths[1].layers) < 1e-12


def test_a_difference_is_that_of_the_voltages(chip: hrat.ProgrammedChip, data: TensorDataset) -> None:
    found = verify(chip, data, limit=5, rungs=ladder(chip.deployment.spec, spice=False))
    x = data.tensors[0][:5]
    plain, nodal = (
        hrat.simulate(chip[0], x, solver=solver, voltages_of=["0"]).voltages["0"].relu()  # a ReLU stands behind it
        for solver in ("behavioural", "nodal")
    )
    first = found.depths[1].layers[0]
    assert first.layer == "0"
    assert first.largest_V == pytest.approx(float((plain - nodal).abs().max()))
    assert first.rms_V == pytest.approx(float((plain - nodal).square().mean().sqrt()))
    assert first.signal_rms_V == pytest.approx(float(plain.square().mean().sqrt()))
    assert 1e-9 < first.rms_V < 0.02 * first.signal_rms_V  # the approximation of training is near, and is one


@needs_ngspice
def test_each_step_down_says_what_it_adds(chip: hrat.ProgrammedChip, data: TensorDataset) -> None:
    found = verify(chip, data, limit=4, rungs=ladder(chip.deployment.spec, opamp_gain=1e3, offset_V=1e-3))
    assert [depth.name for depth in found.depths] == [
        "behavioural", "nodal", "SPICE, ideal amplifiers", "SPICE", "SPICE with offsets",
    ]  # fmt: skip
    assert not found.failures
    largest = {depth.name: max(layer.step_largest_V for layer in depth.layers) for depth in found.depths[1:]}
    assert largest["SPICE, ideal amplifiers"] < 1e-7
    assert largest["SPICE"] > 1e-5
    assert largest["SPICE with offsets"] > 1e-3  # an offset comes out times the noise gain
    said = found.sentences()
    assert len(said) == 4
    assert "gain of 1000" in said[2]
    assert "offsets of 0.001 V" in said[3]


@needs_ngspice
def test_a_swing_that_is_reached_is_named(data: TensorDataset) -> None:
    torch.manual_seed(1)
    deployment = hrat.deploy(hrat.prepare(nn.Linear(10, 3).double().eval(), "generic-4bit", data.tensors[0]))
    ((name, layer),) = deployment.layers.items()
    strong = replace(deployment, layers={name: replace(layer, r_f_ohm=20 * layer.r_f_ohm)})
    rungs = [
        Rung(name="behavioural", solver=Behavioural(), adds=""),
        Rung(name="SPICE", solver=Spice(amplifier=Amplifier(gain=30.0)), adds="a gain of 30"),
    ]
    found = verify(hrat.program(strong), data, rungs=rungs)
    assert 0.1 < found.depths[1].layers[0].limited_share < 1.0
    assert "where an amplifier reaches its limit" in found.sentences()[0]


def test_a_depth_that_fails_says_why_and_the_others_stand(chip: hrat.ProgrammedChip, data: TensorDataset) -> None:
    rungs = [
        Rung(name="behavioural", solver="behavioural", adds=""),
        Rung(name="SPICE", solver=Spice(ngspice="/nowhere/ngspice"), adds="the circuit"),
        Rung(name="nodal", solver=Nodal(), adds="wires"),
    ]
    found = verify(chip, data, rungs=rungs)
    assert list(found.failures) == ["SPICE"]
    assert "/nowhere/ngspice" in found.failures["SPICE"]
    assert found.depths[2].layers
    said = found.sentences()
    assert said[0].startswith("SPICE failed: ")
    assert "from behavioural" in said[1]  # the last one that has a result
    with pytest.raises(hrat.HratError, match="nowhere"):
        verify(chip, data, rungs=rungs[1:])


def test_figures_tables_and_files(chip: hrat.ProgrammedChip, data: TensorDataset, tmp_path: Path) -> None:
    from rich.console import Console

    found = verify(chip, data, rungs=ladder(chip.deployment.spec, spice=False))
    saved = json.loads(found.save(tmp_path / "verification.json").read_text())
    assert saved["depths"][1]["layers"][0]["layer"] == "0"
    assert verification_figure(found, tmp_path / "verification.png").stat().st_size > 10_000
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(verification_table(found))
    text = console.export_text()
    assert "same class" in text
    assert "nodal" in str(found)
    for layer in found.depths[1].layers:
        assert layer.layer in text
