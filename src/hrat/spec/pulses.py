"""Pulses: the section `pulses`, and a section for each model of what a pulse does to a conductance.

A set pulse raises the conductance, a reset pulse lowers it. Formulas and their limits: `hrat.physics.pulses`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from hrat.errors import SpecError
from hrat.spec.base import NotNegative, Part, Positive, Table, Values

__all__ = ["PULSE_MODELS", "JumpTable", "LinearStep", "PulseModel", "Pulses", "SoftBounds", "StanfordPku", "Vteam"]


class Pulses(Part):
    """The programming pulses, the model of what they do, and how devices and cycles differ."""

    model: Literal["soft_bounds", "linear_step", "jump_table", "vteam", "stanford_pku"] = "soft_bounds"
    """Model of how far a pulse moves the conductance; its parameters stand in the section of the same name."""
    set_V: Positive = 1.5
    """Amplitude of a set pulse, V."""
    reset_V: Positive = 1.5
    """Amplitude of a reset pulse, which has the other polarity, V."""
    set_width_s: Positive = 50e-9
    """Width of a set pulse, s."""
    reset_width_s: Positive = 50e-9
    """Width of a reset pulse, s."""
    efold_V: Positive | None = None
    """soft_bounds, linear_step: a step is e times as large where the amplitude is larger by this, V; none: unknown."""
    cycle_spread_rel: NotNegative = 0.3
    """Cycle to cycle: standard deviation of a pulse's change, relative to the change. No pulse works backwards."""
    cycle_spread_S: NotNegative = 0.0
    """Cycle to cycle: a part of that standard deviation that is the same for all changes, S."""
    device_spread_rel: NotNegative = 0.1
    """Device to device: sigma of the lognormal factor on all steps of a device, drawn for set and reset apart."""


class PulseModel(Part):
    """The figures of a pulse model; what it is called, and what its pulses can do."""

    in_words: ClassVar[str]
    """The model in a sentence on a device."""
    amplitude: ClassVar[Literal["none", "efold", "physical"]]
    """What a change has of the amplitude: nothing, a factor where `pulses.efold_V` is given, or what physics says."""


class SoftBounds(PulseModel):
    """Steps that become smaller towards the end of the window: potentiation and depression by exponentials."""

    in_words = "steps that shrink towards the end of the window"
    amplitude = "efold"

    n_set: Positive = 64.0
    """Set pulses from the lower end of the window to the upper one."""
    n_reset: Positive = 64.0
    """Reset pulses from the upper end to the lower one."""
    nonlinearity_set: Annotated[float, Field(ge=0, le=50)] = 1.0
    """How much the steps shrink on the way: the last is exp(-nonlinearity) of the first; 0: equal steps."""
    nonlinearity_reset: Annotated[float, Field(ge=0, le=50)] = 1.0
    """How much the steps of reset pulses shrink on their way down; as for set pulses."""


class LinearStep(PulseModel):
    """Equal steps up to hard bounds."""

    in_words = "equal steps"
    amplitude = "efold"

    n_set: Positive = 64.0
    """Set pulses from the lower end of the window to the upper one."""
    n_reset: Positive = 64.0
    """Reset pulses from the upper end to the lower one."""


class JumpTable(PulseModel):
    """Measured changes: at some conductances, the distribution of what one pulse does."""

    in_words = "measured steps"
    amplitude = "none"

    g_S: Values = ()
    """Conductances before the pulse, ascending, S."""
    set_S: Table = ()
    """Change by a set pulse at each of them: quantiles at evenly spaced probabilities from 0 to 1, S."""
    reset_S: Table = ()
    """Change by a reset pulse at each of them, quantiles likewise; negative: the conductance falls, S."""

    @model_validator(mode="after")
    def _check(self) -> JumpTable:
        if not self.g_S and not self.set_S and not self.reset_S:
            return self
        if len(self.g_S) < 2 or any(upper <= lower for lower, upper in pairwise(self.g_S)):
            raise SpecError(f"jump_table.g_S: expected at least 2 ascending conductances, got {self.g_S}")
        for name in ("set_S", "reset_S"):
            rows = getattr(self, name)
            if len(rows) != len(self.g_S):
                raise SpecError(
                    f"jump_table.{name}: expected a row for each of the {len(self.g_S)} conductances of g_S, got "
                    f"{len(rows)}"
                )
            for g_S, row in zip(self.g_S, rows, strict=True):
                if len(row) < 2 or len(row) != len(rows[0]) or any(upper < lower for lower, upper in pairwise(row)):
                    raise SpecError(
                        f"jump_table.{name}: expected ascending quantiles, at least 2 and as many in each row, got "
                        f"{row} at {g_S:g} S"
                    )
        return self


