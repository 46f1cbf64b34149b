"""A fit needs no torch, and so has its formulas in numpy: they are those of the physics, to the last digits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hrat.measurements.fit.retention.trend import BOLTZMANN_EV_K as FITTED
from hrat.measurements.fit.spread_polynomial import SpreadPolynomial
from hrat.measurements.fit.sweeps.direction import DirectionFit
from hrat.physics.constants import BOLTZMANN_EV_K
from hrat.physics.pulses.soft_bounds import asymptote_and_rate
from hrat.physics.spread import spread_S


@given(n=st.floats(2, 500), nu=st.floats(1e-3, 8))
def test_a_fitted_step_is_the_step_of_soft_bounds(n: float, nu: float) -> None:
    """`x -> x + s (1 - rho x)` has the asymptote 1 / rho and the rate s rho, from which N and nu come back."""
    end, rate = asymptote_and_rate(n, nu)
    fit = DirectionFit(
        up=True, rho=1 / end, rho_error=0.0, log_step=math.log(rate * end), log_step_error=0.0, log_step_slope=0.0,
        device_log_steps=np.zeros(1), device_errors=np.zeros(1), n_steps=1, misfit_rel=0.0,
    )  # fmt: skip
    assert fit.nonlinearity == pytest.approx(nu, rel=1e-9)
    assert fit.n_pulses() == pytest.approx(n, rel=1e-9)


def test_a_fitted_spread_is_the_spread_of_the_physics() -> None:
    coefficients_S, ref_S, g_S = (0.7e-6, 22e-6, -50e-6, 47e-6), 40e-6, np.linspace(1e-6, 30e-6, 20)
    fit = SpreadPolynomial(coefficients_S, (0.0,) * 4, ref_S, 0.0, 0.0)
    of_physics = spread_S(torch.from_numpy(g_S), ref_S, coefficients_S)
    assert np.maximum(fit.at(g_S), 0.0) == pytest.approx(of_physics.numpy(), rel=1e-12)


def test_both_have_the_same_constant() -> None:
    assert FITTED == BOLTZMANN_EV_K == pytest.approx(8.617333262e-5, rel=1e-9)
