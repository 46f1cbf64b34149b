"""Converters and amplifiers."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hrat.physics import clamp_to, convert, converter_codes, converter_step_V

voltages = st.lists(st.floats(-3, 3), min_size=1, max_size=20).map(lambda v: torch.tensor(v, dtype=torch.float64))
bits_of = st.integers(2, 16)
full_scales = st.sampled_from([0.2, 0.3, 1.0, 1.8])


def test_three_bits_over_one_volt_by_hand() -> None:
    """Codes -3 to 3, steps of a third of a volt."""
    assert converter_step_V(3, 1.0) == pytest.approx(1 / 3)
    volts = torch.tensor([-9.0, -1.0, -0.5, -0.1, 0.0, 0.16, 0.17, 0.8, 0.9, 1.0, 9.0], dtype=torch.float64)
    assert converter_codes(volts, 3, 1.0).tolist() == [-3, -3, -2, 0, 0, 0, 1, 2, 3, 3, 3]
    torch.testing.assert_close(convert(volts, 3, 1.0), converter_codes(volts, 3, 1.0) / 3)


@given(volts=voltages, bits=bits_of, full_scale_V=full_scales)
def test_codes_are_whole_symmetric_and_within_range(volts: torch.Tensor, bits: int, full_scale_V: float) -> None:
    codes = converter_codes(volts, bits, full_scale_V)
    top = 2 ** (bits - 1) - 1
    assert torch.equal(codes, codes.round())
    assert float(codes.abs().max()) <= top
    assert torch.equal(converter_codes(-volts, bits, full_scale_V), -codes)
    assert bool((codes[volts >= full_scale_V] == top).all())
    assert bool((codes[volts <= -full_scale_V] == -top).all())


@given(volts=voltages, bits=bits_of, full_scale_V=full_scales)
def test_a_conversion_is_monotone_exact_at_its_codes_and_off_by_half_a_step_at_most(
    volts: torch.Tensor, bits: int, full_scale_V: float
) -> None:
    out = convert(volts, bits, full_scale_V)
    step_V = converter_step_V(bits, full_scale_V)
    inside = volts.abs() <= full_scale_V
    assert bool(((out - volts).abs()[inside] <= step_V / 2 + 1e-12).all())
    assert bool((out[volts.argsort()].diff() >= 0).all())
    torch.testing.assert_close(convert(out, bits, full_scale_V), out, rtol=0, atol=1e-14)
    assert float(convert(torch.zeros(1, dtype=torch.float64), bits, full_scale_V)) == 0.0


def test_saturation_is_the_full_scale() -> None:
    out = convert(torch.tensor([-7.0, 7.0], dtype=torch.float64), 6, 0.3)
    torch.testing.assert_close(out, torch.tensor([-0.3, 0.3], dtype=torch.float64), rtol=1e-15, atol=0)


def test_more_bits_convert_better() -> None:
    volts = torch.linspace(-1, 1, 1001, dtype=torch.float64)
    errors = [float((convert(volts, bits, 1.0) - volts).abs().max()) for bits in range(2, 13)]
    assert all(b < 0.6 * a for a, b in pairwise(errors))


@given(volts=voltages)
def test_an_amplifier_is_linear_up_to_its_swing_and_flat_beyond(volts: torch.Tensor) -> None:
    out = clamp_to(volts, 0.7)
    inside = volts.abs() <= 0.7
    assert torch.equal(out[inside], volts[inside])
    assert bool((out[~inside].abs() == 0.7).all())
    assert torch.equal(out.sign(), volts.sign())
