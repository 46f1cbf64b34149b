from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import hrat
import hrat.experiments
from cli.shell import Shell


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("spec show yao202", ["there is no preset 'yao202'", "did you mean 'yao2020'"]),
        ("spec check nowhere.toml", ["nowhere.toml", "no such file"]),
        ("spec show ideal --set weight_bit=3", ["weight_bit", "did you mean 'weight_bits'"]),
        ("spec show ideal --set device.weight_bits=many", ["device.weight_bits", "'many'"]),
        ("spec show ideal --set weight_bits", ["expected key=value"]),
        ("train fc5-mnist5k", ["fc5-mnist5k", "did you mean 'fc4-mnist5k'"]),
        ("train fc4-mnist5k --method hrta", ["unknown method 'hrta'", "variation-aware"]),
        ("train fc4-mnist5k --data mnist6k", ["mnist6k", "mnist5k"]),
        ("train fc4-mnist5k --lr -1", ["positive learning rate"]),
        ("train fc4-mnist5k --device warp9", ["--device warp9"]),
        ("compare fc4-mnist5k --methods hrat,magic", ["unknown method 'magic'"]),
        ("deploy nowhere", ["nowhere", "run.json"]),
        ("program nowhere.deployment", ["nowhere.deployment"]),
        ("simulate nowhere.chips --data mnist5k", ["nowhere.chips"]),
        ("inspect nowhere", ["nowhere"]),
        ("inspect .", ["neither run.json nor comparison.json"]),
    ],
)
def test_a_mistake_gives_one_message_and_code_2(shell: Shell, tmp_path: Path, command: str, words: list[str]) -> None:
    message = shell.refuses(*command.split())
    assert message.count("hrat: error: ") == 1
    assert not [word for word in words if word not in message]
    assert list(tmp_path.iterdir()) == []


def test_simulate_without_data_lists_the_data_sets(shell: Shell, make_chips: Callable[[], Path]) -> None:
    message = shell.refuses("simulate", make_chips())
    assert "expected --data with one of" in message
    assert "fashion-mnist" in message


def test_simulate_with_data_of_another_shape(
    shell: Shell, make_chips: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hrat.training import load_data

    whole = load_data("mnist5k")

    cut = SimpleNamespace(test=[(image[:, :20], label) for image, label in (whole.test[k] for k in range(4))])
    monkeypatch.setattr("hrat.training.data.load_data", lambda name: cut)
    message = shell.refuses("simulate", make_chips(), "--data", "mnist5k")
    assert "1 x 20 x 28" in message
    assert "expected the data that it was trained on" in message


@pytest.mark.parametrize("verb", ["inspect", "simulate --data mnist5k", "program"])
def test_truncated_file(shell: Shell, make_chips: Callable[[], Path], verb: str) -> None:
    path = make_chips()
    path.write_bytes(path.read_bytes()[:-100])
    assert "a.chips is truncated, damaged or not an hrat file" in shell.refuses(*verb.split(), path)


def test_wrong_kind_of_file(shell: Shell, make_chips: Callable[[], Path]) -> None:
    make_chips()
    assert "holds a deployment; expected a chip" in shell.refuses("simulate", "a.deployment", "--data", "mnist5k")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"rows": 3}', '{"recipe": 1, "method": 2}'])
def test_foreign_json(shell: Shell, tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    shell.refuses("inspect", "run.json")
    shell.refuses("inspect", ".")


def test_full_disk(shell: Shell, make_chips: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    make_chips()

    def full(self: object, path: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(hrat.ProgrammedChip, "save", full)
    message = shell.refuses("program", "a.deployment", "-o", "b.chips")
    assert "b.chips: No space left on device" in message
    assert "free some space" in message


def test_output_that_is_a_folder_is_named(shell: Shell, make_chips: Callable[[], Path], tmp_path: Path) -> None:
    make_chips()
    (tmp_path / "taken").mkdir()
    message = shell.refuses("program", "a.deployment", "-o", "taken")
    assert "taken: Is a directory" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.chips", "a.deployment", "taken"]


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("train fc4-mnist5k", "goes on from where it was"),
        ("compare fc4-mnist5k", "goes on from where it was"),
        ("demo", "goes on from where it was"),
        ("deploy run", "no file was left half written"),
    ],
)
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, command: str, hint: str
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for name in ("train", "compare", "demo", "load_run"):
        monkeypatch.setattr(hrat.experiments, name, stopped)
    code, _, err = shell(*command.split())
    assert code == 130
    assert hint in err


@pytest.mark.parametrize("command", ["--debug inspect nowhere", "inspect nowhere --debug"])
def test_debug_shows_the_traceback(shell: Shell, command: str) -> None:
    message = shell.refuses(*command.split())
    assert "Traceback" in message
    assert "hrat: error: no file at nowhere" in message


def test_a_fault_of_hrat_is_not_hidden(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(hrat.experiments, "recipe_names", broken)
    with pytest.raises(ZeroDivisionError):
        shell("recipes")


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    code = "from hrat.cli import main; main()"
    command = f"'{sys.executable}' -c '{code}' spec show yao2020 | head -n 1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("# ")
    assert done.stderr == ""
