"""`check_pulse_model`: the contract of a pulse model, by which chips can be programmed with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from hrat.physics.pulses import Amplitudes, PulseResponse, pulse_response
from hrat.programming import Cells, Pulser
from hrat.spec import HardwareSpec, load_spec
from hrat.testing.compare import compared
from hrat.testing.report import CheckReport, Finding, at_most, held, merged, true_or_not, unchecked

__all__ = ["check_pulse_model"]

POINTS = 257
"""Conductances over the window, both ends among them."""
PULSES = 200
ROUNDING = 1e-12
"""Of the window, in float64."""
SINGLE = 1e-4
"""Of the window, between float32 and float64."""

CLAIMS = {
    "change": "yields a finite change for each device, of its type",
    "inputs": "leaves what it is given alone",
    "direction": "set pulses raise and reset pulses lower the conductance",
    "window": "stays within the window, pulse after pulse",
    "seed": "gives the same for the same seed",
    "nothing": "changes nothing where no pulse is given",
    "alone": "does with many devices what it does with each alone",
    "precision": "gives in float32 what it gives in float64",
    "amplitude": "a larger amplitude does not change less",
}


def check_pulse_model(
    spec: HardwareSpec | str | os.PathLike[str],
    *,
    response: Callable[[HardwareSpec, torch.dtype], PulseResponse] | None = None,
    seed: int = 0,
    throw: bool = True,
) -> CheckReport:
    """Check the contract of a model of programming pulses.

    Over the whole window, in both directions, on the lowest rungs of the ladder of amplitudes and on the highest:
    changes are finite, of the right sign and within the window, the same for the same seed, none where no pulse is
    given, and device by device.

    Args:
        spec: the hardware whose `pulses` and section of its model are checked, or what `hrat.load_spec` takes.
        response: makes a model of your own, `(spec, dtype) -> hrat.physics.pulses.PulseResponse`, in place of the one
            that the spec names.
        seed: seed of the random numbers.
        throw: False to return a report with what is broken.

    Returns:
        A finding for each clause; differences are relative to the window `g_max_S - g_min_S`.

    Raises:
        LawError: a clause is broken, and `throw` is on.
        SpecError: the spec is not valid, or its window lies beyond what its model can have.
    """
    case = _Case(load_spec(spec), response, seed)
    checks: dict[str, Callable[[], Finding]] = {
        "change": case.changes_are_sound,
        "inputs": case.inputs_are_left_alone,
        "direction": case.direction,
        "window": case.window,
        "seed": case.reproducible,
        "nothing": case.nothing_without_pulses,
        "alone": case.one_by_one,
        "precision": case.precision,
        "amplitude": case.amplitude,
    }
    findings = tuple(held(name, CLAIMS[name], check) for name, check in checks.items())
    what = case.spec.pulses.model if response is None else getattr(response, "__name__", "of one's own")
    report = CheckReport(subject=f"contract of the pulse model {what} of {case.spec.name}", findings=findings)
    return report.require() if throw else report


class _Case:
    """A model and devices all over the window, once for set and once for reset pulses."""

    def __init__(
        self,
        spec: HardwareSpec,
        response: Callable[[HardwareSpec, torch.dtype], PulseResponse] | None,
        seed: int,
    ) -> None:
        self.spec, self.seed = spec, seed
        self.make = response or (lambda spec, dtype: pulse_response(spec, dtype=dtype))
        self.response = self.make(spec, torch.float64)
        self.rungs = Amplitudes.of(spec).n_rungs
        device = spec.device
        one = torch.linspace(device.g_min_S, device.g_max_S, POINTS, dtype=torch.float64)
        self.g_S = one.repeat(2)
        self.up = torch.cat([torch.ones_like(one), torch.zeros_like(one)])
        self.range_S = device.g_range_S

    def change_S(self, rung: int | None = None, dtype: torch.dtype = torch.float64, seed: int | None = None) -> Tensor:
        """Change of each device by its pulse, S; its mean unless a seed is given."""
        response = self.response if dtype == torch.float64 else self.make(self.spec, dtype)
        rungs = None if rung is None else torch.full((len(self.g_S),), rung)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return response.change_S(self.g_S.to(dtype), self.up.to(dtype), rungs, generator)

    def pulsed_S(self, count: int, seed: int, wanted: bool = True) -> Tensor:
        """Conductances after `count` pulses of the engine that programs chips, S."""
        pulser = Pulser(self.spec, torch.float64)
        pulser.response = self.response
        cells = Cells.at(self.g_S.clone(), self.g_S)
        direction = 2 * self.up - 1

        def decide(now: Cells) -> tuple[Tensor, Tensor]:
            return direction[now.index], torch.full((len(now.g_S),), wanted)

        pulser.apply(cells, decide, count, torch.Generator().manual_seed(seed))
        return cells.g_S

    def every_rung(self) -> list[int | None]:
        """The lowest rungs of the ladder and the highest; None where all pulses are the same."""
        return [None, *sorted({0, 1, self.rungs - 1})] if self.rungs > 1 else [None]

    def changes_are_sound(self) -> Finding:
        wrong = []
        for dtype in (torch.float32, torch.float64):
            for rung in self.every_rung():
                for seed in (None, self.seed):
                    change = self.change_S(rung, dtype, seed)
                    if change.shape != self.g_S.shape or change.dtype != dtype:
                        want = f"{dtype} of shape {tuple(self.g_S.shape)}"
                        wrong.append(f"{change.dtype} of shape {tuple(change.shape)}, expected {want}")
                    elif not bool(change.isfinite().all()):
                        wrong.append(f"values that are not finite at {float(self.g_S[~change.isfinite()][0]):.3g} S")
        return true_or_not("change", CLAIMS["change"], not wrong, wrong[0] if wrong else "")

    def inputs_are_left_alone(self) -> Finding:
        before = (self.g_S.clone(), self.up.clone())
        for seed in (None, self.seed):
            self.change_S(None, seed=seed)
        after, (self.g_S, self.up) = (self.g_S, self.up), before
        where = "after the call, argument "
        return compared("inputs", CLAIMS["inputs"], after, before, 0.0, where=where)

    def direction(self) -> Finding:
        findings = []
        for rung in self.every_rung():
            backwards_S = self.change_S(rung) * (1 - 2 * self.up)  # positive where a pulse works backwards
            inside = self._moves_inwards()
            worst = int((backwards_S * inside).argmax())
            error = max(float(backwards_S[worst] * inside[worst]), 0.0) / self.range_S
            kind = "set" if self.up[worst] else "reset"
            detail = f"a {kind} pulse at {float(self.g_S[worst]):.3g} S works backwards, by {error:.2g} of the window"
            findings.append(
                at_most("direction", CLAIMS["direction"], error, ROUNDING, detail if error > ROUNDING else "")
            )
        return merged(findings)

    def _moves_inwards(self) -> Tensor:
        """Devices that are not at the end to which they are pulsed: there a model may be past its own end."""
        device = self.spec.device
        at_end = torch.where(self.up > 0, self.g_S >= device.g_max_S, self.g_S <= device.g_min_S)
        return (~at_end).to(self.g_S.dtype)

    def window(self) -> Finding:
        device, findings = self.spec.device, []
        for count in (1, PULSES):
            after_S = self.pulsed_S(count, self.seed)
            beyond_S = torch.maximum(device.g_min_S - after_S, after_S - device.g_max_S)
            error = float("nan") if bool(after_S.isnan().any()) else max(float(beyond_S.max()), 0.0) / self.range_S
            detail = "" if error == 0 else f"after {count} pulses a device is beyond by {error:.2g} of the window"
            findings.append(at_most("window", CLAIMS["window"], error, 0.0, detail))
        return merged(findings)

    def reproducible(self) -> Finding:
        once, again = (self.pulsed_S(5, self.seed) for _ in range(2))
        drawn, redrawn = (self.change_S(None, seed=self.seed) for _ in range(2))
        mean, mean_again = (self.change_S() for _ in range(2))
        first, second = (once, drawn, mean), (again, redrawn, mean_again)
        return compared("seed", CLAIMS["seed"], first, second, 0.0, where="another time, result ")

    def nothing_without_pulses(self) -> Finding:
        unpulsed_S = (self.pulsed_S(0, self.seed), self.pulsed_S(3, self.seed, wanted=False))
        return compared(
            "nothing", CLAIMS["nothing"], unpulsed_S, (self.g_S, self.g_S), 0.0, where="without pulses, result "
        )

    def one_by_one(self) -> Finding:
        findings = []
        for rung in self.every_rung():
            whole = self.change_S(rung)
            rungs = None if rung is None else torch.tensor([rung])
            alone = torch.cat(
                [
                    self.response.change_S(g[None], up[None], rungs, None)
                    for g, up in zip(self.g_S, self.up, strict=True)
                ]
            )
            error = float((whole - alone).abs().max()) / self.range_S
            detail = "" if error <= ROUNDING else f"devices alone change otherwise, by {error:.2g} of the window"
            findings.append(at_most("alone", CLAIMS["alone"], error, ROUNDING, detail))
        return merged(findings)

    def precision(self) -> Finding:
        findings = []
        for rung in self.every_rung():
            single, double = self.change_S(rung, torch.float32).double(), self.change_S(rung)
            error = float((single - double).abs().max()) / self.range_S
            detail = "" if error <= SINGLE else f"float32 and float64 differ by {error:.2g} of the window"
            findings.append(at_most("precision", CLAIMS["precision"], error, SINGLE, detail))
        return merged(findings)

    def amplitude(self) -> Finding:
        if self.rungs == 1:
            return unchecked("amplitude", CLAIMS["amplitude"], "all pulses of this spec have the same amplitude")
        rungs = [rung for rung in self.every_rung() if rung is not None]
        forward_S = [self.change_S(rung) * (2 * self.up - 1) * self._moves_inwards() for rung in rungs]
        findings = []
        for (below, lower), (above, higher) in pairwise(zip(rungs, forward_S, strict=True)):
            error = max(float((lower - higher).max()), 0.0) / self.range_S
            detail = (
                ""
                if error <= ROUNDING
                else f"rung {above} changes less than rung {below}, by {error:.2g} of the window"
            )
            findings.append(at_most("amplitude", CLAIMS["amplitude"], error, ROUNDING, detail))
        return merged(findings)
