"""What a lab might have measured, for scripts/golden.py: CSV files, and all that `hrat.fit_device` finds in them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))  # of this tree, whichever is installed

import hrat  # noqa: E402
from hrat.measurements import example_csv, example_truth  # noqa: E402
from hrat.measurements.synthetic import retention_csv, sweep_csv, write_verify_csv  # noqa: E402


def example_records() -> list[str]:
    """The three example files as texts."""
    return [example_csv(kind).read_text(encoding="utf-8") for kind in ("sweep", "retention", "write-verify")]


def sweeps(seed: int = 0, devices: int = 8, cycles: int = 2, **changes: Any) -> list[str]:
    """A synthetic file of pulse sweeps."""
    return [sweep_csv(example_truth().replace(changes), devices=devices, cycles=cycles, pulses=50, seed=seed)]


def humped_steps() -> list[str]:
    """Sweeps whose steps are largest in the middle of the window, half of the readings repeated."""
    rng, rows = np.random.default_rng(4), ["device,cycle,pulse,voltage_V,conductance_uS"]
    for device, cycle in product(range(8), range(4)):
        g = 20.0
        for k, way in enumerate([0] + [1] * 60 + [-1] * 60):
            g = float(np.clip(g + way * (0.5 + 4.5 * np.exp(-(((g - 60) / 20) ** 2))) * rng.uniform(0.5, 1.5), 20, 100))
            for _ in range(1 + k % 2):
                rows.append(f"{device},{cycle},{k},{1.5 * way},{g * (1 + 0.002 * rng.standard_normal()):.4f}")
    return ["\n".join(rows)]


def drifting() -> list[str]:
    """Retention records of devices that drift, at two temperatures."""
    rng, rows = np.random.default_rng(5), ["device,time_s,conductance_uS,temperature_K"]
    for device, (kelvin, t) in product(range(120), product((300, 330), (0, 20, 100, 1000, 10_000))):
        g, nu = 2 + 0.2 * device, 0.05 + 0.01 * np.sin(device)
        ahead = 1.0 if kelvin == 300 else 5.0
        now = g * (max(t * ahead, 20) / 20) ** -nu * (1 + 0.003 * rng.standard_normal())
        rows.append(f"{device}-{kelvin},{t},{now:.4f},{kelvin}")
    return ["\n".join(rows)]


def untidy() -> list[str]:
    """Sweeps with rows out of order, cells that are none, double rows, a stuck device and pulses of two amplitudes."""
    head, names, *rows = sweeps()[0].strip().split("\n")
    rows = [row.replace(",1.8,", ",1.9,") if row.startswith("d5,1,") else row for row in rows]
    rows[40], rows[90], rows[91] = "d0,0,40,1.8,100,n/a", rows[89], rows[80]
    rows += [f"stuck,0,{k},{-1.6 if k > 30 else 1.8},100,{95 + 0.01 * (k % 3):.2f}" for k in range(60)]
    np.random.default_rng(6).shuffle(rows)
    return ["\n".join([head, names, *rows])]


RECORDS: dict[str, tuple[Callable[[], list[str]], dict[str, Any]]] = {
    "examples": (example_records, {}),
    "sweeps": (sweeps, {"model": "soft_bounds"}),
    "noisy sweeps": (lambda: sweeps(1, **{"read_noise_rel": 0.01, "cycle_spread_S": 1e-6}), {}),
    "one device": (lambda: sweeps(2, devices=1, cycles=6), {}),
    "two files": (lambda: sweeps(3) + sweeps(4, devices=5), {"model": "linear_step"}),
    "equal steps": (lambda: sweeps(5, **{"pulses.model": "linear_step", "linear_step.n_set": 30.0}), {}),
    "humped steps": (humped_steps, {}),
    "humped steps, exponential": (humped_steps, {"model": "soft_bounds"}),
    "table": (lambda: sweeps(6, devices=20), {"model": "jump_table"}),
    "untidy": (untidy, {}),
    "drift": (drifting, {}),
    "activation": (
        lambda: [
            retention_csv(
                example_truth().replace({"retention.activation_eV": 0.9}),
                devices=100,
                seed=7,
                times_s=(0, 1, 10, 100, 1000, 10_000),
                temperatures_K=(300, 330, 360),
            )
        ],
        {},
    ),
    "two retention files": (
        lambda: [retention_csv(example_truth(), devices=60, seed=s, times_s=(0, 1, 9, 99)) for s in (8, 9)],
        {},
    ),
    "verified": (lambda: [write_verify_csv(example_truth(), devices=40, seed=10)], {}),
    "verified, table": (lambda: [write_verify_csv(example_truth(), devices=600, seed=11)], {"base": example_truth()}),
}
"""What a lab has measured: CSV files, and how they are fitted."""


def fitted(files: Callable[[], list[str]], options: Mapping[str, Any]) -> dict[str, Any]:
    """`hrat.fit_device` with all that it finds."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.csv" for number in range(len(files()))]
        for path, text in zip(paths, files(), strict=True):
            path.write_text(text, encoding="utf-8")
        fit = hrat.fit_device(paths, accept_poor=True, **options)
        return {"fit": fit, "words": str(fit)}
