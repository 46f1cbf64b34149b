"""`check_pulse_model`: the models of hrat keep their contract, and one that breaks each clause is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from hrat.errors import LawError
from hrat.physics.pulses import pulse_response
from hrat.spec import HardwareSpec, preset_names
from hrat.testing import check_pulse_model
from physics.test_pulses import MODELS, spec_of


@pytest.mark.parametrize("spread", [0.0, 0.5])
@pytest.mark.parametrize("model", MODELS)
def test_the_models_of_hrat(model: str, spread: float) -> None:
    report = check_pulse_model(spec_of(model, **{"pulses.cycle_spread_rel": spread}))
    assert all(one.status == "holds" for one in report.findings if one.name != "amplitude")
    assert report["amplitude"].status == "not checked"


@pytest.mark.parametrize("model", ["vteam", "stanford_pku"])
def test_growing_amplitudes(model: str) -> None:
    spec = spec_of(model, set_step_V=0.05, reset_step_V=0.05, v_max_V=1.2)
    assert all(one.status == "holds" for one in check_pulse_model(spec).findings)


@pytest.mark.parametrize("name", preset_names())
def test_the_presets(name: str) -> None:
    assert check_pulse_model(name).ok


@dataclass
class Faulty:
    """The model of a spec, with a fault of a kind."""

    spec: HardwareSpec
    dtype: torch.dtype
    fault: str

    def __post_init__(self) -> None:
        self.right = pulse_response(self.spec, dtype=self.dtype)

    def change_S(self, g_S: Tensor, up: Tensor, rung: Tensor | None, generator: Any) -> Tensor:
        change = self.right.change_S(g_S, up, rung, generator)
        match self.fault:
            case "not finite":
                return change / (g_S - g_S.max())
            case "no number":
                return change * float("nan")
            case "type":
                return change.half()
            case "overwrites":
                g_S.mul_(1.01)
            case "backwards":
                return -change
            case "order":
                return change * torch.linspace(0.5, 1.0, len(change), dtype=change.dtype)
            case "global random":
                return change * torch.rand_like(change)
            case "single":
                return change * 1.5 if self.dtype == torch.float32 else change
            case "weaker" if rung is not None:
                return change / (1.0 + 10.0 * rung)
        return change


@pytest.mark.parametrize(
    ("fault", "clause", "message"),
    [
        ("not finite", "change", "not finite at"),
        ("type", "change", "torch.float16"),
        ("overwrites", "inputs", "after the call, argument"),
        ("backwards", "direction", "works backwards"),
        ("order", "alone", "devices alone change otherwise"),
        ("global random", "seed", "another time"),
        ("single", "precision", "float32 and float64 differ"),
        ("weaker", "amplitude", "rung 1 changes less than rung 0"),
        ("no number", "window", "is beyond by nan of the window"),
    ],
)
def test_each_clause_can_be_broken(fault: str, clause: str, message: str) -> None:
    growing = {"set_step_V": 0.05, "reset_step_V": 0.05, "v_max_V": 1.2}
    spec = spec_of("linear_step") if fault == "no number" else spec_of("vteam", **growing)

    def faulty(spec: HardwareSpec, dtype: torch.dtype) -> Faulty:
        return Faulty(spec, dtype, fault)

    found = check_pulse_model(spec, response=faulty, throw=False)[clause]
    assert found.status == "broken"
    assert message in found.detail
    with pytest.raises(LawError, match="contract of the pulse model faulty of"):
        check_pulse_model(spec, response=faulty)
