"""Straight-through gradients, the weights' window, and the errors drawn in training."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import hrat
from hrat.encoding import Geometry, Readout, encode_pair, quantise_fraction
from hrat.nn.device_errors import draw_difference_error, draw_pair_error
from hrat.nn.fusing import BatchNormTerms
from hrat.nn.scratch import in_parts
from hrat.nn.straight_through import (
    OutputStage,
    apply_to_digital_input,
    batch_statistics,
    convert_ste,
    normalise,
    realise,
)
from hrat.physics import clamp_to, convert
from hrat.spec import Device, HardwareSpec, Periphery
from laws.networks import SPECS, small_network

VOLTS = [-2.0, -1.0, -0.99, -0.31, 0.0, 0.4, 0.99, 1.0, 1.01]
INSIDE = [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]


def gradient(function: object, values: list[float]) -> tuple[torch.Tensor, list[float]]:
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    out = function(x)  # type: ignore[operator]
    out.sum().backward()
    assert x.grad is not None
    return out.detach(), x.grad.tolist()


def test_a_converter_passes_the_gradient_inside_and_stops_it_beyond() -> None:
    out, grad = gradient(lambda x: convert_ste(x, 4, 1.0), VOLTS)
    assert grad == INSIDE
    assert torch.equal(out, convert(torch.tensor(VOLTS, dtype=torch.float64), 4, 1.0))


def test_a_clamp_stops_the_gradient_beyond_its_limit() -> None:
    assert gradient(lambda x: clamp_to(x, 1.0), VOLTS)[1] == INSIDE


PAIRS = Readout.of(HardwareSpec())
GEOMETRIES = {
    "linear": Geometry(kind="linear", in_channels=5, out_channels=4),
    "conv": Geometry(
        kind="conv",
        in_channels=4,
        out_channels=6,
        kernel=(3, 2),
        stride=(1, 1),
        padding=((1, 1), (0, 0)),
        dilation=(1, 1),
        groups=2,
    ),
    "transposed": Geometry(
        kind="conv_transpose",
        in_channels=4,
        out_channels=6,
        kernel=(3,),
        stride=(2,),
        padding=((1, 1),),
        dilation=(1,),
        output_padding=(0,),
        groups=2,
    ),
}


def leaf(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def straight_through(x: Tensor, rounded: Tensor) -> Tensor:
    """Value of `rounded`, gradient of `x`: the trick written as plain PyTorch."""
    return x + (rounded - x).detach()


def realise_plainly(
    weight: Tensor, gain: Tensor, log_range: Tensor, geometry: Geometry, readout: Readout, device: Device
) -> tuple[Tensor, Tensor]:
    del readout
    fused = weight * geometry.out_view(gain)
    window = log_range.exp() * fused.square().mean().sqrt()
    held = (fused / window).clamp(-1.0, 1.0)
    return straight_through(held, quantise_fraction(held.detach(), device)), window


@pytest.mark.parametrize("kind", sorted(GEOMETRIES))
@pytest.mark.parametrize("gain_shape", ["one for each output", "one for all"])
@pytest.mark.parametrize("name", ["harsh", "measured levels", "continuous"])
def test_states_and_their_gradient_are_those_of_plain_autograd(kind: str, gain_shape: str, name: str) -> None:
    """Gradient 1 inside the window and 0 beyond it, for weights, gains and the learned window."""
    geometry, device = GEOMETRIES[kind], SPECS[name].device
    found = []
    for function in (realise, realise_plainly):
        weight = leaf(*geometry.weight_shape)
        gain = leaf(geometry.out_channels, seed=2) if gain_shape == "one for each output" else leaf(seed=2)
        log_range = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        fraction, window = function(weight, gain, log_range, geometry, PAIRS, device)
        size = fraction.detach().abs()
        assert 0 < int((size == size.max()).sum()) < size.numel()  # some saturate
        loss = (fraction * leaf(*fraction.shape, seed=3).detach()).sum() + 0.7 * window
        found.append((fraction.detach(), window.detach(), *torch.autograd.grad(loss, (weight, gain, log_range))))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", sorted(GEOMETRIES))
@pytest.mark.parametrize("gain_shape", ["one for each output", "one for all"])
def test_large_weights_are_worked_on_part_by_part(kind: str, gain_shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    geometry, device = GEOMETRIES[kind], SPECS["harsh"].device
    found = []
    for numbers in (8, 10**6):
        monkeypatch.setattr("hrat.nn.scratch.PART", numbers)
        weight = leaf(*geometry.weight_shape)
        assert (len(list(in_parts(weight))) > 1) == (numbers == 8)
        gain = leaf(geometry.out_channels, seed=2) if gain_shape == "one for each output" else leaf(seed=2)
        log_range = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        fraction, window = realise(weight, gain, log_range, geometry, PAIRS, device)
        loss = (fraction * leaf(*fraction.shape, seed=3).detach()).sum() + 0.7 * window
        found.append((fraction.detach(), *torch.autograd.grad(loss, (weight, gain, log_range))))
    for parts, whole in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)


@given(factor=st.floats(1e-3, 1e3), log_range=st.floats(-1, 2))
def test_the_window_scales_with_the_weights(factor: float, log_range: float) -> None:
    weight, geometry = leaf(4, 5), GEOMETRIES["linear"]
    log, one = torch.tensor(log_range, dtype=torch.float64), torch.ones((), dtype=torch.float64)
    for name in ("harsh", "wan2022", "no error"):
        device = SPECS[name].device
        fraction, window = realise(weight, one, log, geometry, PAIRS, device)
        other_fraction, other = realise(factor * weight, one, log, geometry, PAIRS, device)
        torch.testing.assert_close(other, factor * window, rtol=1e-12, atol=0)
        torch.testing.assert_close(other_fraction, fraction, rtol=1e-9, atol=1e-9)


def test_the_window_of_no_weights_is_small_and_positive() -> None:
    weight = torch.zeros(4, 5, requires_grad=True)
    fraction, window = realise(
        weight, torch.ones(4), torch.zeros(()), GEOMETRIES["linear"], PAIRS, SPECS["harsh"].device
    )
    assert window.item() > 0
    (window + fraction.sum()).backward()
    assert weight.grad is not None
    assert bool(torch.isfinite(weight.grad).all())


def normalise_plainly(
    u: Tensor,
    alpha_out: Tensor,
    gamma: Tensor,
    beta: Tensor,
    bias: Tensor,
    running: BatchNormTerms,
    range_: Tensor,
    stage: OutputStage,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm as in any textbook, of `u` in units of the signal."""
    unit = (alpha_out * running.gain / range_).detach()
    view = (-1, *(1,) * (u.ndim - 2))
    x = u / unit.view(view) + bias.view(view)
    var, mean = torch.var_mean(x, [0, *range(2, u.ndim)], correction=0)
    factor = alpha_out * gamma / (var + running.eps).sqrt()
    offset = alpha_out * beta - factor * (mean - bias)
    if stage.dac_bits is not None:
        held = offset.clamp(-stage.periphery.v_bias_V, stage.periphery.v_bias_V)
        offset = straight_through(held, convert(offset.detach(), stage.dac_bits, stage.periphery.v_bias_V))
    out = (x - bias.view(view)) * factor.view(view) + offset.view(view)
    return out.clamp(stage.low_V, stage.high_V), mean, var


