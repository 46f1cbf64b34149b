"""Comparison of solvers on one chip and the same images, from the formula of training down to the circuit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hrat.artifacts import Depth, LayerDifference, ProgrammedChip, SimulationResult, Verification, volts
from hrat.errors import HratError
from hrat.physics import amplifier_limits_V, relu_floor_V
from hrat.simulation.behavioural import Behavioural
from hrat.simulation.nodal import Nodal
from hrat.simulation.simulating import simulate
from hrat.simulation.solvers import SolverChoice
from hrat.simulation.spice import Amplifier, Spice, rectified_layers
from hrat.spec import HardwareSpec

__all__ = ["Rung", "ladder", "verify"]

LIMIT_IMAGES = 20
UNLIMITED_GAIN = 1e9
"""Gain at which an amplifier's output is an ideal one's to a millionth, unless it stands at a limit."""
NEAR_LIMIT = 0.999
"""An output within a thousandth of its amplifier's limit stands at it: a real amplifier meets its limit smoothly."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A depth of simulation."""

    name: str
    solver: SolverChoice
    adds: str
    """The effect that it adds to the depth before."""
    wires: bool = True
    """Whether the wires' resistance counts; False for ideal wires, whatever the spec says."""


def ladder(
    spec: HardwareSpec,
    *,
    spice: bool = True,
    opamp_gain: float = 1e5,
    offset_V: float = 0.0,
    wires_added: bool = False,
) -> list[Rung]:
    """Depths from the formula of training to the circuit, each with one thing more than the one before.

    Args:
        spec: the hardware.
        spice: whether to go on to SPICE.
        opamp_gain: open-loop gain of the amplifiers.
        offset_V: standard deviation of their input offsets, V.
        wires_added: whether the chip was made without the wires that the spec has now: the formula on ideal wires then
            comes first, so that it shows what the wires cost.
    """
    rungs = [Rung(name="behavioural", solver=Behavioural(), adds="the formula of training")]
    exact = "Kirchhoff's laws on ideal wires"
    if spec.array.limit_wires:
        exact = "the exact solution of the wires, which the formula approximates"
        if wires_added:
            bare = Rung(name="behavioural, ideal wires", solver=Behavioural(), adds="the formula", wires=False)
            adds = "the wires, by training's approximation"
            rungs = [bare, Rung(name="behavioural", solver=Behavioural(), adds=adds)]
    rungs.append(Rung(name="nodal", solver=Nodal(), adds=exact))
    if not spice:
        return rungs
    amplifiers = [
        ("SPICE, ideal amplifiers", Amplifier(gain=None), "a solver of another make"),
        (
            "SPICE, real limits",
            Amplifier(gain=UNLIMITED_GAIN),
            "amplifiers that lose their virtual ground while they stand at a limit",
        ),
        ("SPICE", Amplifier(gain=opamp_gain), f"an amplifier gain of {opamp_gain:g}"),
    ]
    if offset_V:
        offset = Amplifier(gain=opamp_gain, offset_V=offset_V)
        amplifiers.append(("SPICE with offsets", offset, f"amplifier offsets of {volts(offset_V)} rms"))
    return rungs + [Rung(name=name, solver=Spice(amplifier=one), adds=adds) for name, one, adds in amplifiers]


