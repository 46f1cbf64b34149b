"""Golden values of an independent simulator; golden/generate_with_badcrossbar.py makes them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hrat.simulation.nodal import TileSolver, Wires, effective_conductance

TILES: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("golden").joinpath("badcrossbar.json").read_text("utf-8")
)


def numbers(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    assert got.shape == expected.shape
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", TILES)
def test_currents_and_voltages_are_the_same(name: str) -> None:
    tile = TILES[name]
    solver = TileSolver(numbers(tile["g_S"]), Wires(word_ohm=tile["word_ohm"], bit_ohm=tile["bit_ohm"]))
    v_V = numbers(tile["v_V"])
    assert relative(solver.compute(v_V), numbers(tile["outputs_A"])) < 1e-9
    inside = solver.node_voltages(v_V)
    assert relative(inside.word_V, numbers(tile["word_V"])) < 1e-9
    assert relative(inside.bit_V, numbers(tile["bit_V"])) < 1e-9


@pytest.mark.parametrize("name", [name for name, tile in TILES.items() if tile["word_ohm"] != tile["bit_ohm"]])
def test_swapped_resistances_are_noticed(name: str) -> None:
    tile = TILES[name]
    g_S, v_V, expected_A = numbers(tile["g_S"]), numbers(tile["v_V"]), numbers(tile["outputs_A"])
    swapped = Wires(word_ohm=tile["bit_ohm"], bit_ohm=tile["word_ohm"])
    got_A = v_V @ effective_conductance(g_S, swapped)
    # One device is in series with all of its wires, whatever they are called.
    assert (relative(got_A, expected_A) > 1e-5) == (g_S.numel() > 1)


def test_badcrossbar_itself() -> None:
    badcrossbar = pytest.importorskip("badcrossbar", reason="badcrossbar is not installed: pip install badcrossbar")
    generator = torch.Generator().manual_seed(1)
    g_S = torch.rand(31, 24, dtype=torch.float64, generator=generator) * 1e-4 + 1e-6
    v_V = torch.randn(5, 31, dtype=torch.float64, generator=generator)
    solution = badcrossbar.compute(v_V.mT.numpy(), (1 / g_S).numpy(), r_i_word_line=3.0, r_i_bit_line=8.0)
    got_A = TileSolver(g_S, Wires(word_ohm=3.0, bit_ohm=8.0)).compute(v_V)
    assert relative(got_A, torch.from_numpy(solution.currents.output)) < 1e-9
