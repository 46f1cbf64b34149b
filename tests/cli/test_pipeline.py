"""The verbs one after another, with nothing faked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import hrat
from cli.shell import Shell


def test_train_deploy_program_simulate_inspect(shell: Shell, tmp_path: Path) -> None:
    train = ("train", "fc4-mnist5k", "-o", "run", "--epochs", "1", "--set", "sigma_rel=0.02")
    out = shell.works(*train)
    software = re.search(r"([\d.]+) % of the test images", out)
    assert software is not None
    assert float(software[1]) > 60
    assert shell.works(*train).splitlines()[0].startswith(software[0])  # it is there already
    assert "run, finished" in shell.works("inspect", "run")
    assert "another recipe" in shell.refuses("train", "fc4-mnist5k", "-o", "run", "--epochs", "2")

    assert "next: hrat program net.dep" in shell.works("deploy", "run", "-o", "net.dep", "--csv", "targets")
    assert (tmp_path / "targets" / "bias.csv").is_file()
    shell.works("program", "net.dep", "-o", "net.chips", "--chips", "3", "--seed", "8", "--csv", "achieved")
    chips = hrat.ProgrammedChip.load("net.chips")
    assert chips.seeds == (8, 9, 10)
    assert chips.deployment.spec.programming.sigma_rel == 0.02

    shell.works("simulate", "net.chips", "--data", "mnist5k", "-o", "results.json")
    figures = json.loads((tmp_path / "results.json").read_text())
    assert figures["n_images"] == 1000
    assert figures["mean"] > 0.5
    assert "3 programmed chips" in shell.works("inspect", "net.chips")


@pytest.mark.slow
def test_compare_leaves_table_picture_and_figures(shell: Shell, tmp_path: Path) -> None:
    words = ["compare", "fc4-mnist5k", "-o", "out", "--methods", "float,plain,hrat", "--chips", "2", "--epochs", "1"]
    out = shell.works(*words)
    assert {"comparison.json", "comparison.md", "comparison.png"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    assert shell.works(*words) == out  # nothing is trained again, and nothing differs
    assert "comparison of methods" in shell.works("inspect", "out")
    shell.works("deploy", "out/run-hrat", "-o", "net.dep")


def test_program_pulse_by_pulse(shell: Shell, make_chips: Callable[[], Path], tmp_path: Path) -> None:
    make_chips()
    text = shell.works("program", "a.deployment", "-o", "one.chips", "--chips", "2", "--scheme", "write-verify",
                       "--max-pulses", "30", "--picture", "pulses.png")  # fmt: skip
    assert "wrote pulses.png" in text
    chip = hrat.load(tmp_path / "one.chips")
    assert isinstance(chip, hrat.ProgrammedChip)
    assert chip.pulse_totals().most_pulses <= 30
    assert (tmp_path / "pulses.png").read_bytes().startswith(b"\x89PNG")
