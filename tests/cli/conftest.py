from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import hrat
from cli.shell import Shell


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """`hrat` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HRAT_DATA", raising=False)
    monkeypatch.delenv("HRAT_DEBUG", raising=False)
    return Shell()


@pytest.fixture
def make_chips(tmp_path: Path) -> Callable[[], Path]:
    """Writes two small chips that know 784 inputs, and the deployment beside them."""

    def make() -> Path:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
        deployment = hrat.deploy(hrat.prepare(network, hrat.load_spec("generic-4bit"), torch.randn(4, 1, 28, 28)))
        deployment.save(tmp_path / "a.deployment")
        return hrat.program(deployment, chips=2).save(tmp_path / "a.chips")

    return make
