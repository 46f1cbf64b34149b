"""The recipes on full MNIST hold what they promise; minutes each, so only in `make test-full` with HRAT_DATA set."""

import os

import pytest

from hrat.experiments import compare

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs_data,
    pytest.mark.timeout(3600),
    pytest.mark.skipif("HRAT_DATA" not in os.environ, reason="HRAT_DATA does not name a folder with MNIST"),
]


@pytest.mark.parametrize("recipe", ["fc4-mnist", "lenet5-mnist"])
def test_four_bits_cost_next_to_nothing(recipe: str) -> None:
    comparison = compare(recipe, spec="generic-4bit", methods=["float", "hrat"], chips=20, progress=False)
    reference, hrat = comparison.row("float").mean, comparison.row("hrat")
    assert hrat.mean >= reference - 0.002
    assert hrat.worst >= reference - 0.005


@pytest.mark.parametrize(("recipe", "mean", "worst"), [("fc4-mnist", 0.980, 0.975), ("lenet5-mnist", 0.977, 0.965)])
def test_three_bits_and_ten_per_cent_error_are_survived(recipe: str, mean: float, worst: float) -> None:
    methods = ["plain", "variation-aware", "hrat"]
    comparison = compare(recipe, spec="generic-3bit-harsh", methods=methods, chips=20, progress=False)
    hrat = comparison.row("hrat")
    assert hrat.mean >= mean
    assert hrat.worst >= worst
    assert all(comparison.row(other).mean < hrat.mean for other in methods[:2])
