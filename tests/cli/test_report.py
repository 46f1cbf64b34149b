"""`hrat report`: of a run, of chips, with parts made before, and what it refuses before it works."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.shell import Shell


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "run"
    Shell().works("train", "fc4-mnist5k", "-o", folder, "--epochs", "1")
    return folder


def test_a_run_becomes_a_page_with_all_there_is(shell: Shell, run: Path) -> None:
    said = shell.works(
        *("report", run, "--chips", "2", "--limit", "200", "--budget-images", "100"),
        *("--verify", "2", "--without-spice"),
    )
    assert "accuracy mean" in said
    assert "All restrictions together cost" in said
    assert f"wrote {run / 'report' / 'report.html'}" in said
    text = (run / "report" / "report.html").read_text()
    assert "Not in this report" not in text
    assert "fc4-mnist5k on generic-4bit" in text
    data = json.loads((run / "report" / "report.json").read_text())
    assert data["chips"]["seeds"] == [0, 1]
    assert len(data["training"]) == 1


def test_parts_that_were_made_before_are_taken(shell: Shell, run: Path, tmp_path: Path) -> None:
    shell.works("deploy", run, "-o", tmp_path / "net.deployment")
    shell.works("program", tmp_path / "net.deployment", "-o", tmp_path / "net.chips", "--chips", "1")
    shell.works("budget", run, "--images", "50", "--chips", "2", "-o", tmp_path / "b.json")
    shell.works(
        *("verify", tmp_path / "net.chips", "--data", "mnist5k", "--limit", "2", "--without-spice"),
        *("-o", tmp_path / "v"),
    )
    shell.works(
        *("report", tmp_path / "net.chips", "--data", "mnist5k", "--limit", "50", "-o", tmp_path / "page"),
        *("--budget", tmp_path / "b.json", "--verification", tmp_path / "v" / "verification.json"),
    )
    data = json.loads((tmp_path / "page" / "report.json").read_text())
    assert data["budget"]["n_images"] == 50
    assert data["verification"]["n_images"] == 2
    assert data["missing"] == {}


def test_chips_without_data_get_a_page_that_says_what_is_missing(shell: Shell, run: Path, tmp_path: Path) -> None:
    shell.works("deploy", run, "-o", tmp_path / "net.deployment")
    shell.works("program", tmp_path / "net.deployment", "-o", tmp_path / "net.chips", "--chips", "1")
    said = shell.works("report", tmp_path / "net.chips")
    assert "not in the report: accuracy" in said
    assert (tmp_path / "net.report" / "report.html").is_file()


def test_mistakes_are_found_before_the_work(shell: Shell, run: Path, tmp_path: Path) -> None:
    assert "--run is for chips" in shell.refuses("report", run, "--run", run)
    assert "--data is for chips" in shell.refuses("report", run, "--data", "mnist")
    assert "nothing" in shell.refuses("report", tmp_path / "nothing")
    (tmp_path / "b.json").write_text("{}")
    assert "no restriction budget" in shell.refuses("report", run, "--budget", tmp_path / "b.json")
    (tmp_path / "empty").mkdir()
    assert "holds no run" in shell.refuses("report", tmp_path / "empty")


def test_diff_of_runs_takes_their_reports_along(shell: Shell, run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shell.works("train", "fc4-mnist5k", "-o", other, "--epochs", "1", "--method", "plain", "--set", "v_read_V=0.2")
    said = shell.works("diff", run, other, "-o", tmp_path / "sides.html", "--csv", tmp_path / "sides.csv")
    assert "device.v_read_V" in said
    assert "method" in said
    assert (tmp_path / "sides.html").is_file()
    told = json.loads(shell.works("diff", run, other, "--json"))
    assert told["fields"] == {"device.v_read_V": [0.3, 0.2]}
    assert told["facts"]["method"] == ["hrat", "plain"]
    assert ".html" in shell.refuses("diff", run, other, "-o", tmp_path / "sides.pdf")
    assert "two or more" in shell.refuses("diff", run)


def test_chips_that_a_lab_has_read_go_the_same_way(shell: Shell, run: Path, tmp_path: Path) -> None:
    shell.works("deploy", run, "-o", tmp_path / "net.deployment")
    shell.works("program", tmp_path / "net.deployment", "--chips", "1", "--csv", tmp_path / "tables")
    said = shell.works("program", tmp_path / "net.deployment", "--measured", tmp_path / "tables", "-o", "real.chips")
    assert "scheme measured" in said
    assert "accuracy mean" in shell.works("simulate", "real.chips", "--data", "mnist5k", "--limit", "100")
    assert "--scheme" in shell.refuses(
        *("program", tmp_path / "net.deployment", "--measured", tmp_path / "tables", "--scheme", "open-loop")
    )
