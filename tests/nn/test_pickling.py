"""A prepared model through pickle, into another process, and past torch.export."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

import hrat
from hrat.testing.compare import call
from hrat.training import FitOptions
from hrat.training.identity import identity_of
from laws.networks import NETWORKS, SPECS, network, small_network


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_pickled_model_is_the_same(name: str) -> None:
    model, x = network(name)
    prepared = hrat.prepare(model, SPECS["harsh"], x)
    again: hrat.PreparedModel = pickle.loads(pickle.dumps(prepared))
    copied = copy.deepcopy(prepared)
    for other in (again, copied):
        for got, want in zip(tree_leaves(call(other, x)), tree_leaves(call(prepared, x)), strict=True):
            assert torch.equal(got, want)
        assert other.graph.code == prepared.graph.code
        assert str(other.report) == str(prepared.report)
        assert hrat.deploy(other).is_same_as(hrat.deploy(prepared))
    # A training run that was stopped knows it again.
    options = FitOptions()
    assert identity_of(again, [0], options, None, None) == identity_of(prepared, [0], options, None, None)
    assert not any(a is b for a, b in zip(again.parameters(), prepared.parameters(), strict=True))


def test_a_saved_model_is_read_and_trained_in_another_process(tmp_path: Path) -> None:
    model, x = small_network()
    prepared = hrat.prepare(model, SPECS["harsh"], x, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = prepared.eval()(x)
    torch.save(prepared.train(), tmp_path / "model.pt")
    torch.save((x, expected), tmp_path / "values.pt")
    script = """
    import sys, torch
    model = torch.load(sys.argv[1] + "/model.pt", weights_only=False)
    x, expected = torch.load(sys.argv[1] + "/values.pt")
    assert model.training
    assert torch.equal(model.eval()(x), expected)
    model.train()(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], check=True)


def test_export_takes_the_network_within() -> None:
    x = torch.randn(8, 6)
    body = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    model = hrat.prepare(body, "generic-4bit", x).eval()
    with pytest.raises(hrat.HratError, match=r"torch\.export\.export\(model\.graph, args\)"):
        torch.export.export(model, (x,))
    exported = torch.export.export(model.graph, (x,)).module()
    assert torch.equal(exported(x), model(x))
