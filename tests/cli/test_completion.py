"""What a shell offers on Tab, as bash, zsh and fish ask for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hrat.cli import completion
from hrat.experiments import METHODS, recipe_names
from hrat.simulation import SOLVERS
from hrat.spec import preset_names
from hrat.spec.sections import SECTIONS
from hrat.training.data import DATASET_NAMES


def offered(shell: str, line: str) -> list[str]:
    """The words that come on Tab at the end of a line."""
    words = line.split(" ")
    asked = {
        "bash": {"_HRAT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_HRAT_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line},
        "fish": {
            "_HRAT_COMPLETE": "complete_fish",
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        },
    }
    done = subprocess.run(
        [sys.executable, "-c", "from hrat.cli import main; main()"],
        env={**os.environ, **asked[shell]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.stdout.split("\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_offered_verbs_and_values(shell: str) -> None:
    assert any("simulate" in line for line in offered(shell, "hrat sim"))
    text = "\n".join(offered(shell, "hrat train lenet5"))
    assert "lenet5-mnist5k" in text
    assert "vgg16" not in text
    assert "generic-3bit-harsh" in "\n".join(offered(shell, "hrat train lenet5-mnist5k --spec gen"))
    assert "device.weight_bits=" in "\n".join(offered(shell, "hrat spec show yao2020 --set device.w"))
    assert "weight_bits=" in "\n".join(offered(shell, "hrat spec show yao2020 --set weight"))


def test_nobody_waits_for_torch() -> None:
    code = "import sys; from hrat.cli import completion as c; c.recipes(''); c.fields(''); c.methods(''); c.data('')"
    done = subprocess.run([sys.executable, "-c", f"{code}; sys.exit('torch' in sys.modules)"], check=False)
    assert done.returncode == 0


def test_the_names_are_those_that_there_are() -> None:
    assert set(completion.METHODS) == set(METHODS)
    assert set(completion.DATA) == set(DATASET_NAMES)
    assert set(completion.SOLVERS) == set(SOLVERS)
    assert completion.recipes("") == sorted(recipe_names())
    assert completion.specs("") == list(preset_names())
    fields = [word for word, _ in completion.fields("")]
    assert fields == [f"{section}.{name}=" for section, part in SECTIONS.items() for name in part.model_fields]
    assert all(meaning for _, meaning in completion.fields(""))


def test_lists_and_layers_are_completed_at_their_end() -> None:
    assert completion.methods("float,hrat-") == [
        "float,hrat-unfused",
        "float,hrat-fixed-scales",
        "float,hrat-no-scales",
    ]
    assert completion.solvers("conv1=sp") == ["conv1=spice"]
    assert completion.schemes("write") == ["write-verify"]
