"""Placed levels and corrected aims: what a table of a programming scheme is good for."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

import hrat
from formulas import achieved_conductance, aim_S, expected_S, place_levels, sigma_S
from hrat.errors import SpecError
from hrat.programming.schemes import SCHEMES
from hrat.spec import HardwareSpec

N = 4000


def with_table(spec: HardwareSpec, n_targets: int = 17) -> HardwareSpec:
    """The spec with what its own write-verify scheme leaves at some targets."""
    device = spec.device
    targets_S = torch.linspace(device.g_min_S, device.g_max_S, n_targets, dtype=torch.float64).tolist()
    return hrat.characterise(spec, scheme="write_verify", devices=N, seed=1, targets_S=targets_S).spec


def drifting() -> HardwareSpec:
    return with_table(hrat.load_spec("ibm-pcm", scheme="write_verify", limit_retention=True, weight_bits=3))


def few_pulses() -> HardwareSpec:
    return with_table(hrat.load_spec("yao2020", scheme="write_verify", max_pulses=20, weight_bits=3))


def apart(levels_S: tuple[float, ...], spec: HardwareSpec) -> list[float]:
    """Distances of neighbours in standard deviations of both."""
    spread = torch.as_tensor(sigma_S(torch.tensor(levels_S, dtype=torch.float64), spec)).expand(len(levels_S)).tolist()
    return [(b - a) / (s + t) for (a, s), (b, t) in pairwise(zip(levels_S, spread, strict=True))]


@pytest.mark.parametrize("n", [2, 5, 16])
def test_equal_errors_in_all_states_give_evenly_spaced_ones(n: int) -> None:
    spec = hrat.load_spec("generic-4bit")
    even = torch.linspace(50e-6, 200e-6, n, dtype=torch.float64)
    torch.testing.assert_close(torch.tensor(place_levels(spec, n), dtype=torch.float64), even, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["wan2022", "milo2021"])
def test_neighbours_are_equally_many_deviations_apart_and_more_than_evenly_spaced_ones(name: str) -> None:
    spec = hrat.load_spec(name)
    levels_S = place_levels(spec, 8)
    distances = apart(levels_S, spec)
    assert max(distances) == pytest.approx(min(distances), rel=2e-3)
    assert min(distances) > min(apart(spec.replace(weight_bits=3).device.states_S, spec)) * 1.01
    assert (levels_S[0], levels_S[-1]) == pytest.approx((spec.device.g_min_S, spec.device.g_max_S))
    assert spec.replace({"device.levels_S": levels_S}).device.n_states == 8


def test_levels_stay_where_devices_get_to() -> None:
    spec = few_pulses()
    levels_S = place_levels(spec, 8)
    reach_S = float(expected_S(torch.tensor([spec.device.g_max_S], dtype=torch.float64), spec))
    assert reach_S < 0.5 * spec.device.g_max_S  # 20 of the 100 pulses that the window takes
    # Not all the way up: who has spent all pulses ends with a spread that costs more than the room is worth.
    assert 0.8 * reach_S < levels_S[-1] <= reach_S
    assert all(b > a for a, b in pairwise(levels_S))
    # A device that is never pulsed has no spread, which must not draw the other states to it.
    assert levels_S[1] - levels_S[0] > 0.3 * (levels_S[2] - levels_S[1])


@pytest.mark.parametrize("spec", [drifting(), few_pulses()], ids=["drift", "few pulses"])
def test_aiming_at_the_mean_ends_at_the_target_on_average(spec: HardwareSpec) -> None:
    levels_S = place_levels(spec, 6)
    corrected = spec.replace({"device.levels_S": levels_S, "programming.aim": "mean"})
    generator = torch.Generator().manual_seed(3)
    shift = {}
    for name, one in (("target", spec), ("mean", corrected)):
        target_S = torch.tensor(levels_S, dtype=torch.float64).repeat_interleave(20_000)
        drawn_S = achieved_conductance(target_S, one, generator=generator)
        pulsed_S = SCHEMES["write_verify"](aim_S(target_S, one), one, generator, None).g_S
        expected = expected_S(target_S, one)
        torch.testing.assert_close(drawn_S.view(6, -1).mean(1), expected.view(6, -1).mean(1), rtol=0.01, atol=0)
        shift[name] = [float((g_S - target_S).view(6, -1).mean(1).abs().max()) for g_S in (drawn_S, pulsed_S)]
    for off, corrected_S in zip(shift["target"], shift["mean"], strict=True):
        assert corrected_S < 0.6 * off  # all that the table's few targets let one see
    assert expected_S(torch.tensor(levels_S, dtype=torch.float64), corrected).tolist() == pytest.approx(levels_S)


def test_a_target_that_nothing_ends_at_is_aimed_at_from_the_end_of_the_table() -> None:
    spec = few_pulses().replace({"programming.aim": "mean"})
    asked = aim_S(torch.tensor([spec.device.g_min_S, spec.device.g_max_S], dtype=torch.float64), spec)
    assert asked.tolist() == pytest.approx([spec.device.g_min_S, spec.device.g_max_S])
    target_S = torch.tensor([3e-6, 1e-5], dtype=torch.float64)
    assert aim_S(target_S, spec.without("error")) is target_S
    assert torch.equal(expected_S(target_S, hrat.load_spec("wan2022")), target_S)


def test_what_cannot_be_placed_is_refused() -> None:
    for spec in (hrat.load_spec("generic-4bit").without("error"), hrat.load_spec("generic-4bit", sigma_rel=0.0)):
        with pytest.raises(SpecError, match="nothing to place by"):
            place_levels(spec, 4)
    with pytest.raises(SpecError, match="2 states or more, got 1"):
        place_levels(hrat.load_spec("generic-4bit"), 1)
    with pytest.raises(SpecError, match="max_pulses"):
        place_levels(with_table(hrat.load_spec("yao2020", max_pulses=0, start="random"), 5), 4)
    with pytest.raises(SpecError, match="no effect without table_S"):
        hrat.load_spec("generic-4bit", aim="mean")
