"""Effective conductances through wires, against a plain solution of Kirchhoff's equations."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import splu
from torch import Tensor

from hrat.encoding import Readout
from hrat.physics import attenuated, wires
from hrat.simulation.nodal import Wires, effective_conductance
from hrat.spec import Array, HardwareSpec, Periphery

SMALL = {
    "one end": Array(r_word_ohm=20.0, r_bit_ohm=7.0),
    "driver and sense": Array(r_word_ohm=5.0, r_bit_ohm=11.0, r_driver_ohm=90.0, r_sense_ohm=40.0),
    "both ends": Array(r_word_ohm=25.0, r_bit_ohm=7.0, r_driver_ohm=30.0, drive="both_ends"),
    "only drivers": Array(r_word_ohm=0.0, r_bit_ohm=0.0, r_driver_ohm=300.0, r_sense_ohm=100.0),
    "only drivers, both ends": Array(r_word_ohm=0.0, r_bit_ohm=3.0, r_driver_ohm=300.0, drive="both_ends"),
}


def exact(g_S: Tensor, array: Array) -> Tensor:
    """Nodal analysis of every node of the grid, one wire at a time; a wire without resistance has next to none."""
    rows, cols = g_S.shape
    n = 2 * rows * cols
    size = n + rows + 1  # nodes of both layers, then the sources, then the virtual ground
    word, bit = (lambda i, j: i * cols + j), (lambda i, j: rows * cols + i * cols + j)
    matrix = sp.lil_matrix((size, size))

    def join(a: int, b: int, r_ohm: float) -> None:
        g = 1.0 / max(r_ohm, 1e-6)
        for p, q, value in ((a, a, g), (b, b, g), (a, b, -g), (b, a, -g)):
            matrix[p, q] += value

    for i in range(rows):
        join(n + i, word(i, 0), array.r_driver_ohm + array.r_word_ohm)
        if array.drive == "both_ends":
            join(n + i, word(i, cols - 1), array.r_driver_ohm + array.r_word_ohm)
        for j in range(cols):
            join(word(i, j), bit(i, j), 1.0 / float(g_S[i, j]))
            if j + 1 < cols:
                join(word(i, j), word(i, j + 1), array.r_word_ohm)
            if i + 1 < rows:
                join(bit(i, j), bit(i + 1, j), array.r_bit_ohm)
    for j in range(cols):
        join(bit(rows - 1, j), n + rows, array.r_bit_ohm + array.r_sense_ohm)
    matrix = matrix.tocsc()
    voltages = splu(matrix[:n, :n]).solve(-matrix[:n, n : n + rows].toarray())
    last = voltages[[bit(rows - 1, j) for j in range(cols)]]
    return torch.tensor(last.T) / max(array.r_bit_ohm + array.r_sense_ohm, 1e-6)


def devices(rows: int, cols: int, seed: int = 0) -> Tensor:
    drawn = torch.rand(rows, cols, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return 50e-6 + 150e-6 * drawn


def relative(got: Tensor, want: Tensor) -> float:
    return float((got - want).norm() / want.norm())


@pytest.mark.parametrize("name", SMALL)
def test_equal_devices_are_solved_exactly(name: str) -> None:
    g_S = torch.full((5, 4), 1e-4, dtype=torch.float64)
    assert relative(attenuated(g_S, SMALL[name]), exact(g_S, SMALL[name])) < 1e-6  # the reference has no ideal wires


@pytest.mark.parametrize("name", SMALL)
def test_a_small_asymmetric_tile_is_solved_nearly_exactly(name: str) -> None:
    g_S, array = devices(5, 4), SMALL[name]
    want = exact(g_S, array)
    assert relative(g_S, want) > 0.005
    assert relative(attenuated(g_S, array), want) < 2e-3


@pytest.mark.parametrize("across", ["word", "bit"])
def test_exact_where_the_wires_of_one_direction_are_ideal(across: str) -> None:
    array = Array(r_word_ohm=0.0, r_bit_ohm=200.0) if across == "word" else Array(r_word_ohm=200.0, r_bit_ohm=0.0)
    g_S = devices(5, 4)
    assert relative(attenuated(g_S, array), exact(g_S, array)) < 1e-5


def test_a_single_device_is_a_series_of_resistors() -> None:
    array = Array(r_word_ohm=100.0, r_bit_ohm=200.0, r_driver_ohm=300.0, r_sense_ohm=400.0)
    got = attenuated(torch.tensor([[1e-4]], dtype=torch.float64), array)
    assert float(got) == pytest.approx(1.0 / (10_000.0 + 1000.0), rel=1e-12)


@pytest.mark.parametrize("drive", ["one_end", "both_ends"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ideal_wires_change_no_bit(drive: str, dtype: torch.dtype) -> None:
    array = Array.model_validate({"r_word_ohm": 0.0, "r_bit_ohm": 0.0, "drive": drive})
    g_S = devices(5, 4).to(dtype)
    assert torch.equal(attenuated(g_S, array), g_S)


@pytest.mark.parametrize("drive", ["one_end", "both_ends"])
def test_the_first_order_in_the_wires_is_exact(drive: str) -> None:
    g_S = devices(5, 4)
    errors = []
    for r_ohm in (8.0, 4.0, 2.0):
        array = Array.model_validate(
            {"r_word_ohm": r_ohm, "r_bit_ohm": 2 * r_ohm, "r_driver_ohm": r_ohm, "r_sense_ohm": r_ohm, "drive": drive}
        )
        errors.append(relative(attenuated(g_S, array), exact(g_S, array)))
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) > 1.8  # the error is of second order


def test_words_and_bits_may_change_places() -> None:
    """Reciprocity: seen from the virtual grounds, word lines are bit lines, and both are mirrored."""
    g_S = devices(5, 4)
    array = Array(r_word_ohm=20.0, r_bit_ohm=7.0, r_driver_ohm=90.0, r_sense_ohm=40.0)
    swapped = Array(r_word_ohm=7.0, r_bit_ohm=20.0, r_driver_ohm=40.0, r_sense_ohm=90.0)
    turned = attenuated(g_S.flip(0, 1).mT, swapped)
    torch.testing.assert_close(turned, attenuated(g_S, array).flip(0, 1).mT, rtol=1e-12, atol=0.0)


def test_more_resistance_leaves_less_current() -> None:
    g_S = devices(64, 48)
    currents = [attenuated(g_S, Array(r_word_ohm=r, r_bit_ohm=r)).sum(0) for r in (0.0, 0.1, 0.35, 1.0, 2.8, 50.0)]
    for more, less in pairwise(currents):
        assert bool((less < more).all())
    assert bool((currents[-1] > 0.0).all())


def test_far_devices_lose_more() -> None:
    got = attenuated(torch.full((6, 7), 1e-4, dtype=torch.float64), Array(r_word_ohm=10.0, r_bit_ohm=10.0))
    assert bool((got.diff(dim=1) < 0.0).all())  # away from the driver
    assert bool((got.diff(dim=0) > 0.0).all())  # towards the amplifier
    both = attenuated(
        torch.full((6, 7), 1e-4, dtype=torch.float64), Array(r_word_ohm=10.0, r_bit_ohm=0.0, drive="both_ends")
    )
    torch.testing.assert_close(both, both.flip(1))
    assert bool((both[:, 3] < both[:, 0]).all())


@pytest.mark.parametrize("r_ohm", [1.0, 1e3, 1e6])
def test_never_negative_for_rows_and_columns_of_all_strengths(r_ohm: float) -> None:
    g_S = devices(40, 30)
    g_S[::3] = 0.0
    g_S[:, ::4] *= 30.0
    got = attenuated(g_S, Array(r_word_ohm=r_ohm, r_bit_ohm=r_ohm))
    assert bool(torch.isfinite(got).all())
    assert bool((got >= 0.0).all())
    assert float(got.sum()) <= float(g_S.sum())
    nothing = attenuated(torch.zeros(4, 3, dtype=torch.float64), Array())
    assert torch.equal(nothing, torch.zeros_like(nothing))


@pytest.mark.parametrize("name", ["driver and sense", "both ends", "only drivers, both ends"])
def test_gradient(name: str) -> None:
    def scaled(x: Tensor) -> Tensor:
        return 1e4 * attenuated(1e-4 * x, SMALL[name])

    g = (1e4 * torch.stack([devices(5, 4), devices(5, 4, seed=1)])).requires_grad_()
    assert torch.autograd.gradcheck(scaled, (g,))


@pytest.mark.parametrize("dual_rail", [True, False])
@pytest.mark.parametrize("kind", ["even", "trained"])
@pytest.mark.parametrize("r_ohm", [1.0, 2.8])
def test_gradient_is_near_that_of_the_exact_solution(r_ohm: float, kind: str, dual_rail: bool) -> None:
    """The nodal solver is differentiable: its gradient is the adjoint of the linear solution."""
    array = Array(r_word_ohm=r_ohm, r_bit_ohm=r_ohm, limit_wires=True)
    g_S = grid_of(kind, 64, dual_rail=dual_rail).requires_grad_()
    generator = torch.Generator().manual_seed(9)
    inputs = torch.rand(16, 64, dtype=torch.float64, generator=generator)
    towards = torch.randn(16, 64, dtype=torch.float64, generator=generator)

    def gradient(effective_S: Tensor) -> Tensor:
        pos, neg = readout_of(dual_rail).from_grid(effective_S)
        return torch.autograd.grad((inputs @ (pos - neg) * towards).sum(), g_S)[0]

    want = gradient(effective_conductance(g_S, Wires.of(array)))
    assert relative(gradient(attenuated(g_S, array)), want) < 0.01
    assert relative(gradient(g_S), want) > 0.5  # where wires are left out


def test_tiles_of_a_batch_do_not_disturb_each_other() -> None:
    tiles = torch.stack([devices(5, 4, seed) for seed in range(6)]).view(2, 3, 5, 4)
    got = attenuated(tiles, SMALL["both ends"])
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(got[i, j], attenuated(tiles[i, j], SMALL["both ends"]), rtol=1e-11, atol=0.0)


def test_compiles_to_one_graph() -> None:
    g_S = devices(5, 4).requires_grad_()
    compiled = torch.compile(attenuated, fullgraph=True, backend="aot_eager")
    array = SMALL["driver and sense"]
    torch.testing.assert_close(compiled(g_S, array), attenuated(g_S, array), rtol=1e-13, atol=0.0)
    (got,) = torch.autograd.grad(compiled(g_S, array).sum(), g_S)
    (want,) = torch.autograd.grad(attenuated(g_S, array).sum(), g_S)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0.0)


def test_autocast_does_not_coarsen_it() -> None:
    g_S = devices(40, 30).float()
    with torch.autocast("cpu", torch.bfloat16):
        got = attenuated(g_S, Array())
    assert torch.equal(got, attenuated(g_S, Array()))


def test_single_precision_is_near_double() -> None:
    g_S = devices(256, 128)
    assert relative(attenuated(g_S.float(), Array()).double(), attenuated(g_S, Array())) < 1e-5


# Pairs a side, ohm a segment -> the documented worst errors: of the current of a line, and of the differences that the
# network computes with, dual rail and two-stage.
BOUNDS = {
    (64, 1.0): (0.006, 0.001, 0.005),
    (64, 2.8): (0.006, 0.003, 0.013),
    (128, 1.0): (0.009, 0.002, 0.011),
    (128, 2.8): (0.009, 0.004, 0.018),
}


def readout_of(dual_rail: bool) -> Readout:
    return Readout.of(HardwareSpec(periphery=Periphery(readout="dual_rail" if dual_rail else "two_stage")))


def weights(kind: str, rows: int, cols: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    if kind == "even":
        return 2 * torch.rand(rows, cols, dtype=torch.float64, generator=generator) - 1
    drawn = torch.randn(rows, cols, dtype=torch.float64, generator=generator) / 3
    rows_differ = torch.randn(rows, 1, dtype=torch.float64, generator=generator)
    return ((drawn * (0.7 * rows_differ).exp()).clamp(-1, 1) * 15).round() / 15


def grid_of(kind: str, size: int, *, dual_rail: bool) -> Tensor:
    fraction = weights(kind, size, size)
    pair = (50e-6 + 150e-6 * fraction.clamp(min=0), 50e-6 - 150e-6 * fraction.clamp(max=0))
    return readout_of(dual_rail).to_grid(*pair)


@pytest.mark.parametrize("dual_rail", [True, False])
@pytest.mark.parametrize("kind", ["even", "trained"])
@pytest.mark.parametrize(("size", "r_ohm"), BOUNDS)
def test_errors_keep_within_the_documented_bounds(size: int, r_ohm: float, kind: str, dual_rail: bool) -> None:
    of_line, of_dual_rail, of_two_stages = BOUNDS[size, r_ohm]
    array = Array(r_word_ohm=r_ohm, r_bit_ohm=r_ohm, limit_wires=True)
    grid = grid_of(kind, size, dual_rail=dual_rail)
    inputs = torch.rand(16, size, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    got_pos, got_neg = readout_of(dual_rail).from_grid(attenuated(grid, array))
    # Larger tiles by the nodal solver, which the plain reference would take minutes for.
    solved = exact(grid, array) if size <= 64 else effective_conductance(grid, Wires.of(array))
    pos, neg = readout_of(dual_rail).from_grid(solved)
    assert float((inputs @ got_pos / (inputs @ pos) - 1).abs().max()) < of_line
    error = relative(inputs @ (got_pos - got_neg), inputs @ (pos - neg))
    assert 1e-5 < error < (of_dual_rail if dual_rail else of_two_stages)


@pytest.mark.parametrize("name", ["one end", "driver and sense", "both ends"])
def test_mistakes_in_the_circuit_would_be_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong end, parasitics of rows and columns swapped, a detour left out: none passes for the right circuit."""
    g_S, array = devices(5, 4), SMALL[name]
    want, right = exact(g_S, array), attenuated(g_S, array)
    error = relative(right, want)
    swapped = array.model_copy(update={"r_word_ohm": array.r_bit_ohm, "r_bit_ohm": array.r_word_ohm})
    wrong = [attenuated(g_S.flip(0), array).flip(0), attenuated(g_S, swapped), attenuated(g_S.flip(1), array).flip(1)]
    if array.drive == "both_ends":
        wrong.pop()
    monkeypatch.setattr(wires, "_detour", lambda sent, *_: torch.zeros_like(sent))
    wrong.append(attenuated(g_S, array))
    for one in wrong:
        assert relative(one, want) > 5 * error
