from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hrat.measurements import example_truth
from hrat.measurements.synthetic import sweep_csv
from hrat.spec import HardwareSpec

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a text to a CSV file of its own."""

    def write(text: str | bytes, name: str = "sweep.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture(scope="session")
def truth() -> HardwareSpec:
    """The device that the synthetic files are of."""
    return example_truth()


@pytest.fixture(scope="session")
def sweeps(truth: HardwareSpec) -> str:
    """A small file of pulse sweeps."""
    return sweep_csv(truth, devices=6, cycles=2, pulses=60, seed=0)
