"""Names that somebody else chose, in pictures, pages and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import nn

import hrat
from hrat.artifacts import Comparison, SweepTable
from hrat.reports import (
    ReportParts,
    artifact_table,
    chip_figure,
    comparison_figure,
    comparison_markdown,
    comparison_table,
    device_figure,
    programming_figure,
    sides_page,
    sweep_figure,
    write_report,
)
from hrat.reports.drawing import new_figure, save_figure
from hrat.reports.sides import Sides, read_side
from hrat.reports.words import safe_markup

NAMES = [r"$\frac{$", "a$b$c^", "[bold]x[/]", r"\[red]", "<b>&", ":bug:", "=1+1", "层", "😀"]
UNSEEN = ["a\nb", "a\0b", "a\ud800b", "\x1b[31m", "\u202e", "\uffff"]
FORMATS = ["png", "svg", "pdf"]
pytestmark = pytest.mark.filterwarnings("ignore:Glyph")


def named(spec: hrat.HardwareSpec, name: str) -> hrat.HardwareSpec:
    """A spec whose name nobody has checked."""
    return spec.model_copy(update={"name": name})


@pytest.fixture(scope="module")
def chip_of() -> Callable[[str], hrat.ProgrammedChip]:
    """A chip whose only layer has a name."""
    torch.manual_seed(0)
    spec = hrat.load_spec("generic-4bit")
    model = hrat.prepare(nn.Sequential(nn.Linear(5, 4)), spec, torch.randn(3, 5)).eval()
    chip = hrat.program(hrat.deploy(model), seed=0)
    layer, programmed = chip.deployment.layers["0"], chip.layers["0"]

    def make(name: str) -> hrat.ProgrammedChip:
        layers = {name: replace(layer, name=name)}
        deployment = replace(chip.deployment, layers=layers, spec=named(spec, name))
        return replace(chip, deployment=deployment, layers={name: programmed})

    return make


Make = Callable[[str], hrat.ProgrammedChip]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", NAMES + UNSEEN)
def test_any_words_can_be_drawn(name: str, suffix: str, tmp_path: Path) -> None:
    figure = new_figure(3, 2)
    figure.suptitle(name)
    axis = figure.subplots()
    axis.plot([1, 2], [1e-3, 1e3], label=name)
    axis.set_yscale("log")
    axis.set_xticks([1, 2], [name, name])
    axis.set_xlabel(name)
    axis.set_title(name, loc="left")
    axis.annotate(name, (1, 1))
    axis.legend(title=name)
    assert save_figure(figure, tmp_path / f"a.{suffix}").stat().st_size > 1000


@pytest.mark.parametrize("name", NAMES)
def test_names_of_specs_and_layers_are_drawn_as_they_are(chip_of: Make, name: str, tmp_path: Path) -> None:
    chip = chip_of(name)
    for figure in (chip_figure, programming_figure):
        text = figure(chip, tmp_path / "a.svg").read_text(encoding="utf-8")
        shown = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert f"layer {shown}" in text or f"layer {name}" in text
    device_figure(chip.deployment.spec, tmp_path / "b.png")


def sweep(name: str, *varied: str) -> SweepTable:
    rows = tuple(
        {**{key: f"{name}{k}" for key in varied}, "method": "hrat", "seed": 0, "status": "done"}
        | {"mean": 0.9, "worst": 0.8, "std": 0.0, "chips": 2}
        for k in range(3)
    )
    return SweepTable(recipe=name, data=name, spec=name, varied=varied, search="grid", held_out=0, n_test=10, rows=rows)


@pytest.mark.parametrize("varied", [["a$_$"], ["a$_$", "b"]])
@pytest.mark.parametrize("name", [r"$\frac{$", "a\ud800b"])
def test_what_a_sweep_varied_is_drawn_as_it_is(name: str, varied: list[str], tmp_path: Path) -> None:
    assert sweep_figure(sweep(name, *varied), tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize("name", NAMES + UNSEEN)
def test_a_comparison_of_anybody_is_drawn_and_written(
    make_comparison: Callable[..., Comparison], name: str, tmp_path: Path
) -> None:
    comparison = make_comparison()
    rows = tuple(replace(row, label=name) for row in comparison.rows)
    odd = replace(comparison, network=name, spec=name, spec_summary=name, rows=rows)
    comparison_figure(odd, tmp_path / "a.png")
    text = comparison_markdown(odd)
    text.encode("utf-8")
    assert text.count("\n") == comparison_markdown(comparison).count("\n")
    printed(comparison_table(odd)).encode("utf-8")


def printed(table: Any) -> str:
    console = Console(width=200, color_system=None, emoji=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


@pytest.mark.parametrize("name", [*NAMES, r"a\[/]", "[link=http://x]y[/link]", "end\\"])
def test_tables_show_names_as_they_are(chip_of: Make, name: str) -> None:
    assert name in printed(artifact_table(chip_of(name)))


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_no_text_becomes_markup_or_a_command_of_the_terminal(text: str) -> None:
    shown = printed(f"{safe_markup(text)}[bold]![/]")
    assert "\x1b" not in shown
    assert shown.rstrip("\n").endswith("!")
    if text.isprintable() and len(text) < 40:
        assert text.split() == shown.removesuffix("!\n").split()


@pytest.mark.parametrize("name", UNSEEN)
def test_pages_hold_nothing_that_does_not_show(chip_of: Make, name: str, tmp_path: Path) -> None:
    chip = chip_of("fc")
    deployment = replace(chip.deployment, spec=named(chip.deployment.spec, name))
    chip = replace(chip, deployment=deployment)
    parts = ReportParts(title=name, chip=chip, facts={name: name}, missing={"budget": name})
    pages = [write_report(parts, tmp_path)[0]]
    pages.append(
        sides_page(Sides(sides=(replace(read_side("generic-4bit"), label=name),) * 2), tmp_path / "sides.html")
    )
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not [char for char in text if not char.isprintable() and char not in "\n\t\xa0\u202f\u2009"]
