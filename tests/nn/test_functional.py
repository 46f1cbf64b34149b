"""Straight-through gradients, the weights' window, and the errors drawn in training."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import hrat
from hrat.encoding import encode_pair, quantise_fraction
from hrat.nn.functional import convert_ste, draw_difference_error, draw_pair_error, quantise_ste, weight_range
from hrat.physics import clamp_to, convert
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


@pytest.mark.parametrize("name", ["harsh", "measured levels", "continuous"])
def test_states_pass_the_gradient_within_the_window_and_stop_it_beyond(name: str) -> None:
    device = SPECS[name].device
    out, grad = gradient(lambda x: quantise_ste(x, device), VOLTS)
    assert grad == INSIDE
    assert torch.equal(out, quantise_fraction(torch.tensor(VOLTS, dtype=torch.float64), device))


def test_a_clamp_stops_the_gradient_beyond_its_limit() -> None:
    assert gradient(lambda x: clamp_to(x, 1.0), VOLTS)[1] == INSIDE


@given(factor=st.floats(1e-3, 1e3), log_range=st.floats(-1, 2))
def test_the_window_scales_with_the_weights(factor: float, log_range: float) -> None:
    weight = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    log = torch.tensor(log_range, dtype=torch.float64)
    for name in ("harsh", "wan2022", "no error"):
        one, other = weight_range(weight, log, SPECS[name]), weight_range(factor * weight, log, SPECS[name])
        torch.testing.assert_close(other, factor * one, rtol=1e-12, atol=0)
    ideal = SPECS["harsh"].ideal()
    assert float(weight_range(weight, log, ideal)) == float(weight.abs().max())


def test_the_window_of_no_weights_is_small_and_positive() -> None:
    weight = torch.zeros(3, 3, requires_grad=True)
    window = weight_range(weight, torch.zeros(()), SPECS["harsh"])
    assert window.item() > 0
    window.backward()
    assert weight.grad is not None
    assert bool(torch.isfinite(weight.grad).all())


@pytest.mark.parametrize("name", ["harsh", "wan2022", "milo2021", "measured levels"])
@pytest.mark.parametrize("fraction", [-1.0, -0.4, 0.0, 0.6])
def test_training_draws_the_errors_of_chips(name: str, fraction: float) -> None:
    """Mean and spread of `G+ - G-` over many draws, drawn at once or each device for itself."""
    spec, n = SPECS[name], 200_000
    realised = quantise_fraction(torch.full((n,), fraction, dtype=torch.float64), spec.device)
    generator = torch.Generator().manual_seed(3)
    pos, neg = draw_pair_error(realised, spec, generator=generator)
    pair = (pos - neg) / spec.device.g_range_S
    at_once = draw_difference_error(realised, spec, generator=generator)
    assert float(at_once.std()) == pytest.approx(float(pair.std()), rel=0.02)
    assert float(at_once.mean()) == pytest.approx(float(pair.mean()), abs=6 * float(pair.std()) / n**0.5)
    g_pos_S, _ = encode_pair(realised, spec.device)
    assert float((g_pos_S + pos).min()) >= 0


def test_strength_scales_what_is_drawn() -> None:
    realised = torch.zeros(1000, dtype=torch.float64)
    for name in ("milo2021", "harsh"):
        full, half = (
            draw_difference_error(realised, SPECS[name], generator=torch.Generator().manual_seed(1), strength=s)
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
    assert bool(scales["graph.scales.3"].log_alpha.grad.any())  # the reader still pulls the scale back
