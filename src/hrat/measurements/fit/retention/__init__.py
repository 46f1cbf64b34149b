"""Retention records -> relaxation, decay or drift (`hrat.physics.retention`).

The first reading of a device is taken as its programmed state G. Then, with t the time at the reference temperature:

1. The slope of each device in ln t is found, and the mean slope with its error. If that differs from zero, it is a
   decay, equal for all conductances (`relax_shift_S`), or a drift, in proportion to the conductance
   (`drift_nu_mean`): whichever explains the slopes better.
2. With drift, the spread of the exponents over devices is a random effect (`drift_nu_sigma`).
3. Without, what is left around the decay is relaxation: at some times a spread that depends on the state
   (`relax_sigma_S`), with the noise of both readings taken off.
4. Several temperatures: a decay or drift that runs ahead by ln A at another temperature gives the activation energy,
   ln A = E_a / k (1 / T_ref - 1 / T). A spread alone does not tell it.

Limits: relaxation beside drift is not fitted; random telegraph noise counts as relaxation.
"""

from __future__ import annotations

from hrat.measurements.fit.retention.retention_fit import RetentionFit, fit_retention

__all__ = ["RetentionFit", "fit_retention"]
