"""What wires do to a tile seen from outside: limits, conservation, reciprocity, and a plain sparse solution."""

from itertools import pairwise

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from hrat.errors import HratError, SpecError
from hrat.simulation.nodal import Wires, effective_conductance
from hrat.simulation.nodal.grid import edge_of
from hrat.spec import Array
from simulation.nodal import reference

SHAPES = [(1, 1), (1, 7), (7, 1), (5, 4), (4, 5), (13, 9), (3, 20), (17, 33)]
WIRES = {
    "word and bit": {"word_ohm": 2.0, "bit_ohm": 3.0},
    "word lines only": {"word_ohm": 40.0},
    "bit lines only": {"bit_ohm": 30.0},
    "drivers only": {"driver_ohm": 100.0},
    "sense ends only": {"sense_ohm": 100.0},
    "all": {"word_ohm": 50.0, "bit_ohm": 0.1, "driver_ohm": 20.0, "sense_ohm": 7.0},
    "a hundred kilohms": {"word_ohm": 1e5, "bit_ohm": 2e5, "driver_ohm": 1e4, "sense_ohm": 3e5},
}
ALL = WIRES["all"]


def conductances(rows: int, cols: int, *, seed: int = 0, missing: float = 0.2) -> Tensor:
    """Between 0 and 100 uS; some devices have none."""
    rng = np.random.default_rng(seed)
    g_S = rng.uniform(0, 1e-4, (rows, cols))
    g_S[rng.random((rows, cols)) < missing] = 0.0
    return torch.tensor(g_S)


