"""Sweeps: a fit finds the figures again from which the data was made, within its errors, and refuses poor data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import hrat
from hrat.errors import DataError
from hrat.measurements import DeviceFit
from hrat.measurements.synthetic import sweep_csv
from hrat.programming.engine import Cells, Pulser
from hrat.spec import HardwareSpec
from measurements.made_files import Write, each_row, values


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


# ---- what is handled, and said ---------------------------------------------------------------------------------------


def test_one_direction_alone(write: Write, truth: hrat.HardwareSpec) -> None:
    text = sweep_csv(truth, devices=8, cycles=1, pulses=60, seed=0)
    rows = [row for row in text.split("\n")[2:] if row and ",-1.6," not in row]
    fit = hrat.fit_device(write("\n".join([text.split("\n")[1], *rows])))
    assert fit.parameter("n_set").value == pytest.approx(40, rel=0.2)
    assert fit.spec.soft_bounds.n_reset == hrat.load_spec("generic-4bit").soft_bounds.n_reset
    assert any("0 reset pulses are too few to fit" in warning for warning in fit.warnings)


def test_unfinished_sweeps_say_that_the_window_may_be_wider(write: Write, truth: hrat.HardwareSpec) -> None:
    fit = hrat.fit_device(write(sweep_csv(truth, devices=12, cycles=3, pulses=16, seed=0)), accept_poor=True)
    assert any("set sweeps still move when they end" in warning for warning in fit.warnings)


def test_very_many_sweeps_are_thinned_but_no_device_is_lost(
    write: Write, sweeps: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = hrat.fit_device(write(sweeps))
    monkeypatch.setattr("hrat.measurements.fit.sweeps.steps.MOST_STEPS", 400)
    fit = hrat.fit_device(write(sweeps))
    assert any("some sweeps of every device" in warning for warning in fit.warnings)
    assert len(fit.residuals[0].rms_S) == 6
    difference = fit.parameter("n_set").value - whole.parameter("n_set").value  # type: ignore[operator]
    assert abs(difference) < 2 * fit.parameter("n_set").error  # type: ignore[operator]


def test_one_device_fits_but_tells_nothing_of_the_spread(write: Write, truth: hrat.HardwareSpec) -> None:
    from hrat.measurements.synthetic import sweep_csv

    fit = hrat.fit_device(write(sweep_csv(truth, devices=1, cycles=6, pulses=60, seed=1)))
    assert "pulses.device_spread_rel" not in {part.field for part in fit.parameters}
    assert fit.spec.pulses.device_spread_rel == hrat.load_spec("generic-4bit").pulses.device_spread_rel
    assert any(warning.startswith("one device tells nothing of how devices differ") for warning in fit.warnings)


def test_negative_pulses_may_set(write: Write, sweeps: str) -> None:
    turned = each_row(sweeps, lambda row: [*row[:3], str(-float(row[3])), *row[4:]])
    fit = hrat.fit_device(write(turned))
    assert (fit.spec.pulses.set_V, fit.spec.pulses.reset_V) == (1.8, 1.6)
    assert fit.parameter("n_set").value == values(write(sweeps))["soft_bounds.n_set"]
    assert any("negative pulses raise the conductance" in warning for warning in fit.warnings)


def test_stuck_devices_are_counted_and_kept_out(write: Write, sweeps: str) -> None:
    expected = values(write(sweeps))
    dead = each_row(sweeps, lambda row: ["dead" + row[0], *row[1:5], f"{21 if row[0] != 'd0' else 118}"])
    both = sweeps + "\n".join(line for line in dead.split("\n")[2:] if line.startswith(("deadd0", "deadd1"))) + "\n"
    fit = hrat.fit_device(write(both))
    assert fit.parameter("stuck_off").value == fit.parameter("stuck_on").value == 1 / 8
    assert fit.spec.faults.stuck_off_S == pytest.approx(21e-6)
    assert not fit.spec.faults.limit_faults
    assert fit.parameter("n_set").value == pytest.approx(expected["soft_bounds.n_set"])


def test_other_amplitudes_are_left_out(write: Write, sweeps: str) -> None:
    stronger = each_row(
        sweeps, lambda row: [*row[:3], "2.5" if row[0] == "d0" and row[3] == "1.8" else row[3], *row[4:]]
    )
    fit = hrat.fit_device(write(stronger))
    assert fit.spec.pulses.set_V == 1.8
    assert any("several amplitudes (1.8, 2.5 V)" in warning for warning in fit.warnings)


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_pulses_without_a_sign_are_refused(write: Write, sweeps: str) -> None:
    text = each_row(sweeps, lambda row: [*row[:3], row[3].lstrip("-"), *row[4:]])
    with pytest.raises(DataError, match="Are the signs"):
        hrat.fit_device(write(text))


def test_pulses_of_both_signs_that_do_the_same_are_refused(write: Write) -> None:
    head = "device,cycle,pulse,voltage_V,conductance_uS\n"
    rows = [f"d,0,{k},{1.5 if k % 2 else -1.5},{20 + 0.5 * k}\n" for k in range(100)]
    with pytest.raises(DataError, match="pulses of both polarities raise the conductance"):
        hrat.fit_device(write(head + "".join(rows)))


def test_too_few_pulses_are_refused(write: Write, truth: hrat.HardwareSpec) -> None:
    rows = "".join(f"0,0,{k},1.5,{20 + k}\n" for k in range(10))
    with pytest.raises(DataError, match="too few pulses to fit"):
        hrat.fit_device(write("device,cycle,pulse,voltage_V,conductance_uS\n" + rows))


def test_a_device_that_does_not_move_is_refused(write: Write) -> None:
    rows = "".join(f"0,0,{k},1.5,20\n" for k in range(100))
    with pytest.raises(DataError, match="no pulse changes any conductance"):
        hrat.fit_device(write("device,cycle,pulse,voltage_V,conductance_uS\n" + rows))


def test_noise_alone_is_refused_with_its_reasons_and_can_be_accepted(write: Write) -> None:
    rng = np.random.default_rng(0)
    rows = "".join(
        f"0,{c},{k},{1.5 if k < 40 else -1.5},{rng.uniform(20, 100):.3f}\n" for c in range(3) for k in range(80)
    )
    path = write("device,cycle,pulse,voltage_V,conductance_uS\n" + rows)
    with pytest.raises(DataError, match="the fit is not to be trusted, and is refused:\n- ") as caught:
        hrat.fit_device(path, model="soft_bounds")
    assert "R^2" in str(caught.value)
    fit = hrat.fit_device(path, model="soft_bounds", accept_poor=True)
    assert any(warning.startswith("accepted although set: ") for warning in fit.warnings)
