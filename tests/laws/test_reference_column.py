"""The read-out with one reference column for each tile: the laws, its physics, and what is refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hrat
from hrat.artifacts import Deployment, ProgrammedChip
from hrat.circuit import input_names
from hrat.encoding import Geometry, LayerReadout, Readout, tile_grid
from hrat.errors import ArtifactError, HratError, SpecError
from hrat.mapping import choose_redundancy, compensate, favour_states, replicate
from hrat.nn import set_noise_strength
from hrat.programming import find_faults
from hrat.reports import chip_figure, programming_figure
from hrat.simulation import Amplifier, ChipSolver, Nodal, Spice
from hrat.simulation.nodal import TileSolver, Wires
from hrat.spec import HardwareSpec, load_spec
from hrat.testing import check_laws
from laws.checks import assert_same
from ngspice import needs_ngspice

READOUT = {"periphery.readout": "reference_column", "array.rows": 7, "array.cols": 3}
WIRES = {"array.limit_wires": True, "array.r_word_ohm": 20.0, "array.r_bit_ohm": 20.0, "array.r_driver_ohm": 50.0}


def spec_of(name: str = "generic-4bit", **changes: Any) -> HardwareSpec:
    return load_spec(name).replace({**READOUT, **changes})


def network() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layers = nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(24, 7)).double(), torch.randn(8, 4, 4, 4, dtype=torch.float64)


def chip_of(spec: HardwareSpec, chips: int = 1) -> tuple[ProgrammedChip, Tensor]:
    model, x = network()
    return hrat.program(hrat.deploy(hrat.prepare(model, spec, x).eval()), seed=3, chips=chips), x


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"device.limit_states": False},
        pytest.param({"array.limit_wires": True}, marks=pytest.mark.wide),
        pytest.param({"periphery.partial_sums": "adc"}, marks=pytest.mark.wide),
        pytest.param({"faults.limit_faults": True, "faults.stuck_on": 0.05}, marks=pytest.mark.wide),
    ],
)
def test_the_laws(changes: dict[str, Any]) -> None:
    assert check_laws(*network()[:1], spec_of(**changes), network()[1]).ok


@pytest.mark.parametrize("module", [nn.Linear(9, 5), nn.Conv1d(4, 5, 3), nn.ConvTranspose2d(4, 6, 2, groups=2)])
def test_every_kind_of_layer(module: nn.Module) -> None:
    shapes = {nn.Linear: (6, 9), nn.Conv1d: (6, 4, 8), nn.ConvTranspose2d: (6, 4, 3, 3)}
    x = torch.randn(shapes[type(module)], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert check_laws(module, spec_of(), x).ok


@needs_ngspice
def test_spice_and_the_nodal_solver_agree_on_wires() -> None:
    chip, x = chip_of(spec_of(**WIRES))
    nodal = hrat.simulate(chip, x[:2], solver=Nodal()).value
    spice = hrat.simulate(chip, x[:2], solver=Spice(amplifier=Amplifier(gain=None))).value
    assert_same(nodal, spice, "nodal and SPICE", 1e-6)
    ideal = hrat.simulate(chip.with_array(limit_wires=False), x[:2]).value
    assert float((nodal - ideal).abs().max()) > 1e-4 * float(ideal.abs().max())


def test_curved_devices_become_ohmic_ones_as_their_curvature_goes() -> None:
    chip, x = chip_of(spec_of(**WIRES))
    ohmic = hrat.simulate(chip, x[:2], solver=Nodal()).value
    assert_same(hrat.simulate(chip, x[:2], solver=Nodal(curvature_V=1e4)).value, ohmic, "ohmic", 1e-6)
    curved = hrat.simulate(chip, x[:2], solver=Nodal(curvature_V=0.2)).value
    assert float((curved - ohmic).abs().max()) > 1e-3 * float(ohmic.abs().max())


def test_a_tile_is_a_grid_with_a_line_more() -> None:
    chip, _ = chip_of(spec_of(**WIRES))
    spec, layer = chip.deployment.spec, chip.layers["0"]
    readout = Readout.of(spec)
    tile = tile_grid(chip.deployment.layers["0"].array_shape, spec.array)[-1]
    grid_S = readout.to_grid(layer.g_pos_S[0][tile.index], layer.g_neg_S[0][readout.negatives_of(tile)]).double()
    assert grid_S.shape[1] == tile.cols.stop - tile.cols.start + 1
    currents_A = TileSolver(grid_S, Wires.of(spec.array)).compute(torch.ones(1, grid_S.shape[0], dtype=torch.float64))
    assert bool((currents_A > 0).all())


def test_one_reference_misses_for_all_weights_of_its_row() -> None:
    spec = spec_of(**{"programming.sigma_rel": 0.05}).only("error", "states")
    chip, _ = chip_of(spec, chips=200)
    target, reached = chip.deployment.layers["5"], chip.layers["5"]
    assert tuple(target.g_neg_S.shape) == (1, 24, 3)  # 7 outputs on tiles of 3
    assert float((target.g_neg_S - target.g_neg_S[0, 0, 0]).abs().max()) == 0.0
    readout, device = Readout.of(spec), spec.device
    error_S = reached.g_pos_S - target.g_pos_S - readout.for_each_weight(reached.g_neg_S - target.g_neg_S, 7)
    error = (error_S / device.g_range_S).flatten(0, 2)
    together = torch.corrcoef(error.T)
    # Two weights of a tile share half of their variance, two of other tiles none.
    assert float(together[0, 1]) == pytest.approx(0.5, abs=0.05)
    assert float(together[0, 3]) == pytest.approx(0.0, abs=0.05)
    assert float(error.std()) == pytest.approx(0.05 * 2**0.5, rel=0.02)


def test_the_reference_amplifier_saturates() -> None:
    spec = spec_of(**{"array.rows": 64, "array.cols": 64, "periphery.v_swing_V": 0.2}).only("swing")
    chip, _ = chip_of(spec)
    layer = chip.deployment.layers["5"]
    voltage_V = torch.full((1, 24), 0.3, dtype=torch.float64)
    inner_V = layer.r_f_ohm * voltage_V @ chip.layers["5"].g_neg_S[0, 0].double()
    assert float(inner_V.min()) > 0.2  # it would want more
    last_V = layer.r_f_ohm * voltage_V @ chip.layers["5"].g_pos_S[0, 0].double()
    wanted_V = last_V - 0.2
    got_V = LayerReadout.of(layer.geometry, spec).volts(
        voltage_V, (layer.r_f_ohm * layer.g_pos_S[0].T.double(), layer.r_f_ohm * layer.g_neg_S[0].T.double())
    )
    torch.testing.assert_close(got_V, wanted_V, rtol=1e-12, atol=1e-12)


def test_devices_and_amplifiers_are_counted() -> None:
    chip, x = chip_of(spec_of())
    layers = hrat.estimate(chip, x).layers
    # 2 groups of 18 x 3 on tiles of 3 columns; 24 x 7 on three tiles in a row.
    assert [layer.n_devices for layer in layers] == [2 * 18 * (3 + 1), 24 * (7 + 3)]
    assert [layer.n_amplifiers for layer in layers] == [2 * (3 + 1), 7 + 3]
    assert chip.deployment.n_devices == 2 * 18 * 4 + 24 * 10
    model = hrat.prepare(network()[0], spec_of(), x)
    assert "384" in str(model.report)
    redundancy = choose_redundancy(model, [(x, torch.zeros(8, dtype=torch.int64))], extra_devices=240, trials=1)
    assert redundancy.devices == {"0": 144, "5": 240}


def test_what_people_see_of_a_chip(tmp_path: Path) -> None:
    """Tables, pictures and the page: each reads arrays of negative partners that are smaller than those of weights."""
    model, x = network()
    spec = spec_of("yao2020", v_swing_V=1.0)
    chip = hrat.program(hrat.deploy(hrat.prepare(model, spec, x).eval()), chips=2, scheme="write_verify", max_pulses=20)
    devices = torch.cat([error_S.flatten() for error_S in chip.errors_S("5")])
    assert chip.rms_error_S("5") == pytest.approx(float(devices.double().square().mean().sqrt()))
    for picture in (chip_figure(chip, tmp_path / "chip.png"), programming_figure(chip, tmp_path / "pulses.png")):
        assert picture.stat().st_size > 5000
    page, *_ = hrat.report(chip, tmp_path / "page")
    assert "384 devices" in page.read_text()


@pytest.mark.parametrize("partial_sums", ["currents", "adc"])
def test_chips_together_and_compiled_training(partial_sums: str) -> None:
    model, x = network()
    prepared = hrat.prepare(model, spec_of(**{"periphery.partial_sums": partial_sums}), x)
    chip = hrat.program(hrat.deploy(prepared.eval()), chips=3)
    inputs = dict.fromkeys(input_names(chip.deployment.graph), x)
    together, apart = (ChipSolver(chip, together=how).compute(inputs) for how in (True, False))
    assert_same(together, apart, "chips at the same time")
    torch._dynamo.reset()
    set_noise_strength(prepared, 0.0)
    compiled = torch.compile(copy.deepcopy(prepared), backend="eager", fullgraph=True)
    assert_same(compiled.train()(x), prepared.train()(x), "compiled")


def test_how_pairs_share_a_weight_has_no_effect_and_is_told() -> None:
    assert any("no effect with the read-out reference_column" in word for word in spec_of(pairs="centred").warnings())
    assert not any("reference_column" in word for word in spec_of().warnings())


@pytest.mark.parametrize("scheme", ["statistical", "write_verify"])
def test_files_bring_it_back(scheme: str, tmp_path: Path) -> None:
    model, x = network()
    deployment = hrat.deploy(hrat.prepare(model, spec_of("yao2020"), x).eval())
    chip = hrat.program(deployment, seed=1, chips=2, scheme=scheme)
    loaded = hrat.load(chip.save(tmp_path / "one.chips"))
    assert isinstance(loaded, ProgrammedChip)
    assert torch.equal(hrat.simulate(loaded, x).value, hrat.simulate(chip, x).value)
    hrat.export_csv(chip, tmp_path / "tables")
    read = hrat.import_csv(chip.deployment, tmp_path / "tables")
    for name, layer in chip.layers.items():
        assert torch.equal(read.layers[name].g_neg_S, layer.g_neg_S)


def test_a_table_that_has_two_readings_of_one_device_is_refused(tmp_path: Path) -> None:
    chip, _ = chip_of(spec_of())
    hrat.export_csv(chip, tmp_path)
    path = tmp_path / "conductances" / "5.csv"
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    lines[1] = ",".join([*cells[:6], str(float(cells[6]) * 1.01)])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ArtifactError, match=r"layer '5': lines .* differ in g_neg_S, which is one device there"):
        hrat.import_csv(chip.deployment, tmp_path)


def test_what_needs_pairs_is_refused() -> None:
    chip, _ = chip_of(spec_of(**WIRES))
    deployment = chip.deployment
    for refused in (favour_states, compensate, lambda it: find_faults(it, 0)):
        with pytest.raises(HratError, match="serves other weights too; expected a read-out with pairs"):
            refused(deployment)
    swapped = replace(
        deployment.layers["5"], col_outputs=torch.arange(7).flip(0).unsqueeze(0), row_inputs=torch.arange(24)[None]
    )
    with pytest.raises(ArtifactError, match="share their negative partners"):
        Deployment.from_parts(*replace(deployment, layers={**deployment.layers, "5": swapped}).to_parts())


def test_copies_of_word_lines_have_references_of_their_own() -> None:
    model, x = network()
    deployment = hrat.deploy(hrat.prepare(model, spec_of().ideal(), x).eval())
    twice = replicate(deployment, {"5": 2})
    assert twice.layers["5"].g_neg_S.shape[1] == 48
    assert_same(hrat.simulate(hrat.program(twice), x).value, hrat.simulate(hrat.program(deployment), x).value, "copies")


def test_a_device_of_two_states_has_none_in_the_middle() -> None:
    with pytest.raises(SpecError, match="reference_column"):
        spec_of(**{"device.weight_bits": 1})


def test_training_learns_with_it() -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 12)
    y = (x @ torch.randn(12, 3)).argmax(1)
    model = hrat.prepare(
        nn.Sequential(nn.Linear(12, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 3)), spec_of(), x
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(80):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    chip = hrat.program(hrat.deploy(model.eval()))
    assert float((hrat.simulate(chip, x).value.argmax(-1) == y).double().mean()) > 0.9


def test_geometry_of_the_references_is_that_of_a_smaller_layer() -> None:
    geometry = Geometry(kind="linear", in_channels=9, out_channels=7)
    assert Readout.of(spec_of()).negatives(geometry).weight_shape == (3, 9)