STAGES = {
    "no limits": OutputStage(None, Periphery(), -math.inf, math.inf),
    "rectified": OutputStage(None, Periphery(), 0.0, math.inf),
    "dac that saturates": OutputStage(4, Periphery(v_bias_V=0.3), -0.8, 0.8),
    "all": OutputStage(5, Periphery(v_bias_V=0.5), 0.0, 0.6),
}


def running_terms(gamma: Tensor, beta: Tensor) -> BatchNormTerms:
    mean, var = torch.tensor([0.1, -0.2, 0.3, 0.0]).double(), torch.tensor([0.5, 1.5, 1.0, 2.0]).double()
    return BatchNormTerms(mean, var, gamma.detach(), beta.detach(), 1e-3, (var + 1e-3).rsqrt())


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
@pytest.mark.parametrize("shape", [(16, 4), (5, 4, 3, 3)])
@pytest.mark.parametrize("scales", ["one for all", "one for each"])
def test_normalising_and_its_gradient_are_those_of_plain_autograd(
    shape: tuple[int, ...], stage: OutputStage, scales: str
) -> None:
    found = []
    for function in (normalise, normalise_plainly):
        u, gamma, beta, bias = leaf(*shape), leaf(4, seed=2), leaf(4, seed=3), leaf(4, seed=5)
        alpha = torch.tensor(0.4 if scales == "one for all" else [0.3, 0.4, 0.5, 0.2]).double().requires_grad_()
        range_ = torch.tensor(0.7, dtype=torch.float64)
        out, mean, var = function(u, alpha, gamma, beta, bias, running_terms(gamma, beta), range_, stage)
        loss = (out * leaf(*shape, seed=4).detach()).sum()
        grads = torch.autograd.grad(loss, (u, alpha, gamma, beta, bias))
        found.append((out.detach(), mean.detach(), var.detach(), *grads))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(8, 3, 5, 5), (8, 3, 17), (6, 3, 3, 4, 2), (8, 3, 3, 3), (1, 3, 6, 6), (40, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("means", "spreads"), [((-0.3, 2.0, 0.0), (1.0, 0.1, 0.0)), ((-0.3, 10.0, 7.0), (1.0, 0.01, 0.0))]
)
def test_statistics_of_a_batch_are_exact_whatever_the_mean(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    channels_last: bool,
    means: tuple[float, ...],
    spreads: tuple[float, ...],
) -> None:
    """By whichever kernel, planes large and small: channels with little spread, with none, and with nothing at all."""
    view = (3, *(1,) * (len(shape) - 2))
    spread, offset = torch.tensor(spreads).view(view), torch.tensor(means).view(view)
    x = (torch.randn(shape, generator=torch.Generator().manual_seed(3)) * spread + offset).to(dtype)
    if channels_last and x.ndim == 4:
        x = x.to(memory_format=torch.channels_last)
    found_mean, found_var = batch_statistics(x)
    var, mean = torch.var_mean(x.double(), [0, *range(2, x.ndim)], correction=0)
    close = {"rtol": 1e3 * torch.finfo(dtype).eps, "atol": (10 * torch.finfo(dtype).eps) ** 2}
    torch.testing.assert_close(found_mean.double(), mean, **close)
    torch.testing.assert_close(found_var.double(), var, **close)
    assert (found_var >= 0).all()


