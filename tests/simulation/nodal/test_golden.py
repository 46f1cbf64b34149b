"""Golden values of two independent simulators; golden/generate_with_*.py make them."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from hrat.simulation.nodal import TileSolver, Wires, effective_conductance

GOLDEN = Path(__file__).with_name("golden")
TILES: dict[str, dict[str, Any]] = {
    f"{simulator}: {name}": tile
    for simulator in ("badcrossbar", "gnucap")
    for name, tile in json.loads(GOLDEN.joinpath(f"{simulator}.json").read_text("utf-8")).items()
}
OPEN = [name for name, tile in TILES.items() if "open_word_lines" in tile]


def numbers(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    assert got.shape == expected.shape
    return float((got - expected).abs().max() / expected.abs().max())


def wires_of(tile: dict[str, Any], **changes: Any) -> Wires:
    return Wires(**{field.name: tile[field.name] for field in fields(Wires) if field.name in tile} | changes)


def outputs_error(tile: dict[str, Any], wires: Wires) -> float:
    lines = {name: tile.get(name, ()) for name in ("open_word_lines", "open_bit_lines")}
    outputs_A = numbers(tile["v_V"]) @ effective_conductance(numbers(tile["g_S"]), wires, **lines)
    return relative(outputs_A, numbers(tile["outputs_A"]))


@pytest.mark.parametrize("name", TILES)
def test_currents_are_the_same(name: str) -> None:
    assert outputs_error(TILES[name], wires_of(TILES[name])) < 1e-9


@pytest.mark.parametrize("name", [name for name in TILES if name not in OPEN])
def test_node_voltages_are_the_same(name: str) -> None:
    tile = TILES[name]
    solver = TileSolver(numbers(tile["g_S"]), wires_of(tile))
    v_V = numbers(tile["v_V"])
    assert relative(solver.compute(v_V), numbers(tile["outputs_A"])) < 1e-9
    inside = solver.node_voltages(v_V)
    assert relative(inside.word_V, numbers(tile["word_V"])) < 1e-9
    # What bit lines have built up may be far smaller than what word lines carry.
    assert float((inside.bit_V - numbers(tile["bit_V"])).abs().max()) < 1e-12


SWAPS = [("word_ohm", "bit_ohm"), ("driver_ohm", "sense_ohm")]


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [(n, *swap) for n, tile in TILES.items() for swap in SWAPS if tile.get(swap[0]) != tile.get(swap[1])],
)
def test_swapped_resistances_are_noticed(name: str, one: str, other: str) -> None:
    tile = TILES[name]
    swapped = wires_of(tile, **{one: tile.get(other, 0.0), other: tile.get(one, 0.0)})
    # One device is in series with all of its wires, whatever they are called.
    assert (outputs_error(tile, swapped) > 1e-5) == (numbers(tile["g_S"]).numel() > 1)


@pytest.mark.parametrize("name", [name for name, tile in TILES.items() if tile.get("word_ohm")])
def test_ends_that_are_driven_wrongly_are_noticed(name: str) -> None:
    tile = TILES[name]
    assert outputs_error(tile, wires_of(tile, both_ends=not tile.get("both_ends", False))) > 1e-4
    mirrored = {**tile, "g_S": [row[::-1] for row in tile["g_S"]], "outputs_A": [i[::-1] for i in tile["outputs_A"]]}
    lines = numbers(tile["g_S"]).shape[1]
    # Driven at the far end instead: nobody can tell where there is one bit line, or where both ends are driven.
    if lines > 1 and not tile.get("both_ends") and "open_bit_lines" not in tile:
        assert outputs_error(mirrored, wires_of(tile)) > 1e-4


def test_badcrossbar_itself() -> None:
    badcrossbar = pytest.importorskip("badcrossbar", reason="badcrossbar is not installed: pip install badcrossbar")
    generator = torch.Generator().manual_seed(1)
    g_S = torch.rand(31, 24, dtype=torch.float64, generator=generator) * 1e-4 + 1e-6
    v_V = torch.randn(5, 31, dtype=torch.float64, generator=generator)
    solution = badcrossbar.compute(v_V.mT.numpy(), (1 / g_S).numpy(), r_i_word_line=3.0, r_i_bit_line=8.0)
    got_A = TileSolver(g_S, Wires(word_ohm=3.0, bit_ohm=8.0)).compute(v_V)
    assert relative(got_A, torch.from_numpy(solution.currents.output)) < 1e-9
