"""A fit finds the figures again from which the data was made, within the errors that it gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hrat
from hrat.measurements import DeviceFit
from hrat.measurements.synthetic import retention_csv, sweep_csv, write_verify_csv
from hrat.programming.engine import Cells, Pulser
from hrat.spec import TABLE_PROBABILITIES, HardwareSpec

Write = Callable[..., Path]
TIMES_S = (0, 1, 10, 100, 1000, 10_000)


def distances(fit: DeviceFit, truth: HardwareSpec) -> dict[str, float]:
    """How many standard errors each single figure lies from the truth."""
    out = {}
    for part in fit.parameters:
        if isinstance(part.value, float) and isinstance(part.error, float) and part.error > 0:
            section, field = part.field.split(".")
            out[part.field] = (part.value - getattr(getattr(truth, section), field)) / part.error
    return out


def engine_csv(spec: HardwareSpec, *, devices: int, cycles: int, pulses: int, seed: int) -> str:
    """Sweeps by the very engine that programs chips, which shares no code with the fit."""
    generator = torch.Generator().manual_seed(seed)
    pulser = Pulser(spec, torch.float64)
    factors = torch.empty(2, devices, dtype=torch.float64)
    factors.normal_(0.0, spec.pulses.device_spread_rel, generator=generator).exp_()
    begin = torch.full((devices,), spec.device.g_min_S, dtype=torch.float64)
    cells = Cells.at(begin, torch.zeros_like(begin))
    cells.set_factor, cells.reset_factor = factors
    lines = ["device,cycle,pulse,voltage_V,width_s,conductance_S"]
    for cycle in range(cycles):
        for k, sign in enumerate([0] + [1] * pulses + [-1] * pulses):
            if sign:
                pulser.pulse_all(cells, sign > 0, generator)
            noise = 1 + spec.device.read_noise_rel * torch.randn(devices, generator=generator, dtype=torch.float64)
            read = (cells.g_S * noise).tolist()
            lines += [f"{d},{cycle},{k},{1.5 * sign},5e-8,{read[d]:.6g}" for d in range(devices)]
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, (12, 4, 60)),
        ({"pulses.cycle_spread_rel": 0.7, "soft_bounds.n_set": 16.0, "soft_bounds.n_reset": 12.0}, (15, 4, 60)),
        ({"device.read_noise_rel": 0.01, "pulses.cycle_spread_S": 1e-6}, (12, 4, 60)),
        ({"soft_bounds.nonlinearity_set": 0.3, "soft_bounds.nonlinearity_reset": 4.0}, (40, 2, 80)),
    ],
    ids=["example", "coarse", "noisy", "asymmetric"],
)
def test_two_standard_errors_hold_the_truth_of_sweeps(
    write: Write, truth: HardwareSpec, changes: dict[str, Any], size: tuple[int, int, int]
) -> None:
    """Over 25 seeds of each: nearly 95 % of all figures within two errors, and none of the figures less than 70 %."""
    spec = truth.replace(changes)
    found: dict[str, list[float]] = {}
    for seed in range(25):
        devices, cycles, pulses = size
        path = write(sweep_csv(spec, devices=devices, cycles=cycles, pulses=pulses, seed=seed))
        for field, z in distances(hrat.fit_device(path, model="soft_bounds"), spec).items():
            found.setdefault(field, []).append(z)
    held = {field: float(np.mean(np.abs(z) < 2)) for field, z in found.items()}
    assert {"soft_bounds.n_set", "soft_bounds.nonlinearity_reset", "pulses.device_spread_rel"} <= set(held)
    assert np.mean(np.abs(np.concatenate(list(found.values()))) < 2) > 0.85, held
    assert min(rate for field, rate in held.items() if len(found[field]) > 15) >= 0.7, held


def test_the_engine_that_programs_chips_is_found_again(write: Write) -> None:
    spec = hrat.load_spec("generic-4bit", {"soft_bounds.n_reset": 40.0, "soft_bounds.nonlinearity_reset": 2.5})
    fit = hrat.fit_device(write(engine_csv(spec, devices=40, cycles=3, pulses=110, seed=0)))
    assert fit.spec.pulses.model == "soft_bounds"
    z = distances(fit, spec)
    assert {"soft_bounds.n_set", "soft_bounds.n_reset", "pulses.cycle_spread_rel", "pulses.device_spread_rel"} <= set(z)
    assert max(map(abs, z.values())) < 3.5, z
    assert fit.parameter("n_set").error < 0.05 * 64  # type: ignore[operator]
    assert all(part.median_r_squared > 0.98 for part in fit.residuals)


def test_equal_steps_are_seen_as_such(write: Write) -> None:
    spec = hrat.load_spec("generic-4bit", {"pulses.model": "linear_step", "linear_step.n_reset": 30.0})
    path = write(engine_csv(spec, devices=20, cycles=3, pulses=100, seed=1))
    fit = hrat.fit_device(path)
    assert fit.spec.pulses.model == "linear_step"
    assert max(map(abs, distances(fit, spec).values())) < 3.5
    # The exponential holds equal steps as its limit: asked for, it finds a nonlinearity that is zero within its error.
    nu = hrat.fit_device(path, model="soft_bounds").parameter("nonlinearity_set")
    assert nu.value < 3 * nu.error  # type: ignore[operator]


def test_steps_that_no_exponential_tells_become_a_table(write: Write) -> None:
    knots = (20e-6, 40e-6, 60e-6, 80e-6, 100e-6)
    humps = (0.5e-6, 3e-6, 5e-6, 3e-6, 0.5e-6)  # steps are largest in the middle of the window
    quantiles = tuple((0.5 * step, step, 1.5 * step) for step in humps)
    spec = hrat.load_spec(
        "generic-4bit",
        {
            "device.g_min_S": 20e-6,
            "device.g_max_S": 100e-6,
            "pulses.model": "jump_table",
            "pulses.device_spread_rel": 0.0,
            "jump_table.g_S": knots,
            "jump_table.set_S": quantiles,
            "jump_table.reset_S": tuple(tuple(-q for q in reversed(row)) for row in quantiles),
        },
    )
    fit = hrat.fit_device(write(engine_csv(spec, devices=20, cycles=4, pulses=80, seed=2)))
    assert fit.spec.pulses.model == "jump_table"
    table = fit.spec.jump_table
    for way, rows in ((1, table.set_S), (-1, table.reset_S)):
        medians = np.array([row[len(row) // 2] for row in rows])
        truth = way * np.interp(table.g_S, knots, humps)
        assert np.abs(medians - truth)[1:-1].max() < 0.5e-6  # at its ends the window has cut steps off
    with pytest.raises(hrat.HratError, match=r"off the model|grow along the sweep"):
        hrat.fit_device(write(engine_csv(spec, devices=20, cycles=4, pulses=80, seed=2)), model="soft_bounds")


def test_repeated_readings_tell_the_noise_of_one(write: Write, truth: HardwareSpec) -> None:
    rng = np.random.default_rng(0)
    head, *rows = engine_csv(
        truth.replace({"device.read_noise_rel": 0.0}), devices=5, cycles=2, pulses=50, seed=3
    ).split("\n")
    twice = [
        f"{row.rpartition(',')[0]},{float(row.rpartition(',')[2]) * (1 + 0.02 * rng.standard_normal()):.6g}"
        for row in rows
        for _ in range(3)
    ]
    fit = hrat.fit_device(write("\n".join([head, *twice])), model="soft_bounds")
    noise = fit.parameter("read_noise_rel")
    assert abs(noise.value - 0.02) < 3 * noise.error  # type: ignore[operator]
    assert noise.error < 0.001  # type: ignore[operator]
    assert abs(fit.parameter("nonlinearity_set").value - 1.4) < 3 * fit.parameter("nonlinearity_set").error  # type: ignore[operator]


# ---- retention -------------------------------------------------------------------------------------------------------


def sigma_S(fit: DeviceFit, row: int, g_S: float) -> float:
    retention = fit.spec.retention
    assert retention.relax_ref_S is not None
    return sum(c * (g_S / retention.relax_ref_S) ** k for k, c in enumerate(retention.relax_sigma_S[row]))


def test_relaxation_and_decay(write: Write, truth: HardwareSpec, sweeps: str) -> None:
    text = retention_csv(truth, devices=1000, seed=4, times_s=TIMES_S)
    fit = hrat.fit_device([write(sweeps), write(text, "retention.csv")])
    shift = fit.parameter("relax_shift_S")
    assert abs(shift.value + 0.15e-6) < 3 * shift.error  # type: ignore[operator]
    assert fit.spec.retention.relax_times_s == pytest.approx((1, 10, 100, 1000, 10_000))
    for row, constant, slope in ((0, 0.4e-6, 1.0e-6), (2, 0.6e-6, 1.6e-6), (4, 0.8e-6, 2.2e-6)):
        for g_S in (30e-6, 70e-6, 110e-6):
            assert sigma_S(fit, row, g_S) == pytest.approx(constant + slope * g_S / 120e-6, rel=0.12)


def test_a_hump_of_the_spread_is_found(write: Write) -> None:
    spec = hrat.load_spec("wan2022")
    text = retention_csv(spec, devices=4000, seed=0, times_s=(0, 1, 86_400))
    fit = hrat.fit_device(write(text), base=spec)
    for row in (0, 1):
        published = spec.retention.relax_sigma_S[row]
        for g_S in (8e-6, 15e-6, 30e-6):
            truth = sum(c * (g_S / 40e-6) ** k for k, c in enumerate(published))
            assert sigma_S(fit, row, g_S) == pytest.approx(truth, rel=0.1)


def test_heat_gives_the_activation_energy(write: Write, truth: HardwareSpec) -> None:
    hot = truth.replace({"retention.activation_eV": 0.9})
    z = []
    for seed in range(8):
        text = retention_csv(hot, devices=150, seed=seed, times_s=TIMES_S, temperatures_K=(300, 330, 360))
        fit = hrat.fit_device(write(text))
        assert fit.spec.retention.reference_K == 300.0
        energy = fit.parameter("activation_eV")
        z.append((energy.value - 0.9) / energy.error)  # type: ignore[operator]
    assert np.mean(np.abs(z) < 2) >= 0.75
    assert abs(np.mean(z)) < 1.2


def test_drift_by_a_power_of_time(write: Write) -> None:
    rng = np.random.default_rng(0)
    lines = ["device,time_s,conductance_uS"]
    for d in range(400):
        g, nu = rng.uniform(2, 25), rng.normal(0.05, 0.012)
        for t in (0, 20, 100, 1000, 10_000, 100_000):
            now = g * (max(t, 20) / 20) ** -nu * (1 + 0.003 * rng.standard_normal())
            lines.append(f"{d},{t},{now:.4f}")
    fit = hrat.fit_device(write("\n".join(lines)))
    retention = fit.spec.retention
    mean, spread = fit.parameter("drift_nu_mean"), fit.parameter("drift_nu_sigma")
    assert abs(mean.value[0] - 0.05) < 3 * mean.error[0] < 0.01  # type: ignore[index, operator]
    assert abs(spread.value[0] - 0.012) < 3 * spread.error[0] < 0.003  # type: ignore[index, operator]
    assert (retention.drift_t0_s, retention.relax_sigma_S, retention.relax_shift_S) == (20.0, (), 0.0)


def test_devices_that_keep_still(write: Write) -> None:
    rng = np.random.default_rng(0)
    lines = ["device,time_h,conductance_uS"]
    lines += [f"{d},{t},{(20 + d) * (1 + 0.001 * rng.standard_normal()):.4f}" for d in range(60) for t in (0, 1, 10)]
    fit = hrat.fit_device(
        write("\n".join(lines)), base=hrat.load_spec("generic-4bit", {"device.read_noise_rel": 0.0012})
    )
    assert not fit.spec.retention.relax_sigma_S
    assert any("no further than the noise of readings" in warning for warning in fit.warnings)


def test_odd_retention_files(write: Write) -> None:
    rows = [f"{d},{t},{20 + d + 0.1 * t * (d % 3 - 1)}" for d in range(30) for t in (1, 3, 2, 0)]
    fit = hrat.fit_device(write("\n".join(["device,time_s,conductance_uS", *rows, "99,0,20", "0,-5,20"])))
    assert any("times do not always ascend" in note for note in fit.cleaning[0].notes)
    assert fit.cleaning[0].dropped == {"the time is negative": 1, "the device was read only once": 1}
    with pytest.raises(hrat.HratError, match="read only once"):
        hrat.fit_device(write("device,time_s,conductance_uS\n" + "".join(f"{d},0,{d + 1}\n" for d in range(50))))
    with pytest.raises(hrat.HratError, match="a spread needs at least 10"):
        hrat.fit_device(write("\n".join(["device,time_s,conductance_uS", *rows[:20]])))


# ---- write-verify ----------------------------------------------------------------------------------------------------


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
    from hrat.programming.schemes import write_verify

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
