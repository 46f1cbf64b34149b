"""Law 1 for a model that was trained, in every form of batch norm, and what training itself has to be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import hrat
from hrat.nn import Scale, crossbar_layers, restrictions
from laws.checks import assert_law1, assert_law2, assert_law3, assert_model_is_chip
from laws.networks import NETWORKS, SPECS, network, small_network

FORMS = ("two_pass", "slice", "one_pass", "unfused")


def train(model: nn.Module, x: Tensor, steps: int = 4) -> None:
    """A few steps towards random labels."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    labels = torch.arange(len(x)) % 2
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()
    model.eval()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spec", ["harsh", "harsh two-stage", "wan2022", "measured levels"])
@pytest.mark.parametrize("name", ["fc4", "residual", "shared conv", "shared conv, two norms", "pre-activation"])
def test_laws_1_and_3_hold_after_training(name: str, spec: str, form: str) -> None:
    model, x = network(name)
    x = torch.cat([x, 0.5 * x.flip(0), -x])
    prepared = hrat.prepare(model, SPECS[spec], x, scales="channel", batch_norm=form)
    before = {key: value.clone() for key, value in prepared.state_dict().items()}
    train(prepared, x)
    after = prepared.state_dict()
    moved = [key for key in before if not torch.equal(before[key], after[key])]
    assert any("running_var" in key for key in moved) == any("running_var" in key for key in before)
    assert any("log_alpha" in key for key in moved)
    assert any("log_range" in key for key in moved)
    assert_law1(prepared, x, SPECS[spec])
    assert_law3(prepared, x, SPECS[spec])


@pytest.mark.parametrize("form", FORMS)
def test_law_2_holds_for_the_network_that_the_trained_weights_make(form: str) -> None:
    """The trained weights, put back into the original network, give what the prepared one gives with all off."""
    model, x = small_network()
    prepared = hrat.prepare(model, SPECS["harsh"], x, batch_norm=form)
    train(prepared, x)
    layers = crossbar_layers(prepared)
    first, norm, _, last = model
    first.load_state_dict({"weight": layers["0"].weight, "bias": layers["0"].bias})
    norm.load_state_dict(layers["0"].batch_norm.state_dict())
    last.load_state_dict({"weight": layers["3"].weight, "bias": layers["3"].bias})
    assert_law2(model, x, SPECS["harsh"], prepared=prepared)


def test_a_trained_chip_is_the_same_from_files(tmp_path: object) -> None:
    model, x = network("residual")
    prepared = hrat.prepare(model, SPECS["harsh"], x, scales="channel")
    train(prepared, x)
    hrat.program(hrat.deploy(prepared), chips=2).save(f"{tmp_path}/chip")
    again = hrat.prepare(network("residual")[0], SPECS["harsh"], x, scales="channel")
    again.load_state_dict(prepared.state_dict())
    chip = hrat.load(f"{tmp_path}/chip")
    assert isinstance(chip, hrat.ProgrammedChip)
    assert_model_is_chip(again, chip, x)


@pytest.mark.parametrize("form", ["two_pass", "slice"])
@pytest.mark.parametrize("name", ["fc4", "residual", "shared conv, two norms", "shared norm", "volumes"])
def test_training_with_all_restrictions_off_is_plain_training(name: str, form: str) -> None:
    """Same outputs, gradients, running statistics and parameters as PyTorch, step for step (batches of at most 16)."""
    model, x = network(name)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    prepared = hrat.prepare(model, SPECS["harsh"], x, batch_norm=form)
    compare_training(model, prepared, x, tolerance=1e-10)


@pytest.mark.parametrize("name", ["fc4", "residual", "volumes"])
def test_one_pass_with_all_restrictions_off_is_plain_training_where_no_gain_is_near_zero(name: str) -> None:
    model, x = network(name)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.weight.data = module.weight.data.sign() + 0.5  # 0.5, 1.5 and -0.5
            module.running_var.fill_(1.0)
            module.eps = 1e-12  # the gradient of gamma takes what eps does to it for constant
    prepared = hrat.prepare(model, SPECS["harsh"], x, batch_norm="one_pass")
    compare_training(model, prepared, x, tolerance=1e-8)


