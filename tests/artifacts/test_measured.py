"""Chips read from a lab's tables: the same as those that were written, in any order; bad tables are refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import hrat
from hrat.errors import ArtifactError
from hrat.mapping import replicate


@pytest.fixture
def deployment() -> hrat.Deployment:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(54, 5)).double()
    spec = hrat.load_spec("generic-4bit", {"array.rows": 16, "array.cols": 4})
    return hrat.deploy(hrat.prepare(network, spec, torch.rand(3, 4, 5, 5, dtype=torch.float64)).eval())


def test_what_was_written_is_read_again(deployment: hrat.Deployment, tmp_path: Path) -> None:
    chips = hrat.program(deployment, chips=3, seed=11)
    hrat.export_csv(chips, tmp_path)
    for path in (tmp_path / "conductances").iterdir():  # a lab's lines come in any order, with columns of its own
        head, *lines = path.read_text().splitlines()
        random.Random(1).shuffle(lines)
        path.write_text("\n".join([f"date,{head}", *(f"2026-03-01,{line}" for line in lines)]) + "\n", "utf-8-sig")
    again = hrat.import_csv(deployment, tmp_path)
    assert again.seeds == chips.seeds
    assert again.scheme == "measured"
    for name, layer in chips.layers.items():
        assert torch.equal(again.layers[name].g_pos_S, layer.g_pos_S)
        assert torch.equal(again.layers[name].g_neg_S, layer.g_neg_S)
    x = torch.rand(4, 4, 5, 5, dtype=torch.float64)
    assert torch.equal(hrat.simulate(again, x).value, hrat.simulate(chips, x).value)
    assert hrat.load(again.save(tmp_path / "real.chips")).scheme == "measured"  # type: ignore[union-attr]


def test_copies_are_devices_of_their_own(deployment: hrat.Deployment, tmp_path: Path) -> None:
    twice = replicate(deployment, dict.fromkeys(deployment.layers, 2))
    chips = hrat.program(twice, seed=1)
    hrat.export_csv(chips, tmp_path)
    again = hrat.import_csv(twice, tmp_path)
    assert all(torch.equal(again.layers[name].g_pos_S, chips.layers[name].g_pos_S) for name in chips.layers)
    with pytest.raises(ArtifactError, match="no pair at"):
        hrat.import_csv(deployment, tmp_path)  # of the deployment without copies


Spoil = Callable[[list[str]], list[str]]
WRONG: dict[str, tuple[Spoil, str]] = {
    "no header": (lambda lines: lines[1:], "chip is missing"),
    "empty": (lambda lines: lines[:1], "no readings"),
    "a line is missing": (lambda lines: lines[:-1], "is missing"),
    "a line twice": (lambda lines: [*lines, lines[-1]], "is there 2 times"),
    "a row that is not there": (lambda lines: [*lines[:-1], lines[-1].replace(",tile", ",tile9")], "no pair at"),
    "half a line": (lambda lines: [*lines[:-1], lines[-1][:9]], "line "),
    "no number": (lambda lines: [lines[0], lines[1].rsplit(",", 1)[0] + ",open", *lines[2:]], "line 2"),
    "negative": (lambda lines: [lines[0], *(line.replace(",", ",", 1) for line in _negated(lines[1:]))], "negative"),
    "microsiemens": (lambda lines: [lines[0], *_times_a_million(lines[1:])], "siemens"),
}


def _negated(lines: list[str]) -> list[str]:
    cells = lines[0].split(",")
    cells[5] = f"-{cells[5]}"
    return [",".join(cells), *lines[1:]]


def _times_a_million(lines: list[str]) -> list[str]:
    rows = [line.split(",") for line in lines]
    return [",".join([*row[:5], *(str(1e6 * float(cell)) for cell in row[5:7])]) for row in rows]


@pytest.mark.parametrize("name", WRONG)
def test_tables_that_are_wrong_are_refused_with_the_place(
    deployment: hrat.Deployment, tmp_path: Path, name: str
) -> None:
    hrat.export_csv(hrat.program(deployment, seed=0), tmp_path)
    path = sorted((tmp_path / "conductances").iterdir())[0]
    spoil, said = WRONG[name]
    path.write_text("\n".join(spoil(path.read_text().splitlines())) + "\n")
    with pytest.raises(ArtifactError, match=said) as caught:
        hrat.import_csv(deployment, tmp_path)
    assert path.name in str(caught.value)


def test_missing_tables_and_chips_are_named(deployment: hrat.Deployment, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="one for each layer"):
        hrat.import_csv(deployment, tmp_path)
    hrat.export_csv(hrat.program(deployment, chips=2), tmp_path)
    path = sorted((tmp_path / "conductances").iterdir())[-1]
    path.write_text("".join(line for line in path.open() if not line.startswith("1,")))
    with pytest.raises(ArtifactError, match="the same ones in all tables"):
        hrat.import_csv(deployment, tmp_path)
