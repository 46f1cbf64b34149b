"""Commands that cannot be understood: code 2, the usage on stderr, and with `--json` the reason on stdout."""

from __future__ import annotations

import json

import pytest

from cli.shell import Shell
from hrat.cli.app import VERBS

GROUPED = ("spec show", "spec check", "spec list", "device show", "device fit")
NEEDS_ARGUMENT = [verb for verb in VERBS if verb not in ("demo", "doctor", "recipes")]


def refusal(shell: Shell, *words: str) -> str:
    code, out, err = shell(*words)
    assert code == 2
    assert "Usage:" in err
    told = json.loads(out)
    assert set(told) == {"error"}
    assert " ".join(told["error"].split()) in " ".join(err.replace("│", " ").split())
    return str(told["error"])


@pytest.mark.parametrize("verb", [*VERBS, *GROUPED])
def test_an_option_that_is_not_known(shell: Shell, verb: str) -> None:
    assert "No such option: --nonsense" in refusal(shell, *verb.split(), "--nonsense", "--json")
    assert "No such option: --nonsense" in refusal(shell, "--json", *verb.split(), "--nonsense")


@pytest.mark.parametrize("verb", NEEDS_ARGUMENT)
def test_an_argument_that_is_missing(shell: Shell, verb: str) -> None:
    assert "Missing" in refusal(shell, verb, "--json")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("fly --json", "No such command 'fly'"),
        ("--json", "Missing command"),
        ("--nonsense --json", "No such option: --nonsense"),
        ("spec fly --json", "No such command 'fly'"),
        ("train fc4-mnist5k --epochs many --json", "Invalid value for '--epochs'"),
        ("train fc4-mnist5k --epochs 0 --json", "Invalid value for '--epochs'"),
        ("train fc4-mnist5k --seed -1 --json", "Invalid value for '--seed'"),
        ("train fc4-mnist5k --seed 9223372036854775808 --json", "Invalid value for '--seed'"),
        ("program x.deployment --seed -1 --json", "Invalid value for '--seed'"),
        ("budget run --seed 0.5 --json", "Invalid value for '--seed'"),
        ("recipes more --json", "unexpected extra argument"),
    ],
)
def test_every_other_kind(shell: Shell, command: str, words: str) -> None:
    assert words in refusal(shell, *command.split())


def test_without_json_nothing_is_on_stdout(shell: Shell) -> None:
    code, out, err = shell("train", "--nonsense")
    assert (code, out) == (2, "")
    assert "No such option" in err


@pytest.mark.parametrize("seeds", ["0,x", "-1", "0,1.5", "9223372036854775808", ""])
def test_seeds_of_a_sweep(shell: Shell, seeds: str) -> None:
    message = shell.refuses("sweep", "fc4-mnist5k", "--vary", "weight_bits=2", "--seeds", seeds)
    assert "--seeds: expected" in message
