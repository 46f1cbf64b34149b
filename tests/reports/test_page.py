"""The report's page as a file: what it holds, that it needs nothing else, and that names cannot break it."""

from __future__ import annotations

import base64
import csv
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import hrat
from hrat.artifacts import RestrictionBudget, SimulationResult
from hrat.artifacts.verification import Verification
from hrat.errors import ArtifactError, HratError
from hrat.reports import ReportParts, write_report
from hrat.reports.words import percent, si


def element(page: str, identity: str) -> str:
    found = re.search(rf'<script type="[^"]*" id="{identity}">(.*?)</script>', page, re.DOTALL)
    assert found, identity
    return found[1]


def test_the_page_needs_nothing_else(chips: hrat.ProgrammedChip, tmp_path: Path) -> None:
    page, *beside = write_report(ReportParts(title="three chips", chip=chips), tmp_path / "page")
    text = page.read_text()
    assert not re.findall(r"(?:src|href)=[\"'](?!#|data:)", text)
    assert "http" not in re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.DOTALL)
    assert "@import" not in text
    assert "url(" not in text
    assert {path.name for path in beside} == {"chip.png", "programming.png", "layers.csv", "report.json"}
    assert all(path.stat().st_size > 100 for path in beside)


def test_every_conductance_of_the_first_chip_is_in_the_page(chips: hrat.ProgrammedChip, tmp_path: Path) -> None:
    text = write_report(ReportParts(title="maps", chip=chips), tmp_path)[0].read_text()
    data = json.loads(element(text, "map-data"))
    for layer in data["layers"]:
        name = layer["name"]
        tiles = chips.deployment.tiles(name)
        assert [tile["name"] for tile in layer["tiles"]] == [tile.name for tile in tiles]
        assert layer["exact"]
        for shown, tile in zip(layer["tiles"], tiles, strict=True):
            raw = zlib.decompress(base64.b64decode(element(text, shown["id"])))
            planes = np.frombuffer(raw, np.uint8).reshape(4, shown["rows"], shown["cols"])
            errors_S = chips.errors_S(name)
            wanted = chips.deployment.layers[name]
            for plane, target_S, error_S in zip((0, 1), (wanted.g_pos_S, wanted.g_neg_S), errors_S, strict=True):
                assert np.array_equal(np.array(layer["levels"])[planes[plane]], target_S[tile.index].double().numpy())
                code = planes[2 + plane].view(np.int8).astype(float)
                shown_S = np.sign(code) * (code / 127) ** 2 * layer["eMax"]
                assert np.abs(shown_S - error_S[0][tile.index].numpy()).max() <= 0.008 * layer["eMax"]


