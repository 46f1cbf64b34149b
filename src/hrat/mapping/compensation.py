"""Compensation of known wires: targets chosen such that the effective conductances are those wanted.

The wires turn the pair `(G+, G-)` of a weight into `(M+, M-)`. Wanted is `R_f' (M+ - M-) = R_f (G+ - G-)`. Two things
can be changed after training:

* `R_f`: a loss that is the same for all devices is but a factor, so that a larger `R_f` makes up for it. It is a
  resistor of the layer, and costs nothing but the programming error that it magnifies as well.
* the targets: what lies far from driver and amplifier gets more conductance, what lies near gets less, as far as the
  window goes. Fixed-point iteration on the part `f` of the window that a weight takes, within [-1, 1],

      f <- f + (s f_wanted - f_seen) / t,      t = (M+ + M-) / (G+ + G-),     s = R_f / R_f'

  and at the end the nearest states, and the `R_f'` that fits these best.

The smaller `s`, the fewer weights would need more than the window has, and the more of the programming error is seen.
Several `s` are tried. Each layer takes that with the least expected error, or keeps its targets where none is better.

Limits: nothing is known of the error that each device will have; weights of a sign stay so, one partner resting in the
lowest state; biases come from a DAC and need no compensation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hrat.artifacts import DeployedLayer, Deployment
from hrat.encoding import Effective, effective_pair, encode_pair, quantise_fraction, refuse_shared_negatives
from hrat.errors import ConversionError
from hrat.physics import attenuated, sigma_S
from hrat.spec import HardwareSpec

__all__ = ["CompensationReport", "LayerCompensation", "compensate"]

ROUNDS = 12
"""Iterations for each `s`; what is still missing then is what the window cannot give."""
FACTORS = 8
"""Values of `s` that are tried, from the mean loss down to that of the worst pair."""


@dataclass(frozen=True, kw_only=True)
class LayerCompensation:
    """Result of compensation for one layer. Errors are those of the layer's gains, without programming error."""

    error_before: float
    """RMS error of the gains through the wires, relative to the RMS of the wanted ones."""
    error_after: float
    """RMS error with the new targets and feedback resistance, relative to the RMS of the wanted gains."""
    r_f_factor: float
    """Factor on the feedback resistance."""
    saturated: float
    """Share of the weights that take the whole window and would need more."""

    @property
    def removed(self) -> float:
        """Part of the error that is gone, 1 for all of it."""
        return 1.0 - self.error_after / self.error_before if self.error_before > 0.0 else 0.0


@dataclass(frozen=True, kw_only=True)
class CompensationReport:
    """Results of compensation, layer by layer."""

    layers: dict[str, LayerCompensation]

    def __str__(self) -> str:
        """A table."""
        lines = [f"  {'layer':<16} {'error before':>12} {'after':>8} {'R_f times':>9} {'saturated':>9}"]
        for name, layer in self.layers.items():
            lines.append(
                f"  {name:<16} {layer.error_before:>12.2%} {layer.error_after:>8.2%} {layer.r_f_factor:>9.3f} "
                f"{layer.saturated:>9.2%}"
            )
        return "\n".join(lines)


def compensate(deployment: Deployment, *, effective: Effective = attenuated) -> tuple[Deployment, CompensationReport]:
    """Choose targets and feedback resistances of a deployment that make up for the wires that its spec names.

    Args:
        deployment: trained without wires in mind. What was trained with `array.limit_wires` on expects their loss, and
            is not to be compensated.
        effective: what the wires do to the conductances of a tile; `hrat.physics.attenuated`, or an exact solver.

    Returns:
        The new deployment, and how much of the error is left.

    Raises:
        ConversionError: the spec has ideal wires, or what was given is no deployment.
    """
    if not isinstance(deployment, Deployment):
        raise ConversionError(f"expected the deployment that hrat.deploy returned, got {type(deployment).__name__}")
    spec = deployment.spec
    if not spec.array.limit_wires:
        raise ConversionError(
            f"the wires of spec '{spec.name}' are ideal (array.limit_wires is off), so that there is nothing to "
            "compensate; switch it on: deployment.with_array(limit_wires=True)"
        )
    refuse_shared_negatives(spec, "choosing targets that make up for wires")
    layers, rows = {}, {}
    for name, layer in deployment.layers.items():
        layers[name], rows[name] = _compensate_layer(layer, spec, effective)
    return replace(deployment, layers=layers), CompensationReport(layers=rows)


