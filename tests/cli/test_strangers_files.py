"""Files that somebody else has made: nothing in them runs, hides, or is written where it does not belong."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import hrat
from cli.shell import Shell
from hrat.circuit import Crossbar

HARMFUL = 'name = "a\\n.control\\nshell touch here\\n.endc"\n'


def test_a_spec_with_a_command_in_its_name_is_not_correct(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text(HARMFUL)
    for words in (("spec", "check"), ("spec", "show"), ("device", "show"), ("train", "lenet5-mnist5k", "--spec")):
        assert "name: expected a name of 1 to 200 printable characters" in shell.refuses(*words, "spec.toml")


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\u202eb"])
def test_nothing_of_a_file_reaches_the_terminal_unseen(shell: Shell, tmp_path: Path, name: str) -> None:
    key = name.encode("ascii", "backslashreplace").decode().replace("\\x", "\\u00")
    (tmp_path / "spec.toml").write_text(f'"{key}" = 1\n')
    _, out, err = shell("spec", "check", "spec.toml")
    (tmp_path / "table.csv").write_text(f"device,{name},pulse,voltage_V,conductance\n0,0,1,1.5,20\n")
    _, more_out, more_err = shell("device", "fit", "table.csv", "-o", "mine.toml")
    assert "hrat: error" in err + more_err
    for text in (out, err, more_out, more_err):
        assert "\x1b" not in text
        assert "\u202e" not in text


def renamed(path: Path, name: str) -> hrat.Deployment:
    """A saved deployment whose only layer has another name."""
    deployment = hrat.load(path)
    assert isinstance(deployment, hrat.Deployment)
    (layer,) = deployment.layers.values()
    graph = tuple(replace(node, layer=name) if isinstance(node, Crossbar) else node for node in deployment.graph)
    return replace(deployment, layers={name: replace(layer, name=name)}, graph=graph)


@pytest.mark.parametrize("name", ["../../x", "/tmp/hrat-x"])
def test_tables_stay_in_their_folder(shell: Shell, make_chips: Callable[[], Path], tmp_path: Path, name: str) -> None:
    make_chips()
    renamed(tmp_path / "a.deployment", name).save(tmp_path / "odd.deployment")
    before = sorted(os.listdir(tmp_path))
    assert "cannot be the name of a file" in shell.refuses("inspect", "odd.deployment", "--csv", "deep/er")
    assert sorted(os.listdir(tmp_path)) == before
    assert not Path("/tmp/hrat-x.csv").exists()


def test_a_report_follows_no_link_out_of_its_folder(
    shell: Shell, make_chips: Callable[[], Path], tmp_path: Path
) -> None:
    chips = make_chips()
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").symlink_to(tmp_path / "precious")
    assert "leads out of report" in shell.refuses("report", chips, "--limit", 5, "--without-spice", "-o", "report")
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_chain_of_many_layers_has_a_netlist_with_a_name_of_sensible_length(shell: Shell, tmp_path: Path) -> None:
    layers = OrderedDict((f"{k}_{'n' * 60}", nn.Linear(3, 3)) for k in range(6))
    torch.manual_seed(0)
    deployment = hrat.deploy(
        hrat.prepare(nn.Sequential(layers).eval(), hrat.load_spec("generic-4bit"), torch.rand(4, 3))
    )
    hrat.program(deployment).save(tmp_path / "a.chips")
    shell.works("netlist", "a.chips", "-o", "netlists")
    (path,) = (tmp_path / "netlists").iterdir()
    assert path.name.endswith("-6-layers.cir")
    assert len(path.name) < 255


def test_output_can_go_to_a_device_and_not_to_a_folder(shell: Shell, make_chips: Callable[[], Path]) -> None:
    make_chips()
    shell.works("program", "a.deployment", "-o", "/dev/null")
    assert Path("/dev/null").is_char_device()
    assert "No space left on device" in shell.refuses("program", "a.deployment", "-o", "/dev/full")
    Path("folder").mkdir()
    assert "folder: Is a directory; expected a file" in shell.refuses("program", "a.deployment", "-o", "folder")


def test_a_recipe_with_a_name_that_leads_elsewhere_writes_nowhere(shell: Shell, tmp_path: Path) -> None:
    text = 'name = "../../x"\nnetwork = "fc4"\ndata = "mnist5k"\n'
    (tmp_path / "mine.toml").write_text(text)
    assert "cannot be the name of a file" in shell.refuses("train", "mine.toml")
