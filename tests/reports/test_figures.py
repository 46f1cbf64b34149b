from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.image import imread

import hrat
from hrat.artifacts import Comparison
from hrat.errors import HratError
from hrat.reports import chip_figure, comparison_figure
from hrat.reports.comparison.axis import AccuracyAxis

CASES = {
    "wide": {"float": 0.972, "plain": 0.5, "hrat": 0.958},
    "narrow": {"float": 0.972, "plain": 0.955, "hrat": 0.966},
    "equal": {"float": 0.9, "hrat": 0.9},
    "no float": {"plain": 0.4, "hrat": 0.96},
    "float alone": {"float": 0.97},
    "perfect": {"float": 1.0, "plain": 0.3, "hrat": 1.0},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("n_chips", [1, 20])
def test_comparison_figure_of_any_comparison(
    make_comparison: Callable[..., Comparison], tmp_path: Path, case: str, n_chips: int
) -> None:
    path = comparison_figure(make_comparison(CASES[case], n_chips), tmp_path / "picture.png")
    picture = imread(path)
    assert picture.shape[1] == 1500
    # White at the edges: nothing is cut off.
    for edge in (picture[:4], picture[-4:], picture[:, :4], picture[:, -4:]):
        assert float(edge[..., :3].min()) > 0.99
    assert float(picture[..., :3].min()) < 0.2


def test_words_of_the_comparison_figure(make_comparison: Callable[..., Comparison], tmp_path: Path) -> None:
    comparison = make_comparison()
    path = comparison_figure(comparison, tmp_path / "picture.svg")
    text = path.read_text(encoding="utf-8")  # matplotlib draws letters as paths, and says in comments which
    row = comparison.row("hrat")
    for words in (
        f"label of hrat: {100 * row.mean:.1f} % right on 5 simulated chips, 97.2 % in floating point",
        "Hardware my-chip: 8 states, 10 % error [per device]",
        f"worst {100 * row.worst:.2f} %",
        "test accuracy (share of images classified right; the axis widens towards 100 %)",
        "float network, no chip",
    ):
        assert f"<!-- {words}" in text
    # From top to bottom: float first, the others as they come.
    places = [text.index(f"<!-- label of {method} -->") for method in ("float", "plain", "hrat-unfused", "hrat")]
    assert places == sorted(places)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_same_comparison_same_file(make_comparison: Callable[..., Comparison], tmp_path: Path, suffix: str) -> None:
    first, second = (comparison_figure(make_comparison(), tmp_path / f"{k}.{suffix}").read_bytes() for k in range(2))
    assert first == second


@pytest.mark.parametrize("name", ["picture.jpg", "picture"])
def test_unknown_suffix_is_refused_before_anything_is_drawn(
    make_comparison: Callable[..., Comparison], chips: hrat.ProgrammedChip, tmp_path: Path, name: str
) -> None:
    with pytest.raises(HratError, match=r"\.png, \.svg, \.pdf"):
        comparison_figure(make_comparison(), tmp_path / name)
    with pytest.raises(HratError, match=r"\.png, \.svg, \.pdf"):
        chip_figure(chips, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_fails_leaves_the_old_one(
    make_comparison: Callable[..., Comparison], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "picture.png"
    path.write_text("old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(OSError, match="No space"):
        comparison_figure(make_comparison(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_chip_figure_shows_first_middle_and_last_layer(chips: hrat.ProgrammedChip, tmp_path: Path) -> None:
    text = chip_figure(chips, tmp_path / "chip.svg").read_text(encoding="utf-8")
    for name in chips.layers:
        assert f"<!-- layer {name}, target -->" in text
        assert f"<!-- layer {name}, achieved -->" in text
        assert f"<!-- layer {name}: rms" in text
    assert "chip of seed 5" in text
    assert "errors of all devices, 3 chips" in text


def test_chip_figure_without_any_error(deployment: hrat.Deployment, tmp_path: Path) -> None:
    ideal = hrat.Deployment(spec=deployment.spec.without("error"), layers=deployment.layers, graph=deployment.graph)
    picture = imread(chip_figure(hrat.program(ideal), tmp_path / "chip.png"))
    assert picture.shape[1] == 1650


@pytest.mark.parametrize("accuracies", [[0.1, 0.97], [0.5, 0.5], [0.95, 0.962], [0.3, 1.0], [0.9, 0.999]])
def test_axis_keeps_the_order_and_has_ticks(accuracies: list[float]) -> None:
    axis = AccuracyAxis.around(accuracies, 1000)
    low, high = axis.limits
    assert all(low < axis.place(accuracy) < high for accuracy in accuracies)
    places = [axis.place(k / 200) for k in range(201)]
    assert all(left <= right for left, right in itertools.pairwise(places))
    ticks = axis.ticks()
    assert len(ticks) >= 2
    assert all(low <= axis.place(tick) <= high for tick in ticks)
    assert max(ticks) <= 1.0


def test_half_a_point_is_visible_beside_a_method_that_guesses() -> None:
    axis = AccuracyAxis.around([0.5, 0.97], 1000)
    low, high = axis.limits
    assert (axis.place(0.965) - axis.place(0.96)) / (high - low) > 0.03
