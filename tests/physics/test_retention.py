"""Relaxation, decay and drift against the published figures."""

from __future__ import annotations

import math

import pytest
import torch

from hrat.physics.retention import aged_S, drift_exponent, equivalent_time_s, relaxation_sigma_S
from hrat.spec import Retention, load_spec

N = 100_000
WAN = {
    1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
    86400.0: (0.701, 22.086, -50.773, 47.095, -16.458),
    172800.0: (0.782, 20.274, -43.507, 37.062, -11.934),
}


def many(g_S: float, seed: int = 0) -> tuple[torch.Tensor, torch.Generator]:
    return torch.full((N,), g_S, dtype=torch.float64), torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("t_s", sorted(WAN))
@pytest.mark.parametrize("g_uS", [14.0, 20.0, 30.0, 38.0])
def test_relaxation_reproduces_the_polynomials_of_wan2022(t_s: float, g_uS: float) -> None:
    g_S, generator = many(g_uS * 1e-6)
    aged = aged_S(g_S, t_s, load_spec("wan2022").retention, generator=generator)
    x = g_uS / 40
    expected_uS = sum(c * x**k for k, c in enumerate(WAN[t_s]))
    assert float(aged.std()) * 1e6 == pytest.approx(expected_uS, rel=0.02)
    assert float(aged.mean()) == pytest.approx(g_uS * 1e-6, abs=5 * expected_uS * 1e-6 / N**0.5)


@pytest.mark.parametrize("g_uS", [50.0, 137.0, 225.0])
def test_relaxation_reproduces_the_line_of_milo2021(g_uS: float) -> None:
    g_S, generator = many(g_uS * 1e-6)
    aged = aged_S(g_S, 60.0, load_spec("milo2021").retention, generator=generator)
    assert float(aged.std()) * 1e6 == pytest.approx(4.782 - 0.009107 * g_uS, rel=0.02)


@pytest.mark.parametrize("g_uS", [8.0, 15.0, 24.0])
def test_phase_change_memory_spreads_and_drifts_as_published(g_uS: float) -> None:
    retention = load_spec("ibm-pcm").retention
    x = g_uS / 25
    g_S, generator = many(g_uS * 1e-6)
    sigma_uS = 0.26348 + 1.9650 * x - 1.1731 * x**2
    spread = aged_S(g_S, 20.0, retention, generator=generator)
    assert float(spread.std()) * 1e6 == pytest.approx(sigma_uS, rel=0.02)
    nu = min(max(-0.0155 * math.log(x) + 0.0244, 0.049), 0.1)
    sigma = min(max(-0.0125 * math.log(x) - 0.0059, 0.008), 0.045)
    mean, deviation = drift_exponent(g_S[:1], retention)
    assert float(mean) == pytest.approx(nu, rel=1e-12)
    assert float(deviation) == pytest.approx(sigma, rel=1e-12)
    # From t0 on the mean falls as a power of time; nu varies little over the spread of one state.
    later = aged_S(g_S, 20e6, retention, since_s=20.0, generator=generator)
    assert float(later.mean() / g_S.mean()) == pytest.approx(
        1e6**-nu * math.exp((sigma * math.log(1e6)) ** 2 / 2), rel=0.005
    )


def test_cmo_decays_and_spreads_with_the_logarithm_of_time() -> None:
    retention = load_spec("cmo-hfox").retention
    for t_s in (10.0, 3600.0, 5e5):
        g_S, generator = many(50e-6)
        aged = (aged_S(g_S, t_s, retention, generator=generator) - g_S) * 1e6
        assert float(aged.std()) == pytest.approx(0.042 * math.log(t_s) + 0.4118, rel=0.02)
        assert float(aged.mean()) == pytest.approx(-0.089 * math.log(t_s), abs=0.01)


def test_two_steps_of_ageing_spread_as_one() -> None:
    retention = load_spec("wan2022").retention
    g_S, generator = many(12e-6)
    once = aged_S(g_S, 86400.0, retention, generator=generator)
    twice = aged_S(
        aged_S(g_S, 1.0, retention, generator=generator), 86400.0, retention, since_s=1.0, generator=generator
    )
    # The second step's spread is that of the conductance which the first one left, a little off that of the start.
    assert float(twice.std()) == pytest.approx(float(once.std()), rel=0.03)
    assert torch.equal(aged_S(g_S, 5.0, retention, since_s=5.0), g_S)


def test_heat_is_time() -> None:
    figures = Retention(
        relax_times_s=(1.0, 1e6), relax_sigma_S=((1e-6,), (3e-6,)), relax_ref_S=1e-4, activation_eV=0.6,
        temperature_K=358.0, reference_K=300.0,
    )  # fmt: skip
    factor = math.exp(0.6 / 8.617333262e-5 * (1 / 300 - 1 / 358))
    assert equivalent_time_s(2.0, figures) == pytest.approx(2.0 * factor, rel=1e-9)
    assert factor > 10  # hotter is faster
    g_S, generator = many(1e-4)
    hot = aged_S(g_S, 1e3 / factor, figures, generator=generator)
    assert float(hot.std()) == pytest.approx(2e-6, rel=0.02)  # 1e3 s lies half-way between, in the logarithm


def test_before_and_beyond_the_measured_times_the_spread_is_that_of_the_nearest() -> None:
    retention, g_S = load_spec("wan2022").retention, torch.tensor([20e-6], dtype=torch.float64)
    assert relaxation_sigma_S(g_S, 0.0, retention).item() == 0.0
    assert torch.equal(relaxation_sigma_S(g_S, 1e-3, retention), relaxation_sigma_S(g_S, 1.0, retention))
    assert torch.equal(relaxation_sigma_S(g_S, 1e9, retention), relaxation_sigma_S(g_S, 172800.0, retention))


def test_conductances_stay_positive() -> None:
    g_S, generator = many(1e-6)
    assert float(aged_S(g_S, 86400.0, load_spec("wan2022").retention, generator=generator).min()) >= 0
