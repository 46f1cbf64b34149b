"""A device in words."""

from __future__ import annotations

import torch

from hrat.physics import sigma_S
from hrat.reports.device.curves import Staircase, retention_spread_S, staircase
from hrat.reports.words import count, duration, percent
from hrat.spec import PULSE_MODELS, HardwareSpec

__all__ = ["device_sentences", "siemens_text", "time_text"]


def device_sentences(spec: HardwareSpec) -> list[str]:
    """Description of a device in a few sentences."""
    device, pulses = spec.device, spec.pulses
    states = f"{device.n_states} states" if device.n_states else "any state"
    out = [
        f"{siemens_text(device.g_min_S, 4)} to {siemens_text(device.g_max_S, 4)} (a ratio of "
        f"{device.g_max_S / device.g_min_S:.3g}), {states}, read at up to {device.v_read_V:g} V",
        f"pulses: {PULSE_MODELS[pulses.model].in_words}",
    ]
    for up, name, volt, width in (
        (True, "set", pulses.set_V, pulses.set_width_s),
        (False, "reset", pulses.reset_V, pulses.reset_width_s),
    ):
        out.append(f"{name}, {volt:g} V for {time_text(width)}: {_steps(spec, staircase(spec, up=up))}")
    if pulses.model != "jump_table":
        out.append(
            f"a step scatters by {percent(pulses.cycle_spread_rel, 0)} from pulse to pulse, by "
            f"{percent(pulses.device_spread_rel, 0)} from device to device"
        )
    out.append(_retention(spec))
    middle_S = torch.tensor([(device.g_min_S + device.g_max_S) / 2], dtype=torch.float64)
    if spec.programming.limit_error:
        spread_S = float(torch.as_tensor(sigma_S(middle_S, spec.device, spec.programming)).max())
        out.append(
            f"training takes a device in the middle of the window to be {siemens_text(spread_S)} off its target "
            f"when it is used (standard deviation; {percent(spread_S / device.g_range_S, 1)} of the window)"
        )
    return out


def _steps(spec: HardwareSpec, sweep: Staircase) -> str:
    plain = sweep.median_device_S
    steps = plain.diff().abs()
    reached = (plain - plain[0]).abs() >= 0.95 * spec.device.g_range_S
    if bool(reached.any()):
        far = f"{count(int(reached.nonzero()[0]), 'pulse')} for 95 % of the window"
    else:
        share = float((plain[-1] - plain[0]).abs()) / spec.device.g_range_S
        far = f"{count(len(steps), 'pulse')} for {percent(share, 0)} of the window, where they stop"
    return f"{far}, the first step {siemens_text(float(steps[0]))}"


def _beyond(age_s: float, times_s: tuple[float, ...]) -> str:
    """Remark on an age beyond the measured times."""
    if not times_s or times_s[0] <= age_s <= times_s[-1]:
        return ""
    measured = f"{time_text(times_s[0])} to {time_text(times_s[-1])}" if len(times_s) > 1 else time_text(times_s[0])
    return f" (extrapolated: relaxation was measured at {measured})"


def _retention(spec: HardwareSpec) -> str:
    retention, device = spec.retention, spec.device
    if not (retention.relax_sigma_S or retention.drift_nu_mean or retention.relax_shift_S):
        return "nothing is known of its retention"
    mean, spread = retention_spread_S(spec, (device.g_min_S + device.g_max_S) / 2, [retention.age_s])
    trend = f"{siemens_text(mean[0])} " if retention.relax_shift_S or retention.drift_nu_mean else ""
    return (
        f"{time_text(retention.age_s)} after programming a device in the middle of the window has moved by "
        f"{trend}+- {siemens_text(spread[0])}"
        + _beyond(retention.age_s, retention.relax_times_s)
        + ("" if retention.limit_retention else " (not in force: retention.limit_retention is off)")
    )


def siemens_text(value_S: float, digits: int = 3) -> str:
    """`40 uS`, `3.08 nS`."""
    for unit, size in (("mS", 1e-3), ("uS", 1e-6), ("nS", 1e-9)):
        if abs(value_S) >= (size if unit != "uS" else 0.1 * size):
            return f"{value_S / size:.{digits}g} {unit}"
    return f"{value_S:.3g} S"


def time_text(seconds: float) -> str:
    """`100 ns`, `2 h 05 min`, `1 day`."""
    if seconds >= 86400:
        return count(round(seconds / 86400), "day")
    if seconds >= 10:
        return duration(seconds)
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)):
        if seconds >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds:.3g} s"
