"""Errors drawn from a table, and stuck devices."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import kstest, norm

from formulas import achieved_conductance, has_error, pair_error_is_gaussian, sigma_S, stuck_devices
from hrat.errors import SpecError
from hrat.spec import TABLE_PROBABILITIES, HardwareSpec, load_spec

N = 200_000
SIGMA_S = 3e-6


def gaussian_row(target_S: float, shift_S: float = 0.0) -> tuple[float, ...]:
    """Quantiles of a Gaussian, cut where a table of 100,000 devices would end."""
    inner = [min(max(p, 1e-5), 1 - 1e-5) for p in TABLE_PROBABILITIES]
    return tuple(target_S + shift_S + SIGMA_S * float(norm.ppf(p)) for p in inner)


def table_spec(shift_S: float = 0.0) -> HardwareSpec:
    spec = load_spec("generic-4bit")
    targets = spec.device.states_S
    return spec.replace(table_targets_S=targets, table_S=[gaussian_row(t, shift_S) for t in targets])


def draw(target_S: float, spec: HardwareSpec, seed: int = 0, strength: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return achieved_conductance(
        torch.full((N,), target_S, dtype=torch.float64), spec, generator=generator, strength=strength
    )


def test_a_table_of_a_gaussian_is_the_gaussian() -> None:
    spec = table_spec(shift_S=-1e-6)
    for target_S in spec.device.states_S[::5]:
        drawn = draw(target_S, spec)
        assert float(drawn.mean()) == pytest.approx(target_S - 1e-6, abs=5 * SIGMA_S / N**0.5 + 0.002 * SIGMA_S)
        assert float(drawn.std()) == pytest.approx(SIGMA_S, rel=0.02)
        # Between the table's quantiles the distribution is linear, which moves it by less than a per cent.
        assert kstest(drawn.numpy(), norm(target_S - 1e-6, SIGMA_S).cdf).statistic < 0.006
        for p in (0.001, 0.01, 0.5, 0.99, 0.999):
            exact = target_S - 1e-6 + SIGMA_S * norm.ppf(p)
            assert float(drawn.quantile(p)) == pytest.approx(exact, abs=0.06 * SIGMA_S)


def test_between_two_targets_the_distance_from_the_target_is_interpolated() -> None:
    spec = load_spec("generic-4bit")
    low, high = spec.device.g_min_S, spec.device.g_max_S
    rows = [gaussian_row(low, 0.0), gaussian_row(high, -20e-6)]
    spec = spec.replace(table_targets_S=(low, high), table_S=rows)
    middle = (low + high) / 2
    assert float(draw(middle, spec).mean()) == pytest.approx(middle - 10e-6, abs=0.1e-6)
    assert float(sigma_S(torch.tensor([middle], dtype=torch.float64), spec)) == pytest.approx(SIGMA_S, rel=0.02)


def test_strength_scales_the_distance_from_the_target() -> None:
    spec = table_spec(shift_S=-4e-6)
    half = draw(100e-6, spec, strength=0.5)
    assert torch.allclose(half - 100e-6, (draw(100e-6, spec) - 100e-6) / 2, atol=1e-18)
    assert torch.equal(draw(100e-6, spec, strength=0.0), torch.full((N,), 100e-6, dtype=torch.float64))


def test_a_table_replaces_a_sigma_and_the_other_way_round() -> None:
    spec = table_spec()
    assert spec.programming.sigma_rel is None
    assert spec.replace(sigma_rel=0.02).programming.table_S is None
    with pytest.raises(SpecError, match="expected 61 quantiles in each row"):
        spec.replace(table_S=[(1e-6, 2e-6)] * 16, table_targets_S=spec.device.states_S)
    with pytest.raises(SpecError, match="expected rows from the lowest to the highest state"):
        spec.replace(g_max_S=300e-6)
    with pytest.raises(SpecError, match="table_targets_S"):
        load_spec("generic-4bit", table_S=[gaussian_row(1e-4)] * 2)


def test_an_untabled_error_needs_one_draw_for_a_pair_and_a_table_two() -> None:
    assert pair_error_is_gaussian(load_spec("generic-4bit"))
    assert not pair_error_is_gaussian(table_spec())
    assert not pair_error_is_gaussian(load_spec("generic-4bit", stuck_on=0.1, limit_faults=True))


# ---- stuck devices ---------------------------------------------------------------------------------------------------


def test_shares_of_stuck_devices_are_those_of_the_spec() -> None:
    spec = load_spec(
        "generic-4bit", stuck_off=0.0904, stuck_on=0.0175, stuck_anywhere=0.03, stuck_off_S=1e-9, limit_faults=True
    )
    like = torch.zeros(N, dtype=torch.float64)
    stuck, g_S = stuck_devices(like, spec, generator=torch.Generator().manual_seed(0))
    off, on = stuck & (g_S == 1e-9), stuck & (g_S == spec.device.g_max_S)
    anywhere = g_S[stuck & ~off & ~on]
    for part, share in ((off, 0.0904), (on, 0.0175), (anywhere, 0.03)):
        count = int(part.sum()) if part.dtype == torch.bool else len(part)
        assert count / N == pytest.approx(share, abs=5 * math.sqrt(share / N))
    low, high = spec.device.g_min_S, spec.device.g_max_S
    assert kstest(((anywhere - low) / (high - low)).numpy(), "uniform").pvalue > 1e-3


def test_stuck_devices_are_among_what_training_draws_and_the_rest_is_untouched() -> None:
    spec = load_spec("generic-4bit", stuck_on=0.05, limit_faults=True)
    drawn = draw(100e-6, spec)
    stuck = drawn == spec.device.g_max_S
    assert float(stuck.double().mean()) == pytest.approx(0.05, abs=0.003)
    assert float(drawn[~stuck].std()) == pytest.approx(0.035 * 150e-6, rel=0.02)
    exact = draw(100e-6, spec.without("error"))
    assert set(exact.unique().tolist()) == {100e-6, spec.device.g_max_S}
    assert has_error(spec.without("error"))
    assert not has_error(spec.without("error", "faults"))
    assert torch.equal(draw(100e-6, spec.without("faults")), draw(100e-6, load_spec("generic-4bit")))


def test_shares_above_one_and_a_switch_without_shares_are_refused() -> None:
    with pytest.raises(SpecError, match=r"of at most 1, got 1\.2"):
        load_spec("generic-4bit", stuck_on=0.6, stuck_off=0.6)
    with pytest.raises(SpecError, match="all shares and window_spread_rel are 0"):
        load_spec("generic-4bit", limit_faults=True)
