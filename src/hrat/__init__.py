"""hrat trains PyTorch networks so that they work, as trained, on memristor crossbars.

    spec -> prepare -> fit -> deploy -> program -> simulate -> report

Each function takes what the one before it returned. The README has a first example.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hrat import artifacts as artifacts
    from hrat import circuit as circuit
    from hrat import conversion as conversion
    from hrat import encoding as encoding
    from hrat import errors as errors
    from hrat import experiments as experiments
    from hrat import mapping as mapping
    from hrat import measurements as measurements
    from hrat import nn as nn
    from hrat import physics as physics
    from hrat import programming as programming
    from hrat import reports as reports
    from hrat import simulation as simulation
    from hrat import spec as spec
    from hrat import testing as testing
    from hrat import training as training
    from hrat.artifacts import Deployment, ProgrammedChip, SimulationResult, export_csv, import_csv, load
    from hrat.circuit import operation
    from hrat.conversion import prepare
    from hrat.errors import HratError
    from hrat.experiments import report, restriction_budget, sweep
    from hrat.mapping import deploy
    from hrat.measurements import DeviceFit, fit_device
    from hrat.nn import PreparedModel, calibrate, use_chip
    from hrat.programming import age, characterise, program
    from hrat.simulation import estimate, simulate
    from hrat.spec import Array, Device, HardwareSpec, Periphery, Programming, load_spec
    from hrat.training import fit

try:
    __version__ = version("hrat")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "Array",
    "Deployment",
    "Device",
    "DeviceFit",
    "HardwareSpec",
    "HratError",
    "Periphery",
    "PreparedModel",
    "ProgrammedChip",
    "Programming",
    "SimulationResult",
    "age",
    "calibrate",
    "characterise",
    "deploy",
    "estimate",
    "export_csv",
    "fit",
    "fit_device",
    "import_csv",
    "load",
    "load_spec",
    "operation",
    "prepare",
    "program",
    "report",
    "restriction_budget",
    "simulate",
    "sweep",
    "use_chip",
]

_ROOMS: dict[str, tuple[str, ...]] = {
    "artifacts": ("Deployment", "ProgrammedChip", "SimulationResult", "export_csv", "import_csv", "load"),
    "circuit": ("operation",),
    "conversion": ("prepare",),
    "encoding": (),
    "errors": ("HratError",),
    "experiments": ("report", "restriction_budget", "sweep"),
    "mapping": ("deploy",),
    "measurements": ("DeviceFit", "fit_device"),
    "nn": ("PreparedModel", "calibrate", "use_chip"),
    "physics": (),
    "programming": ("age", "characterise", "program"),
    "reports": (),
    "simulation": ("estimate", "simulate"),
    "spec": ("Array", "Device", "HardwareSpec", "Periphery", "Programming", "load_spec"),
    "testing": (),
    "training": ("fit",),
}
"""The rooms, which are attributes of `hrat`, and of each the names that stand at the root."""


def __getattr__(name: str) -> Any:
    """Import a room when it or its name is first asked for: `hrat --help` and `hrat spec` need no torch (PEP 562)."""
    if name in _ROOMS:
        return import_module(f"hrat.{name}")
    for room, names in _ROOMS.items():
        if name in names:
            value = getattr(import_module(f"hrat.{room}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'hrat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
