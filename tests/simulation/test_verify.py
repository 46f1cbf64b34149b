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
from hrat.artifacts.verification import volts
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
        "behavioural", "nodal", "SPICE, ideal amplifiers", "SPICE, real limits", "SPICE", "SPICE with offsets",
    ]  # fmt: skip
    assert not found.failures
    largest = {depth.name: max(layer.step_largest_V for layer in depth.layers) for depth in found.depths[1:]}
    assert largest["SPICE, ideal amplifiers"] < 1e-7
    assert largest["SPICE, real limits"] > 1e-4  # bit lines of rectified outputs that rise pull on the others
    assert largest["SPICE"] > 1e-5
    assert largest["SPICE with offsets"] > 1e-3  # an offset comes out times the noise gain
    said = found.sentences()
    assert len(said) == 5
    assert "lose their virtual ground" in said[2]
    assert "gain of 1000" in said[3]
    assert "offsets of 1 mV" in said[4]


@needs_ngspice
def test_each_cause_has_a_step_of_its_own(chip: hrat.ProgrammedChip, data: TensorDataset) -> None:
    def largest(chip: hrat.ProgrammedChip) -> dict[str, float]:
        rungs = ladder(chip.deployment.spec, opamp_gain=1e3, wires_added=True)
        depths = verify(chip, data, limit=4, rungs=rungs).depths
        return {depth.name: max(layer.step_largest_V for layer in depth.layers) for depth in depths[1:]}

    wired, ideal = largest(chip), largest(chip.with_array(limit_wires=False))
    assert "behavioural, ideal wires" not in ideal
    assert wired["behavioural"] > 5 * wired["nodal"] > 0  # what wires cost, and what their approximation misses
    assert ideal["nodal"] < 1e-12
    # On ideal wires a bit line that has lost its virtual ground takes nothing from the others.
    assert ideal["SPICE, real limits"] < 1e-7 < 1e-4 < wired["SPICE, real limits"]
    assert ideal["SPICE"] > 1e-5


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
    assert "from behavioural" in said[0]  # the last one that has a result
    assert said[1].startswith("SPICE failed: ")
    with pytest.raises(hrat.HratError, match="nowhere"):
        verify(chip, data, rungs=rungs[1:])


def test_depths_that_fail_alike_are_told_once(
    chip: hrat.ProgrammedChip, data: TensorDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HRAT_NGSPICE", "/nowhere/ngspice")
    said = verify(chip, data).sentences()
    assert len(said) == 2
    assert said[1].startswith("SPICE, ideal amplifiers / SPICE, real limits / SPICE failed: ")


def test_a_list_of_something_else_is_refused(chip: hrat.ProgrammedChip, data: TensorDataset) -> None:
    for rungs in ([], ["spice"]):
        with pytest.raises(hrat.HratError, match="each a Rung"):
            verify(chip, data, rungs=rungs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value_V", "words"),
    [
        (0.0, "less than 1 pV"),
        (0.188, "190 mV"),
        (5.2e-4, "520 uV"),
        (1.2e-7, "120 nV"),
        (3e-12, "3 pV"),
        (2.5, "2.5 V"),
    ],
)
def test_volts_in_words(value_V: float, words: str) -> None:
    assert volts(value_V) == words


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
