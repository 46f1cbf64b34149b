from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import hrat
from cli.shell import Shell
from hrat.experiments import METHODS
from hrat.training.data import DATASET_NAMES

VERBS = [
    *("demo", "doctor", "recipes"),
    *("spec", "device"),
    *("train", "compare", "sweep", "reproduce"),
    *("deploy", "program", "inspect"),
    *("simulate", "verify", "netlist", "budget", "report", "diff"),
]


def test_version(shell: Shell) -> None:
    assert shell.works("--version") == f"hrat {hrat.__version__}\n"


def test_help_lists_the_verbs_in_the_order_of_the_pipeline(shell: Shell) -> None:
    text = shell.works("--help")
    assert re.findall(r"^│ ([a-z]+) ", text, re.MULTILINE) == VERBS
    groups = re.findall(r"^╭─ ([A-Z][a-z ]+?) ─", text, re.MULTILINE)
    assert groups == ["Options", "Start", "Hardware", "Train", "Build the chip", "Simulate and understand"]


@pytest.mark.parametrize(
    "verb", [*VERBS, "spec list", "spec show", "spec check", "device fit", "device show", "device characterise"]
)
def test_every_verb_has_help_with_an_example(shell: Shell, verb: str) -> None:
    text = shell.works(*verb.split(), "--help")
    assert f"Usage: hrat {verb}" in text
    if verb not in ("spec", "device"):
        assert f"$ hrat {verb}" in text


def test_help_names_all_methods_and_data_sets(shell: Shell) -> None:
    for verb in ("train", "compare"):
        text = shell.works(verb, "--help")
        assert not [name for name in (*METHODS, *DATASET_NAMES) if name not in text]


def test_verbs_are_found_without_torch() -> None:
    """What makes `hrat --help` quick: no verb's file imports torch, matplotlib or a room that does."""
    root = find_spec("hrat")
    assert root is not None
    code = f"""
import sys, types
root = types.ModuleType("hrat")  # in place of the real root
root.__path__ = {[str(Path(p)) for p in root.submodule_search_locations or ()]!r}
sys.modules["hrat"] = root
import hrat.cli
heavy = [name for name in ("torch", "matplotlib", "numpy", "pydantic_core") if name in sys.modules]
sys.exit(", ".join(heavy) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_unknown_verb_and_option_are_usage_errors(shell: Shell) -> None:
    assert "compar" in shell.refuses("compar")
    assert "--epoch" in shell.refuses("train", "fc4-mnist5k", "--epoch", "3")
