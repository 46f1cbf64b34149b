"""`check_solver`: the solvers of hrat keep their contract, and one that breaks each clause is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import hrat
from hrat.encoding import LayerReadout
from hrat.errors import HratError, LawError
from hrat.simulation import Behavioural, LinearModel, Metered, Nodal, Solver, SolverError
from hrat.spec import RESTRICTIONS, HardwareSpec
from hrat.testing import check_solver
from hrat.testing.circuit import IDEAL_SPICE
from hrat.testing.solvers import ERRORS
from laws.networks import SPECS
from ngspice import needs_ngspice


@dataclass(frozen=True)
class Own:
    """Callables around the behavioural gains of a dual-rail read-out, with a fault of a kind."""

    fault: str = ""
    name = "own"

    def making(self, spec: Any) -> Any:
        return -1 if self.fault == "making" else 1

    def models(self, chip: hrat.ProgrammedChip, names: Sequence[str], device: Any, statistics: Any) -> Any:
        if self.fault == "overwrites":
            next(iter(chip.layers.values())).g_pos_S.mul_(0.5)
        if self.fault == "statistics":
            statistics["0"] = {"seconds": "many"}
        if self.fault == "transposed":
            return {name: (model.gains[0].transpose(1, 2),) for name, model in self._gains(chip, names, device).items()}
        gains = self._gains(chip, names, device)
        missing = names[:1] if self.fault == "layer missing" else []
        return {
            name: tuple(self._solve(chip, name, index, gains[name]) for index in range(chip.n_chips))
            for name in names
            if name not in missing
        }

    def _gains(self, chip: hrat.ProgrammedChip, names: Sequence[str], device: Any) -> Any:
        return Behavioural().models(chip.with_array(limit_wires=False), names, device, {})

    def _solve(self, chip: hrat.ProgrammedChip, name: str, index: int, model: LinearModel) -> Callable[..., Tensor]:
        layer = chip.deployment.layers[name]
        of_chip = model.of_chip(0 if self.fault == "first chip" else index)
        (one,), errors = of_chip.gains, None if self.fault == "no errors" else next(iter(of_chip.errors), None)
        readout = LayerReadout.of(layer.geometry, chip.deployment.spec)
        broken_wire = chip.deployment.spec.array.limit_wires

        def solve(voltage_V: Tensor, draw: Any = None) -> Tensor:
            if self.fault == "overwrites voltages":
                voltage_V.mul_(0.99)
            out_V = layer.geometry.apply(voltage_V, one, None if self.fault == "no bias" else layer.bias_V)
            out_V = readout.last_amplified(out_V, voltage_V, errors, draw)
            if self.fault == "noise":
                out_V = out_V + 1e-3 * torch.randn_like(out_V)
            if self.fault == "batch":
                out_V = out_V - 1e-3 * out_V.mean(0, keepdim=True)
            if self.fault == "curved":
                out_V = out_V + 0.1 * (out_V - layer.geometry.channel_view(layer.bias_V)).pow(3)
            if broken_wire and self.fault == "not a number":
                return out_V * float("nan")
            if broken_wire and self.fault == "raises":
                raise ArithmeticError("no solution")
            if broken_wire and self.fault == "fails":
                raise SolverError("the wire is broken")
            return out_V[..., :1] if self.fault == "shape" else out_V

        return solve


@pytest.mark.parametrize("spec", ["harsh", "harsh two-stage", "tile ADCs"])
@pytest.mark.parametrize("solver", [Behavioural(), Metered(), Nodal()])
def test_the_methods_of_hrat(solver: Solver, spec: str) -> None:
    report = check_solver(solver, spec=SPECS[spec])
    assert all(one.status == "holds" for one in report.findings if one.name != "linear")
    assert report["linear"].status == ("not checked" if spec == "tile ADCs" else "holds")


def test_solvers_are_held_to_every_error_that_needs_a_figure() -> None:
    on = {name for name, one in RESTRICTIONS.items() if one.sizes and one.is_on(HardwareSpec().replace(ERRORS))}
    # Floors are limits of the network's ReLUs, which stand behind what a solver yields.
    assert on == {name for name, one in RESTRICTIONS.items() if one.sizes} - {"floor", "curvature"}


@needs_ngspice
def test_spice_with_ideal_parts() -> None:
    assert all(one.status == "holds" for one in check_solver(IDEAL_SPICE, spec=SPECS["harsh"]).findings)


def test_what_a_method_does_not_claim_is_not_checked() -> None:
    report = check_solver(Nodal(curvature_V=0.1), linear=False, bound=None)
    assert report["linear"].status == report["formula"].status == "not checked"
    with pytest.raises(LawError, match=r"contract of the solver nodal: linear does not hold"):
        check_solver(Nodal(curvature_V=0.1), bound=None)


@pytest.mark.parametrize("fault", ["", "fails", "not a number"])  # which `simulate` takes for a failure by itself
def test_a_method_of_ones_own(fault: str) -> None:
    assert all(one.status == "holds" for one in check_solver(Own(fault)).findings)


@pytest.mark.parametrize(
    ("fault", "clause", "message"),
    [
        ("no errors", "errors", "output"),
        ("making", "models", "making: expected a whole number of at least 0, got -1"),
        ("layer missing", "models", "models of 4; expected 0, 4"),
        ("transposed", "models", "gains of shapes"),
        ("shape", "models", "layer 0: output torch.float64 of shape"),
        ("overwrites", "chip", "conductances after the call"),
        ("overwrites voltages", "chip", "voltages after the call"),
        ("statistics", "chip", "statistics that are no numbers: 0.seconds"),
        ("noise", "repeat", "differs by"),
        ("first chip", "chips", "together, output"),
        ("batch", "images", "together, output"),
        ("no bias", "bias", "layer and chip"),
        ("curved", "linear", "twice the voltage"),
        ("curved", "formula", "differs by"),
        ("raises", "failure", "no solution"),
    ],
)
def test_each_clause_can_be_broken(fault: str, clause: str, message: str) -> None:
    found = check_solver(Own(fault), throw=False)[clause]
    assert found.status == "broken"
    assert message in found.detail


def test_what_is_no_method_is_refused() -> None:
    for wrong in ("nodall", Nodal, 3):
        with pytest.raises(HratError, match="expected a solver, or one of behavioural, nodal, spice"):
            check_solver(wrong)  # type: ignore[arg-type]
    assert check_solver("nodal").ok