class Vteam(PulseModel):
    """VTEAM (Kvatinsky et al. 2015): a state between two resistances, moved by voltage beyond a threshold.

    Signs as in the paper: a positive voltage beyond v_off_V raises the resistance, so that a set pulse is negative.
    """

    in_words = "VTEAM, a state that moves beyond a threshold"
    amplitude = "physical"

    r_on_ohm: Positive = 50.0
    """Resistance at the state 0, ohm."""
    r_off_ohm: Positive = 1000.0
    """Resistance at the state d_m, ohm."""
    d_m: Positive = 3e-9
    """Length over which the state moves, m."""
    k_on_m_s: Annotated[float, Field(lt=0)] = -10.0
    """Speed factor of the way to r_on_ohm, m/s."""
    k_off_m_s: Positive = 5e-4
    """Speed factor of the way to r_off_ohm, m/s."""
    alpha_on: Positive = 3.0
    """Exponent of the way to r_on_ohm."""
    alpha_off: Positive = 1.0
    """Exponent of the way to r_off_ohm."""
    v_on_V: Annotated[float, Field(lt=0)] = -0.2
    """Threshold of the way to r_on_ohm, V."""
    v_off_V: Positive = 0.02
    """Threshold of the way to r_off_ohm, V."""
    window_p: NotNegative = 1.0
    """Exponent of the window (1 - progress)^p that slows the state near its end; 0: no window, hard stops."""

    @model_validator(mode="after")
    def _check(self) -> Vteam:
        if self.r_on_ohm >= self.r_off_ohm:
            raise SpecError(
                f"vteam: expected r_on_ohm < r_off_ohm, got {self.r_on_ohm:g} and {self.r_off_ohm:g} ohm; swap them"
            )
        return self


class StanfordPku(PulseModel):
    """Stanford-PKU filament model (Guan et al. 2012; Jiang et al. 2016): a gap that ions close and open."""

    in_words = "the Stanford-PKU filament"
    amplitude = "physical"

    gap_min_m: Positive = 0.2e-9
    """Smallest gap between filament and electrode, m."""
    gap_max_m: Positive = 1.7e-9
    """Largest gap, m."""
    i0_A: Positive = 1e-3
    """Current factor, A."""
    g0_m: Positive = 0.25e-9
    """Length by which the gap must grow for the current to fall e-fold, m."""
    v0_V: Positive = 0.25
    """Voltage of the hyperbolic sine in the current, V."""
    velocity_m_s: Positive = 10.0
    """Attempt velocity of the gap, m/s."""
    activation_eV: Positive = 0.6
    """Activation energy of ion migration, eV."""
    hop_m: Positive = 0.25e-9
    """Distance between ion sites, m."""
    thickness_m: Positive = 12e-9
    """Thickness of the oxide, m."""
    gamma0: Positive = 16.0
    """Local enhancement of the field where the gap is zero."""
    beta: NotNegative = 0.8
    """How fast the enhancement falls with the gap: gamma = gamma0 - beta (gap / gap_ref_m)^alpha."""
    gap_ref_m: Positive = 1e-9
    """Reference of the gap in the enhancement, m."""
    alpha: Positive = 3.0
    """Exponent of the gap in the enhancement."""
    r_thermal_K_W: NotNegative = 2.1e3
    """Thermal resistance of the filament, K/W."""
    ambient_K: Positive = 298.0
    """Temperature around the device, K."""
    compliance_A: Positive | None = None
    """Largest current that the selector lets through in set, A; none: no limit."""

    @model_validator(mode="after")
    def _check(self) -> StanfordPku:
        if self.gap_min_m >= self.gap_max_m:
            raise SpecError(
                f"stanford_pku: expected gap_min_m < gap_max_m, got {self.gap_min_m:g} and {self.gap_max_m:g} m"
            )
        return self


PULSE_MODELS: dict[str, type[PulseModel]] = {
    "soft_bounds": SoftBounds,
    "linear_step": LinearStep,
    "jump_table": JumpTable,
    "vteam": Vteam,
    "stanford_pku": StanfordPku,
}
"""By the name of the section, which `Pulses.model` and the fields of `HardwareSpec` name as well."""
