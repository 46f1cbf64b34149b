"""Laws 5 and 6: with every restriction off, gradients and training are those of the original network."""

from __future__ import annotations

import pytest

import hrat
from hrat.nn import BatchNormForm
from hrat.testing.origins import told_apart
from hrat.testing.training import gradients_are_the_networks, training_is_the_networks
from laws.architectures import ARCHITECTURES, architecture
from laws.networks import NETWORKS, SPECS, network

ALL = [*NETWORKS, *ARCHITECTURES]
DROP_OTHERWISE = {"transformer encoder", "causal encoder", "causal encoder, told", "cross attention"}
"""Whose attention draws dropout in another order than PyTorch's fused one."""
FEW_VALUES = {"resnet18", "resnet50"}
"""Two images, of one pixel in the end: batch statistics of two numbers magnify rounding."""


@pytest.mark.parametrize("scales", ["signal", "channel"])
@pytest.mark.parametrize("name", ALL)
def test_gradients_are_the_networks(name: str, scales: str) -> None:
    model, x = network(name) if name in NETWORKS else architecture(name)
    model = told_apart(model, 0)
    found = gradients_are_the_networks(model, hrat.prepare(model, SPECS["harsh"], x, scales=scales), x)
    assert found.require().status == "holds"


@pytest.mark.parametrize("form", ["two_pass", "unfused"])
@pytest.mark.parametrize("name", [name for name in ALL if name not in FEW_VALUES])
def test_training_is_the_networks(name: str, form: BatchNormForm) -> None:
    model, x = network(name) if name in NETWORKS else architecture(name)
    model = told_apart(model, 0)
    prepared = hrat.prepare(model, SPECS["harsh"], x, batch_norm=form)
    before = {key: value.clone() for key, value in prepared.state_dict().items()}
    found = training_is_the_networks(model, prepared, x)
    assert found.require().status == "holds"
    assert ("without dropout" in found.detail) == (name in DROP_OTHERWISE)
    assert all(value.equal(before[key]) for key, value in prepared.state_dict().items())  # left as it was
