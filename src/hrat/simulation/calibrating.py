"""Calibration of chips by a few known inputs: what a lab can do without training anew, and what it costs.

Each layer is driven with random voltages on its word lines and read at its amplifiers; the outputs wanted are those of
the targets. For each column a line `measured = slope * wanted + intercept` is fitted by least squares to the points at
which neither stands at a limit (as on the chip of Wan et al., Nature 608, 504, 2022, for the ADCs of its columns). The
intercept is what offsets do; it is taken off by other codes of the bias DAC, so that half a step of it stays. The slope
is told and nothing can take it off: a resistor would have to be trimmed.

Limits: the word lines are driven as exactly as in the network, DAC errors apart; a layer without biases has no DAC to
trim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hrat.artifacts import DeployedLayer, ProgrammedChip, ProgrammedLayer
from hrat.encoding import LayerReadout
from hrat.errors import HratError
from hrat.physics import ChipReads, amplifier_limits_V, conducting_V, has_reading_errors
from hrat.seeds import check_seed
from hrat.simulation.behavioural import Behavioural
from hrat.simulation.solvers import LinearModel, Solver

__all__ = ["ChipCalibration", "calibrate_chip"]

FEWEST_POINTS = 3
"""With fewer points within the limits a column is left as it is."""
SERIES = 1
"""Readings of calibration are another series than those of images."""


@dataclass(frozen=True, kw_only=True)
class ChipCalibration:
    """Columns of chips, measured and trimmed."""

    chip: ProgrammedChip
    """The chips with their bias DACs trimmed."""
    slopes: dict[str, Tensor]
    """Slope of each column against what was wanted, `(chips, out)`; not a number where too few points were read."""
    intercepts_V: dict[str, Tensor]
    """Output of each column where none is wanted, before trimming, `(chips, out)`, V; likewise."""
    readings: int
    """Readings of each chip: inputs times repetitions, over all layers."""

    def __str__(self) -> str:
        """Table of the layers."""
        lines = [
            f"{self.chip.n_chips} chip(s), {self.readings} readings each",
            f"  {'layer':<16} {'intercept rms':>14} {'step':>10} {'slope - 1, rms':>15}",
        ]
        for name, intercept_V in self.intercepts_V.items():
            rms_V, slope = (
                float(part.nan_to_num(0.0).square().mean().sqrt()) for part in (intercept_V, self.slopes[name] - 1)
            )
            step_V = self.chip.deployment.bias_step_V(name)
            step = "-" if step_V is None else f"{step_V * 1e3:.3g} mV"
            lines.append(f"  {name:<16} {rms_V * 1e3:>11.3g} mV {step:>10} {slope:>15.2%}")
        return "\n".join(lines)

    __repr__ = __str__


@torch.no_grad()
def calibrate_chip(
    chip: ProgrammedChip, *, inputs: int = 32, repeats: int = 4, seed: int = 0, solver: Solver | None = None
) -> ChipCalibration:
    """Measure the columns of chips by known inputs, and trim the bias DACs so that offsets are taken off.

    Args:
        chip: one or several chips.
        inputs: random vectors on the word lines of each layer.
        repeats: readings of each, whose mean counts: noise is taken off by their root.
        seed: seed of the vectors.
        solver: solver of the layers; the behavioural one if None.

    Returns:
        The chips with other bias codes, and what was measured.

    Raises:
        HratError: fewer than three inputs, or no reading.
    """
    check_seed(seed)
    if inputs < FEWEST_POINTS or repeats < 1:
        raise HratError(f"expected at least {FEWEST_POINTS} inputs and one reading of each, got {inputs} and {repeats}")
    generator = torch.Generator().manual_seed(seed)
    models = (solver or Behavioural()).models(chip, list(chip.layers), torch.device("cpu"), {})
    slopes: dict[str, Tensor] = {}
    intercepts: dict[str, Tensor] = {}
    layers: dict[str, ProgrammedLayer] = dict(chip.layers)
    for name, target in chip.deployment.layers.items():
        voltage_V = _drive(chip, target, inputs, generator)
        wanted_V = _wanted(chip, target, voltage_V)
        of_chips = []
        for index, chip_seed in enumerate(chip.seeds):
            model = models[name]
            reads = ChipReads(chip_seed, SERIES)
            measured_V = torch.stack(
                [_read(chip, name, index, model, voltage_V, reads, repeat * inputs) for repeat in range(repeats)]
            ).mean(0)
            of_chips.append(_lines(target, chip, wanted_V, measured_V))
        slopes[name], intercepts[name] = (torch.stack(part) for part in zip(*of_chips, strict=True))
        layers[name] = _trimmed(chip, name, intercepts[name])
    return ChipCalibration(
        chip=replace(chip, layers=layers),
        slopes=slopes,
        intercepts_V=intercepts,
        readings=inputs * repeats * len(chip.layers),
    )


def _drive(chip: ProgrammedChip, layer: DeployedLayer, inputs: int, generator: torch.Generator) -> Tensor:
    """Random voltages for the word lines: of a convolution one patch for each input, V."""
    geometry = layer.geometry
    space = [dilation * (size - 1) + 1 for size, dilation in zip(geometry.kernel, geometry.dilation, strict=True)]
    if geometry.kind == "conv_transpose":
        space = [1] * geometry.dims
    shape = (inputs, geometry.in_channels, *space)
    v_read_V = chip.deployment.spec.device.v_read_V
    return v_read_V * (2.0 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1.0).to(layer.g_pos_S.dtype)


def _wanted(chip: ProgrammedChip, layer: DeployedLayer, voltage_V: Tensor) -> Tensor:
    """What ideal amplifiers on the targets would yield, `(inputs, out, *space)`, V."""
    readout = LayerReadout.of(layer.geometry, chip.deployment.spec)
    g_S = [
        geometry.from_matrix(layer.collected(g_S))
        for g_S, geometry in ((layer.g_pos_S, layer.geometry), (layer.g_neg_S, readout.negatives))
    ]
    gains = readout.amplifiers.terms(*(part * layer.r_f_ohm for part in g_S))
    return readout.volts(
        conducting_V(voltage_V, chip.deployment.spec.device), gains, full_scale_V=layer.tile_adc_V, bias_V=layer.bias_V
    )


def _read(
    chip: ProgrammedChip,
    name: str,
    index: int,
    model: LinearModel | tuple[Tensor, ...] | tuple[Callable[..., Tensor], ...],
    voltage_V: Tensor,
    reads: ChipReads,
    first: int,
) -> Tensor:
    """One reading of all inputs, `(inputs, out, *space)`, V."""
    spec, layer = chip.deployment.spec, chip.deployment.layers[name]
    reads.begin(first)
    draw = (reads.of_layer(name),) if has_reading_errors(spec.device, spec.periphery) else ()
    if not isinstance(model, LinearModel):
        solve = model[index]
        assert callable(solve)
        out: Tensor = solve(voltage_V, *draw)
    else:
        own = model.of_chip(index, draw)
        out = LayerReadout.of(layer.geometry, spec).volts(
            conducting_V(voltage_V, spec.device),
            own.gains,
            full_scale_V=layer.tile_adc_V,
            bias_V=chip.bias_V(name, index),
            errors=own.errors[0] if own.errors else None,
            draw=draw[0] if draw else None,
        )
    return out if layer.tile_adc_V is not None else out.clamp(*amplifier_limits_V(spec.periphery))


def _lines(layer: DeployedLayer, chip: ProgrammedChip, wanted_V: Tensor, measured_V: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and intercept of each column by the points within the limits, each `(out,)`."""
    channel = 1
    x, y = (values.double().movedim(channel, 0).flatten(1) for values in (wanted_V, measured_V))
    low_V, high_V = amplifier_limits_V(chip.deployment.spec.periphery)
    if layer.tile_adc_V is None:
        within = (x > low_V) & (x < high_V) & (y > low_V) & (y < high_V)
    else:
        within = torch.ones_like(x, dtype=torch.bool)
    n = within.sum(1).double()
    mean_x, mean_y = ((values * within).sum(1) / n for values in (x, y))
    dx, dy = (x - mean_x.unsqueeze(1)) * within, (y - mean_y.unsqueeze(1)) * within
    spread = (dx * dx).sum(1)
    slope = (dx * dy).sum(1) / spread
    # A column of zeros has no slope to find; what it yields is all intercept.
    flat = spread <= torch.finfo(torch.float64).eps * n
    slope = torch.where(flat, torch.ones_like(slope), slope)
    intercept_V = mean_y - slope * mean_x
    few = n < FEWEST_POINTS
    return slope.masked_fill(few, torch.nan), intercept_V.masked_fill(few, torch.nan)


def _trimmed(chip: ProgrammedChip, name: str, intercept_V: Tensor) -> ProgrammedLayer:
    """The layer with biases that take the intercepts off, in whole steps of the DAC and within its full scale."""
    target, programmed = chip.deployment.layers[name], chip.layers[name]
    if target.bias_V is None:
        return programmed
    before_V = torch.zeros_like(intercept_V) if programmed.trim_V is None else programmed.trim_V.double()
    bias_V = target.bias_V.double()
    trimmed_V = bias_V + before_V - intercept_V.nan_to_num(0.0)
    step_V = chip.deployment.bias_step_V(name)
    if step_V is not None and target.bias_codes is not None:
        top = (target.bias_full_scale_V or chip.deployment.spec.periphery.v_bias_V) / step_V
        trimmed_V = (trimmed_V / step_V).round().clamp(-round(top), round(top)) * step_V
    return replace(programmed, trim_V=(trimmed_V - bias_V).to(target.bias_V.dtype))