def error(got: Tensor, expected: object) -> float:
    """Relative to the largest value."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    return float((got - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


@pytest.mark.parametrize("both_ends", [False, True])
@pytest.mark.parametrize("wires", WIRES.values(), ids=WIRES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_a_sparse_direct_solution(shape: tuple[int, int], wires: dict[str, float], both_ends: bool) -> None:
    g_S = conductances(*shape)
    got_S = effective_conductance(g_S, Wires(**wires, both_ends=both_ends))
    assert error(got_S, reference.effective(g_S.numpy(), **wires, both_ends=both_ends)) < 1e-9


@pytest.mark.parametrize("both_ends", [False, True])
@pytest.mark.parametrize(("words", "bits"), [((0,), ()), ((2, 4), ()), ((), (3,)), ((4,), (0, 1)), (range(5), ())])
def test_open_lines(words: tuple[int, ...], bits: tuple[int, ...], both_ends: bool) -> None:
    g_S = conductances(5, 4)
    got_S = effective_conductance(g_S, Wires(**ALL, both_ends=both_ends), open_word_lines=words, open_bit_lines=bits)
    expected_S = reference.effective(
        g_S.numpy(), **ALL, both_ends=both_ends, open_word_lines=words, open_bit_lines=bits
    )
    assert error(got_S, expected_S) < 1e-9
    assert not got_S[list(words)].any()
    assert not got_S[:, list(bits)].any()


def test_a_floating_word_line_carries_current_between_bit_lines() -> None:
    """It is not the same as a word line at 0 V, nor as one without devices."""
    g_S, wires = conductances(5, 4), Wires(bit_ohm=200.0)
    floating_S = effective_conductance(g_S, wires, open_word_lines=[1])
    without = g_S.clone()
    without[1] = 0.0
    removed_S = effective_conductance(without, wires)
    grounded_S = effective_conductance(g_S, wires)
    driven = [0, 2, 3, 4]
    assert error(floating_S[driven], removed_S[driven]) > 1e-4
    assert error(floating_S[driven], grounded_S[driven]) > 1e-4


def test_open_lines_that_nothing_connects_do_no_harm() -> None:
    g_S = conductances(5, 4, missing=0.0)
    g_S[2] = 0.0
    g_S[:, 1] = 0.0
    g_S[2, 1] = 1e-4  # an island of one device
    got_S = effective_conductance(g_S, Wires(**ALL), open_word_lines=[2], open_bit_lines=[1])
    g_S[2, 1] = 0.0
    assert error(got_S, effective_conductance(g_S, Wires(**ALL))) < 1e-12


@pytest.mark.parametrize("both_ends", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_without_resistance_it_is_the_conductance(shape: tuple[int, int], both_ends: bool) -> None:
    g_S = conductances(*shape)
    assert torch.equal(effective_conductance(g_S, Wires(both_ends=both_ends)), g_S)
    # Not by the short cut either.
    assert torch.equal(edge_of(g_S.unsqueeze(0), Wires(both_ends=both_ends)).output_S[0].mT, g_S)
    tiny = Wires(word_ohm=1e-30, bit_ohm=1e-25, driver_ohm=1e-20, sense_ohm=1e-28, both_ends=both_ends)
    assert error(effective_conductance(g_S, tiny), g_S) < 1e-12


def test_one_device_is_in_series_with_its_wires() -> None:
    got_S = effective_conductance(torch.full((1, 1), 1e-4, dtype=torch.float64), Wires(**ALL))
    assert float(got_S) == pytest.approx(1 / (1e4 + 50 + 0.1 + 20 + 7), rel=1e-12)


def test_one_word_line_is_a_ladder() -> None:
    """Each segment divides the voltage in front of it between itself and all that lies behind it."""
    g_S, r_ohm, driver_ohm = [1e-4, 5e-5, 2e-4], 300.0, 70.0
    voltage, expected_S = 1.0, []
    for col, g in enumerate(g_S):
        segment_ohm = r_ohm + (driver_ohm if col == 0 else 0.0)
        voltage /= 1 + segment_ohm * node_S(g_S[col:], r_ohm)
        expected_S.append(g * voltage)
    got_S = effective_conductance(
        torch.tensor([g_S], dtype=torch.float64), Wires(word_ohm=r_ohm, driver_ohm=driver_ohm)
    )
    assert got_S[0].tolist() == pytest.approx(expected_S, rel=1e-12)


def node_S(g_S: list[float], r_ohm: float) -> float:
    """Of a node of a ladder: its device, and what lies behind the next segment."""
    if len(g_S) == 1:
        return g_S[0]
    behind_S = node_S(g_S[1:], r_ohm)
    return g_S[0] + behind_S / (1 + r_ohm * behind_S)


def test_one_bit_line_by_superposition() -> None:
    """Two devices on one bit line: the current of the upper one flows through both segments."""
    g1, g2, r_ohm, sense_ohm = 1e-4, 3e-4, 500.0, 40.0
    # Current of each device with 1 V on its own word line: 1/g_k in series with what the other one and the wire are.
    below_ohm = 1 / (1 / (r_ohm + sense_ohm) + g2)
    upper = 1 / (1 / g1 + r_ohm + below_ohm) * below_ohm / (r_ohm + sense_ohm)
    loop_S = 1 / (r_ohm + sense_ohm) + 1 / (r_ohm + 1 / g1)
    lower = 1 / (1 / g2 + 1 / loop_S) / loop_S / (r_ohm + sense_ohm)
    g_S = torch.tensor([[g1], [g2]], dtype=torch.float64)
    got_S = effective_conductance(g_S, Wires(bit_ohm=r_ohm, sense_ohm=sense_ohm))
    assert got_S[:, 0].tolist() == pytest.approx([upper, lower], rel=1e-12)


@pytest.mark.parametrize("both_ends", [False, True])
def test_what_the_sources_give_reaches_the_sense_ends(both_ends: bool) -> None:
    edge = edge_of(conductances(17, 33).unsqueeze(0), Wires(**ALL, both_ends=both_ends))
    # With all sources at the same voltage, and whatever else: what goes in comes out.
    given_A, received_A = edge.driver_S[0].sum(0), edge.output_S[0].sum(0)
    assert error(given_A, received_A) < 1e-12


@pytest.mark.parametrize("both_ends", [False, True])
def test_the_network_is_reciprocal(both_ends: bool) -> None:
    edge = edge_of(conductances(9, 14).unsqueeze(0), Wires(**ALL, both_ends=both_ends))
    assert error(edge.driver_S.mT, edge.driver_S) < 1e-12
    assert error(edge.ground_S.mT, edge.ground_S) < 1e-12


def test_word_and_bit_lines_are_alike() -> None:
    """Driven where it was sensed and sensed where it was driven, the tile passes the same currents."""
    g_S = conductances(5, 4)
    forward_S = effective_conductance(g_S, Wires(word_ohm=3.0, bit_ohm=70.0, driver_ohm=5.0, sense_ohm=9.0))
    back = Wires(word_ohm=70.0, bit_ohm=3.0, driver_ohm=9.0, sense_ohm=5.0)
    backward_S = effective_conductance(g_S.mT.flip(0, 1), back)
    assert error(backward_S.flip(0, 1).mT, forward_S) < 1e-12


@pytest.mark.parametrize("which", ["word_ohm", "bit_ohm", "driver_ohm", "sense_ohm"])
def test_more_resistance_means_less_current(which: str) -> None:
    g_S = conductances(9, 14, missing=0.0)
    currents_A = [
        effective_conductance(g_S, Wires(**{**ALL, which: ohm})).sum(0) for ohm in (0.0, 1.0, 10.0, 100.0, 1e4)
    ]
    for more, less in pairwise(currents_A):
        assert bool((more > less).all())
        assert bool((less > 0).all())


def test_driving_both_ends_loses_less() -> None:
    g_S = conductances(9, 14, missing=0.0)
    one_S, both_S = (effective_conductance(g_S, Wires(**ALL, both_ends=both)).sum(0) for both in (False, True))
    assert bool((both_S > one_S).all())
    assert bool((both_S < g_S.sum(0)).all())


def test_digits_of_tiny_conductances_and_wires() -> None:
    """Against 50 digits: a tile whose conductances and resistances span many decades."""
    g_S = torch.tensor([[1e-4, 1e-13, 0.0], [1e-9, 3e-3, 2e-5]], dtype=torch.float64)
    wires = {"word_ohm": 1e-7, "bit_ohm": 800.0, "driver_ohm": 1e-3}
    with mpmath.workdps(50):
        exact = _exact(g_S.tolist(), **wires)
    assert error(effective_conductance(g_S, Wires(**wires)), exact) < 1e-13


def _exact(g_S: list[list[float]], word_ohm: float, bit_ohm: float, driver_ohm: float) -> list[list[float]]:
    """Nodal equations in many digits."""
    rows, cols = len(g_S), len(g_S[0])
    n = rows * cols
    y, given = mpmath.zeros(2 * n), mpmath.zeros(2 * n, rows)
    word, bit = mpmath.mpf(word_ohm), mpmath.mpf(bit_ohm)

    def branch(a: int, b: int | None, conductance: mpmath.mpf) -> None:
        y[a, a] += conductance
        if b is not None:
            y[b, b] += conductance
            y[a, b] -= conductance
            y[b, a] -= conductance

    for i in range(rows):
        for j in range(cols):
            node = i * cols + j
            branch(node, n + node, mpmath.mpf(g_S[i][j]))
            branch(node, node - 1 if j else None, 1 / (word if j else word + mpmath.mpf(driver_ohm)))
            branch(n + node, n + node + cols if i < rows - 1 else None, 1 / bit)
        given[i * cols, i] = 1 / (word + mpmath.mpf(driver_ohm))
    volts = mpmath.lu_solve(y, given[:, 0]), mpmath.lu_solve(y, given[:, 1])
    return [[float(volts[i][n + (rows - 1) * cols + j] / bit) for j in range(cols)] for i in range(rows)]


@pytest.mark.parametrize(
    "mutate",
    [
        lambda g, w: effective_conductance(g, Wires(**{**w, "word_ohm": w["bit_ohm"], "bit_ohm": w["word_ohm"]})),
        lambda g, w: effective_conductance(
            g, Wires(**{**w, "driver_ohm": w["sense_ohm"], "sense_ohm": w["driver_ohm"]})
        ),
        lambda g, w: effective_conductance(g.flip(1), Wires(**w)).flip(1),
        lambda g, w: effective_conductance(g.flip(0), Wires(**w)).flip(0),
        lambda g, w: effective_conductance(g, Wires(**w, both_ends=True)),
        lambda g, w: effective_conductance(g.mT, Wires(**w)).mT,
        lambda g, w: -effective_conductance(g, Wires(**w)),
    ],
    ids=["segments swapped", "ends swapped", "driven right", "sensed on top", "both ends", "transposed", "sign"],
)
def test_the_comparison_catches_a_wrong_circuit(mutate: object) -> None:
    g_S, wires = conductances(5, 4), {**ALL, "bit_ohm": 8.0}
    expected_S = reference.effective(g_S.numpy(), **wires)
    assert error(effective_conductance(g_S, Wires(**wires)), expected_S) < 1e-12
    assert error(mutate(g_S, wires), expected_S) > 1e-4  # type: ignore[operator]


def test_many_tiles_at_once_are_each_alone() -> None:
    g_S = torch.stack([conductances(5, 4, seed=seed) for seed in range(6)]).view(2, 3, 5, 4)
    together_S = effective_conductance(g_S, Wires(**ALL))
    assert together_S.shape == g_S.shape
    for index in np.ndindex(2, 3):
        assert error(together_S[index], effective_conductance(g_S[index], Wires(**ALL))) < 1e-12


def test_it_can_be_differentiated() -> None:
    g_S = conductances(5, 6, missing=0.0).mul_(1e4).requires_grad_()  # siemens would be too small for gradcheck
    wires = Wires(word_ohm=0.02, bit_ohm=0.05, driver_ohm=0.1, both_ends=True)
    assert torch.autograd.gradcheck(lambda g: effective_conductance(g, wires), (g_S,))


def test_single_precision_is_solved_in_double() -> None:
    g_S = conductances(5, 4).float()
    assert effective_conductance(g_S, Wires(**ALL)).dtype == torch.float64
    assert torch.equal(effective_conductance(g_S, Wires(**ALL)), effective_conductance(g_S.double(), Wires(**ALL)))


def test_wires_of_a_spec() -> None:
    array = Array(r_word_ohm=2.0, r_bit_ohm=3.0, r_driver_ohm=4.0, r_sense_ohm=5.0, drive="both_ends")
    assert Wires.of(array).is_ideal
    on = Wires.of(array.model_copy(update={"limit_wires": True}))
    assert on == Wires(word_ohm=2.0, bit_ohm=3.0, driver_ohm=4.0, sense_ohm=5.0, both_ends=True)
    assert not on.is_ideal


def test_refusals_say_what_is_wrong() -> None:
    with pytest.raises(SpecError, match=r"word_ohm.*got -1"):
        Wires(word_ohm=-1.0)
    with pytest.raises(SpecError, match="open_word_lines"):
        Wires(driver_ohm=float("inf"))
    with pytest.raises(HratError, match="negative or not finite"):
        effective_conductance(torch.tensor([[-1e-6]]), Wires())
    with pytest.raises(HratError, match=r"lines from 0 to 3, got 4"):
        effective_conductance(conductances(5, 4), Wires(), open_bit_lines=[4])
    with pytest.raises(HratError, match=r"got \(0, 4\)"):
        effective_conductance(torch.zeros(0, 4), Wires())
