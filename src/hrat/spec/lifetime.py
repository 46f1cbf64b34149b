"""What happens to devices apart from programming: the sections `retention` and `faults`."""

from __future__ import annotations

from itertools import pairwise

from pydantic import model_validator

from hrat.errors import SpecError
from hrat.spec.base import NotNegative, Part, Positive, Share, Table, Values

__all__ = ["Faults", "Retention"]


class Retention(Part):
    """Relaxation and drift of a programmed conductance. Formulas: `hrat.physics.retention`."""

    age_s: NotNegative = 86400.0
    """Time between programming and use, s."""
    temperature_K: Positive = 300.0
    """Temperature at which the chip is kept, K."""
    reference_K: Positive = 300.0
    """Temperature at which the figures of this section hold, K."""
    activation_eV: NotNegative = 0.0
    """Activation energy by which heat speeds time up (Arrhenius), eV; 0: not at all."""
    relax_times_s: Values = ()
    """Times after programming at which relaxation was measured, ascending, s; empty: no relaxation."""
    relax_sigma_S: Table = ()
    """Spread by relaxation at each of these times, sigma(G) = sum_k c_k (G / ref)^k: a list of c_0, c_1, ... in S."""
    relax_ref_S: Positive | None = None
    """The reference conductance of relax_sigma_S, S."""
    relax_shift_S: float = 0.0
    """Mean change of the conductance each time that ln(t / 1 s) grows by one, S; negative where it decays."""
    drift_nu_mean: Values = ()
    """Exponent of drift G ~ (t / t0)^-nu, its mean a + b ln(G / ref): a and b; empty: no drift."""
    drift_nu_sigma: Values = ()
    """Standard deviation of the exponent over devices, a + b ln(G / ref): a and b; empty: none."""
    drift_nu_mean_limits: Values = ()
    """Lowest and highest mean exponent; empty: none."""
    drift_nu_sigma_limits: Values = ()
    """Lowest and highest standard deviation of the exponent; empty: none."""
    drift_ref_S: Positive | None = None
    """The reference conductance of the exponents, S."""
    drift_t0_s: Positive = 20.0
    """Time after programming at which drift begins to count, s."""
    limit_retention: bool = False
    """Restriction: pulse-programmed chips relax and drift for age_s. The statistical scheme draws its error alone."""

    @model_validator(mode="after")
    def _check(self) -> Retention:
        if len(self.relax_times_s) != len(self.relax_sigma_S):
            raise SpecError(
                f"retention: expected one row of relax_sigma_S for each of relax_times_s, got "
                f"{len(self.relax_sigma_S)} rows for {len(self.relax_times_s)} times"
            )
        if any(time <= 0 for time in self.relax_times_s) or any(b <= a for a, b in pairwise(self.relax_times_s)):
            raise SpecError(f"retention.relax_times_s: expected ascending times above 0 s, got {self.relax_times_s}")
        if any(not row for row in self.relax_sigma_S):
            raise SpecError("retention.relax_sigma_S: expected at least one coefficient in each row, got an empty one")
        if bool(self.relax_sigma_S) != (self.relax_ref_S is not None):
            raise SpecError("retention: relax_sigma_S and relax_ref_S belong together; give both or none")
        for name in ("drift_nu_mean", "drift_nu_sigma", "drift_nu_mean_limits", "drift_nu_sigma_limits"):
            values = getattr(self, name)
            if len(values) not in (0, 2):
                raise SpecError(f"retention.{name}: expected two numbers or none, got {len(values)}")
            if name.endswith("limits") and values and values[0] > values[1]:
                raise SpecError(f"retention.{name}: expected the lower limit first, got {values}")
        if (self.drift_nu_mean or self.drift_nu_sigma) and self.drift_ref_S is None:
            raise SpecError("retention: drift needs drift_ref_S, the conductance (S) by which G is divided; give it")
        if self.limit_retention and not (self.relax_sigma_S or self.drift_nu_mean or self.relax_shift_S):
            raise SpecError(
                "retention: limit_retention is on, but neither relaxation (relax_times_s, relax_sigma_S) nor drift "
                "(drift_nu_mean) is given; give one of them, or set limit_retention to false"
            )
        return self


class Faults(Part):
    """Stuck devices, and devices that reach a part of the window only."""

    stuck_off: Share = 0.0
    """Share of devices that stay at stuck_off_S."""
    stuck_on: Share = 0.0
    """Share of devices that stay at stuck_on_S."""
    stuck_anywhere: Share = 0.0
    """Share of devices that stay somewhere in the window, evenly spread."""
    stuck_off_S: NotNegative | None = None
    """Conductance of a device stuck off, S; none: g_min_S."""
    stuck_on_S: NotNegative | None = None
    """Conductance of a device stuck on, S; none: g_max_S."""
    window_spread_rel: NotNegative = 0.0
    """Limited windows, met by pulses: a device's own ends lie within by a half-Gaussian of this share of the window."""
    limit_faults: bool = False
    """Restriction: some devices are stuck, or reach a part of the window only."""

    @model_validator(mode="after")
    def _check(self) -> Faults:
        total = self.stuck_off + self.stuck_on + self.stuck_anywhere
        if total > 1:
            raise SpecError(f"faults: expected stuck_off + stuck_on + stuck_anywhere of at most 1, got {total:g}")
        if self.limit_faults and total == 0 and self.window_spread_rel == 0:
            raise SpecError(
                "faults: limit_faults is on, but all shares and window_spread_rel are 0; give one of them, or set "
                "limit_faults to false"
            )
        return self