def _compensate_layer(
    layer: DeployedLayer, spec: HardwareSpec, effective: Effective
) -> tuple[DeployedLayer, LayerCompensation]:
    wires = _Wires(layer, spec, effective)
    before = wires.candidate(wires.wanted, r_f_factor=1.0)
    candidates = [before, wires.candidate(wires.wanted)]
    mean, worst = 1.0 / candidates[1].r_f_factor, float(before.left.amin())
    if 0.0 < worst < mean:
        candidates += [wires.solved(mean * (worst / mean) ** (k / (FACTORS - 1))) for k in range(FACTORS)]
    best = min(candidates, key=wires.expected_error)
    g_pos_S, g_neg_S = encode_pair(best.fraction, spec.device)
    compensated = replace(
        layer,
        g_pos_S=g_pos_S.to(layer.g_pos_S),
        g_neg_S=g_neg_S.to(layer.g_neg_S),
        r_f_ohm=layer.r_f_ohm * best.r_f_factor,
    )
    return compensated, LayerCompensation(
        error_before=wires.error(before),
        error_after=wires.error(best),
        r_f_factor=best.r_f_factor,
        saturated=float((best.short & (best.fraction.abs() >= 1.0)).double().mean()),
    )


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """Targets and their effective values behind the wires; each tensor `(groups, rows, cols)`."""

    fraction: Tensor
    """Targets as a part of the window."""
    seen: Tensor
    """`(M+ - M-)` as a part of the window."""
    left: Tensor
    """`t`, what the wires leave of the conductances of a pair."""
    r_f_factor: float
    """`1 / s`."""
    short: Tensor
    """Weights that are seen smaller than wanted."""


class _Wires:
    """The wires of one layer, and what is wanted behind them."""

    def __init__(self, layer: DeployedLayer, spec: HardwareSpec, effective: Effective) -> None:
        self.spec = spec
        self.effective = effective
        self.wanted = (layer.g_pos_S.double() - layer.g_neg_S.double()) / spec.device.g_range_S
        self.scale = max(_rms(self.wanted), 1e-30)  # a layer of zeros must not divide by zero

    def see(self, fraction: Tensor) -> tuple[Tensor, Tensor]:
        """`(M+ - M-)` as a part of the window, and `t`."""
        g_pos_S, g_neg_S = encode_pair(fraction, self.spec.device)
        m_pos_S, m_neg_S = effective_pair(g_pos_S, g_neg_S, self.spec, self.effective)
        return (m_pos_S - m_neg_S) / self.spec.device.g_range_S, (m_pos_S + m_neg_S) / (g_pos_S + g_neg_S)

    def candidate(self, fraction: Tensor, r_f_factor: float | None = None) -> _Candidate:
        """Candidate from given targets; its feedback resistance is that of the least squared error unless given."""
        seen, left = self.see(fraction)
        if r_f_factor is None:
            along, size = float((seen * self.wanted).sum()), float(seen.square().sum())
            r_f_factor = along / size if along > 0.0 else 1.0
        short = (r_f_factor * seen).abs() < self.wanted.abs()
        return _Candidate(fraction=fraction, seen=seen, left=left, r_f_factor=r_f_factor, short=short)

    def solved(self, s: float) -> _Candidate:
        """The fixed point for a given `s`, in the nearest states."""
        fraction = self.wanted
        for _ in range(ROUNDS):
            seen, left = self.see(fraction)
            fraction = (fraction + (s * self.wanted - seen) / left).clamp(-1.0, 1.0)
        return self.candidate(quantise_fraction(fraction, self.spec.device))

    def error(self, candidate: _Candidate) -> float:
        """RMS error of the gains relative to the RMS of the wanted ones."""
        return _rms(candidate.r_f_factor * candidate.seen - self.wanted) / self.scale

    def expected_error(self, candidate: _Candidate) -> float:
        """Squared relative error of the gains, including the programming errors that `R_f` magnifies."""
        variance: Tensor | float = 0.0
        for g_S in encode_pair(candidate.fraction, self.spec.device):
            variance = variance + (candidate.left * sigma_S(g_S, self.spec.device, self.spec.programming)).square()
        programming = candidate.r_f_factor / self.spec.device.g_range_S / self.scale
        return self.error(candidate) ** 2 + programming**2 * float(torch.as_tensor(variance).mean())


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())
