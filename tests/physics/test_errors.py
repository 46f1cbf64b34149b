"""The error model: where a device ends that was asked for a conductance."""

from __future__ import annotations

import pytest
import torch

from formulas import achieved_conductance, clipping_is_possible, sigma_S
from hrat.physics.errors import NORMAL_BLOCK, standard_normal
from laws.networks import SPECS

N = 100_000


def spread_at(g_S: float, spec_name: str, seed: int = 0) -> tuple[float, float]:
    """Mean and standard deviation of what many devices reach."""
    generator = torch.Generator().manual_seed(seed)
    target_S = torch.full((N,), g_S, dtype=torch.float64)
    reached_S = achieved_conductance(target_S, SPECS[spec_name], generator=generator)
    return float(reached_S.mean()), float(reached_S.std())


@pytest.mark.parametrize("g_S", [50e-6, 90e-6, 200e-6])
def test_a_constant_spread_is_a_share_of_the_window(g_S: float) -> None:
    sigma = 0.10 * 150e-6
    mean_S, std_S = spread_at(g_S, "harsh")
    assert mean_S == pytest.approx(g_S, abs=5 * sigma / N**0.5)
    assert std_S == pytest.approx(sigma, rel=0.02)


@pytest.mark.parametrize("g_S", [15e-6, 20e-6, 25e-6, 30e-6, 35e-6, 40e-6])
def test_the_spread_of_wan2022_is_its_polynomial(g_S: float) -> None:
    x = g_S / 40e-6
    direct = 1e-6 * (0.701 + 22.086 * x - 50.773 * x**2 + 47.095 * x**3 - 16.458 * x**4)
    mean_S, std_S = spread_at(g_S, "wan2022")
    assert std_S == pytest.approx(direct, rel=0.02)
    assert mean_S == pytest.approx(g_S, abs=5 * direct / N**0.5)
    exact = sigma_S(torch.tensor([g_S], dtype=torch.float64), SPECS["wan2022"])
    assert float(exact) == pytest.approx(direct, rel=1e-12)


@pytest.mark.parametrize("g_S", [50e-6, 137.5e-6, 225e-6])
def test_the_spread_of_milo2021_is_its_line(g_S: float) -> None:
    direct = 4.782e-6 - 0.009107 * g_S
    assert spread_at(g_S, "milo2021")[1] == pytest.approx(direct, rel=0.02)


def test_a_conductance_is_never_negative() -> None:
    """At 1 uS the spread of wan2022 is larger than the conductance itself."""
    generator = torch.Generator().manual_seed(1)
    target_S = torch.full((N,), 1e-6, dtype=torch.float64)
    reached_S = achieved_conductance(target_S, SPECS["wan2022"], generator=generator)
    assert float(reached_S.min()) == 0.0
    share = float((reached_S == 0).double().mean())
    sigma = float(sigma_S(target_S[:1], SPECS["wan2022"]))
    below = float(torch.distributions.Normal(1e-6, sigma).cdf(torch.tensor(0.0)))
    assert share == pytest.approx(below, rel=0.05)


def test_clipping_is_possible_where_six_sigma_reach_zero() -> None:
    assert clipping_is_possible(SPECS["wan2022"])
    assert clipping_is_possible(SPECS["harsh"])
    assert not clipping_is_possible(SPECS["milo2021"])
    assert not clipping_is_possible(SPECS["harsh"].replace(sigma_rel=0.05))
    assert not clipping_is_possible(SPECS["no error"])


def test_strength_scales_the_error_and_off_is_exact() -> None:
    target_S = torch.full((1000,), 1e-4, dtype=torch.float64)
    spec = SPECS["harsh"]

    def error(strength: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(2)
        return achieved_conductance(target_S, spec, generator=generator, strength=strength) - target_S

    torch.testing.assert_close(error(0.25), error(1.0) / 4, rtol=1e-9, atol=1e-18)
    assert not bool(error(0.0).any())
    assert torch.equal(achieved_conductance(target_S, spec.without("error")), target_S)


def test_seeds_make_and_remake_errors() -> None:
    target_S = torch.full((100,), 1e-4)
    draws = [
        achieved_conductance(target_S, SPECS["harsh"], generator=torch.Generator().manual_seed(seed))
        for seed in (3, 3, 4)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    torch.manual_seed(9)
    first = achieved_conductance(target_S, SPECS["harsh"])
    torch.manual_seed(9)
    assert torch.equal(first, achieved_conductance(target_S, SPECS["harsh"]))


def test_devices_are_independent() -> None:
    generator = torch.Generator().manual_seed(5)
    target_S = torch.full((N, 2), 1e-4, dtype=torch.float64)
    reached_S = achieved_conductance(target_S, SPECS["harsh"], generator=generator)
    assert abs(float(torch.corrcoef(reached_S.T)[0, 1])) < 5 / N**0.5


def test_a_large_draw_is_the_same_on_any_number_of_threads() -> None:
    n, threads = 700_001, torch.get_num_threads()
    draws = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            generator = torch.Generator().manual_seed(5)
            draws.append(standard_normal(torch.empty(n, dtype=torch.float64), generator))
            following = torch.randn(3, generator=generator)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(draws[0], draws[1])
    z = draws[0]
    assert float(z.mean()) == pytest.approx(0.0, abs=5 / n**0.5)
    assert float(z.square().mean()) == pytest.approx(1.0, abs=5 * (2 / n) ** 0.5)
    assert float(z.pow(4).mean()) == pytest.approx(3.0, abs=5 * (96 / n) ** 0.5)
    # Neither neighbours nor the same places of two blocks know of each other, nor what the generator gives next.
    for shift in (1, NORMAL_BLOCK):
        assert float((z[:-shift] * z[shift:]).mean()) == pytest.approx(0.0, abs=5 / (n - shift) ** 0.5)
    assert not torch.isin(following.double(), z).any()


def test_large_errors_are_the_same_numbers_when_compiled() -> None:
    """Drawn in blocks on all cores, as one operation of the graph."""

    def draw(like: torch.Tensor) -> torch.Tensor:
        return standard_normal(torch.empty_like(like), None) + like

    like = torch.zeros(2**20 + 7)
    torch._dynamo.reset()
    compiled = torch.compile(draw, backend="aot_eager", fullgraph=True)
    torch.manual_seed(3)
    expected = draw(like)
    torch.manual_seed(3)
    assert torch.equal(compiled(like), expected)
    assert abs(float(expected.mean())) < 5e-3
    assert abs(float(expected.std()) - 1) < 5e-3
