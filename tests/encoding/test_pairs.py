"""Weights as differences of two conductances."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hrat.encoding import encode_pair, has_window, quantise_fraction, state_steps
from hrat.spec import Device
from laws.networks import SPECS

LEVELS_S = (6e-5, 7e-5, 9.5e-5, 1.2e-4, 1.21e-4, 1.9e-4)
MEASURED = Device(weight_bits=None, levels_S=LEVELS_S, g_min_S=5e-5, g_max_S=2e-4)
EVEN = Device(weight_bits=2, g_min_S=50e-6, g_max_S=200e-6)

fractions = st.lists(st.floats(-2.5, 2.5), min_size=1, max_size=20).map(lambda v: torch.tensor(v, dtype=torch.float64))


def test_four_states_by_hand() -> None:
    fraction = torch.tensor([-2.0, -1.0, -0.6, -0.1, 0.0, 0.1, 0.2, 0.49, 0.51, 0.9, 5.0], dtype=torch.float64)
    steps = [-3, -3, -2, 0, 0, 0, 1, 1, 2, 3, 3]
    torch.testing.assert_close(quantise_fraction(fraction, EVEN) * 3, torch.tensor(steps, dtype=torch.float64))
    g_pos_S, g_neg_S = encode_pair(torch.tensor([1 / 3, -2 / 3, 0.0], dtype=torch.float64), EVEN)
    torch.testing.assert_close(g_pos_S, torch.tensor([100e-6, 50e-6, 50e-6], dtype=torch.float64))
    torch.testing.assert_close(g_neg_S, torch.tensor([50e-6, 150e-6, 50e-6], dtype=torch.float64))


def test_four_states_of_a_centred_pair_by_hand() -> None:
    device = EVEN.model_copy(update={"pairs": "centred"})
    fraction = torch.tensor([-1.0, -2 / 3, -1 / 3, 0.0, 1 / 3, 2 / 3, 1.0], dtype=torch.float64)
    g_pos_S, g_neg_S = encode_pair(fraction, device)
    by_hand = torch.tensor([50, 50, 100, 100, 150, 150, 200], dtype=torch.float64) * 1e-6
    torch.testing.assert_close(g_pos_S, by_hand)
    torch.testing.assert_close(g_neg_S, torch.tensor([200, 150, 150, 100, 100, 50, 50], dtype=torch.float64) * 1e-6)


def test_a_centred_pair_carries_the_same_current_whatever_its_weight() -> None:
    for device in (EVEN, Device(weight_bits=8), EVEN.model_copy(update={"limit_states": False})):
        centred = device.model_copy(update={"pairs": "centred"})
        fraction = quantise_fraction(torch.linspace(-1, 1, 301, dtype=torch.float64), centred)
        assert torch.equal(fraction, quantise_fraction(torch.linspace(-1, 1, 301, dtype=torch.float64), device))
        g_pos_S, g_neg_S = encode_pair(fraction, centred)
        spacing_S = 0.0 if device.n_states is None else device.g_range_S / (device.n_states - 1)
        away_S = (g_pos_S + g_neg_S - (device.g_min_S + device.g_max_S)).abs()
        assert float(away_S.max()) <= spacing_S * (1 + 1e-9) + 1e-18


@given(fraction=fractions)
@pytest.mark.parametrize("pairs", ["one_sided", "centred"])
@pytest.mark.parametrize("device", [EVEN, MEASURED, Device(weight_bits=1), Device(weight_bits=8)])
def test_rounding_finds_the_nearest_state(device: Device, pairs: str, fraction: torch.Tensor) -> None:
    """Against all states, one by one."""
    device = device.model_copy(update={"pairs": pairs})
    steps = state_steps(device, fraction)
    assert steps[0] == 0.0
    reachable = torch.cat([-steps, steps])
    best = (fraction.unsqueeze(1) - reachable).abs().min(dim=1).values
    got = quantise_fraction(fraction, device)
    torch.testing.assert_close((fraction - got).abs(), best, rtol=0, atol=1e-12)
    assert bool(((got.unsqueeze(1) - reachable).abs().min(dim=1).values < 1e-12).all())
    assert torch.equal(quantise_fraction(-fraction, device), -got)  # symmetric
    torch.testing.assert_close(quantise_fraction(got, device), got, rtol=0, atol=1e-15)  # already there
    order = fraction.argsort()
    assert bool((got[order].diff() >= 0).all())  # monotone


@given(fraction=fractions)
@pytest.mark.parametrize("name", sorted(SPECS))
def test_a_pair_lies_within_the_window_on_states(name: str, fraction: torch.Tensor) -> None:
    device = SPECS[name].device
    realised = quantise_fraction(fraction, device)
    g_pos_S, g_neg_S = encode_pair(realised, device)
    lowest_S = device.states_S[0]
    for g_S in (g_pos_S, g_neg_S):
        assert float(g_S.min()) >= lowest_S - 1e-18
        assert float(g_S.max()) <= device.states_S[-1] * (1 + 1e-12)
    if device.pairs == "one_sided":  # one partner at rest
        assert bool(((g_pos_S == lowest_S) | (g_neg_S == lowest_S)).all())
    torch.testing.assert_close((g_pos_S - g_neg_S) / device.g_range_S, realised, rtol=0, atol=1e-12)
    if device.limit_states:
        states = torch.tensor(device.states_S, dtype=torch.float64)
        both = torch.cat([g_pos_S, g_neg_S])
        assert float((both.unsqueeze(1) - states).abs().min(dim=1).values.max()) < 1e-15


def test_without_states_a_weight_is_what_it_is_up_to_the_window() -> None:
    device = EVEN.model_copy(update={"limit_states": False})
    fraction = torch.tensor([-1.7, -0.123, 0.0, 0.456, 1.7])
    assert quantise_fraction(fraction, device).tolist() == fraction.clamp(-1, 1).tolist()


def test_a_window_matters_for_states_and_for_errors() -> None:
    spec = SPECS["harsh"]
    assert has_window(spec)
    assert has_window(spec.without("states"))
    assert has_window(spec.without("error"))
    assert not has_window(spec.without("states", "error"))
