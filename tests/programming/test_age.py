"""`age`: what time adds to a chip whose error is of a certain time already."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hrat
from hrat.errors import HratError
from hrat.programming import age
from hrat.spec import HardwareSpec, load_spec

DAY_S = 86400.0


def chips_of(spec: HardwareSpec, chips: int = 4) -> hrat.ProgrammedChip:
    torch.manual_seed(0)
    x = torch.randn(4, 60)
    return hrat.program(hrat.deploy(hrat.prepare(nn.Linear(60, 60), spec, x).eval()), chips=chips)


def spread_S(chips: hrat.ProgrammedChip) -> float:
    (name,) = chips.layers
    return chips.rms_error_S(name)


@pytest.mark.parametrize(("name", "later_s"), [("wan2022", 1.5 * DAY_S), ("milo2021", 60.0)])
def test_a_published_spread_is_not_added_twice(name: str, later_s: float) -> None:
    """It was: 1.37 to 1.42 times the published spread."""
    chips = chips_of(load_spec(name))
    aged = age(chips, later_s)
    assert spread_S(aged) == pytest.approx(spread_S(chips), rel=0.1)
    assert spread_S(aged) >= 0.97 * spread_S(chips)


def test_an_error_of_right_after_programming_has_all_of_the_relaxation_added() -> None:
    fresh = load_spec("wan2022", sigma_poly_S=(0.1e-6,), sigma_poly_ref_S=40e-6, error_age_s=0.0)
    assert spread_S(age(chips_of(fresh), DAY_S)) > 5 * spread_S(chips_of(fresh))


def test_chips_are_not_made_younger_than_their_error() -> None:
    with pytest.raises(HratError, match="expected a time after the 86400 s that the chips are old already, got 3600 s"):
        age(chips_of(load_spec("wan2022")), 3600.0)


def test_phase_change_devices_drift_beside_their_error_and_apart_from_each_other() -> None:
    chips = chips_of(load_spec("ibm-pcm"))
    aged = age(chips, DAY_S)
    (name,) = chips.layers
    before_S, after_S = chips.layers[name].g_pos_S, aged.layers[name].g_pos_S
    large = before_S > 10e-6
    share = (after_S / before_S)[large]
    assert 0.4 < float(share.mean()) < 0.75  # (86400 / 20)^-nu, nu 0.05 to 0.1
    assert float(share.std()) > 0.03  # devices differ in nu
