"""Things side by side: what differs is found and nothing else, differences have their sign, bad input is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

import hrat
from hrat.errors import ArtifactError, HratError
from hrat.reports import side_by_side, sides_page, sides_table


def said(found: object) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(sides_table(found))  # type: ignore[arg-type]
    return console.export_text()


@pytest.fixture
def reports(tmp_path: Path) -> tuple[Path, Path]:
    """Reports of the same network on two kinds of hardware."""
    torch.manual_seed(3)
    x, y = torch.randn(60, 12), torch.randint(4, (60,))
    network = nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 4))
    found = []
    for name, sigma in (("good", 0.01), ("bad", 0.3)):
        model = hrat.prepare(network, hrat.load_spec("generic-4bit", sigma_rel=sigma), x).eval()
        chips = hrat.program(hrat.deploy(model), chips=3)
        with torch.no_grad():
            labels = model(x).argmax(1)
        hrat.report(
            chips, tmp_path / name, [(x, labels)], model=model, train=[(x, y)], budget_chips=2, spice=False,
            facts={"method": name},
        )  # fmt: skip
        found.append(tmp_path / name)
    return found[0], found[1]


def test_presets_differ_where_their_files_do() -> None:
    found = side_by_side(["generic-4bit", "generic-3bit-harsh"])
    fields = dict(found.fields())
    assert fields["device.weight_bits"] == [4, 3]
    assert fields["programming.sigma_rel"] == [0.035, 0.1]
    assert "device.v_read_V" not in fields
    assert found.figures() == []
    text = said(found)
    assert "device.weight_bits" in text
    assert "v_read_V" not in text


def test_the_same_hardware_is_said_to_be_the_same(tmp_path: Path) -> None:
    hrat.load_spec("yao2020").save(tmp_path / "copy.toml")
    found = side_by_side(["yao2020", tmp_path / "copy.toml"])
    assert found.fields() == []
    assert found.labels == ["yao2020 (1)", "yao2020 (2)"]
    assert "hardware is the same" in said(found)


def test_reports_stand_beside_each_other_with_signs_that_are_right(reports: tuple[Path, Path], tmp_path: Path) -> None:
    good, bad = reports
    found = side_by_side([good, bad])
    figures = dict(found.figures())
    data = [json.loads((folder / "report.json").read_text()) for folder in reports]
    assert figures["mean"] == [one["result"]["mean"] for one in data]
    assert figures["error_rms"] == pytest.approx([0.01, 0.3], rel=0.2)
    assert dict(found.fields()) == {"programming.sigma_rel": [0.01, 0.3]}
    assert dict(found.facts())["method"] == ["good", "bad"]
    costs = dict(found.costs())
    assert costs["error"][1][0] > costs["error"][0][0]  # type: ignore[index]
    text = said(found)
    line = next(line for line in text.splitlines() if "mean of the chips" in line)
    assert "worse" in line
    assert f"{100 * (figures['mean'][1] - figures['mean'][0]):+.2f} points" in line  # type: ignore[operator]
    assert "better" in next(line for line in said(side_by_side([bad, good])).splitlines() if "mean of" in line)

    with found.save_csv(tmp_path / "s.csv").open() as file:
        rows = {(row["kind"], row["name"]): row for row in csv.DictReader(file)}
    assert float(rows["figure", "mean"]["bad"]) == figures["mean"][1]
    assert rows["field", "programming.sigma_rel"]["good"] == "0.01"
    page = sides_page(found, tmp_path / "s.html").read_text()
    assert page.count('class="strip"') == 2
    assert "src=" not in page


def test_chips_and_deployments_can_be_compared(tmp_path: Path) -> None:
    paths = []
    for width in (4, 8):
        model = hrat.prepare(nn.Linear(6, width), "generic-4bit", torch.randn(3, 6)).eval()
        deployment = hrat.deploy(model)
        paths.append(deployment.save(tmp_path / f"{width}.deployment"))
        hrat.program(deployment, chips=2).save(tmp_path / f"{width}.chips")
    assert dict(side_by_side(paths).figures())["devices"] == [48, 96]
    chips = side_by_side([tmp_path / "4.chips", tmp_path / "8.chips", paths[0]])
    assert dict(chips.figures())["chips"] == [2, 2, None]
    assert dict(chips.figures())["error_rms"][0] == pytest.approx(0.035, rel=0.3)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HratError, match="two or more"):
        side_by_side(["yao2020"])
    with pytest.raises(ArtifactError, match="no preset has that name"):
        side_by_side(["yao2020", "yao2021"])
    with pytest.raises(ArtifactError, match=r"neither run\.json nor report\.json"):
        side_by_side(["yao2020", tmp_path])
    (tmp_path / "report.json").write_text('{"report": 1}')
    with pytest.raises(ArtifactError, match=r"no report\.json of hrat report: facts: Field required"):
        side_by_side(["yao2020", tmp_path])
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        side_by_side(["yao2020", tmp_path])