@pytest.mark.parametrize("least", [0.0, 1e-5])
def test_a_dead_channel_is_not_normalised(least: float) -> None:
    """Its gamma is nearly zero: it is what the crossbar yields, with the running statistics, which stay."""
    u, beta = leaf(16, 4), leaf(4, seed=3)
    gamma = torch.tensor([1.0, least, -1.0, 0.5], dtype=torch.float64, requires_grad=True)
    alpha, range_ = torch.tensor(0.4, dtype=torch.float64), torch.tensor(0.25, dtype=torch.float64)
    running, bias = running_terms(gamma, beta), torch.full((4,), 0.2, dtype=torch.float64)
    out, mean, var = normalise(u, alpha, gamma, beta, bias, running, range_, STAGES["no limits"])
    shift = alpha * (beta + running.gain * (bias - running.mean))
    torch.testing.assert_close(out[:, 1], 0.25 * u[:, 1] + shift[1])
    assert mean[1] == running.mean[1]
    assert var[1] == running.var[1]
    of_u, of_gamma = torch.autograd.grad(out.square().sum(), (u, gamma))
    assert float(of_gamma[1]) == 0
    torch.testing.assert_close(of_u[:, 1], 0.25 * (2 * out - (2 * out).mean(0))[:, 1].detach())


