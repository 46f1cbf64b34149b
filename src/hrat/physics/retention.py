"""Effect of time and heat on a programmed conductance: relaxation, decay and drift.

    relaxation   G(t) = G + sigma(G, t) z       sigma measured at some times, linear in ln t between them (the form of
                                                the fits to Wan et al. 2022, Nature 608, and to CMO/HfOx in aihwkit)
    decay        G(t) = G + shift ln(t / 1 s)   from one second on (CMO/HfOx)
    drift        G(t) = G (t / t0)^-nu          from t0 on, nu = a + b ln(G / ref) with a spread over devices
                                                (phase-change memory, as fitted in aihwkit)
    heat         t -> t exp(E_a / k (1 / T_ref - 1 / T))      all of the above run faster (Arrhenius)

Limits: before the first measured time relaxation has its full first value, after the last one it stays. z and nu are
independent of all that happened before: ageing in two steps keeps variances, but not the paths of single devices.
No random telegraph noise. A conductance is never negative.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hrat.physics.constants import BOLTZMANN_EV_K
from hrat.physics.spread import spread_S
from hrat.spec import Retention

__all__ = ["aged_S", "drift_exponent", "equivalent_time_s", "relaxation_sigma_S"]


def equivalent_time_s(t_s: float, retention: Retention) -> float:
    """Time at the reference temperature equivalent to `t_s` at the spec's temperature (Arrhenius), s."""
    inverse_K = 1 / retention.reference_K - 1 / retention.temperature_K
    return t_s * math.exp(retention.activation_eV / BOLTZMANN_EV_K * inverse_K)


def relaxation_sigma_S(g_S: Tensor, t_s: float, retention: Retention) -> Tensor:
    """Spread by relaxation after `t_s` at the reference temperature, of the shape of `g_S`, S."""
    if not retention.relax_times_s or t_s <= 0:
        return torch.zeros_like(g_S)
    assert retention.relax_ref_S is not None  # checked by the spec
    times = retention.relax_times_s
    later = next((i for i, time in enumerate(times) if time >= t_s), len(times) - 1)
    earlier = max(later - 1, 0)
    sigma = spread_S(g_S, retention.relax_ref_S, retention.relax_sigma_S[later])
    if later == earlier or t_s <= times[earlier] or t_s >= times[later]:
        return sigma
    part = math.log(t_s / times[earlier]) / math.log(times[later] / times[earlier])
    return torch.lerp(spread_S(g_S, retention.relax_ref_S, retention.relax_sigma_S[earlier]), sigma, part)


def drift_exponent(g_S: Tensor, retention: Retention) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of nu at each conductance, each of the shape of `g_S`."""
    assert retention.drift_ref_S is not None
    log_x = torch.log((g_S / retention.drift_ref_S).clamp(min=torch.finfo(g_S.dtype).tiny))
    exponents = []
    for line, limits in (
        (retention.drift_nu_mean, retention.drift_nu_mean_limits),
        (retention.drift_nu_sigma, retention.drift_nu_sigma_limits),
    ):
        constant, slope = line or (0.0, 0.0)
        low, high = limits or (-math.inf, math.inf)
        exponents.append((constant + slope * log_x).clamp(low, high))
    return exponents[0], exponents[1].clamp(min=0.0)


def aged_S(
    g_S: Tensor, t_s: float, retention: Retention, *, since_s: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """Conductances `t_s` after programming, in siemens.

    Args:
        g_S: conductances at `since_s`, any shape, S.
        t_s: time after programming at the spec's temperature, s.
        retention: the figures.
        since_s: how long after programming `g_S` holds, s.
        generator: source of the random numbers; torch's default one where none is given.

    Returns:
        Tensor of the shape of `g_S`, S, nowhere negative.
    """
    now, then = equivalent_time_s(t_s, retention), equivalent_time_s(since_s, retention)
    if now <= then:
        return g_S
    out = g_S
    if retention.relax_sigma_S:
        variance = relaxation_sigma_S(g_S, now, retention).square() - relaxation_sigma_S(g_S, then, retention).square()
        z = torch.empty_like(g_S).normal_(generator=generator)
        out = out + z.mul_(variance.clamp_(min=0.0).sqrt_())
    if retention.relax_shift_S:
        out = out + retention.relax_shift_S * (math.log(max(now, 1.0)) - math.log(max(then, 1.0)))
    first = max(then, retention.drift_t0_s)
    if retention.drift_nu_mean and now > first:
        mean, sigma = drift_exponent(out, retention)
        nu = torch.empty_like(g_S).normal_(generator=generator).mul_(sigma).add_(mean)
        out = out * torch.exp(nu.mul_(-math.log(now / first)))
    return out.clamp(min=0.0)
