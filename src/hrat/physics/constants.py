"""Constants of nature, from scipy (CODATA)."""

from __future__ import annotations

from scipy.constants import Boltzmann, elementary_charge

__all__ = ["BOLTZMANN_EV_K"]

BOLTZMANN_EV_K: float = Boltzmann / elementary_charge
"""k / e, eV/K."""
