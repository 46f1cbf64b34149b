"""`--json` and `doctor`: figures for scripts, and what is missing here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.shell import Shell


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, its deployment and its chips, in a folder whose name has a space."""
    root = tmp_path_factory.mktemp("with space")
    shell = Shell()
    shell.works("train", "fc4-mnist5k", "-o", root / "run", "--epochs", "1")
    shell.works("deploy", root / "run", "-o", root / "net.deployment")
    shell.works("program", root / "net.deployment", "-o", root / "net.chips", "--chips", "2")
    return root


def told(shell: Shell, *words: object) -> dict[str, Any]:
    found = json.loads(shell.works(*words, "--json"))
    assert isinstance(found, dict)
    return found


def test_every_verb_that_has_figures_tells_them(shell: Shell, folder: Path, tmp_path: Path) -> None:
    trained = told(shell, "train", "fc4-mnist5k", "-o", folder / "run", "--epochs", "1")
    assert 0.5 < trained["accuracy_without_error"] < 1
    assert trained["next"] == f"hrat deploy '{folder / 'run'}'"
    deployed = told(shell, "deploy", folder / "run", "-o", tmp_path / "net.deployment")
    assert deployed["devices"] == sum(layer["devices"] for layer in deployed["layers"]) == 484_608
    assert deployed["wrote"] == [str(tmp_path / "net.deployment")]
    programmed = told(shell, "program", tmp_path / "net.deployment", "-o", tmp_path / "net.chips", "--chips", "3")
    assert programmed["seeds"] == [0, 1, 2]
    assert all(0 < layer["rms_error_S"] < 2e-5 for layer in programmed["layers"])
    assert told(shell, "inspect", tmp_path / "net.chips")["layers"] == programmed["layers"]
    simulated = told(shell, "simulate", folder / "net.chips", "--data", "mnist5k", "--limit", "100")
    assert len(simulated["accuracies"]) == 2
    budget = told(shell, "budget", folder / "run", "--images", "100", "--chips", "2")
    assert {row["name"] for row in budget["rows"]} >= {"states", "error"}
    assert budget["sentences"]
    page = told(shell, "report", folder / "net.chips", "--data", "mnist5k", "--limit", "100", "--verify", "0")
    assert page["mean"] == sum(simulated["accuracies"]) / 2
    assert set(page["missing"]) == {"budget", "verification"}
    assert Path(page["page"]) == folder / "net.report" / "report.html"
    assert {preset["name"] for preset in told(shell, "spec", "list")["presets"]} >= {"generic-4bit"}
    assert told(shell, "spec", "show", "yao2020")["spec"]["device"]["v_read_V"] == 0.2
    assert told(shell, "spec", "check", "yao2020", "--set", "sigma_rel=0.3")["warnings"]
    assert told(shell, "device", "show", "wan2022")["spec"]["name"] == "wan2022"
    assert {recipe["name"] for recipe in told(shell, "recipes")["recipes"]} >= {"vgg16-cifar10"}


def test_a_mistake_is_told_as_json_too(shell: Shell, tmp_path: Path) -> None:
    code, out, err = shell("simulate", tmp_path / "nothing", "--json")
    assert code == 2
    assert "nothing" in json.loads(out)["error"]
    assert "hrat: error:" in err


def test_without_it_people_read_tables(shell: Shell, folder: Path) -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads(shell.works("inspect", folder / "net.chips"))


def test_doctor_finds_what_is_there_and_what_is_not(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cifar10").mkdir()
    monkeypatch.setenv("HRAT_DATA", str(tmp_path))
    monkeypatch.setenv("HRAT_NGSPICE", "/nowhere/ngspice")
    found = {finding["what"]: finding for finding in told(shell, "doctor")["findings"]}
    assert found["torch"]["state"] == found["data mnist5k"]["state"] == found["HRAT_DATA"]["state"] == "good"
    assert found["ngspice"]["state"] == "absent"
    assert "/nowhere/ngspice" in found["ngspice"]["remedy"]
    assert found["data mnist"]["remedy"] == f"put its files into {tmp_path / 'mnist'}"
    assert "is not whole" in found["data cifar10"]["found"]
    assert "data_batch_1.bin" in found["data cifar10"]["remedy"]
    assert "good" in shell.works("doctor")


@pytest.mark.parametrize("flags", [[], ["amx_bf16"]])
def test_doctor_proposes_bfloat16_where_the_processor_has_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    monkeypatch.setattr("hrat.training.bfloat16_instructions", lambda: flags)
    found = {finding["what"]: finding for finding in told(shell, "doctor")["findings"]}
    assert ("--amp --channels-last" in found["processor"]["remedy"]) == bool(flags)


def test_doctor_names_a_variable_that_nothing_reads(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRAT_DTA", "x")
    code, out, _ = shell("doctor", "--json")
    assert code == 1
    finding = next(finding for finding in json.loads(out)["findings"] if finding["what"] == "HRAT_DTA")
    assert finding["state"] == "bad"
    assert "HRAT_DATA" in finding["remedy"]
