"""One set-up, many inputs: node voltages, and devices whose current is not proportional to their voltage."""

import numpy as np
import pytest
import torch
from scipy.optimize import root
from torch import Tensor

from hrat.errors import HratError
from hrat.simulation import SolverError
from hrat.simulation.nodal import TileSolver, Wires, effective_conductance, sinh_law
from simulation.nodal import reference

WIRES = {"word_ohm": 40.0, "bit_ohm": 25.0, "driver_ohm": 60.0, "sense_ohm": 10.0}
FORMS = {
    "one end": WIRES,
    "both ends": {**WIRES, "both_ends": True},
    "word lines only": {"word_ohm": 40.0},
    "bit lines only": {"bit_ohm": 25.0},
    "drivers at both ends": {"driver_ohm": 60.0, "both_ends": True},
    "ideal": {"both_ends": True},
}


def tile(rows: int, cols: int) -> Tensor:
    return torch.rand(rows, cols, dtype=torch.float64) * 1e-4


def volts(batch: int, rows: int) -> Tensor:
    return (torch.rand(batch, rows, dtype=torch.float64) - 0.5) * 0.6


def close(got: Tensor, expected: object, tolerance: float = 1e-9) -> bool:
    expected = torch.as_tensor(expected, dtype=torch.float64)
    assert got.shape == expected.shape
    return float((got - expected).abs().max()) <= tolerance * float(expected.abs().max())


@pytest.mark.parametrize("wires", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (5, 4), (4, 5), (19, 11)], ids=str)
def test_currents_and_node_voltages(shape: tuple[int, int], wires: dict[str, float]) -> None:
    g_S, v_V = tile(*shape), volts(3, shape[0])
    solver = TileSolver(g_S, Wires(**wires))  # type: ignore[arg-type]
    expected = reference.solve(g_S.numpy(), v_V.numpy(), **wires)  # type: ignore[arg-type]
    assert close(solver.compute(v_V), expected.outputs_A)
    inside = solver.node_voltages(v_V)
    assert close(inside.word_V, expected.word_V)
    assert float((inside.bit_V - torch.from_numpy(expected.bit_V)).abs().max()) < 1e-12
    assert close((g_S * inside.device_V).sum(-2), expected.outputs_A)


def test_tiles_of_equal_shape_in_one_solver() -> None:
    g_S, v_V = torch.stack([tile(5, 4), tile(5, 4)]), torch.stack([volts(3, 5), volts(3, 5)])
    for curvature_V in (None, 0.2):
        both = TileSolver(g_S, Wires(**WIRES), curvature_V=curvature_V)
        for n in range(2):
            alone = TileSolver(g_S[n], Wires(**WIRES), curvature_V=curvature_V)
            assert close(both.compute(v_V)[n], alone.compute(v_V[n]), 1e-11)
            assert close(both.node_voltages(v_V).bit_V[n], alone.node_voltages(v_V[n]).bit_V, 1e-10)


def test_the_curved_law() -> None:
    u_V = torch.tensor([-0.4, -1e-9, 0.0, 1e-9, 0.4], dtype=torch.float64)
    i = sinh_law(u_V, 0.25)
    torch.testing.assert_close(i, -i.flip(0), rtol=1e-14, atol=0)
    assert i.tolist()[3] == pytest.approx(1e-9, rel=1e-12)  # ohmic at small voltage
    assert float(i[4]) == pytest.approx(0.25 * (np.exp(1.6) - np.exp(-1.6)) / 2)
    assert torch.allclose(sinh_law(u_V, 1e5), u_V, rtol=1e-10)


def test_curved_devices_without_wires_carry_what_the_law_says() -> None:
    g_S, v_V = tile(5, 4), volts(6, 5)
    solution = TileSolver(g_S, Wires(), curvature_V=0.1).solve(v_V)
    assert close(solution.currents_A, sinh_law(v_V, 0.1) @ g_S, 1e-12)
    assert (solution.iterations, solution.converged) == (0, True)


