"""Characterisation: distribution of achieved conductances for each target of a programming scheme."""

from __future__ import annotations

from dataclasses import dataclass

from hrat.spec import TABLE_PROBABILITIES, HardwareSpec

__all__ = ["Characterisation", "StateFigures"]


@dataclass(frozen=True, kw_only=True)
class StateFigures:
    """One target state over all devices that were programmed to it. Stuck devices are not among them."""

    target_S: float
    mean_S: float
    """Mean of the achieved conductances."""
    sigma_S: float
    """Their standard deviation."""
    quantiles_S: tuple[float, ...]
    """Their quantiles at `hrat.spec.TABLE_PROBABILITIES`."""
    budget_spent: float
    """Share of devices that spent all pulses without being accepted."""
    mean_pulses: float
    most_pulses: int
    mean_energy_J: float


@dataclass(frozen=True, kw_only=True)
class Characterisation:
    """The table *target state -> distribution of the achieved conductance* of a spec's device and scheme."""

    spec: HardwareSpec
    """The hardware with this table in place of its sigma: for `hrat.prepare`, and to be saved as a preset."""
    states: tuple[StateFigures, ...]
    devices: int
    """Number of devices programmed to each state."""
    seed: int

    @property
    def rms_rel(self) -> float:
        """Root mean square distance from the target over all states, relative to the window."""
        squares = [state.sigma_S**2 + (state.mean_S - state.target_S) ** 2 for state in self.states]
        return float((sum(squares) / len(squares)) ** 0.5) / self.spec.device.g_range_S

    @property
    def _accepted(self) -> str:
        programming = self.spec.programming
        if programming.scheme != "write_verify":
            return ""
        if programming.tolerance_S is not None:
            return f", accepted within {_uS(programming.tolerance_S)} uS"
        assert programming.tolerance_rel is not None  # checked by the spec
        return f", accepted within {_uS(programming.tolerance_rel * self.spec.device.g_range_S)} uS"

    def gaussian_spec(self) -> HardwareSpec:
        """The hardware with a Gaussian of the same mean square error for all states, for comparison."""
        return self.spec.replace({"programming.sigma_rel": min(self.rms_rel, 1.0)})

    def __str__(self) -> str:
        """A table of the states."""
        programming = self.spec.programming
        lines = [
            f"'{self.spec.name}' by {programming.scheme}, at most {programming.max_pulses} pulses, {self.devices:,} "
            f"devices a state{self._accepted}; rms error {self.rms_rel:.2%} of the window",
            f"  {'target':>12} {'mean error':>12} {'sigma':>12} {'0.1 % .. 99.9 %':>22} {'not reached':>12} "
            f"{'pulses':>8}",
        ]
        low, high = TABLE_PROBABILITIES.index(0.001), TABLE_PROBABILITIES.index(1 - 0.001)
        for state in self.states:
            span = f"{_uS(state.quantiles_S[low])} .. {_uS(state.quantiles_S[high])}"
            lines.append(
                f"  {_uS(state.target_S):>9} uS {_uS(state.mean_S - state.target_S):>9} uS {_uS(state.sigma_S):>9} uS "
                f"{span:>19} uS {state.budget_spent:>12.2%} {state.mean_pulses:>8.1f}"
            )
        return "\n".join(lines)

    __repr__ = __str__


def _uS(g_S: float) -> str:
    # What is left of a sum of equal numbers is nothing.
    return f"{g_S * 1e6:.4g}" if abs(g_S) > 1e-15 else "0"
