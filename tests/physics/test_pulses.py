"""What a pulse does, by each model: limits, signs, closed solutions and an independent solver."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from torch import Tensor

from hrat.errors import SpecError
from hrat.physics.pulses import Amplitudes, pulse_response
from hrat.physics.pulses.flow import interpolate, state_after
from hrat.physics.pulses.soft_bounds import after_pulses_S
from hrat.physics.pulses.stanford_pku import current_A, gap_of_conductance_m, gap_speed_m_s
from hrat.physics.pulses.vteam import after_pulse_S
from hrat.programming.engine import Cells, Pulser
from hrat.spec import PULSE_MODELS, HardwareSpec, StanfordPku, Vteam, load_spec

GENTLE_VTEAM = {
    "pulses.set_V": 1.0, "pulses.reset_V": 1.0, "vteam.r_on_ohm": 5e3, "vteam.r_off_ohm": 20e3,
    "vteam.k_on_m_s": -0.02, "vteam.k_off_m_s": 0.015, "vteam.v_on_V": -0.7, "vteam.v_off_V": 0.6,
    "vteam.alpha_on": 2.0, "vteam.alpha_off": 3.0,
}  # fmt: skip
JUMPS = {
    "jump_table.g_S": (50e-6, 120e-6, 200e-6),
    "jump_table.set_S": ((1e-6, 6e-6, 10e-6), (0.5e-6, 3e-6, 8e-6), (0.0, 0.5e-6, 1e-6)),
    "jump_table.reset_S": ((-1e-6, -0.5e-6, 0.0), (-7e-6, -3e-6, -1e-6), (-12e-6, -8e-6, -2e-6)),
}


def spec_of(model: str, **changes: object) -> HardwareSpec:
    """`generic-4bit` with pulses of a model that moves it by some per cent of its window."""
    own = {
        "jump_table": JUMPS,
        "vteam": GENTLE_VTEAM,
        "stanford_pku": {"pulses.set_V": 1.0, "pulses.reset_V": 1.0},
    }
    return load_spec("generic-4bit").replace({"pulses.model": model, **own.get(model, {}), **changes})  # type: ignore[dict-item]


MODELS = tuple(PULSE_MODELS)


def pulsed(g_S: Tensor, up: bool, spec: HardwareSpec, *, count: int = 1, seed: int = 0) -> Tensor:
    """Conductances after some pulses by the engine that programs chips."""
    cells = Cells.at(g_S.clone(), g_S)
    direction = 1.0 if up else -1.0

    def decide(now: Cells) -> tuple[Tensor, Tensor]:
        return torch.full_like(now.g_S, direction), torch.ones(len(now.g_S), dtype=torch.bool)

    Pulser(spec, g_S.dtype).apply(cells, decide, count, torch.Generator().manual_seed(seed))
    assert (cells.pulses == count).all()
    assert (cells.set_pulses == (count if up else 0)).all()
    return cells.g_S


# ---- every model -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@given(place=st.floats(0, 1), spread=st.floats(0, 2), absolute_S=st.floats(0, 20e-6), seed=st.integers(0, 2**32))
def test_set_raises_and_reset_lowers_always_inside_the_window(
    model: str, place: float, spread: float, absolute_S: float, seed: int
) -> None:
    spec = spec_of(model, **{"pulses.cycle_spread_rel": spread, "pulses.cycle_spread_S": absolute_S})
    device = spec.device
    g_S = torch.full((50,), device.g_min_S + place * device.g_range_S, dtype=torch.float64)
    up, down = pulsed(g_S, True, spec, seed=seed), pulsed(g_S, False, spec, seed=seed)
    assert (up >= g_S - 1e-18).all()
    assert (down <= g_S + 1e-18).all()
    assert (torch.cat([up, down]) >= device.g_min_S).all()
    assert (torch.cat([up, down]) <= device.g_max_S).all()


@pytest.mark.parametrize("model", MODELS)
def test_pulses_in_a_row_reach_the_end_of_the_window(model: str) -> None:
    spec = spec_of(model)
    device = spec.device
    middle = torch.full((20,), (device.g_min_S + device.g_max_S) / 2, dtype=torch.float64)
    # A filament and VTEAM's window slow down on the way: they approach the end.
    slack = 0.05 * device.g_range_S
    assert (pulsed(middle, True, spec, count=2000) > device.g_max_S - slack).all()
    assert (pulsed(middle, False, spec, count=2000) < device.g_min_S + slack).all()


@pytest.mark.parametrize("model", MODELS)
def test_the_mean_change_is_that_of_many_devices(model: str) -> None:
    spec = spec_of(model, **{"pulses.cycle_spread_rel": 0.2})
    response = pulse_response(spec, dtype=torch.float64)
    for place in (0.2, 0.7):
        g_S = torch.full((100_000,), spec.device.g_min_S + place * spec.device.g_range_S, dtype=torch.float64)
        for up in (True, False):
            mean = response.change_S(g_S[:1], torch.tensor([float(up)], dtype=torch.float64), None, None)
            drawn = pulsed(g_S, up, spec) - g_S
            assert float(drawn.mean()) == pytest.approx(float(mean), rel=0.01)


# ---- soft bounds -----------------------------------------------------------------------------------------------------


@given(n=st.floats(2, 300), nu=st.floats(0, 20), up=st.booleans())
def test_n_pulses_take_soft_bounds_across_the_window(n: float, nu: float, up: bool) -> None:
    low, high = 50e-6, 200e-6
    start = torch.tensor([low if up else high], dtype=torch.float64)
    figures = {
        "g_min_S": low,
        "g_max_S": high,
        "n_pulses": torch.tensor(n, dtype=torch.float64),
        "nonlinearity": torch.tensor(max(nu, 1e-6), dtype=torch.float64),
    }
    end = after_pulses_S(start, n, up=up, **figures)  # type: ignore[arg-type]
    assert float(end) == pytest.approx(high if up else low, rel=1e-6)
    half = after_pulses_S(start, n / 2, up=up, **figures)  # type: ignore[arg-type]
    straight = (low + high) / 2
    # The way is convex: half of the pulses go further than half of the way, unless the steps are equal.
    if nu < 1e-4:
        assert float(half) == pytest.approx(straight, rel=1e-3)
    else:
        assert float(half) > straight if up else float(half) < straight


def test_the_last_step_is_the_first_shrunk_by_the_nonlinearity() -> None:
    spec = spec_of("soft_bounds", **{"pulses.cycle_spread_rel": 0.0, "soft_bounds.nonlinearity_set": 2.0})
    ends = torch.tensor([spec.device.g_min_S, spec.device.g_max_S], dtype=torch.float64)
    # Not clamped: the response itself, at both ends.
    steps = pulse_response(spec, dtype=torch.float64).change_S(ends, torch.ones(2, dtype=torch.float64), None, None)
    assert float(steps[1] / steps[0]) == pytest.approx(math.exp(-2.0), rel=1e-9)


def test_the_engine_follows_the_curve_and_the_curve_has_a_gradient() -> None:
    spec = spec_of("soft_bounds", **{"pulses.cycle_spread_rel": 0.0})
    g_S = torch.tensor([60e-6, 130e-6], dtype=torch.float64)
    figures = {"g_min_S": 50e-6, "g_max_S": 200e-6}
    n, nu = torch.tensor(64.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    for up in (True, False):
        curve = after_pulses_S(g_S, 7, n_pulses=n, nonlinearity=nu, up=up, **figures)  # type: ignore[arg-type]
        assert torch.allclose(pulsed(g_S, up, spec, count=7), curve, rtol=1e-9, atol=0)

    def scaled(x: Tensor, n: Tensor, nu: Tensor) -> Tensor:  # gradcheck wants numbers of order one
        return 1e4 * after_pulses_S(x * 1e-4, 7, n_pulses=n, nonlinearity=nu, up=True, **figures)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(scaled, [(g_S * 1e4).requires_grad_(), n.requires_grad_(), nu.requires_grad_()])


def test_equal_steps_are_soft_bounds_without_nonlinearity() -> None:
    g_S = torch.linspace(50e-6, 195e-6, 30, dtype=torch.float64)
    linear = spec_of("linear_step", **{"pulses.cycle_spread_rel": 0.0})
    soft = spec_of(
        "soft_bounds",
        **{"pulses.cycle_spread_rel": 0.0, "soft_bounds.nonlinearity_set": 0.0, "soft_bounds.nonlinearity_reset": 0.0},
    )
    for up in (True, False):
        assert torch.allclose(pulsed(g_S, up, linear), pulsed(g_S, up, soft), rtol=1e-6, atol=0)


def test_a_larger_amplitude_is_worth_more_pulses() -> None:
    spec = spec_of(
        "soft_bounds",
        **{"pulses.efold_V": 0.1, "programming.set_step_V": 0.1 * math.log(2), "pulses.cycle_spread_rel": 0.0},
    )
    response = pulse_response(spec, dtype=torch.float64)
    g_S, up = torch.tensor([80e-6, 80e-6], dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    change = response.change_S(g_S, up, torch.tensor([0, 2]), None)
    plain = spec_of("soft_bounds", **{"pulses.cycle_spread_rel": 0.0})
    assert float(g_S[1] + change[1]) == pytest.approx(float(pulsed(g_S[:1], True, plain, count=4)), rel=1e-9)


def test_the_ladder_ends_at_the_largest_voltage_or_with_the_budget() -> None:
    spec = spec_of("stanford_pku", set_step_V=0.1, v_max_V=1.35, max_pulses=500)
    ladder = Amplitudes.of(spec)
    assert ladder.set_V == pytest.approx((1.0, 1.1, 1.2, 1.3, 1.35))
    assert ladder.reset_V == (1.0,) * 5
    assert Amplitudes.of(spec_of("stanford_pku", set_step_V=0.1, max_pulses=3)).set_V == pytest.approx((1.0, 1.1, 1.2))
    assert Amplitudes.of(spec_of("stanford_pku")).n_rungs == 1


@pytest.mark.parametrize("model", [name for name, one in PULSE_MODELS.items() if one.amplitude != "physical"])
def test_incremental_pulses_without_effect_are_refused(model: str) -> None:
    with pytest.raises(SpecError, match="has no dependence on the amplitude"):
        spec_of(model, set_step_V=0.1)


# ---- jump table ------------------------------------------------------------------------------------------------------


def test_jumps_have_the_measured_distribution() -> None:
    spec = spec_of("jump_table")
    g_S = torch.full((200_000,), 120e-6, dtype=torch.float64)
    jumps = (pulsed(g_S, True, spec) - g_S) * 1e6
    # Between 0.5, 3 and 8 uS the cumulative distribution is linear.
    for probability, expected in ((0.25, 1.75), (0.5, 3.0), (0.75, 5.5)):
        assert float(jumps.quantile(probability)) == pytest.approx(expected, abs=0.05)
    assert float(jumps.min()) >= 0.5 - 1e-9
    assert float(jumps.max()) <= 8.0 + 1e-9
    between = pulsed(torch.full((200_000,), 85e-6, dtype=torch.float64), True, spec) - 85e-6
    assert float(between.median() * 1e6) == pytest.approx((6.0 + 3.0) / 2, abs=0.05)


def test_a_jump_table_may_have_other_numbers_of_quantiles_for_set_and_reset() -> None:
    spec = spec_of("jump_table", **{"jump_table.reset_S": ((-1e-6, 0.0), (-2e-6, -1e-6), (-3e-6, -2e-6))})
    g_S = torch.full((1000,), 200e-6, dtype=torch.float64)
    assert float((pulsed(g_S, False, spec) - g_S).mean()) == pytest.approx(-2.5e-6, rel=0.05)


# ---- VTEAM -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("voltage_V", [-1.1, 1.0])
def test_vteam_agrees_with_a_numerical_solution(p: float, voltage_V: float) -> None:
    figures = Vteam(r_on_ohm=5e3, r_off_ohm=20e3, k_on_m_s=-0.05, k_off_m_s=0.04, alpha_on=2.0, alpha_off=3.0,
                    v_on_V=-0.7, v_off_V=0.6, window_p=p)  # fmt: skip

    def equation(_t: float, w: np.ndarray) -> np.ndarray:
        x = w / figures.d_m
        if voltage_V > 0:
            return figures.k_off_m_s * (voltage_V / figures.v_off_V - 1) ** figures.alpha_off * (1 - x) ** p
        return figures.k_on_m_s * (voltage_V / figures.v_on_V - 1) ** figures.alpha_on * x**p

    for start, width_s in ((0.3, 20e-9), (0.6, 60e-9)):
        solved = solve_ivp(equation, (0, width_s), [start * figures.d_m], rtol=1e-11, atol=1e-22, method="DOP853")
        expected = 1 / (5e3 + 15e3 * solved.y[0, -1] / figures.d_m)
        g_S = torch.tensor([1 / (5e3 + 15e3 * start)], dtype=torch.float64)
        assert float(after_pulse_S(g_S, voltage_V, width_s, figures)) == pytest.approx(expected, rel=1e-7)


def test_vteam_is_still_below_its_thresholds_and_stops_at_its_ends() -> None:
    figures = Vteam()
    g_S = torch.tensor([1e-3, 5e-3, 20e-3], dtype=torch.float64)
    for voltage_V in (-0.2, -0.1, 0.0, 0.02):
        assert torch.allclose(after_pulse_S(g_S, voltage_V, 1.0, figures), g_S, rtol=1e-12)
    assert torch.allclose(after_pulse_S(g_S, -2.0, 1.0, figures), torch.full_like(g_S, 1 / 50))
    hard = Vteam(window_p=0.0)
    assert torch.allclose(after_pulse_S(g_S, 1.0, 1.0, hard), torch.full_like(g_S, 1 / 1000))


def test_vteam_has_a_gradient() -> None:
    figures = Vteam(r_on_ohm=5e3, r_off_ohm=20e3, k_on_m_s=-0.05, k_off_m_s=0.04, v_on_V=-0.7, v_off_V=0.6)
    g = torch.tensor([0.8, 1.4], dtype=torch.float64, requires_grad=True)  # 1e-4 S
    volts = torch.tensor([-0.9, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g, v: 1e4 * after_pulse_S(g * 1e-4, v, 2e-9, figures), [g, volts])


def test_a_window_outside_of_vteams_resistances_is_refused() -> None:
    with pytest.raises(SpecError, match="expected the window within it"):
        load_spec("generic-4bit", {"pulses.model": "vteam"})


# ---- Stanford-PKU ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("voltage_V", [1.0, 1.15, -1.0, -1.3])
@pytest.mark.parametrize("compliance_A", [None, 60e-6])
def test_the_filament_agrees_with_a_numerical_solution(voltage_V: float, compliance_A: float | None) -> None:
    figures = StanfordPku(compliance_A=compliance_A)
    width_s, g_S = 50e-9, torch.tensor([60e-6, 100e-6, 150e-6], dtype=torch.float64)
    gaps = gap_of_conductance_m(g_S, 0.3, figures)
    begin, end = (figures.gap_max_m, figures.gap_min_m) if voltage_V > 0 else (figures.gap_min_m, figures.gap_max_m)
    after = state_after(lambda gap: gap_speed_m_s(gap, voltage_V, figures), gaps, end, begin, width_s)

    def equation(_t: float, gap: np.ndarray) -> np.ndarray:
        speed = gap_speed_m_s(torch.from_numpy(gap), voltage_V, figures).numpy()
        stopped = gap <= figures.gap_min_m if voltage_V > 0 else gap >= figures.gap_max_m
        return np.where(stopped, 0.0, speed)

    for start, found in zip(gaps.tolist(), after.tolist(), strict=True):
        solved = solve_ivp(equation, (0, width_s), [start], rtol=1e-10, atol=1e-20, method="LSODA", max_step=1e-10)
        assert found == pytest.approx(float(solved.y[0, -1]), abs=1e-5 * 1.5e-9)


def test_the_table_of_a_filament_is_fine_enough() -> None:
    """The response between two of its grid points, against the map at the point itself."""
    spec = spec_of("stanford_pku")
    figures, generator = spec.stanford_pku, torch.Generator().manual_seed(0)
    g_S = 50e-6 + 150e-6 * torch.rand(500, dtype=torch.float64, generator=generator)
    for sign, up in ((1.0, True), (-1.0, False)):
        begin, end = (figures.gap_max_m, figures.gap_min_m) if up else (figures.gap_min_m, figures.gap_max_m)
        gaps = gap_of_conductance_m(g_S, 0.3, figures)
        after = state_after(lambda gap, v=sign * 1.0: gap_speed_m_s(gap, v, figures), gaps, end, begin, 50e-9)
        direct = current_A(after, 0.3, figures) / 0.3 - g_S
        table = pulse_response(spec, dtype=torch.float64).change_S(
            g_S, torch.full((500,), float(up), dtype=torch.float64), None, None
        )
        assert float((table - direct).abs().max()) < 1e-4 * 150e-6


def test_more_voltage_more_time_and_more_heat_move_a_filament_further() -> None:
    figures, gap = StanfordPku(), torch.tensor([0.9e-9], dtype=torch.float64)
    slow, fast = gap_speed_m_s(gap, 1.0, figures), gap_speed_m_s(gap, 1.2, figures)
    assert float(fast) < float(slow) < 0  # a positive voltage closes the gap
    assert float(gap_speed_m_s(gap, -1.0, figures)) > 0
    hot = figures.model_copy(update={"ambient_K": 350.0})
    assert float(gap_speed_m_s(gap, 1.0, hot)) < float(slow)
    held = figures.model_copy(update={"compliance_A": 1e-6})
    assert float(slow) < float(gap_speed_m_s(gap, 1.0, held)) < 0
    assert float(current_A(gap, 0.0, figures)) == 0.0
    g_S = current_A(gap, 0.3, figures) / 0.3
    assert float(gap_of_conductance_m(g_S, 0.3, figures)) == pytest.approx(0.9e-9, rel=1e-12)


def test_a_window_outside_of_the_gaps_is_refused() -> None:
    spec = spec_of("stanford_pku", g_max_S=5e-3)
    with pytest.raises(SpecError, match="expected the window within it"):
        pulse_response(spec)


# ---- the map of a pulse ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [-3.0, 5.0])
def test_a_pulse_as_a_map_solves_an_exponential(rate: float) -> None:
    """Both where the state slows down on its way and where it runs away."""
    start = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    end, begin = (1e-3, 1.0) if rate < 0 else (1.0, 1e-3)
    for t in (1e-3, 0.1, 0.3):
        exact = (start * math.exp(rate * t)).clamp(1e-3, 1.0)
        assert torch.allclose(state_after(lambda s: rate * s, start, end, begin, t), exact, rtol=1e-5)


def test_interpolation_is_linear_inside_and_constant_outside() -> None:
    knots, values = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([1.0, 2.0, 0.0])
    x = torch.tensor([-5.0, 0.0, 0.25, 1.0, 2.0, 3.0, 9.0])
    assert interpolate(x, knots, values).tolist() == [1.0, 1.0, 1.25, 2.0, 1.0, 0.0, 0.0]


def test_devices_differ_by_their_factor() -> None:
    """A device's factor acts on all of its steps."""
    spec = spec_of("soft_bounds", **{"pulses.cycle_spread_rel": 0.0})
    g_S = torch.full((2,), 100e-6, dtype=torch.float64)
    cells = Cells.at(g_S.clone(), g_S)
    cells.set_factor = torch.tensor([1.0, 1.5], dtype=torch.float64)
    cells.reset_factor = torch.ones(2, dtype=torch.float64)
    always = (torch.ones(2), torch.ones(2, dtype=torch.bool))
    Pulser(spec, torch.float64).apply(cells, lambda _: always, 1, torch.Generator())
    change = cells.g_S - g_S
    assert float(change[1] / change[0]) == pytest.approx(1.5, rel=1e-9)


def test_an_unused_model_is_not_in_the_way() -> None:
    """A spec's other pulse models keep their figures and do nothing."""
    spec = spec_of("soft_bounds")
    other = spec.replace({"vteam.alpha_on": 5.0})
    g_S = torch.full((10,), 100e-6)
    assert torch.equal(pulsed(g_S, True, spec), pulsed(g_S, True, other))
