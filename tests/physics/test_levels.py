"""Rounding to a list of states."""

from __future__ import annotations

import torch

from hrat.physics import nearest_state


def test_the_nearest_of_uneven_states() -> None:
    steps = torch.tensor([0.0, 0.1, 0.4, 1.0])
    fraction = torch.tensor([0.0, 0.04, 0.06, 0.24, 0.26, 0.69, 0.71, 3.0])
    expected = torch.tensor([0.0, 0.0, 0.1, 0.1, 0.4, 0.4, 1.0, 1.0])
    assert torch.equal(nearest_state(fraction, steps), expected)
    assert torch.equal(nearest_state(-fraction, steps), -expected)


def test_a_tie_takes_the_lower_state_on_both_sides_of_zero() -> None:
    steps = torch.tensor([0.0, 0.5, 1.0])
    assert nearest_state(torch.tensor([0.25, -0.25, 0.75, -0.75]), steps).tolist() == [0.0, 0.0, 0.5, -0.5]


def test_shape_and_number_type_stay() -> None:
    for dtype in (torch.float32, torch.float64):
        out = nearest_state(torch.rand(2, 3, 4, dtype=dtype).mT, torch.tensor([0.0, 1.0], dtype=dtype))
        assert out.shape == (2, 4, 3)
        assert out.dtype == dtype
