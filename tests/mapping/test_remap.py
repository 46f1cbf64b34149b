"""Making up for known faults, favouring states that program well, and several pairs for each weight."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import hrat
from formulas import expected_S, sigma_S
from hrat.artifacts import Deployment, FaultMap, ProgrammedChip
from hrat.errors import ArtifactError, ConversionError
from hrat.mapping import choose_redundancy, favour_states, remap, replicate
from hrat.mapping.choice import PairChoice
from hrat.programming import find_faults
from hrat.simulation import Amplifier, Nodal, Spice
from hrat.spec import HardwareSpec
from laws.checks import assert_model_is_chip, assert_same
from ngspice import needs_ngspice

FAULTS = {"faults.stuck_off": 0.08, "faults.stuck_on": 0.03, "faults.limit_faults": True, "array.rows": 16}


def hardware(name: str = "wan2022", **changes: object) -> HardwareSpec:
    return hrat.load_spec(name, weight_bits=3).replace({**FAULTS, **changes})


def prepared(spec: HardwareSpec) -> tuple[hrat.PreparedModel, Tensor]:
    torch.manual_seed(4)
    network = nn.Sequential(
        *(nn.Conv2d(2, 6, 3, groups=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(54, 24), nn.ReLU(), nn.Linear(24, 5)),
    ).double()
    x = torch.rand(8, 2, 6, 6, dtype=torch.float64)
    return hrat.prepare(network, spec, x).eval(), x


def rms_error(chip: ProgrammedChip, wanted: Deployment) -> float:
    """Of the gains of all layers, relative to the full gain of a pair."""
    errors = []
    for name, layer in chip.deployment.layers.items():
        programmed, plain = chip.layers[name], wanted.layers[name]
        got = layer.weight(programmed.g_pos_S[0], programmed.g_neg_S[0])
        full = plain.r_f_ohm * wanted.spec.device.g_range_S
        errors.append(((got - plain.weight(plain.g_pos_S, plain.g_neg_S)) / full).flatten())
    return float(torch.cat(errors).square().mean().sqrt())


# ---- the choice of a pair --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wan2022", "milo2021", "generic-3bit-harsh"])
def test_the_choice_is_the_best_of_all_pairs_of_states(name: str) -> None:
    spec = hrat.load_spec(name, levels_S=None, weight_bits=3)
    choice, device = PairChoice(spec), spec.device
    wanted_S = torch.linspace(-1.2, 1.2, 97, dtype=torch.float64) * device.g_range_S

    def error(pos_S: Tensor, neg_S: Tensor) -> Tensor:
        spreads = [torch.as_tensor(sigma_S(g_S, spec)).square() for g_S in (pos_S, neg_S)]
        return (wanted_S - (expected_S(pos_S, spec) - expected_S(neg_S, spec))).square() + spreads[0] + spreads[1]

    def all_of(*states: tuple[float, ...]) -> Tensor:
        pairs = [[torch.full_like(wanted_S, g_S) for g_S in pair] for pair in product(*states)]
        return torch.stack([error(*pair) for pair in pairs]).amin(0)

    torch.testing.assert_close(error(*choice.both(wanted_S)), all_of(device.states_S, device.states_S))
    yes, no, zero = torch.ones(97, dtype=torch.bool), torch.zeros(97, dtype=torch.bool), torch.zeros_like(wanted_S)
    stuck_S = torch.full_like(wanted_S, 0.7 * device.g_max_S)
    pos_S, neg_S = choice.of_pairs(wanted_S, yes, stuck_S, no, zero)
    assert torch.equal(pos_S, stuck_S)
    best = torch.stack(
        [(wanted_S - (stuck_S - g)).square() + float(torch.as_tensor(sigma_S(torch.tensor(g), spec))) ** 2
         for g in device.states_S]
    ).amin(0)  # fmt: skip
    got = (wanted_S - (stuck_S - neg_S)).square() + torch.as_tensor(sigma_S(neg_S, spec)).square()
    torch.testing.assert_close(got, best, rtol=1e-5, atol=0)
    both = choice.of_pairs(wanted_S, yes, stuck_S, yes, stuck_S / 2)
    assert torch.equal(both[1], stuck_S / 2)


def test_states_that_program_well_are_favoured_and_the_weights_stay() -> None:
    spec = hardware("milo2021", **{"faults.limit_faults": False})  # whose spread is least at the top of the window
    model, _ = prepared(spec)
    plain = hrat.deploy(model)
    favoured, report = favour_states(plain)
    for name, row in report.layers.items():
        assert row.changed > 0
        assert row.error_after < 0.95 * row.error_before
        layer = favoured.layers[name]
        states = torch.tensor(spec.device.states_S, dtype=torch.float64)
        for g_S in (layer.g_pos_S, layer.g_neg_S):
            assert float((g_S.unsqueeze(-1) - states).abs().amin(-1).max()) < 1e-15
    before, after = (
        sum(rms_error(hrat.program(one, seed=seed), plain) for seed in range(20)) / 20 for one in (plain, favoured)
    )
    assert after < 0.95 * before
    assert str(report).count("\n") == 3


def test_nothing_changes_where_all_states_are_alike() -> None:
    model, _ = prepared(hrat.load_spec("generic-4bit"))
    plain = hrat.deploy(model)
    favoured, report = favour_states(plain)
    assert all(row.changed == 0 for row in report.layers.values())
    assert all(torch.equal(layer.g_pos_S, plain.layers[name].g_pos_S) for name, layer in favoured.layers.items())


# ---- known faults ----------------------------------------------------------------------------------------------------


def test_found_faults_are_those_of_the_programmed_chip() -> None:
    model, _ = prepared(hardware())
    deployment = hrat.deploy(model)
    faults = find_faults(deployment, seed=7)
    chip = hrat.program(deployment, seed=7, scheme="write_verify")
    for name, layer in faults.layers.items():
        for stuck, g_S, got_S in (
            (layer.pos, layer.pos_S, chip.layers[name].g_pos_S[0]),
            (layer.neg, layer.neg_S, chip.layers[name].g_neg_S[0]),
        ):
            assert torch.equal(got_S[stuck], g_S[stuck])
            assert not bool(g_S[~stuck].any())
    share = faults.count / deployment.n_devices
    assert 0.07 < share < 0.15
    assert find_faults(deployment, seed=8).count != faults.count
    without = replace(deployment, spec=deployment.spec.without("faults"))
    assert find_faults(without, seed=7).count == 0


@pytest.mark.parametrize("copies", [1, 3])
def test_each_means_makes_up_for_more(copies: int) -> None:
    model, _ = prepared(hardware(**{"programming.limit_error": True}))
    wanted = hrat.deploy(model)
    plain = replicate(wanted, dict.fromkeys(wanted.layers, copies))
    totals = dict.fromkeys(("as it was", "partners", "partners and lines"), 0.0)
    for seed in range(5):
        faults = find_faults(plain, seed)
        partners, told = remap(plain, faults, assign=False)
        lines, told_too = remap(plain, faults)
        for key, one in zip(totals, (plain, partners, lines), strict=True):
            totals[key] += rms_error(hrat.program(one, seed=seed), wanted)
        for row, other in zip(told.layers.values(), told_too.layers.values(), strict=True):
            assert row.error_after < row.error_before == pytest.approx(other.error_before)
            assert other.error_after <= row.error_after
            assert row.stuck > 0
    assert totals["partners"] < 0.8 * totals["as it was"]
    assert totals["partners and lines"] < totals["partners"]


def test_a_report_is_what_chips_show() -> None:
    spec = hardware("generic-4bit")
    model, _ = prepared(spec)
    plain = hrat.deploy(model)
    faults = find_faults(plain, 3)
    mapped, report = remap(plain, faults)
    name = next(iter(plain.layers))
    layer, wanted = mapped.layers[name], plain.layers[name]
    # Chips with the faults of chip 3 and errors of their own: devices are taken from many, and stuck ones put back.
    chips = hrat.program(replace(mapped, spec=spec.without("faults")), chips=400)
    pos_S = torch.where(faults.layers[name].pos, faults.layers[name].pos_S, chips.layers[name].g_pos_S)
    neg_S = torch.where(faults.layers[name].neg, faults.layers[name].neg_S, chips.layers[name].g_neg_S)
    got = layer.collected(pos_S - neg_S)
    squares = (got - (wanted.g_pos_S - wanted.g_neg_S)).square().mean()
    measured = float(squares.sqrt()) / spec.device.g_range_S
    assert measured == pytest.approx(report.layers[name].error_after, rel=0.02)


def test_a_map_can_be_saved_and_read_from_a_table(tmp_path: Path) -> None:
    model, _ = prepared(hardware())
    deployment = hrat.deploy(model)
    faults = find_faults(deployment, 1)
    loaded = FaultMap.load(faults.save(tmp_path / "chip1.faults"))
    table = FaultMap.from_csv(faults.to_csv(tmp_path / "chip1.csv", deployment), deployment)
    for name, layer in faults.layers.items():
        for key in ("pos", "pos_S", "neg", "neg_S"):
            assert torch.equal(getattr(loaded.layers[name], key), getattr(layer, key))
            assert torch.equal(getattr(table.layers[name], key), getattr(layer, key))
    assert f"{faults.count:,} stuck devices" in str(faults)
    good = "layer,group,tile,row,col,partner,g_S\n"
    for line, words in (
        ("nowhere,0,tile0_0,0,0,pos,1e-6", "no layer 'nowhere'"),
        ("5,0,tile0_0,16,0,pos,1e-6", "line 2.*no device.*16 x 24 pairs"),
        ("5,0,tile9_0,0,0,pos,1e-6", "no device at group 0, tile9_0"),
        ("5,0,tile0_0,0,0,both,1e-6", "partner pos or neg"),
        ("5,0,tile0_0,0,0,pos,20", "conductance of 0 S or more"),
        ("5,0,tile0_0,x,0,pos,1e-6", "whole numbers"),
    ):
        (tmp_path / "bad.csv").write_text(good + line + "\n")
        with pytest.raises(ArtifactError, match=words):
            FaultMap.from_csv(tmp_path / "bad.csv", deployment)
    (tmp_path / "bad.csv").write_text("layer,row\n")
    with pytest.raises(ArtifactError, match="group is missing"):
        FaultMap.from_csv(tmp_path / "bad.csv", deployment)


def test_a_map_of_other_arrays_is_refused() -> None:
    model, _ = prepared(hardware())
    deployment = hrat.deploy(model)
    faults = find_faults(deployment, 1)
    with pytest.raises(ArtifactError, match="made for other copies"):
        remap(replicate(deployment, {"0": 2}), faults)
    with pytest.raises(ArtifactError, match="has the layers 0"):
        remap(deployment, FaultMap(layers={"0": faults.layers["0"]}))
    with pytest.raises(ConversionError, match="expected the deployment"):
        favour_states(model)  # type: ignore[arg-type]


# ---- orders and copies at every depth --------------------------------------------------------------------------------


def reordered(readout: str, copies: int = 2) -> tuple[hrat.PreparedModel, ProgrammedChip, Tensor]:
    """A chip whose lines are in another order, with several pairs for each weight."""
    model, x = prepared(hardware(**{"periphery.readout": readout, "array.cols": 5}))
    deployment = replicate(hrat.deploy(model), {"0": 3, "7": copies})
    mapped, _ = remap(deployment, find_faults(deployment, 2))
    assert any(
        layer.row_inputs is not None and bool((layer.row_inputs.diff() < 0).any()) for layer in mapped.layers.values()
    )
    assert mapped.layers["5"].col_outputs is not None
    return model, hrat.program(mapped, seed=2), x


@pytest.mark.parametrize("readout", ["dual_rail", "two_stage"])
def test_what_you_train_is_what_such_a_chip_computes(readout: str) -> None:
    model, chip, x = reordered(readout)
    assert_model_is_chip(model, chip, x)


@pytest.mark.parametrize("readout", ["dual_rail", "two_stage"])
def test_the_circuit_agrees_on_such_a_chip(readout: str) -> None:
    _, chip, x = reordered(readout)
    behavioural, nodal = (hrat.simulate(chip, x, solver=solver).value for solver in ("behavioural", "nodal"))
    assert_same(nodal, behavioural, "nodal", 1e-12)
    nearly_ohmic = hrat.simulate(chip, x, solver=Nodal(curvature_V=1e4)).value
    assert_same(nearly_ohmic, behavioural, "curved devices", 1e-6)


@needs_ngspice
@pytest.mark.parametrize("readout", ["dual_rail", "two_stage"])
def test_spice_agrees_on_such_a_chip(readout: str) -> None:
    _, chip, x = reordered(readout)
    ideal = Spice(amplifier=Amplifier(gain=None))
    assert_same(hrat.simulate(chip, x[:2], solver=ideal).value, hrat.simulate(chip, x[:2]).value, "SPICE", 1e-9)
    wired = chip.with_array(limit_wires=True, r_word_ohm=2.0, r_bit_ohm=0.7)
    nodal = hrat.simulate(wired, x[:2], solver="nodal").value
    assert_same(hrat.simulate(wired, x[:2], solver=ideal).value, nodal, "SPICE with wires", 1e-6)


def test_files_and_tables_carry_orders(tmp_path: Path) -> None:
    _, chip, x = reordered("dual_rail")
    loaded = hrat.load(chip.save(tmp_path / "a.chips"))
    assert isinstance(loaded, ProgrammedChip)
    assert loaded.deployment.is_same_as(chip.deployment)
    assert torch.equal(hrat.simulate(loaded, x).value, hrat.simulate(chip, x).value)
    hrat.export_csv(chip.deployment, tmp_path / "tables")
    lines = (tmp_path / "tables" / "lines.csv").read_text().splitlines()
    layer = chip.deployment.layers["7"]
    assert layer.row_inputs is not None
    told = [line.split(",") for line in lines[1:] if line.startswith("7,0,word")]
    assert [int(cells[4]) for cells in told] == layer.row_inputs[0].tolist()
    assert len(told) == 2 * 24
    broken = replace(layer, row_inputs=layer.row_inputs * 0)
    with pytest.raises(ArtifactError, match="equally often"):
        Deployment.from_parts(*replace(chip.deployment, layers={**chip.deployment.layers, "7": broken}).to_parts())


def test_wires_of_reordered_lines_are_not_those_of_the_model() -> None:
    model, chip, _ = reordered("dual_rail")
    for layer in model.modules():
        if hasattr(layer, "fixed_error"):
            layer.spec = layer.spec.replace(limit_wires=True)
    with pytest.raises(ConversionError, match="another order"), hrat.use_chip(model, chip):
        pass


# ---- several pairs for each weight -----------------------------------------------------------------------------------


def test_the_error_falls_with_the_root_of_the_copies() -> None:
    model, x = prepared(hrat.load_spec("generic-4bit", array=hrat.Array(rows=16)))
    plain = hrat.deploy(model)
    copied = replicate(plain, dict.fromkeys(plain.layers, 4))
    assert copied.n_devices == 4 * plain.n_devices
    assert copied.n_tiles > plain.n_tiles
    single, four = (hrat.program(one, chips=30) for one in (plain, copied))
    errors = [sum(rms_error(chip[k], plain) for k in range(30)) for chip in (single, four)]
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.03)
    exact = replace(copied, spec=plain.spec.without("error"))
    without = replace(plain, spec=plain.spec.without("error"))
    assert_same(hrat.simulate(hrat.program(exact), x).value, hrat.simulate(hrat.program(without), x).value, "copies")
    with pytest.raises(ConversionError, match="no layer 'first'"):
        replicate(plain, {"first": 2})
    with pytest.raises(ConversionError, match="1 copy or more, got 0"):
        replicate(plain, {"0": 0})


def test_devices_go_where_the_loss_is_sensitive() -> None:
    spec = hrat.load_spec("generic-3bit-harsh")
    model, x = prepared(spec)
    labels = model(x).argmax(1)
    devices = {"0": 2 * 54, "5": 2 * 54 * 24, "7": 2 * 24 * 5}
    plan = choose_redundancy(model, [(x, labels)], extra_devices=1000, trials=4)
    assert plan.devices == devices
    assert plan.extra_devices <= 1000
    assert plan.copies["5"] == 1  # which alone would take more than there are
    assert plan.copies["0"] > 1
    assert replicate(hrat.deploy(model), plan.copies).n_devices == sum(devices.values()) + plan.extra_devices
    assert choose_redundancy(model, [(x, labels)], extra_devices=0).extra_devices == 0
    again = choose_redundancy(model, [(x, labels)], extra_devices=1000, trials=4)
    assert again.growth == plan.growth
    assert "copies" in str(plan)
    with pytest.raises(ConversionError, match="no programming error"):
        choose_redundancy(prepared(spec.without("error"))[0], [(x, labels)], extra_devices=10)
    with pytest.raises(ConversionError, match="no images"):
        choose_redundancy(model, [], extra_devices=10)
