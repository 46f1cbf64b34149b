"""The example files that come with hrat, and the device behind them. Synthetic: nothing in them was measured."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from hrat.errors import HratError
from hrat.spec import HardwareSpec, load_spec

__all__ = ["EXAMPLES", "example_csv", "example_truth"]

EXAMPLES = ("sweep", "retention", "write-verify")


def example_csv(name: str = "sweep") -> Path:
    """Path of an example file: `sweep`, `retention` or `write-verify`. All three are synthetic.

    Raises:
        HratError: another name.
    """
    if name not in EXAMPLES:
        raise HratError(f"there is no example {name!r}; expected one of {', '.join(EXAMPLES)}")
    return Path(str(resources.files("hrat.measurements") / "examples" / f"{name}.csv"))


def example_truth() -> HardwareSpec:
    """The device behind the example files, which a fit should recover."""
    return load_spec(
        "generic-4bit",
        {
            "name": "example",
            "device.g_min_S": 20e-6,
            "device.g_max_S": 120e-6,
            "device.read_noise_rel": 0.003,
            "pulses.set_V": 1.8,
            "pulses.reset_V": 1.6,
            "pulses.set_width_s": 100e-9,
            "pulses.reset_width_s": 200e-9,
            "pulses.cycle_spread_rel": 0.35,
            "pulses.device_spread_rel": 0.15,
            "soft_bounds.n_set": 40.0,
            "soft_bounds.n_reset": 32.0,
            "soft_bounds.nonlinearity_set": 1.4,
            "soft_bounds.nonlinearity_reset": 2.0,
            "retention.relax_times_s": (1.0, 100.0, 10_000.0),
            "retention.relax_sigma_S": ((0.4e-6, 1.0e-6), (0.6e-6, 1.6e-6), (0.8e-6, 2.2e-6)),
            "retention.relax_ref_S": 120e-6,
            "retention.relax_shift_S": -0.15e-6,
            "programming.sigma_poly_S": (1.2e-6, 1.0e-6),
            "programming.sigma_poly_ref_S": 120e-6,
        },
    )
