"""Retention records: a fit finds relaxation, decay, drift and activation energy again."""

from __future__ import annotations

import numpy as np
import pytest

import hrat
from hrat.measurements import DeviceFit
from hrat.measurements.synthetic import retention_csv
from hrat.spec import HardwareSpec
from measurements.made_files import Write

TIMES_S = (0, 1, 10, 100, 1000, 10_000)


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
