from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from rich.console import Console, RenderableType
from torch import nn

import hrat
from hrat.artifacts import Comparison, SimulationResult
from hrat.reports import artifact_table, comparison_markdown, comparison_table, simulation_table
from hrat.reports.words import duration, points


def printed(table: RenderableType, width: int = 80) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def line_with(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if word in line)


def test_comparison_table_gives_the_drop_below_float(make_comparison: Callable[..., Comparison]) -> None:
    comparison = make_comparison()
    mean, worst = comparison.row("hrat").mean, comparison.row("hrat").worst
    line = line_with(printed(comparison_table(comparison), 120), "label of hrat ")
    assert line.split()[3:] == [
        "97.20", "%", f"{100 * mean:.2f}", "%", f"{100 * worst:.2f}", "%", f"{97.2 - 100 * mean:.2f}", "15",
        "1", "min", "15", "s",
    ]  # fmt: skip


def test_float_row_has_no_chips(make_comparison: Callable[..., Comparison]) -> None:
    line = line_with(printed(comparison_table(make_comparison()), 120), "label of float")
    assert line.split()[3:8] == ["97.20", "%", "-", "-", "-"]


def test_no_drop_without_a_float_row(make_comparison: Callable[..., Comparison]) -> None:
    comparison = make_comparison({"hrat": 0.9})
    assert line_with(printed(comparison_table(comparison), 120), "label of hrat").split()[-6] == "-"


def test_text_from_a_file_is_no_markup(make_comparison: Callable[..., Comparison]) -> None:
    assert "[per device]" in printed(comparison_table(make_comparison()), 200)


def test_markdown_is_a_table_of_equal_columns(make_comparison: Callable[..., Comparison]) -> None:
    text = comparison_markdown(make_comparison())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4
    assert {row.count("|") for row in rows} == {8}
    assert "1,000 images" in text
    assert text.endswith(".\n")


def test_deployment_table_names_layers_tiles_and_devices(deployment: hrat.Deployment) -> None:
    text = printed(artifact_table(deployment))
    assert "deployment" in text
    assert "16 states" in text
    first, second = deployment.layers.values()
    # 20 x 9 pairs on arrays of 16 x 4: two by three tiles.
    cells = [first.name, "linear", "20", "x", "9", "6", "360", f"{first.r_f_ohm / 1e3:.4g}"]
    assert line_with(text, "20 x 9").split()[: len(cells)] == cells
    assert "54" in line_with(text, "9 x 3")
    assert second.name in text


@pytest.mark.parametrize("limits", [True, False])
def test_adcs_between_tiles_have_a_table_of_their_own(deployment: hrat.Deployment, limits: bool) -> None:
    assert "ADCs" not in printed(artifact_table(deployment))  # currents are summed
    network = nn.Sequential(nn.Linear(20, 9), nn.ReLU(), nn.Linear(9, 3)).eval()
    spec = hrat.load_spec("generic-4bit", rows=16, partial_sums="adc", tile_adc_bits=5, limit_tile_adc=limits)
    model = hrat.prepare(network, spec, torch.randn(8, 20))
    with torch.no_grad():
        model.get_parameter(next(n for n, _ in model.named_parameters() if n.endswith("log_tile_adc_V"))).copy_(
            torch.tensor([0.25, 0.5]).log()
        )
    text = printed(artifact_table(hrat.program(hrat.deploy(model), seed=0)))
    cells = text.split("ADCs between tiles")[1].split()[-6:]  # one row: the second layer has one tile
    assert cells == ["0", "2", "5" if limits else "exact", "0.25", "to", "0.5"]


def test_chip_table_has_the_error_that_was_programmed(chips: hrat.ProgrammedChip) -> None:
    text = printed(artifact_table(chips))
    assert "3 programmed chips, seeds 5 to 7" in text
    name = next(iter(chips.layers))
    errors = torch.cat([part.flatten() for part in chips.errors_S(name)]).double()
    assert f"{1e6 * float(errors.square().mean().sqrt()):.2f} uS" in line_with(text, "20 x 9")


def test_switched_off_restrictions_are_named(deployment: hrat.Deployment) -> None:
    assert line_with(printed(artifact_table(deployment)), "switched off").split()[2:] == [
        "wires,",
        "faults,",
        "retention",
    ]
    free = hrat.Deployment(
        spec=deployment.spec.without("error", "swing"), layers=deployment.layers, graph=deployment.graph
    )
    assert line_with(printed(artifact_table(free)), "switched off").split()[2:] == [
        "error,",
        "swing,",
        "wires,",
        "faults,",
        "retention",
    ]


def test_simulation_table_marks_the_worst_chip_and_the_failed_one() -> None:
    result = SimulationResult(
        value=None,
        solver="behavioural",
        seeds=(4, 5, 6),
        n_images=10,
        accuracies=(0.9, float("nan"), 0.8),
        failures={5: "did not converge [nan]"},
    )
    text = printed(simulation_table(result))
    assert line_with(text, "80.00 %").split() == ["6", "80.00", "%", "worst"]
    assert "did not converge [nan]" in line_with(text, "5")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (75, "1 min 15 s"), (7260, "2 h 01 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_drop_of_nothing_has_no_sign() -> None:
    assert points(-0.00001) == "0.00"
    assert points(-0.01) == "-1.00"
