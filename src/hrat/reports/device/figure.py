"""A device as a picture: sweeps of set and reset pulses, and what becomes of a state, with the data of a fit."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hrat.measurements import DeviceFit, MeasuredCurve
from hrat.reports.device.curves import DEVICES, retention_spread_S, staircase
from hrat.reports.device.sentences import device_sentences, time_text
from hrat.reports.drawing import (
    BLUE,
    GREY,
    INK,
    US,
    VERMILION,
    figure_format,
    new_figure,
    plain_frame,
    save_figure,
)
from hrat.spec import HardwareSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["device_figure"]

WIDTH_IN, PLOT_IN, FOOT_IN = 11.0, 3.3, 1.0
MOST_DOTS = 40


def device_figure(device: HardwareSpec | DeviceFit, path: str | os.PathLike[str]) -> Path:
    """Draw the pulse curves and the retention of a device, and of a fit the data beside them.

    Args:
        device: a spec, or what `hrat.fit_device` found.
        path: a `.png`, `.svg` or `.pdf` file.

    Raises:
        HratError: the suffix stands for no picture.
        OSError: the folder cannot be written or the disk is full.
    """
    figure_format(path)
    spec, fit = (device.spec, device) if isinstance(device, DeviceFit) else (device, None)
    words = [line for sentence in device_sentences(spec) for line in textwrap.wrap(f"{sentence}.", 150)]
    head_in = 0.95 + 0.19 * len(words)
    height_in = head_in + PLOT_IN + FOOT_IN
    figure = new_figure(WIDTH_IN, height_in)
    _head(figure, spec, fit, words, height_in)
    grid = figure.add_gridspec(1, 3, left=0.065, right=0.985, bottom=FOOT_IN / height_in, top=1 - head_in / height_in,
                               wspace=0.27, width_ratios=[1, 1, 0.95])  # fmt: skip
    curves = {} if fit is None else {curve.direction: curve for curve in fit.curves}
    for column, (name, color) in enumerate((("set", BLUE), ("reset", VERMILION))):
        _sweep(figure.add_subplot(grid[0, column]), spec, name, color, curves.get(name))
    _retention(figure.add_subplot(grid[0, 2]), spec, fit)
    return save_figure(figure, path)


def _head(figure: Figure, spec: HardwareSpec, fit: DeviceFit | None, words: list[str], height_in: float) -> None:
    title = f"{spec.name}: " + ("what pulses and time do to it" if fit is None else "the fit beside the measurements")
    figure.text(0.02, 1 - 0.15 / height_in, title, fontsize=14, fontweight="bold", color=INK, va="top")
    for k, line in enumerate(words):
        figure.text(0.02, 1 - (0.47 + 0.19 * k) / height_in, line, fontsize=9, color=GREY, va="top")
    legend = f"line: mean of {DEVICES:,} simulated devices; shade: eight tenths of them"
    if fit is not None and (fit.curves or fit.retention):
        legend += "; dots and bars: the same of the measurements (retention: standard deviations)"
    figure.text(0.5, 0.16 / height_in, legend, fontsize=9, color=GREY, ha="center", va="bottom")


def _frame(axis: Axes, title: str, x: str, y: str) -> None:
    axis.set_title(title, fontsize=10, color=INK, loc="left")
    axis.set_xlabel(x, fontsize=9, color=INK)
    axis.set_ylabel(y, fontsize=9, color=INK)
    plain_frame(axis)


def _sweep(axis: Axes, spec: HardwareSpec, name: str, color: str, measured: MeasuredCurve | None) -> None:
    up = name == "set"
    sweep = staircase(
        spec,
        up=up,
        start_S=None if measured is None else measured.mean_S[0],
        pulses=None if measured is None else len(measured.mean_S) - 1,
    )
    number = np.arange(len(sweep.mean_S))
    axis.fill_between(number, sweep.low_S.numpy() * US, sweep.high_S.numpy() * US, color=color, alpha=0.2, linewidth=0)
    axis.plot(number, sweep.mean_S.numpy() * US, color=color, linewidth=1.8)
    if measured is not None:
        mean, low, high = (np.array(part) * US for part in (measured.mean_S, measured.low_S, measured.high_S))
        every = slice(None, None, max(len(mean) // MOST_DOTS, 1))
        axis.vlines(number[every], low[every], high[every], color=INK, linewidth=0.7, zorder=3)
        axis.plot(number[every], mean[every], "o", color=INK, markersize=3, zorder=4)
    device = spec.device
    room = 0.04 * device.g_range_S
    axis.set_ylim((device.g_min_S - room) * US, (device.g_max_S + room) * US)
    axis.set_xlim(0, max(len(number) - 1, 1))
    volt = spec.pulses.set_V if up else spec.pulses.reset_V
    width_s = spec.pulses.set_width_s if up else spec.pulses.reset_width_s
    _frame(axis, f"{name}, {volt:g} V, {time_text(width_s)}", "pulse", "conductance, µS")


def _retention(axis: Axes, spec: HardwareSpec, fit: DeviceFit | None) -> None:
    retention, device = spec.retention, spec.device
    if not (retention.relax_sigma_S or retention.drift_nu_mean or retention.relax_shift_S):
        _frame(axis, "after programming", "", "")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(visible=False)
        axis.text(0.5, 0.5, "retention: not given", transform=axis.transAxes, ha="center", va="center",
                  fontsize=9, color=GREY)  # fmt: skip
        return
    measured = None if fit is None else fit.retention
    ends = [*(measured.times_s if measured else ()), *retention.relax_times_s]
    if measured is None:
        ends += [retention.age_s, *([retention.drift_t0_s] if retention.drift_nu_mean else [])]
    first, last = max(min(ends), 1e-3), max(ends)
    times_s = np.geomspace(first, last if last > first else 10 * first, 60).tolist()
    states = (
        (device.g_min_S, "lowest"),
        ((device.g_min_S + device.g_max_S) / 2, "middle"),
        (device.g_max_S, "highest"),
    )
    for k, (g_S, name) in enumerate(states):
        means, spreads = (np.array(part) * US for part in retention_spread_S(spec, g_S, times_s))
        shade = (BLUE, INK, VERMILION)[k]
        axis.plot(times_s, spreads, color=shade, linewidth=1.6, label=f"spread, {name} state")
        if name == "middle" and (retention.relax_shift_S or retention.drift_nu_mean):
            axis.plot(times_s, means, color=shade, linewidth=1.2, linestyle="--", label="mean change, middle state")
    if measured is not None:
        axis.plot(measured.times_s, np.array(measured.spread_S) * US, "o", color=GREY, markersize=4,
                  label="measured spread, all states")  # fmt: skip
        if retention.relax_shift_S or retention.drift_nu_mean:
            axis.plot(measured.times_s, np.array(measured.mean_S) * US, "D", color=GREY, markersize=4, mfc="none",
                      label="measured mean change")  # fmt: skip
    axis.set_xscale("log")
    _frame(axis, "after programming", "time, s", "change of the conductance, µS")
    bottom, top = axis.get_ylim()
    axis.set_ylim(bottom, top + 0.55 * (top - bottom))  # room for the legend
    axis.legend(fontsize=7.5, frameon=False, loc="upper left")
