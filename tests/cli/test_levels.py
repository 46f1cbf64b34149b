"""`hrat deploy` with what makes up for a device's weaknesses."""

from __future__ import annotations

from pathlib import Path

import hrat
from cli.shell import Shell
from hrat.programming import find_faults


def test_deploy_spends_devices_and_makes_up_for_faults(shell: Shell, tmp_path: Path) -> None:
    settings = ("--set", "faults.stuck_off=0.05", "--set", "faults.limit_faults=true")
    shell.works("train", "fc4-mnist5k", "-o", "run", "--epochs", "1", *settings)
    out = shell.works("deploy", "run", "-o", "more.dep", "--redundancy", "20000", "--favour-states")
    assert "extra devices" in out
    more = hrat.Deployment.load("more.dep")
    shell.works("deploy", "run", "-o", "plain.dep")
    plain = hrat.Deployment.load("plain.dep")
    assert plain.n_devices < more.n_devices <= plain.n_devices + 20_000
    faults = find_faults(plain, 3)
    faults.to_csv(tmp_path / "chip3.csv", plain)
    faults.save(tmp_path / "chip3.faults")
    out = shell.works("deploy", "run", "-o", "a.dep", "--faults", "chip3.csv")
    assert "error before" in out
    shell.works("deploy", "run", "-o", "b.dep", "--faults", "chip3.faults")
    assert hrat.Deployment.load("a.dep").is_same_as(hrat.Deployment.load("b.dep"))
    shell.works("deploy", "run", "-o", "c.dep", "--faults", "chip3.csv", "--fixed-lines")
    assert all(layer.row_inputs is None for layer in hrat.Deployment.load("c.dep").layers.values())
    refused = shell.refuses("deploy", "run", "-o", "d.dep", "--faults", "chip3.faults", "--redundancy", "20000")
    assert "made for other copies" in refused
