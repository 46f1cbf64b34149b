from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import nn

import hrat
from hrat.artifacts import Comparison, ComparisonRow

MEANS = {"plain": 0.503, "float": 0.972, "hrat-unfused": 0.944, "hrat": 0.958}


@pytest.fixture
def make_comparison() -> Callable[..., Comparison]:
    """A comparison with chips around the given means; the float network is not the first row, on purpose."""

    def make(means: dict[str, float] = MEANS, n_chips: int = 5) -> Comparison:
        stream = random.Random(3)
        rows = [
            ComparisonRow(
                method=method,
                label=f"label of {method}",
                accuracies=(mean,)
                if method == "float"
                else tuple(round(stream.gauss(mean, 0.004), 3) for _ in range(n_chips)),
                accuracy_without_error=0.972,
                train_seconds=75.0,
                epochs=15,
            )
            for method, mean in means.items()
        ]
        return Comparison(
            network="lenet5",
            data="mnist5k",
            spec="my-chip",
            spec_summary="8 states, 10 % error [per device]",
            n_train=4000,
            n_test=1000,
            n_chips=n_chips,
            seed=0,
            rows=tuple(rows),
        )

    return make


@pytest.fixture
def deployment() -> hrat.Deployment:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(20, 9), nn.ReLU(), nn.Linear(9, 3)).eval()
    spec = hrat.load_spec("generic-4bit", {"array.rows": 16, "array.cols": 4})
    return hrat.deploy(hrat.prepare(network, spec, torch.randn(8, 20)))


@pytest.fixture
def chips(deployment: hrat.Deployment) -> hrat.ProgrammedChip:
    return hrat.program(deployment, chips=3, seed=5)
