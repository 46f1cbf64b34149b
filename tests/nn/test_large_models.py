"""Memory and time of conversion at size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "prepare.py"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_transformer_of_100_million_parameters() -> None:
    """At most 2.5 times the model's own memory, the model itself included, and less than a minute."""
    run = subprocess.run([sys.executable, str(BENCHMARK)], capture_output=True, text=True, check=True)
    result = json.loads(run.stdout.splitlines()[-1])
    assert result["parameters"] > 100_000_000
    assert result["peak_by_model"] <= 2.5
    assert result["seconds"] < 60
