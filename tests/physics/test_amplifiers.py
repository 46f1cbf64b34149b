"""Offset, noise, finite gain and tolerance of an amplifier: against Kirchhoff's laws, and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hrat.physics import AnyReads, ChipReads, closed_loop, draw_amplifiers, has_amplifier_errors, input_noise_V
from hrat.spec import Periphery

R_F_OHM = 2e4


def solved(
    g_S: list[float], u_V: list[float], resistors_V: list[float], error_V: float, r_f_error: float, gain: float
) -> float:
    """Output of a transimpedance stage, from its nodal equations: `[summing node, output]` unknown."""
    g_f_S, g_r_S = 1 / (R_F_OHM * (1 + r_f_error)), 1 / R_F_OHM
    total_S = sum(g_S) + g_f_S + len(resistors_V) * g_r_S
    matrix = np.array([[total_S, -g_f_S], [gain, 1.0]])
    currents_A = sum(g * u for g, u in zip(g_S, u_V, strict=True)) + g_r_S * sum(resistors_V)
    return float(np.linalg.solve(matrix, [currents_A, gain * error_V])[1])


@given(
    st.lists(st.tuples(st.floats(1e-6, 2e-4), st.floats(-0.5, 0.5)), min_size=1, max_size=6),
    st.lists(st.floats(-1.0, 1.0), max_size=2),
    st.floats(-5e-3, 5e-3),
    st.floats(-0.05, 0.05),
    st.floats(10.0, 1e6),
)
def test_the_closed_loop_is_kirchhoffs(
    devices: list[tuple[float, float]], resistors_V: list[float], error_V: float, r_f_error: float, gain: float
) -> None:
    g_S, u_V = [g for g, _ in devices], [u for _, u in devices]
    ideal_V = -R_F_OHM * sum(g * u for g, u in devices) - sum(resistors_V)
    load_S = torch.tensor(sum(g_S), dtype=torch.float64)
    loop = closed_loop(
        load_S,
        R_F_OHM,
        len(resistors_V),
        torch.tensor(r_f_error, dtype=torch.float64),
        Periphery(amplifier_gain=gain),
    )
    found_V = float(loop.factor) * ideal_V + float(loop.of_input) * error_V
    assert found_V == pytest.approx(solved(g_S, u_V, resistors_V, error_V, r_f_error, gain), rel=1e-9, abs=1e-12)


def test_without_devices_an_amplifier_is_a_follower() -> None:
    nothing = torch.zeros((), dtype=torch.float64)
    loop = closed_loop(nothing, R_F_OHM, 0, nothing, Periphery())
    assert (float(loop.factor), float(loop.of_input)) == (1.0, 1.0)


def test_more_conductance_costs_more_and_more_gain_less() -> None:
    load_S = torch.linspace(0, 1e-2, 20, dtype=torch.float64)
    nothing = torch.zeros_like(load_S)
    ideal = closed_loop(load_S, R_F_OHM, 1, nothing, Periphery())
    assert bool((ideal.of_input.diff() > 0).all())
    assert bool((ideal.factor == 1).all())
    finite = [closed_loop(load_S, R_F_OHM, 1, nothing, Periphery(amplifier_gain=gain)) for gain in (1e2, 1e4, 1e12)]
    assert bool((finite[0].factor.diff() < 0).all())
    assert bool((finite[0].factor < finite[1].factor).all())
    torch.testing.assert_close(finite[2].of_input, ideal.of_input, rtol=1e-9, atol=0)
    switched_off = Periphery(amplifier_gain=1e2, limit_gain=False)
    assert torch.equal(closed_loop(load_S, R_F_OHM, 1, nothing, switched_off).factor, ideal.factor)


def test_density_and_bandwidth_add_to_the_rms_as_powers() -> None:
    assert input_noise_V(Periphery(amplifier_noise_V_rtHz=5e-9, amplifier_bandwidth_Hz=1e6)) == pytest.approx(5e-6)
    both = Periphery(amplifier_noise_V=12e-6, amplifier_noise_V_rtHz=5e-9, amplifier_bandwidth_Hz=1e6)
    assert input_noise_V(both) == pytest.approx(13e-6)
    assert input_noise_V(Periphery(amplifier_noise_V=12e-6, limit_noise=False)) == 0.0


def test_what_is_drawn_has_the_spread_of_the_spec_and_is_none_where_it_is_off() -> None:
    periphery = Periphery(amplifier_offset_V=2e-3, r_f_tolerance_rel=0.01)
    like = torch.empty(0, dtype=torch.float64)
    drawn = draw_amplifiers(periphery, (40_000,), like=like, generator=torch.Generator().manual_seed(0))
    assert float(drawn.offset_V.std()) == pytest.approx(2e-3, rel=0.02)
    assert float(drawn.r_f_error.std()) == pytest.approx(0.01, rel=0.02)
    assert abs(float(drawn.offset_V.mean())) < 4 * 2e-3 / math.sqrt(40_000)
    correlation = torch.corrcoef(torch.stack([drawn.offset_V, drawn.r_f_error]))[0, 1]
    assert abs(float(correlation)) < 0.02
    off = periphery.model_copy(update={"limit_offset": False, "limit_mismatch": False})
    assert not has_amplifier_errors(off)
    assert not any(bool(part.any()) for part in draw_amplifiers(off, (4,), like=like))
    assert not any(bool(part.any()) for part in draw_amplifiers(periphery, (4,), like=like, strength=None))


# ---- readings --------------------------------------------------------------------------------------------------------


def reading(
    images: int, first: int = 0, *, seed: int = 0, layer: str = "fc", part: str = "a", series: int = 0
) -> torch.Tensor:
    reads = ChipReads(seed, series)
    reads.begin(first)
    return reads.of_layer(layer)(torch.empty(images, 3, dtype=torch.float64), 0, part)


@pytest.mark.parametrize("cuts", [[200], [1, 199], [64, 136], [63, 1, 136], [100, 100]])
def test_a_reading_does_not_depend_on_how_images_are_cut_into_batches(cuts: list[int]) -> None:
    starts = [sum(cuts[:k]) for k in range(len(cuts))]
    parts = [reading(count, start) for count, start in zip(cuts, starts, strict=True)]
    assert torch.equal(torch.cat(parts), reading(200))


def test_readings_differ_by_chip_layer_part_call_and_series() -> None:
    usual = reading(5)
    others = [reading(5, seed=1), reading(5, layer="conv"), reading(5, part="b"), reading(5, series=1), reading(5, 64)]
    assert not any(torch.equal(usual, other) for other in others)
    reads = ChipReads(0)
    reads.begin(0)
    draw = reads.of_layer("fc")
    like = torch.empty(5, 3, dtype=torch.float64)
    assert torch.equal(draw(like, 0, "a"), usual)
    assert not torch.equal(draw(like, 0, "a"), usual)
    reads.begin(0)
    assert torch.equal(draw(like, 0, "a"), usual)


def test_numbers_are_standard_normal_of_any_layout() -> None:
    reads = ChipReads(3)
    draw = reads.of_layer("fc")
    assert float(draw(torch.empty(1000, 50), 0, "a").std()) == pytest.approx(1.0, rel=0.02)
    reads.begin(0)
    images_first = draw(torch.empty(7, 2, 4), 0, "b")
    reads.begin(0)
    images_second = draw(torch.empty(2, 7, 4), 1, "b")
    assert torch.equal(images_first.movedim(0, 1), images_second)
    reads.begin(0)
    assert draw(torch.empty(4), -1, "b").shape == (4,)
    any_reads = AnyReads(torch.Generator().manual_seed(0), 0.5).of_layer("fc")
    assert float(any_reads(torch.empty(1000, 50), 0, "a").std()) == pytest.approx(0.5, rel=0.02)
