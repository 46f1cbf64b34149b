"""Batch norm in training: gammas of every sign, statistics, freezing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import hrat
from hrat.nn import BATCH_NORM_FORMS, crossbar_layers, freeze_batch_norm, set_noise_strength
from laws.networks import SPECS, network, small_network


def one_norm(form: str, *, gamma: list[float], spec: str = "harsh") -> tuple[hrat.PreparedModel, nn.Module, Tensor]:
    """`(prepared, its batch norm, input)` of a linear layer with given gammas."""
    x = torch.randn(64, 5, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(5, len(gamma)), nn.BatchNorm1d(len(gamma))).double()
    model[1].weight.data = torch.tensor(gamma, dtype=torch.float64)
    prepared = hrat.prepare(model, SPECS[spec], x, batch_norm=form)  # type: ignore[arg-type]
    norm = crossbar_layers(prepared)["0"].batch_norm
    assert norm is not None
    return prepared.train(), norm, x


@pytest.mark.parametrize("gamma", [[0.0, -0.7, 1.2], [0.0, 0.0, 0.0], [-1.0, -2.0, -0.5], [1e-30, -1e-12, 1.0]])
@pytest.mark.parametrize("form", BATCH_NORM_FORMS)
@pytest.mark.parametrize("spec", ["harsh", "harsh two-stage", "wan2022"])
def test_every_gamma_gives_finite_outputs_and_gradients(form: str, gamma: list[float], spec: str) -> None:
    prepared, _, x = one_norm(form, gamma=gamma, spec=spec)
    for _ in range(3):
        prepared.zero_grad()
        out = prepared(x)
        (out - x[:, :3]).square().sum().backward()
        assert bool(torch.isfinite(out).all())
        for name, parameter in prepared.named_parameters():
            assert parameter.grad is not None, name
            assert bool(torch.isfinite(parameter.grad).all()), name


@pytest.mark.parametrize("form", BATCH_NORM_FORMS)
@pytest.mark.parametrize("wanted", [1.0, -1.0])
def test_a_channel_whose_gamma_is_zero_recovers(form: str, wanted: float) -> None:
    """Asked for a signal, with either sign, its gamma leaves zero."""
    prepared, norm, x = one_norm(form, gamma=[0.0, 1.0])
    set_noise_strength(prepared, 0.0)
    layer = crossbar_layers(prepared)["0"]
    signal = (x @ layer.weight.detach().T)[:, 0]
    target = wanted * (signal - signal.mean()) / signal.std()
    optimizer = torch.optim.Adam([norm.weight], lr=0.05)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (prepared(x)[:, 0] - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert wanted * float(norm.weight.detach()[0]) > 0.2
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("form", ["two_pass", "slice", "one_pass"])
def test_a_negative_gamma_turns_the_signal_around(form: str) -> None:
    prepared, norm, x = one_norm(form, gamma=[1.0, -1.0])
    layer = crossbar_layers(prepared)["0"]
    layer.weight.data[1] = layer.weight.data[0]
    layer.bias.data[1] = layer.bias.data[0]
    norm.running_mean.zero_()
    with torch.no_grad(), hrat.nn.restrictions(prepared, prepared.spec.ideal()):
        out = prepared(x)
    torch.testing.assert_close(out[:, 1], -out[:, 0], rtol=1e-9, atol=1e-9)
    assert float(out[:, 0].std()) > 0.9


@pytest.mark.parametrize("form", [form for form in BATCH_NORM_FORMS if form != "unfused"])
@pytest.mark.parametrize("name", ["lenet5", "residual", "volumes", "shared norm"])
def test_frozen_and_without_noise_training_is_evaluation(name: str, form: str) -> None:
    model, x = network(name)
    prepared = hrat.prepare(model, SPECS["harsh"], x, batch_norm=form)  # type: ignore[arg-type]
    freeze_batch_norm(prepared)
    set_noise_strength(prepared, 0.0)
    before = {key: value.clone() for key, value in prepared.state_dict().items()}
    with torch.no_grad():
        trained, evaluated = prepared.train()(x), prepared.eval()(x)
    torch.testing.assert_close(trained, evaluated, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(before[key], value) for key, value in prepared.state_dict().items())
    freeze_batch_norm(prepared, False)
    with torch.no_grad():
        assert not torch.allclose(prepared.train()(x), evaluated)


def test_freezing_reaches_batch_norms_that_are_digital_operations() -> None:
    model, x = network("pre-activation")
    prepared = hrat.prepare(model, SPECS["harsh"], x)
    freeze_batch_norm(prepared)
    set_noise_strength(prepared, 0.0)
    with torch.no_grad():
        torch.testing.assert_close(prepared.train()(x), prepared.eval()(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", BATCH_NORM_FORMS)
def test_one_image_is_refused_in_training_and_fine_in_evaluation(form: str) -> None:
    model, x = small_network()
    prepared = hrat.prepare(model, SPECS["harsh"], x, batch_norm=form)  # type: ignore[arg-type]
    with pytest.raises(hrat.HratError, match=r"more than one value per channel.*drop_last=True.*freeze"):
        prepared.train()(x[:1])
    assert prepared.eval()(x[:1]).shape == (1, 4)
    freeze_batch_norm(prepared)
    assert prepared.train()(x[:1]).shape == (1, 4)


def test_one_image_of_many_positions_is_enough() -> None:
    model, x = network("volumes")
    prepared = hrat.prepare(model, SPECS["harsh"], x).train()
    assert bool(torch.isfinite(prepared(x[:1])).all())


@pytest.mark.parametrize("form", ["two_pass", "slice", "one_pass"])
def test_statistics_are_of_the_undistorted_signal(form: str) -> None:
    """States and errors on: the running statistics stay near those of the plain network."""
    model, _ = small_network()
    model[1].weight.data.fill_(1.0)
    model[1].running_var.fill_(1.0)
    x = torch.randn(2048, 6, dtype=torch.float64)
    plain = model[0](x).detach()
    prepared = hrat.prepare(model, SPECS["no error"].without("input_dac"), x, batch_norm=form)  # type: ignore[arg-type]
    norm = crossbar_layers(prepared)["0"].batch_norm
    with torch.no_grad():
        for _ in range(60):
            prepared.train()(x)
    error = 0.1 if form == "two_pass" else 0.25  # a slice is a sample, and one_pass sees rounded weights
    assert float((norm.running_mean - plain.mean(0)).abs().max()) < error
    assert float((norm.running_var / plain.var(0)).log().abs().max()) < error
