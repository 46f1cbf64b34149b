"""Devices whose conduction explodes, between wires that bound their currents, against Kirchhoff's laws written down."""

import math

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from hrat.simulation import SolverError
from hrat.simulation.nodal import NodeVoltages, TileSolver, Wires
from hrat.simulation.nodal import curved as curved_module

ENDS = {
    "one end": {},
    "both ends": {"both_ends": True},
    "drivers and amplifiers": {"driver_ohm": 20.0, "sense_ohm": 5.0},
    "all of it": {"driver_ohm": 20.0, "sense_ohm": 5.0, "both_ends": True},
}
BENDS = [1.0, 10.0, 50.0, 300.0, 1000.0]
"""Voltage of a source over the curvature."""


def tile(rows: int, cols: int, *, empty: float = 0.0) -> Tensor:
    """Conductances over three decades; a share of the devices are missing."""
    g_S = 10.0 ** (-6 + 3 * torch.rand(rows, cols, dtype=torch.float64))
    return g_S * (torch.rand(rows, cols) >= empty)


def volts(batch: int, rows: int) -> Tensor:
    """The largest is 1 V, all on, some off, or of both signs."""
    v_V = 2 * torch.rand(batch, rows, dtype=torch.float64) - 1
    v_V[0], v_V[1] = 1.0, (torch.arange(rows) % 2).double()
    return v_V


def lost_A(g_S: Tensor, v_V: Tensor, at: NodeVoltages, wires: Wires, curvature_V: float) -> tuple[Tensor, Tensor]:
    """Largest current that appears or vanishes at a node of each input, and the largest current of a device."""
    device_A = g_S * curvature_V * torch.sinh(((at.word_V - at.bit_V) * (g_S > 0)) / curvature_V)
    source_V, end = v_V.unsqueeze(-1), wires.word_ohm + wires.driver_ohm
    along_A = (at.word_V[..., :-1] - at.word_V[..., 1:]) / wires.word_ohm
    near_A = (source_V - at.word_V[..., :1]) / end
    far_A = (source_V - at.word_V[..., -1:]) / end if wires.both_ends else torch.zeros_like(near_A)
    word_A = torch.cat([near_A, along_A], -1) - torch.cat([along_A, -far_A], -1) - device_A
    down_A = (at.bit_V[..., :-1, :] - at.bit_V[..., 1:, :]) / wires.bit_ohm
    out_A = at.bit_V[..., -1:, :] / (wires.bit_ohm + wires.sense_ohm)
    bit_A = torch.cat([torch.zeros_like(out_A), down_A], -2) + device_A - torch.cat([down_A, out_A], -2)
    wrong_A = torch.maximum(word_A.abs(), bit_A.abs()).amax(dim=(-1, -2))
    return wrong_A, device_A.abs().amax(dim=(-1, -2))


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("segment_ohm", [1.0, 10.0])
@pytest.mark.parametrize("bend", BENDS)
def test_no_current_is_lost_at_any_node(bend: float, segment_ohm: float, ends: dict[str, float]) -> None:
    """The laws have one solution, so what fulfils them is it; passive devices keep it between sources and ground."""
    wires = Wires(word_ohm=segment_ohm, bit_ohm=segment_ohm, **ends)  # type: ignore[arg-type]
    for shape, empty in (((1, 1), 0.0), ((1, 6), 0.0), ((7, 1), 0.0), ((9, 5), 0.5), ((13, 18), 0.2)):
        g_S, v_V = tile(*shape, empty=empty), volts(4, shape[0])
        solver = TileSolver(g_S, wires, curvature_V=1 / bend)
        solution, at = solver.solve(v_V), solver.node_voltages(v_V)
        assert solution.converged
        wrong_A, largest_A = lost_A(g_S, v_V, at, wires, 1 / bend)
        # Currents are right to 1e-12 or 1e-14 V / u_0; what wires make of that changes those of sinh by V / u_0 more.
        assert bool((wrong_A <= (1e-12 + 1e-14 * bend) * (1 + bend) * largest_A + 1e-15 / segment_ohm).all())
        expected_A = at.bit_V[:, -1] / (wires.bit_ohm + wires.sense_ohm)
        torch.testing.assert_close(solution.currents_A, expected_A, rtol=1e-10, atol=1e-15)
        lowest_V, highest_V = v_V.amin(1).clamp(max=0) - 1e-12, v_V.amax(1).clamp(min=0) + 1e-12
        for node_V in (at.word_V.flatten(1), at.bit_V.flatten(1)):
            assert bool((node_V.amin(1) >= lowest_V).all())
            assert bool((node_V.amax(1) <= highest_V).all())