def verify(
    chip: ProgrammedChip,
    data: Any,
    *,
    rungs: Sequence[Rung] | None = None,
    limit: int | None = LIMIT_IMAGES,
    progress: Callable[[str], None] | None = None,
    label_key: str | None = None,
) -> Verification:
    """Send the same images through a chip at one depth after another, and compare the voltages of every layer.

    Args:
        chip: one chip; of several the first is taken.
        data: what `simulate` takes.
        rungs: the depths, of which the first is the reference; those of `ladder` unless given.
        limit: use the first `limit` images only; the voltages of all layers are held for these.
        progress: called with the name of each depth before its turn.
        label_key: as of `simulate`.

    Returns:
        For each depth accuracy, share of images with the same class as at the first depth, and for each layer the
        largest and the root mean square difference of its amplifier outputs. A depth that cannot be simulated says why.

    Raises:
        HratError: the first depth cannot be simulated, or as `simulate`.
    """
    if not isinstance(chip, ProgrammedChip):
        raise HratError(f"expected the chips that hrat.program returned, got {type(chip).__name__}")
    rungs = ladder(chip.deployment.spec) if rungs is None else rungs
    if not rungs or not all(isinstance(rung, Rung) for rung in rungs):
        raise HratError(f"rungs: expected at least one depth, each a Rung, got {list(rungs)!r}")
    one = chip[0]
    layers = list(one.layers)
    results: list[SimulationResult | None] = []
    depths: list[Depth] = []
    for rung in rungs:
        if progress is not None:
            progress(rung.name)
        try:
            at_depth = one if rung.wires else one.with_array(limit_wires=False)
            result = simulate(at_depth, data, solver=rung.solver, limit=limit, voltages_of=layers, label_key=label_key)
        except HratError as error:
            if not results:
                raise
            results.append(None)
            depths.append(_failed(rung, str(error)))
            continue
        earlier = [other for other in results if other is not None]
        results.append(result)
        depths.append(_depth(one, rung, result, earlier[0] if earlier else None, earlier[-1] if earlier else None))
    first = results[0]
    assert first is not None
    return Verification(
        chip_seed=one.seeds[0], n_images=first.n_images, spec=one.deployment.spec.name, depths=tuple(depths)
    )


def _failed(rung: Rung, why: str) -> Depth:
    return Depth(name=rung.name, adds=rung.adds, accuracy=None, agreement=None, seconds=0.0, failure=why)


def _depth(
    chip: ProgrammedChip,
    rung: Rung,
    result: SimulationResult,
    first: SimulationResult | None,
    before: SimulationResult | None,
) -> Depth:
    differences: tuple[LayerDifference, ...] = ()
    agreement = None
    if first is not None and before is not None:
        periphery = chip.deployment.spec.periphery
        limits_V, floor_V = amplifier_limits_V(periphery), relu_floor_V(periphery)
        rectified = rectified_layers(chip.deployment)
        differences = tuple(
            _difference(
                layer,
                # Behind a ReLU: a circuit makes it in the amplifier itself, by a single supply.
                *(_seen(r.voltages[layer], floor_V if layer in rectified else None) for r in (first, before, result)),
                limits_V=limits_V,
            )
            for layer in chip.layers
        )
        agreement = _agreement(first.value, result.value)
    return Depth(
        name=rung.name,
        adds=rung.adds,
        accuracy=None if result.accuracies is None else result.accuracies[0],
        agreement=agreement,
        seconds=result.seconds,
        layers=differences,
    )


def _difference(
    layer: str, first: Tensor, before: Tensor, now: Tensor, *, limits_V: tuple[float, float]
) -> LayerDifference:
    total, step = (now - first).abs(), (now - before).abs()
    low_V, high_V = limits_V
    highest, lowest = torch.maximum(now, before), torch.minimum(now, before)
    limited = (highest >= NEAR_LIMIT * high_V) | (lowest <= NEAR_LIMIT * low_V)
    return LayerDifference(
        layer=layer,
        signal_rms_V=_rms(first),
        largest_V=float(total.max()),
        rms_V=_rms(total),
        step_largest_V=float(step.max()),
        step_rms_V=_rms(step),
        limited_share=float(limited.double().mean()),
        step_limited_V=float(step[limited].max()) if bool(limited.any()) else 0.0,
    )


def _seen(voltage_V: Tensor, floor_V: float | None) -> Tensor:
    """Voltages as whatever stands behind the layer sees them: of a ReLU no less than its floor."""
    return voltage_V.double() if floor_V is None else voltage_V.double().clamp(min=floor_V)


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def _agreement(first: Any, now: Any) -> float | None:
    """Share of images with the same class; None where the outputs are no class scores."""
    if isinstance(first, Mapping) and "logits" in first:
        first, now = first["logits"], now["logits"]
    if not isinstance(first, Tensor) or first.ndim != 3:
        return None
    return float((first.argmax(dim=2) == now.argmax(dim=2)).double().mean())