@pytest.mark.parametrize("momentum", [0.3, None])
@pytest.mark.parametrize("form", ["two_pass", "one_pass", "unfused"])
def test_running_statistics_are_those_of_torch(form: str, momentum: float | None) -> None:
    model, x = small_network()
    model[1].momentum = momentum
    model[1].weight.data.fill_(0.8)
    model[1].running_var.fill_(1.0)
    prepared = hrat.prepare(model, SPECS["harsh"], x, batch_norm=form)
    norm = crossbar_layers(prepared)["0"].batch_norm
    with torch.no_grad(), restrictions(prepared, prepared.spec.ideal()):
        for factor in (1.0, 0.5, 2.0):
            model.train()(factor * x)
            prepared.train()(factor * x)
    for key, value in model[1].state_dict().items():
        torch.testing.assert_close(norm.state_dict()[key], value, rtol=1e-12, atol=1e-12, msg=key)


def compare_training(model: nn.Module, prepared: hrat.PreparedModel, x: Tensor, tolerance: float) -> None:
    ours = dict(_parameters_by_origin(model, prepared))
    for parameter in prepared.parameters():
        parameter.requires_grad_(parameter.requires_grad and any(parameter is p for p, _ in ours.values()))
    optimizers = [
        torch.optim.SGD([p for p, _ in ours.values()], lr=0.01),
        torch.optim.SGD([p for _, p in ours.values()], lr=0.01),
    ]
    weights = torch.randn(model(x).shape, dtype=torch.float64)
    with restrictions(prepared, prepared.spec.ideal()):
        for step in range(3):
            losses = []
            for net, optimizer in zip((prepared, model), optimizers, strict=True):
                optimizer.zero_grad()
                out = net.train()((1 + step) * x)
                (out * weights).sum().backward()
                losses.append(out.detach())
            close(losses[0], losses[1], tolerance, f"outputs of step {step}")
            for name, (a, b) in ours.items():
                assert a.grad is not None, name
                close(a.grad, b.grad, tolerance, f"gradient of {name} in step {step}")
            for optimizer in optimizers:
                optimizer.step()
    theirs = {k: v for k, v in model.state_dict().items() if "running" in k}
    have = {k: v for k, v in prepared.state_dict().items() if "running" in k}
    assert len(theirs) <= len(have)
    for key, value in theirs.items():
        assert any(torch.allclose(value, v, rtol=1e-9, atol=1e-9) for v in have.values() if v.shape == value.shape), key


def _parameters_by_origin(model: nn.Module, prepared: nn.Module) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """The prepared model's copy of each parameter, found by its values."""
    mine = {id(m) for s in prepared.modules() if isinstance(s, Scale) for m in s.parameters()}
    candidates = [p for n, p in prepared.named_parameters() if id(p) not in mine and "log_range" not in n]
    for name, parameter in model.named_parameters():
        (found,) = [i for i, p in enumerate(candidates) if p.shape == parameter.shape and torch.equal(p, parameter)][:1]
        yield name, (candidates.pop(found), parameter)


def close(got: Tensor, want: Tensor | None, tolerance: float, what: str) -> None:
    assert want is not None, what
    error, size = float((got - want).abs().max()), float(want.abs().max())
    assert error <= tolerance * max(size, 1.0), f"{what}: differs by {error:.3g} where the largest is {size:.3g}"


class NormsOnBothSides(nn.Module):
    """Batch norm in front of and behind one operation, which takes the shift of the first one off again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Linear(5, 4), nn.BatchNorm1d(4)
        self.body, self.behind = nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(self.body(self.norm(F.relu(self.stem(x)))))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["norms on both sides", *NETWORKS])
def test_every_parameter_has_a_gradient_if_zero(name: str, form: str, frozen: bool) -> None:
    """One without any would stop training on several ranks at the second step."""
    model, x = (NormsOnBothSides().double(), torch.randn(6, 5).double()) if name not in NETWORKS else NETWORKS[name]()
    prepared = hrat.prepare(model.double().train(), SPECS["harsh"], x, batch_norm=form)
    hrat.nn.freeze_batch_norm(prepared, frozen)
    outputs = prepared(**x) if isinstance(x, dict) else prepared(*x) if isinstance(x, tuple) else prepared(x)
    torch.stack([leaf.sum() for leaf in tree_leaves(outputs) if leaf.requires_grad]).sum().backward()
    assert [n for n, p in prepared.named_parameters() if p.requires_grad and p.grad is None] == []
