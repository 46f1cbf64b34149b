"""Synthetic measurements: readings of devices that behave exactly as a spec says.

They stand for real ones in the documentation and in tests, where the truth has to be known. Nothing here was measured.
`examples/synthetic_device.py` writes the three files of `example_csv` with it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hrat.errors import HratError
from hrat.files import write_atomic
from hrat.measurements.example import example_truth
from hrat.measurements.read import Floats
from hrat.physics import aged_S, pulse_response, sigma_S
from hrat.physics.pulses import varied_S
from hrat.seeds import check_seed
from hrat.spec import HardwareSpec

__all__ = ["retention_csv", "sweep_csv", "write_examples", "write_verify_csv"]

HEAD = "# SYNTHETIC: made by hrat.measurements.synthetic (seed {seed}), not measured on any device.\n"


def sweep_csv(spec: HardwareSpec, *, devices: int, cycles: int, pulses: int, seed: int) -> str:
    """Set and reset sweeps in turn: `pulses` of the one, `pulses` of the other.

    Args:
        spec: the device.
        devices: number of devices.
        cycles: sweeps up and down of each device.
        pulses: pulses of each direction in a cycle.
        seed: seed of all that is random.

    Raises:
        HratError: a pulse model that varies by itself.
    """
    if spec.pulses.model == "jump_table":
        raise HratError("sweep_csv: a jump table has its variation in its quantiles; expected another pulse model")
    rng = np.random.default_rng(check_seed(seed))
    response = pulse_response(spec, dtype=torch.float64)
    device, figures = spec.device, spec.pulses
    factors = torch.from_numpy(np.exp(rng.normal(0.0, figures.device_spread_rel, (2, devices))))
    lines = ["device,cycle,pulse,voltage_V,width_ns,conductance_uS"]
    g_S = torch.full((devices,), device.g_min_S, dtype=torch.float64)
    values: list[Floats] = []
    plan = [0] + [1] * pulses + [-1] * pulses
    for _ in range(cycles):
        for way in plan:
            if way:
                mean_S = response.change_S(g_S, torch.full_like(g_S, float(way > 0)), None, None)
                z = torch.from_numpy(rng.standard_normal(devices))
                change_S = varied_S(mean_S * factors[0 if way > 0 else 1], z, figures)
                g_S = (g_S + change_S).clamp(device.g_min_S, device.g_max_S)
            values.append(g_S.numpy() * (1 + device.read_noise_rel * rng.standard_normal(devices)))
    table = np.array(values).reshape(cycles, len(plan), devices) * 1e6
    volts = {0: "0", 1: f"{figures.set_V:g}", -1: f"{-figures.reset_V:g}"}
    widths = {
        0: f"{figures.set_width_s * 1e9:g}",
        1: f"{figures.set_width_s * 1e9:g}",
        -1: f"{figures.reset_width_s * 1e9:g}",
    }
    for d in range(devices):
        for c in range(cycles):
            lines += [f"d{d},{c},{k},{volts[way]},{widths[way]},{table[c, k, d]:.3f}" for k, way in enumerate(plan)]
    return HEAD.format(seed=seed) + "\n".join(lines) + "\n"


def retention_csv(
    spec: HardwareSpec, *, devices: int, seed: int, times_s: tuple[float, ...], temperatures_K: tuple[float, ...] = ()
) -> str:
    """Conductances of devices all over the window, at some times after programming.

    Args:
        spec: the device; its retention is used whether or not it is switched on.
        devices: how many, at each temperature.
        seed: seed of all that is random.
        times_s: when they are read, from 0 s on.
        temperatures_K: at which temperatures; none: no such column, and the spec's own.
    """
    generator = torch.Generator().manual_seed(check_seed(seed))
    lines = ["device,time_s,conductance_uS" + (",temperature_K" if temperatures_K else "")]
    for t, temperature_K in enumerate(temperatures_K or (spec.retention.temperature_K,)):
        retention = spec.replace({"retention.temperature_K": temperature_K}).retention
        start = torch.empty(devices, dtype=torch.float64)
        start.uniform_(spec.device.g_min_S, spec.device.g_max_S, generator=generator)
        # Drawn for each time from the programmed state: variances are those of the spec, paths are not continuous.
        table = [aged_S(start, time_s, retention, generator=generator) for time_s in times_s]
        noise = spec.device.read_noise_rel
        for d in range(devices):
            for time_s, g_S in zip(times_s, table, strict=True):
                read = float(g_S[d]) * (1 + noise * float(torch.randn(1, generator=generator)))
                tail = f",{temperature_K:g}" if temperatures_K else ""
                lines.append(f"d{t}-{d},{time_s:g},{read * 1e6:.3f}{tail}")
    return HEAD.format(seed=seed) + "\n".join(lines) + "\n"


def write_verify_csv(spec: HardwareSpec, *, devices: int, seed: int) -> str:
    """Devices that were brought near to targets spread over the states.

    Args:
        spec: gives the states, and the error of each device by its `sigma_poly_S`. The numbers of pulses stand for
            nothing but numbers.
        devices: how many for each state.
        seed: seed of all that is random.
    """
    rng = np.random.default_rng(check_seed(seed))
    lines = ["device,target_uS,achieved_uS,pulses"]
    for k, target_S in enumerate(spec.device.states_S):
        spread_S = float(sigma_S(torch.tensor(target_S, dtype=torch.float64), spec.device, spec.programming))
        achieved_S = np.maximum(target_S + rng.normal(0.0, spread_S, devices), 0.0)
        pulses = 1 + rng.poisson(6, devices)
        for d, (end_S, spent) in enumerate(zip(achieved_S, pulses, strict=True)):
            lines.append(f"d{k * devices + d},{target_S * 1e6:.3f},{end_S * 1e6:.3f},{spent}")
    return HEAD.format(seed=seed) + "\n".join(lines) + "\n"


def write_examples(folder: Path) -> list[Path]:
    """Write the three example files; the same ones each time."""
    truth = example_truth()
    texts = {
        "sweep": sweep_csv(truth, devices=12, cycles=4, pulses=60, seed=3),
        "retention": retention_csv(truth, devices=300, seed=6, times_s=(0, 1, 10, 100, 1000, 10_000)),
        "write-verify": write_verify_csv(truth, devices=60, seed=7),
    }
    return [write_atomic(folder / f"{name}.csv", text) for name, text in texts.items()]