def test_continuous_targets_are_shown_in_steps_and_the_page_says_so(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = hrat.load_spec("generic-4bit").without("states")
    model = hrat.prepare(nn.Linear(40, 30), spec, torch.randn(8, 40)).eval()
    chip = hrat.program(hrat.deploy(model), seed=0)
    text = write_report(ReportParts(title="x", chip=chip), tmp_path)[0].read_text()
    (layer,) = json.loads(element(text, "map-data"))["layers"]
    assert not layer["exact"]
    assert len(layer["levels"]) == 256
    assert "shown in 256 steps" in text


def test_tiles_beyond_the_limit_are_left_out_and_counted(chips: hrat.ProgrammedChip, tmp_path: Path) -> None:
    total = chips.deployment.n_tiles
    text = write_report(ReportParts(title="x", chip=chips), tmp_path, max_tiles=3)[0].read_text()
    assert len(re.findall(r'id="tile-\d+-\d+"', text)) == 3
    assert f"holds 3 of {total} tiles" in text
    layers = json.loads(element(text, "map-data"))["layers"]
    assert sum(tile["id"] is not None for layer in layers for tile in layer["tiles"]) == 3
    assert all(tile["rms"] > 0 for layer in layers for tile in layer["tiles"])


def test_names_from_files_are_text_and_never_markup(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module("<b>&", nn.Linear(5, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return getattr(self, "<b>&")(x)

    spec = hrat.load_spec("generic-4bit", name=evil)
    model = hrat.prepare(Odd(), spec, torch.randn(3, 5)).eval()
    chip = hrat.program(hrat.deploy(model), seed=0)
    parts = ReportParts(title=evil, chip=chip, facts={evil: evil}, missing={"budget": evil})
    text = write_report(parts, tmp_path)[0].read_text()
    assert "alert(1)</script>" not in text.replace("&lt;/script&gt;", "")
    assert "<b>&" not in text


def test_a_report_of_everything(tmp_path: Path) -> None:
    torch.manual_seed(3)
    x, y = torch.randn(60, 12), torch.randint(4, (60,))
    network = nn.Sequential(nn.Linear(12, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 4))
    model = hrat.prepare(network, "generic-3bit-harsh", x).eval()
    chips = hrat.program(hrat.deploy(model), chips=3, scheme="write_verify", max_pulses=20)
    heard: list[str] = []
    files = hrat.report(
        chips,
        tmp_path / "page",
        [(x, y)],
        model=model,
        train=[(x, y)],
        budget_chips=2,
        verify_images=4,
        spice=False,
        accuracy_without_error=0.4,
        training=[{"epoch": 1.0, "loss": 0.7, "accuracy": 0.3}, {"epoch": 2.0, "loss": 0.5, "accuracy": 0.5}],
        title="everything",
        progress=lambda what, done, total: heard.append(what),
    )
    names = {path.name for path in files}
    assert {"report.html", "budget.png", "verification.png", "pulses.csv", "estimate.csv", "accuracy.csv"} <= names
    text = files[0].read_text()
    assert "Not in this report" not in text
    data = json.loads((tmp_path / "page" / "report.json").read_text())
    assert percent(data["result"]["mean"]) in text
    assert si(data["estimate"]["energy_J"], "J") in text
    assert {row["name"] for row in data["budget"]["rows"]} >= {"error", "states", "bias_dac"}
    assert [depth["name"] for depth in data["verification"]["depths"]] == ["behavioural", "nodal"]
    with (tmp_path / "page" / "accuracy.csv").open() as file:
        assert [row["chip (seed)"] for row in csv.DictReader(file)] == ["0", "1", "2"]
    assert {"accuracy", "estimate"} <= set(heard)
    # What took long can be had again.
    made = RestrictionBudget.load(tmp_path / "page" / "budget.json")
    assert made.n_chips == 2
    assert Verification.load(tmp_path / "page" / "verification.json").n_images == 4
    assert any(what.startswith("budget") for what in heard)


def test_what_is_missing_is_named_with_the_way_to_get_it(chips: hrat.ProgrammedChip, tmp_path: Path) -> None:
    text = hrat.report(chips, tmp_path)[0].read_text()
    assert text.count("Not in this report") == 4
    assert "hrat report CHIPS --data NAME" in text
    assert "hrat report CHIPS --run RUN_FOLDER" in text
    assert "hrat program --scheme write-verify" in text


def test_an_earlier_report_stays_whole_when_a_new_one_fails(
    chips: hrat.ProgrammedChip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = write_report(ReportParts(title="first", chip=chips), tmp_path)[0]
    before = page.read_text()
    monkeypatch.setattr("hrat.reports.page.write.layer_maps", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report(ReportParts(title="second", chip=chips), tmp_path)
    assert page.read_text() == before
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".html", ".json", ".png", ".png"]


def test_chips_that_failed_are_named_and_no_figure_is_made_of_them(chips: hrat.ProgrammedChip, tmp_path: Path) -> None:
    nan = float("nan")

    def page(*accuracies: float) -> str:
        failures = {5 + k: "no convergence" for k, accuracy in enumerate(accuracies) if accuracy != accuracy}
        result = SimulationResult(
            value=None, solver="spice", seeds=(5, 6, 7), n_images=9, accuracies=accuracies, failures=failures
        )
        files = write_report(ReportParts(title="x", chip=chips, result=result, accuracy_without_error=0.9), tmp_path)
        json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda word: pytest.fail(word))
        return re.sub(r"<script.*?</script>", "", files[0].read_text(), flags=re.DOTALL)

    some, none = page(nan, 0.5, 0.75), page(nan, nan, nan)
    assert some.count("no convergence") == 1
    assert "62.50 %" in some
    assert "1 failed" in some
    assert none.count("no convergence") == 3
    assert not re.search(r"\bnan\b", some + none)


def test_chips_of_another_network_are_refused(chips: hrat.ProgrammedChip, tmp_path: Path) -> None:
    model = hrat.prepare(nn.Sequential(nn.Flatten(), nn.Linear(20, 3)), "generic-4bit", torch.randn(2, 20))
    with pytest.raises(HratError, match="not those of the model"):
        hrat.report(chips, tmp_path, torch.randn(4, 20), model=model, train=[])
    with pytest.raises(HratError, match="expected the chips"):
        hrat.report(chips.deployment, tmp_path)  # type: ignore[arg-type]


def test_a_verification_is_read_as_it_was_written(chips: hrat.ProgrammedChip, tmp_path: Path) -> None:
    from hrat.simulation import ladder, verify

    found = verify(chips, torch.randn(3, 20), rungs=ladder(chips.deployment.spec, spice=False))
    assert Verification.load(found.save(tmp_path / "v.json")) == found
    (tmp_path / "bad.json").write_text('{"depths": [{}]}')
    with pytest.raises(ArtifactError, match="no verification"):
        Verification.load(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("value", "said"),
    [(1.7e-6, "1.7 µJ"), (0.0, "0 J"), (-2.5e-3, "-2.5 mJ"), (999.9e-9, "1 µJ"), (123456.0, "123 kJ"), (1.0, "1 J")],
)
def test_si_prefixes(value: float, said: str) -> None:
    assert si(value, "J") == said