@pytest.mark.parametrize("bend", [*BENDS, 1e4])
@pytest.mark.parametrize("ohm", [1e-3, 1.0, 1e5])
def test_a_device_and_a_resistance_against_a_root_of_one_equation(ohm: float, bend: float) -> None:
    g_S, curvature_V = 1e-4, 1 / bend

    def missing_V(current_A: float) -> float:
        return curvature_V * math.asinh(current_A / (g_S * curvature_V)) + ohm * current_A - 1

    expected_A = brentq(missing_V, 0.0, 1 / ohm, xtol=1e-300, rtol=1e-14)
    wires = Wires(word_ohm=ohm / 2, sense_ohm=ohm / 2)
    got_A = TileSolver(torch.full((1, 1), g_S, dtype=torch.float64), wires, curvature_V=curvature_V).compute(
        torch.tensor([[1.0], [-1.0]])
    )
    assert got_A.flatten().tolist() == pytest.approx([expected_A, -expected_A], rel=max(1e-11, 1e-13 * bend))


def test_several_tiles_with_inputs_of_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs that need trees of their own, a few at a time, beside others that do not."""
    g_S = torch.stack([tile(9, 6), tile(9, 6, empty=0.4)])
    v_V = torch.stack([volts(3, 9), volts(3, 9)]) * torch.tensor([1.0, 0.1, 1e-3]).unsqueeze(-1)
    wires = Wires(word_ohm=2.0, bit_ohm=3.0)
    together = TileSolver(g_S, wires, curvature_V=0.01).compute(v_V)
    for n in range(2):
        for k in range(3):
            alone_A = TileSolver(g_S[n], wires, curvature_V=0.01).compute(v_V[n, k : k + 1])[0]
            assert together[n, k].tolist() == pytest.approx(alone_A.tolist(), rel=1e-9, abs=1e-22)
    monkeypatch.setattr(curved_module, "DEVICES_AT_ONCE", 1)
    one_by_one = TileSolver(g_S, wires, curvature_V=0.01).compute(v_V)
    torch.testing.assert_close(one_by_one, together, rtol=1e-9, atol=0)


def test_devices_that_are_missing_carry_nothing() -> None:
    wires = Wires(word_ohm=1.0, bit_ohm=1.0)
    solver = TileSolver(torch.zeros(4, 3), wires, curvature_V=1e-3)
    solution = solver.solve(torch.ones(2, 4))
    assert (solution.converged, solution.currents_A.any().item()) == (True, False)
    assert torch.equal(solver.node_voltages(torch.ones(2, 4)).word_V, torch.ones(2, 4, 3, dtype=torch.float64))
    g_S = tile(4, 3)
    g_S[:, 1] = 0.0
    currents_A = TileSolver(g_S, wires, curvature_V=1e-3).compute(torch.ones(2, 4))
    assert not currents_A[:, 1].any()
    assert bool((currents_A[:, [0, 2]] > 0).all())


def test_what_does_not_converge_stays_within_what_the_wires_let_through() -> None:
    g_S, v_V = tile(9, 6), volts(5, 9)
    solver = TileSolver(g_S, Wires(word_ohm=1.0, bit_ohm=1.0), curvature_V=1e-3, max_iterations=2)
    solution = solver.solve(v_V)
    assert not solution.converged
    assert float(solution.currents_A.abs().max()) < 10.0  # nine sources of 1 V, one bit line of 1 ohm
    with pytest.raises(SolverError, match="after 2 steps"):
        solver.node_voltages(v_V)
