"""`hrat sweep` and `hrat reproduce` from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.shell import Shell


def test_a_sweep_and_its_files(shell: Shell, tmp_path: Path) -> None:
    words = [
        "sweep",
        "fc4-mnist5k",
        "--vary",
        "chip.sigma_rel=0,0.1",
        "--epochs",
        "1",
        "--chips",
        "2",
        "-o",
        str(tmp_path),
    ]
    out = shell.works(*words)
    assert "chip.sigma_rel" in out
    assert f"picture: {tmp_path / 'sweep.png'}" in out
    assert {"trials.csv", "trials.json", "trials.parquet", "sweep.png"} <= {path.name for path in tmp_path.iterdir()}
    assert shell.works(*words).count("known already") == 2


def test_an_experiment_and_its_page(shell: Shell, tmp_path: Path) -> None:
    words = ["reproduce", "fc4", "--short", "--part", "weight_bits", "--methods", "float,plain", "--epochs", "1"]
    shell.works(*words, "--chips", "2", "-o", str(tmp_path))
    page = (tmp_path / "fc4.md").read_text()
    assert "`hrat reproduce fc4 --short --part weight_bits --methods float,plain --epochs 1 --chips 2`" in page
    assert "In floating point, without a chip:" in page
    assert page.count("\n| ") == 1 + 5
    assert (tmp_path / "weight_bits.png").is_file()
    assert len(list((tmp_path / "trained").iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep", "fc4-mnist5k", "--vary", "weight_bitz=2"], "did you mean 'weight_bits'"),
        (["sweep", "fc4-mnist5k", "--vary", "weight_bits=99"], "the trial with weight_bits=99"),
        (["sweep", "fc4-mnist5k", "--vary", "weight_bits=2", "--seeds", "one"], "--seeds: expected whole numbers"),
        (["reproduce", "fc4", "--part", "bits"], "unknown part 'bits'"),
        (["reproduce", "fc4", "--methods", "best"], "unknown method 'best'"),
    ],
)
def test_mistakes(shell: Shell, words: list[str], message: str, tmp_path: Path) -> None:
    assert message in shell.refuses(*words, "-o", str(tmp_path))


def test_devices_and_nodes(shell: Shell) -> None:
    assert "2 nodes need an address" in shell.refuses("train", "fc4-mnist5k", "--nodes", "2")
    assert "as many devices as there are" in shell.refuses("train", "fc4-mnist5k", "--devices", "9999")
