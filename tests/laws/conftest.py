"""Which cases of the laws stand for the others: `make laws` leaves out those that are marked `wide` here."""

from __future__ import annotations

from pathlib import Path

import pytest

from laws.architectures import ARCHITECTURES
from laws.networks import NETWORKS

REPRESENTATIVE = frozenset(
    {
        *("fc4", "residual", "digital operations", "pre-activation", "shared conv, two norms", "tied functional"),
        *("two inputs", "tuple output", "tokens", "volumes"),
        *("resnet18", "mobilenet v2", "convnext", "densenet", "u-net"),
        *("lstm deep", "gru with state", "rnn", "own loop, parameters"),
        *("transformer encoder, padded", "cross attention", "vit", "gpt"),
    }
)
"""Of networks and architectures: one of each kind of layer, junction, loop and signature."""
ALL = NETWORKS.keys() | ARCHITECTURES.keys()
WIDE = frozenset({"test_a_model_of_timm", "test_a_model_of_transformers", "test_what_it_takes_can_be_estimated"})
"""Tests that hold no other law than the rest, for many more models."""
CIRCUITS = frozenset({"harsh two-stage", "tile ADCs"})
"""Hardware on which law 4 is held."""

assert ALL >= REPRESENTATIVE, f"no network or architecture: {', '.join(sorted(REPRESENTATIVE - ALL))}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is wide, before pytest selects by marker."""
    for item in items:
        if Path(__file__).parent not in item.path.parents or not isinstance(item, pytest.Function):
            continue
        of_item = item.callspec.params if hasattr(item, "callspec") else {}
        other_network = of_item.get("name", "") in ALL - REPRESENTATIVE
        other_circuit = item.path.stem == "test_circuit" and of_item.get("spec") not in {None, *CIRCUITS}
        of_gradients = item.path.stem == "test_gradients" and {"channel", "unfused"} & set(map(str, of_item.values()))
        if item.originalname in WIDE or other_network or other_circuit or of_gradients:
            item.add_marker(pytest.mark.wide)
