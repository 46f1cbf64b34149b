"""Write-verify records: spread, table, tolerance and budget."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hrat
from hrat.measurements.synthetic import write_verify_csv
from hrat.programming.schemes import write_verify
from hrat.spec import TABLE_PROBABILITIES, HardwareSpec
from measurements.made_files import Write


def test_spread_around_targets(write: Write, truth: HardwareSpec) -> None:
    z = []
    for seed in range(20):
        fit = hrat.fit_device(write(write_verify_csv(truth, devices=60, seed=seed)))
        found = fit.parameter("sigma_poly_S")
        middle = sum(c * (70e-6 / fit.spec.programming.sigma_poly_ref_S) ** k for k, c in enumerate(found.value))  # type: ignore[operator, arg-type]
        z.append(middle / (1.2e-6 + 1.0e-6 * 70 / 120) - 1)
    assert np.std(z) < 0.04
    assert abs(np.mean(z)) < 0.015


def test_tolerance_and_budget_of_the_real_scheme(write: Write) -> None:

    spec = hrat.load_spec(
        "generic-4bit", {"programming.tolerance_rel": 0.01, "programming.max_pulses": 40, "cycle_spread_rel": 0.6}
    )
    target_S = torch.tensor(spec.device.states_S, dtype=torch.float64).repeat_interleave(300)
    done = write_verify(target_S, spec, torch.Generator().manual_seed(0), None)
    assert done.pulses is not None
    spent = (done.pulses.set_pulses.long() + done.pulses.reset_pulses.long()).tolist()
    rows = zip(target_S.tolist(), done.g_S.tolist(), spent, strict=True)
    text = "target_S,achieved_S,pulses\n" + "".join(f"{t:.8g},{g:.8g},{n}\n" for t, g, n in rows)
    fit = hrat.fit_device(write(text), base=spec)
    assert fit.spec.programming.max_pulses == 40
    tolerance = fit.parameter("tolerance_S")
    assert abs(tolerance.value - 1.5e-6) < 4 * tolerance.error < 0.1e-6  # type: ignore[operator]
    assert any("spent all 40 pulses" in warning for warning in fit.warnings)


def test_many_devices_at_each_target_give_the_table(write: Write, truth: HardwareSpec) -> None:
    fit = hrat.fit_device(write(write_verify_csv(truth, devices=600, seed=0)), base=truth)
    programming = fit.spec.programming
    assert programming.table_S is not None
    assert programming.sigma_poly_S is None
    assert len(programming.table_S) == 16
    median_S = programming.table_S[8][TABLE_PROBABILITIES.index(0.5)]
    assert median_S == pytest.approx(truth.device.states_S[8], abs=0.2e-6)
