"""Chips read from a lab's tables: the same as those that were written, in any order; bad tables are refused."""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import hrat
from hrat.artifacts import FaultMap, LayerFaults
from hrat.errors import ArtifactError, HratError
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


@pytest.mark.parametrize("encode", ["utf-16", "utf-16-le", "utf-32", "cp037", "gzip"])
def test_tables_in_another_encoding_are_refused_with_words(
    deployment: hrat.Deployment, tmp_path: Path, encode: str
) -> None:
    hrat.export_csv(hrat.program(deployment, seed=0), tmp_path)
    path = sorted((tmp_path / "conductances").iterdir())[0]
    content = path.read_bytes()
    path.write_bytes(gzip.compress(content) if encode == "gzip" else content.decode().encode(encode))
    with pytest.raises(ArtifactError, match="expected") as caught:
        hrat.import_csv(deployment, tmp_path)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("chip", ["-1", str(2**63), "9" * 5000, "1.5"])
def test_a_chip_is_numbered_as_a_seed_can_be(deployment: hrat.Deployment, tmp_path: Path, chip: str) -> None:
    hrat.export_csv(hrat.program(deployment, seed=0), tmp_path)
    path = sorted((tmp_path / "conductances").iterdir())[0]
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head, *(f"{chip},{line.partition(',')[2]}" for line in lines)]))
    with pytest.raises(ArtifactError, match="line 2: expected whole numbers"):
        hrat.import_csv(deployment, tmp_path)


def renamed(deployment: hrat.Deployment, name: str) -> hrat.Deployment:
    """Another name for the first layer, as a stranger's file may have it."""
    first, *others = deployment.layers.values()
    return replace(deployment, layers={name: replace(first, name=name), **{layer.name: layer for layer in others}})


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", "..", "n" * 300])
def test_no_name_of_a_layer_leads_out_of_the_folder(deployment: hrat.Deployment, tmp_path: Path, name: str) -> None:
    odd, root = renamed(deployment, name), tmp_path / "deep" / "er"
    for artifact in (odd, hrat.program(odd, seed=0)):
        with pytest.raises(HratError, match="the name of a file"):
            hrat.export_csv(artifact, root)
    with pytest.raises(HratError, match="the name of a file"):
        hrat.import_csv(odd, root)
    assert not list(tmp_path.iterdir())


def test_no_link_in_the_folder_leads_out_of_it(deployment: hrat.Deployment, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("conductances", "spec.toml", "layers.csv"):
        root = tmp_path / name
        root.mkdir()
        (root / name).symlink_to(outside / name)
        with pytest.raises(HratError, match=r"a link that leads to .*outside"):
            hrat.export_csv(deployment, root)
    assert not list(outside.iterdir())


@pytest.mark.parametrize("name", ["=1+1", 'a"b', "a,b", "@x", "Schicht ü", " a ", "-x"])
def test_names_with_signs_of_their_own_are_written_and_read(
    deployment: hrat.Deployment, tmp_path: Path, name: str
) -> None:
    odd = renamed(deployment, name)
    chips = hrat.program(odd, seed=0)
    hrat.export_csv(chips, tmp_path)
    with (tmp_path / "layers.csv").open(encoding="utf-8", newline="") as file:
        shown = next(row["layer"] for row in csv.DictReader(file))
    assert shown == (f"'{name}" if name[0] in "=@-" else name)
    again = hrat.import_csv(odd, tmp_path)
    assert torch.equal(again.layers[name].g_pos_S, chips.layers[name].g_pos_S)
    none = {key: torch.zeros(layer.array_shape) for key, layer in odd.layers.items()}
    faults = FaultMap(
        layers={
            key: LayerFaults(pos=zero.bool(), pos_S=zero, neg=zero.bool(), neg_S=zero) for key, zero in none.items()
        }
    )
    stuck = torch.zeros_like(none[name], dtype=torch.bool)
    stuck[0, 1, 1] = True
    faults.layers[name] = replace(faults.layers[name], neg=stuck, neg_S=stuck * 1e-6)
    table = FaultMap.from_csv(faults.to_csv(tmp_path / "faults.csv", odd), odd)
    assert torch.equal(table.layers[name].neg, stuck)


SPOILT: dict[str, tuple[dict[str, object], str]] = {
    "numbers for bool": ({"pos": torch.zeros(1, 2, 2)}, "expected pos of type bool"),
    "whole numbers": ({"neg_S": torch.zeros(1, 2, 2, dtype=torch.int64)}, "of a floating point type"),
    "two dimensions": ({"pos": torch.zeros(2, 2, dtype=torch.bool)}, "of one shape"),
    "another shape": ({"neg": torch.zeros(1, 2, 3, dtype=torch.bool)}, "of one shape"),
    "negative": ({"pos_S": torch.full((1, 2, 2), -1e-6)}, "finite conductances of 0 S or more"),
    "not finite": ({"neg_S": torch.full((1, 2, 2), torch.nan)}, "finite conductances of 0 S or more"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_map_of_faults_that_cannot_be_one_is_refused(tmp_path: Path, name: str) -> None:
    zero = torch.zeros(1, 2, 2)
    good = LayerFaults(pos=zero.bool(), pos_S=zero, neg=zero.bool(), neg_S=zero.clone())
    FaultMap.load(FaultMap(layers={"fc": good}).save(tmp_path / "good.faults"))
    spoilt, said = SPOILT[name]
    path = FaultMap(layers={"fc": replace(good, **spoilt)}).save(tmp_path / "bad.faults")  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match=said) as caught:
        FaultMap.load(path)
    assert "layer 'fc'" in str(caught.value)
