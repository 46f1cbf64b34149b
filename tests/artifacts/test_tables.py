"""CSV tables for a lab: they hold what the artefact holds."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import hrat
from formulas import sigma_S
from laws.networks import SPECS, network


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def a_chip(name: str, spec: str) -> hrat.ProgrammedChip:
    model, x = network(name)
    hardware = SPECS[spec].replace({"array.rows": 7, "array.cols": 3})
    return hrat.program(hrat.deploy(hrat.prepare(model, hardware, x, scales="channel")), seed=5, chips=2)


def rebuilt(rows: list[dict[str, str]], column: str, like: Tensor, n_rows: int, n_cols: int) -> Tensor:
    """A matrix from its cells, each at the place that its tile and position say; NaN where none is given."""
    out = torch.full_like(like, torch.nan)
    for row in rows:
        grid_row, grid_col = map(int, re.fullmatch(r"tile(\d+)_(\d+)", row["tile"]).groups())  # type: ignore[union-attr]
        place = (int(row["group"]), grid_row * n_rows + int(row["row"]), grid_col * n_cols + int(row["col"]))
        assert torch.isnan(out[place])
        out[place] = float(row[column])
    return out


@pytest.mark.parametrize("name", ["fc4", "nested"])
def test_achieved_conductances_round_trip_bit_for_bit(name: str, tmp_path: Path) -> None:
    chip = a_chip(name, "harsh")
    written = hrat.export_csv(chip, tmp_path)
    assert all(path.is_file() for path in written)
    for layer_name, layer in chip.layers.items():
        rows = read(tmp_path / "conductances" / f"{layer_name}.csv")
        for index, seed in enumerate(chip.seeds):
            own = [row for row in rows if row["chip"] == str(seed)]
            assert torch.equal(rebuilt(own, "g_pos_S", layer.g_pos_S[index], 7, 3), layer.g_pos_S[index])
            assert torch.equal(rebuilt(own, "g_neg_S", layer.g_neg_S[index], 7, 3), layer.g_neg_S[index])


@pytest.mark.parametrize("spec", ["harsh", "wan2022"])
def test_targets_come_with_their_tolerances(spec: str, tmp_path: Path) -> None:
    deployment = a_chip("nested", spec).deployment
    hrat.export_csv(deployment, tmp_path)
    for name, layer in deployment.layers.items():
        rows = read(tmp_path / "conductances" / f"{name}.csv")
        assert {row["chip"] for row in rows} == {"target"}
        assert torch.equal(rebuilt(rows, "g_pos_S", layer.g_pos_S, 7, 3), layer.g_pos_S)
        tolerance = rebuilt(rows, "tolerance_neg_S", layer.g_neg_S, 7, 3)
        expected = torch.as_tensor(sigma_S(layer.g_neg_S, deployment.spec), dtype=tolerance.dtype).expand_as(tolerance)
        torch.testing.assert_close(tolerance, expected, rtol=1e-12, atol=0)


def test_layers_biases_and_converters(tmp_path: Path) -> None:
    deployment = a_chip("fc4", "harsh").deployment
    hrat.export_csv(deployment, tmp_path)
    layers = {row["layer"]: row for row in read(tmp_path / "layers.csv")}
    assert list(layers) == list(deployment.layers)
    biases = read(tmp_path / "bias.csv")
    for name, layer in deployment.layers.items():
        assert float(layers[name]["r_f_ohm"]) == layer.r_f_ohm
        assert (int(layers[name]["rows"]), int(layers[name]["cols"])) == layer.geometry.matrix_shape[1:]
        own = [row for row in biases if row["layer"] == name]
        assert layer.bias_codes is not None
        assert layer.bias_V is not None
        assert [int(row["code"]) for row in own] == layer.bias_codes.tolist()
        assert [float(row["voltage_V"]) for row in own] == layer.bias_V.tolist()
    converters = read(tmp_path / "converters.csv")
    assert [row["kind"] for row in converters] == ["dac", *["reader"] * 5]
    assert all(float(row["alpha_V"]) > 0 for row in converters)


def test_a_chip_can_be_rebuilt_from_its_tables(tmp_path: Path) -> None:
    """R_f (G+ - G-) and the bias of a layer, read from the tables, give the voltages that the simulation gives."""
    chip = a_chip("fc4", "harsh")
    hrat.export_csv(chip, tmp_path)
    _, x = network("fc4")
    result = hrat.simulate(chip, x, voltages_of=list(chip.layers))
    alpha = float(next(row for row in read(tmp_path / "converters.csv") if row["kind"] == "dac")["alpha_V"])
    volts = ((alpha * x.flatten(1) / 0.3 * 127).clamp(-127, 127).round() * 0.3 / 127).clamp(-0.3, 0.3)
    for row in read(tmp_path / "layers.csv"):
        name, shape = row["layer"], (1, int(row["rows"]), int(row["cols"]))
        cells = [c for c in read(tmp_path / "conductances" / f"{name}.csv") if c["chip"] == "5"]
        blank = torch.zeros(shape, dtype=torch.float64)
        g_S = rebuilt(cells, "g_pos_S", blank, 7, 3) - rebuilt(cells, "g_neg_S", blank, 7, 3)
        bias_V = [float(b["voltage_V"]) for b in read(tmp_path / "bias.csv") if b["layer"] == name]
        out = volts @ g_S[0] * float(row["r_f_ohm"]) + torch.tensor(bias_V, dtype=torch.float64)
        out = out.clamp(-1, 1)
        torch.testing.assert_close(out, result.voltages[name][0], rtol=1e-10, atol=1e-12)
        volts = out.relu().clamp(-0.3, 0.3)


def test_tables_of_two_chips_do_not_mix(tmp_path: Path) -> None:
    hrat.export_csv(a_chip("fc4", "harsh"), tmp_path)
    with pytest.raises(hrat.HratError, match="tables of another chip"):
        hrat.export_csv(a_chip("lenet5", "harsh"), tmp_path)


def test_the_hardware_and_the_operations_lie_beside_the_tables(tmp_path: Path) -> None:
    chip = a_chip("fc4", "harsh")
    hrat.export_csv(chip, tmp_path)
    assert hrat.load_spec(tmp_path / "spec.toml") == chip.deployment.spec
    assert [node["name"] for node in json.loads((tmp_path / "graph.json").read_text())] == [
        node.name for node in chip.deployment.graph
    ]


def test_chips_that_were_pulsed_tell_what_it_took(tmp_path: Path) -> None:
    model = hrat.prepare(nn.Linear(3, 2), "generic-4bit", torch.randn(4, 3)).eval()
    chip = hrat.program(hrat.deploy(model), scheme="write_verify", max_pulses=9)
    (name,) = chip.layers
    written = hrat.export_csv(chip, tmp_path)
    (path,) = [path for path in written if path.name == f"{name}.csv"]
    with path.open() as file:
        rows = list(csv.DictReader(file))
    log = chip.layers[name].neg_pulses
    assert log is not None
    assert [int(row["set_pulses_neg"]) for row in rows] == log.set_pulses.flatten().tolist()
    assert [int(row["status_neg"]) for row in rows] == log.status.flatten().tolist()
    assert [float(row["pulse_energy_J_neg"]) for row in rows] == pytest.approx(log.energy_J.flatten().tolist())