@pytest.mark.parametrize("both_ends", [False, True])
@pytest.mark.parametrize("curvature_V", [1.0, 0.1, 0.03])
def test_curved_devices_against_a_general_root_finder(curvature_V: float, both_ends: bool) -> None:
    """Kirchhoff's current law at each node of a 3x2 tile, in microamperes."""
    rows, cols, g_S, v_V = 3, 2, tile(3, 2), volts(1, 3)
    segment_S, driven_S, sensed_S = 1 / 40.0, 1 / (40.0 + 60.0), 1 / (25.0 + 10.0)

    def sums_uA(nodes_V: np.ndarray) -> np.ndarray:
        word, bit = nodes_V.reshape(2, rows, cols)
        i = g_S.numpy() * curvature_V * np.sinh((word - bit) / curvature_V)
        at_word, at_bit = -i, i.copy()
        along = segment_S * (word[:, 0] - word[:, 1])
        at_word[:, 0] += driven_S * (v_V[0].numpy() - word[:, 0]) - along
        at_word[:, 1] += along + (driven_S * (v_V[0].numpy() - word[:, 1]) if both_ends else 0.0)
        down = (bit[:-1] - bit[1:]) / 25.0
        at_bit[:-1] -= down
        at_bit[1:] += down
        at_bit[-1] -= sensed_S * bit[-1]
        return 1e6 * np.concatenate([at_word.ravel(), at_bit.ravel()])

    start = np.concatenate([np.repeat(v_V[0].numpy(), cols), np.zeros(rows * cols)])
    found = root(sums_uA, start, tol=1e-13)
    assert np.abs(sums_uA(found.x)).max() < 1e-7
    solver = TileSolver(g_S, Wires(**WIRES, both_ends=both_ends), curvature_V=curvature_V)
    word, bit = torch.from_numpy(found.x).view(2, 1, rows, cols)
    assert close(solver.compute(v_V), bit[:, -1] * sensed_S, 1e-8)
    inside = solver.node_voltages(v_V)
    assert close(inside.word_V, word, 1e-8)
    assert close(inside.bit_V, bit, 1e-8)


def test_a_slight_curvature_takes_few_steps_and_a_strong_one_converges() -> None:
    g_S, v_V = tile(24, 16), volts(8, 24)
    slight = TileSolver(g_S, Wires(**WIRES), curvature_V=1.0).solve(v_V)
    assert slight.converged
    assert slight.iterations <= 8
    assert slight.residual <= 1e-12
    strong = TileSolver(g_S, Wires(**WIRES), curvature_V=0.02).solve(v_V)
    assert strong.converged
    assert strong.iterations > slight.iterations


def test_little_curvature_is_ohmic() -> None:
    g_S, v_V = tile(9, 7), volts(4, 9)
    ohmic_A = TileSolver(g_S, Wires(**WIRES)).compute(v_V)
    errors = [
        float((TileSolver(g_S, Wires(**WIRES), curvature_V=u_0).compute(v_V) - ohmic_A).abs().max())
        for u_0 in (1.0, 10.0, 100.0)
    ]
    # sinh x = x + x^3 / 6: a hundredth for each factor of ten.
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(100, rel=0.1)


def test_not_converging_is_a_value_or_an_error() -> None:
    g_S, v_V = tile(5, 4), volts(3, 5)
    solver = TileSolver(g_S, Wires(**WIRES), curvature_V=0.02, max_iterations=2)
    solution = solver.solve(v_V)
    assert not solution.converged
    assert solution.residual > 1e-12
    assert solution.iterations == 2
    with pytest.raises(SolverError, match=r"tile of 5x4 .* after 2 steps"):
        solver.compute(v_V)
    beyond = TileSolver(g_S, Wires(), curvature_V=1e-5).solve(v_V)  # nothing but sinh bounds the currents
    assert not beyond.converged
    assert beyond.residual > 1e-12
    assert bool(beyond.currents_A.isfinite().all())


def test_no_input_is_no_current() -> None:
    for curvature_V in (None, 0.1):
        solution = TileSolver(tile(5, 4), Wires(**WIRES), curvature_V=curvature_V).solve(torch.zeros(2, 5))
        assert solution.converged
        assert not solution.currents_A.any()


@pytest.mark.parametrize("wires", [{"driver_ohm": 1e18}, {"word_ohm": 1e308}], ids=str)
@pytest.mark.parametrize("both_ends", [False, True])
def test_resistances_that_numbers_cannot_tell_apart_are_an_error(wires: dict[str, float], both_ends: bool) -> None:
    g_S, v_V, line = torch.ones(5, 4), torch.ones(1, 5), Wires(**wires, both_ends=both_ends)
    expected = r"tile of 5x4 devices: .* no solution in float64; .* got up to 1 S and 1e\+(18|308) ohm"
    with pytest.raises(SolverError, match=expected):
        effective_conductance(g_S, line)
    with pytest.raises(SolverError, match=expected):
        effective_conductance(g_S, line, open_bit_lines=[1])
    with pytest.raises(SolverError, match=expected):
        TileSolver(g_S, line, curvature_V=0.1).solve(v_V)
    with pytest.raises(SolverError, match=expected):
        TileSolver(g_S, line, curvature_V=0.1).node_voltages(v_V)


def test_refusals_say_what_is_wrong() -> None:
    with pytest.raises(HratError, match="curvature of more than 0 V, got 0"):
        TileSolver(tile(5, 4), Wires(), curvature_V=0.0)
    with pytest.raises(HratError, match=r"expected voltages of shape \('batch', 5\), got \(3, 4\)"):
        TileSolver(tile(5, 4), Wires()).compute(torch.zeros(3, 4))
