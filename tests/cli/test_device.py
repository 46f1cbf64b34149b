from __future__ import annotations

from pathlib import Path

import pytest

import hrat
from cli.shell import Shell
from hrat.measurements import example_csv


def test_fit_writes_a_preset_and_a_picture(shell: Shell, tmp_path: Path) -> None:
    files = [example_csv("sweep"), example_csv("retention")]
    text = shell.works("device", "fit", *files, "-o", "mine.toml", "--picture", "fit.png")
    assert "soft_bounds.n_set" in text
    assert "+-" in text
    assert "sweep.csv: pulse sweep, 5,808 of 5,808 rows used" in text
    assert "wrote mine.toml" in text
    assert (tmp_path / "fit.png").read_bytes().startswith(b"\x89PNG")
    spec = hrat.load_spec("mine.toml")
    assert spec.name == "mine"
    assert shell.works("spec", "check", "mine.toml") == "mine: correct\n"
    assert "next: hrat train lenet5-mnist5k --spec mine.toml" in text
    shown = shell.works("device", "show", "mine.toml", "--picture", "mine.svg")
    assert shown.startswith("mine: Fitted to sweep.csv, retention.csv;")
    assert "set, 1.8 V for 100 ns: " in shown


def test_fit_of_the_example(shell: Shell) -> None:
    text = shell.works("device", "fit", "--example", "--model", "linear_step", "--accept-poor", "--base", "yao2020")
    assert "linear_step.n_set" in text
    assert "wrote" not in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "expected CSV files, or --example"),
        (("a.csv", "--example"), "expected CSV files, or --example and none"),
        (("a.csv",), "a.csv: No such file or directory"),
        (("--example", "--base", "nothing"), "there is no preset 'nothing'"),
        (("--example", "--model", "vteam"), "vteam"),
        (("--example", "--picture", "a.txt"), "expected a picture that ends in one of .png, .svg, .pdf"),
    ],
)
def test_fit_refuses(shell: Shell, arguments: tuple[str, ...], words: str) -> None:
    assert words in shell.refuses("device", "fit", *arguments)


def test_a_bad_file_leaves_nothing_behind(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("device,cycle,pulse,voltage_V,conductance\n0,0,1,1.5,20\n")
    assert "names no unit" in shell.refuses("device", "fit", "a.csv", "-o", "mine.toml")
    assert not (tmp_path / "mine.toml").exists()


def test_show_takes_settings(shell: Shell) -> None:
    assert "8 states" in shell.works("device", "show", "yao2020", "--set", "device.weight_bits=3")
    assert "there is no preset" in shell.refuses("device", "show", "yao2021")


def test_characterise_writes_a_spec_for_training_and_a_picture(shell: Shell, tmp_path: Path) -> None:
    text = shell.works("device", "characterise", "yao2020", "--scheme", "write-verify", "--max-pulses", "20",
                       "--devices", "200", "-o", "mine.toml", "--picture", "table.png")  # fmt: skip
    assert "'yao2020' by write_verify, at most 20 pulses, 200 devices a state" in text
    spec = hrat.load_spec("mine.toml")
    assert spec.programming.table_S is not None
    assert (spec.programming.scheme, spec.programming.max_pulses) == ("write_verify", 20)
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
    assert "needs no other one" in shell.refuses("device", "characterise", "yao2020")


def test_an_age_that_nobody_measured_at_is_called_extrapolated(shell: Shell) -> None:
    assert "extrapolated" not in shell.works("device", "show", "wan2022")
    text = shell.works("device", "show", "wan2022", "--set", "age_s=1e7")
    assert "(extrapolated: relaxation was measured at 1 s to 2 days)" in text


def test_a_picture_without_a_format_is_refused_before_the_work(shell: Shell, tmp_path: Path) -> None:
    assert ".png" in shell.refuses("device", "show", "wan2022", "--picture", tmp_path / "x.txt")


def test_a_characterised_spec_has_the_name_that_is_given(shell: Shell, tmp_path: Path) -> None:
    output = tmp_path / "table.toml"
    words = ["device", "characterise", "yao2020", "--scheme", "write-verify", "--max-pulses", "5", "--devices", "100"]
    shell.works(*words, "-o", output, "--name", "five pulses")
    assert hrat.load_spec(output).name == "five pulses"