@pytest.mark.parametrize("kind", sorted(GEOMETRIES))
@pytest.mark.parametrize("limit_V", [0.5, math.inf])
def test_the_gradient_of_the_input_scale_needs_none_of_the_voltages(kind: str, limit_V: float) -> None:
    geometry = GEOMETRIES[kind]
    x = leaf(3, geometry.in_channels, *(6,) * geometry.dims).detach()
    found = []
    for shortcut in (True, False):
        weight, bias = leaf(*geometry.weight_shape, seed=2), leaf(geometry.out_channels, seed=3)
        alpha = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
        voltage = (alpha * x).clamp(-limit_V, limit_V)
        if shortcut:
            out = apply_to_digital_input(geometry, voltage, weight, bias, x=x, alpha=alpha, limit_V=limit_V)
        else:
            out = geometry.apply(voltage, weight, bias)
        loss = (out * leaf(*out.shape, seed=4).detach()).sum()
        found.append((out.detach(), *torch.autograd.grad(loss, (weight, bias, alpha))))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["harsh", "wan2022", "milo2021", "measured levels"])
@pytest.mark.parametrize("fraction", [-1.0, -0.4, 0.0, 0.6])
def test_training_draws_the_errors_of_chips(name: str, fraction: float) -> None:
    """Mean and spread of `G+ - G-` over many draws, drawn at once or each device for itself."""
    spec, n = SPECS[name], 200_000
    geometry = Geometry(kind="linear", in_channels=n, out_channels=1)
    realised = quantise_fraction(torch.full((n,), fraction, dtype=torch.float64), spec.device)
    generator = torch.Generator().manual_seed(3)
    pos, neg = draw_pair_error(realised, geometry, spec, generator=generator)
    pair = (pos - neg) / spec.device.g_range_S
    at_once = draw_difference_error(realised, geometry, spec, generator=generator)
    assert float(at_once.std()) == pytest.approx(float(pair.std()), rel=0.02)
    assert float(at_once.mean()) == pytest.approx(float(pair.mean()), abs=6 * float(pair.std()) / n**0.5)
    g_pos_S, _ = encode_pair(realised, spec.device)
    assert float((g_pos_S + pos).min()) >= 0


def test_strength_scales_what_is_drawn() -> None:
    realised, geometry = torch.zeros(1, 1000, dtype=torch.float64), GEOMETRIES["linear"]
    for name in ("milo2021", "harsh"):
        full, half = (
            draw_difference_error(
                realised, geometry, SPECS[name], generator=torch.Generator().manual_seed(1), strength=s
            )
            for s in (1.0, 0.5)
        )
        assert float(half.std()) == pytest.approx(float(full.std()) / 2, rel=0.02)


def test_a_scale_that_drives_every_output_into_the_swing_stops_the_gradient_of_the_weights() -> None:
    model, x = small_network()
    prepared = hrat.prepare(model, SPECS["no error"], x)
    scales = {name: m for name, m in prepared.named_modules() if isinstance(m, hrat.nn.Scale)}
    assert list(scales) == ["graph.scales.input_1_dac", "graph.scales.3", "graph.scales.0"]
    last = hrat.nn.crossbar_layers(prepared)["3"]
    prepared(x).sum().backward()
    assert all(bool(scale.log_alpha.grad.any()) for scale in scales.values())
    assert bool(last.weight.grad.any())
    prepared.zero_grad()
    scales["graph.scales.3"].set(1e6)
    prepared(x).sum().backward()
    assert not bool(last.weight.grad.any())
    assert bool(scales["graph.scales.3"].log_alpha.grad.any())  # output rescaling still pulls the scale back
