from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hrat
import hrat.experiments
from cli.shell import Shell
from hrat.artifacts import Comparison, ComparisonRow
from hrat.experiments import recipe_names
from hrat.spec import preset_names, spec_from_toml

COMPARISON = Comparison(
    network="fc4",
    data="mnist5k",
    spec="ideal",
    spec_summary="no restrictions",
    n_train=4000,
    n_test=1000,
    n_chips=2,
    seed=0,
    rows=(
        ComparisonRow(
            method="hrat",
            label="HRAT",
            accuracies=(0.95, 0.93),
            accuracy_without_error=0.96,
            train_seconds=3.0,
            epochs=1,
        ),
    ),
)


class Calls:
    """Stands in for a verb's work, and keeps what it was asked for."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.arguments, self.options = arguments, options
        return self.result


def test_spec_list_names_all_presets(shell: Shell) -> None:
    text = shell.works("spec", "list")
    assert not [name for name in preset_names() if name not in text]


@pytest.mark.parametrize("name", preset_names())
def test_spec_show_is_toml_of_the_same_spec(shell: Shell, name: str) -> None:
    assert spec_from_toml(shell.works("spec", "show", name)) == hrat.load_spec(name)


def test_spec_show_explains_fields_and_takes_settings(shell: Shell) -> None:
    text = shell.works("spec", "show", "generic-4bit", "--set", "device.weight_bits=3", "--set", "sigma_rel=0.2")
    lines = text.splitlines()
    assert lines[lines.index("weight_bits = 3") - 1].startswith("# The device has 2**weight_bits states")
    assert spec_from_toml(text).programming.sigma_rel == 0.2


def test_spec_check_warns_but_passes(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = "generic-4bit"\n[programming]\nsigma_rel = 0.3\n')
    code, out, err = shell("spec", "check", "mine.toml")
    assert code == 0
    assert err.count("warning: ") >= 1
    assert out.startswith("mine: correct, with ")
    assert shell("spec", "check", "ideal") == (0, "ideal: correct\n", "")


def test_recipes_are_listed(shell: Shell) -> None:
    text = shell.works("recipes")
    assert not [name for name in recipe_names() if name not in text]


def test_train_hands_its_options_on(shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Run:
        folder, accuracy_without_error, seconds = tmp_path, 0.9, 75.0

    train = Calls(Run)
    monkeypatch.setattr(hrat.experiments, "train", train)
    out = shell.works(
        *[
            "train",
            "fc4-mnist5k",
            "-o",
            "run",
            "--spec",
            "yao2020",
            "--set",
            "weight_bits=3",
            "--method",
            "plain",
            "--epochs",
            "3",
            "--lr",
            "1e-2",
            "--seed",
            "4",
            "--data",
            "mnist",
            "--device",
            "cpu",
            "--fresh",
            "--tensorboard",
        ]
    )
    recipe, folder = train.arguments
    assert (recipe.name, recipe.fit.epochs, recipe.fit.lr, recipe.data) == ("fc4-mnist5k", 3, 0.01, "mnist")
    assert folder == Path("run")
    assert train.options.pop("spec") == hrat.load_spec("yao2020", weight_bits=3)
    expected = {"method": "plain", "seed": 4, "resume": False, "device": "cpu", "tensorboard": True, "progress": True}
    assert train.options == expected
    assert "90.00 %" in out
    assert f"next: hrat deploy {tmp_path}" in out


def test_train_keeps_what_is_not_given(shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Run:
        folder, accuracy_without_error, seconds = tmp_path, 0.9, 75.0

    train = Calls(Run)
    monkeypatch.setattr(hrat.experiments, "train", train)
    shell.works("train", "fc4-mnist5k", "--set", "weight_bits=3")
    recipe, folder = train.arguments
    assert recipe == hrat.experiments.load_recipe("fc4-mnist5k")
    assert folder == Path("runs/fc4-mnist5k-hrat")
    assert train.options["spec"] == hrat.load_spec(recipe.spec, weight_bits=3)
    assert train.options["resume"] is True


@pytest.mark.parametrize("verb", ["train", "compare"])
def test_amp_and_its_like_are_given_on_the_command_line(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, verb: str, tmp_path: Path
) -> None:
    class Run:
        folder, accuracy_without_error, seconds = tmp_path, 0.9, 75.0

    work = Calls(Run if verb == "train" else COMPARISON)
    monkeypatch.setattr(hrat.experiments, verb, work)
    shell.works(verb, "vgg16-cifar10", "--no-amp", "--channels-last", "--compile")
    recipe = work.arguments[0]
    assert (recipe.fit.amp, recipe.fit.channels_last, recipe.fit.compile) == (False, True, True)
    assert recipe.on("cuda").fit.amp is False


def test_compare_prints_the_table(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    compare = Calls(COMPARISON)
    monkeypatch.setattr(hrat.experiments, "compare", compare)
    Path("here").mkdir()
    Path("here/comparison.png").touch()
    out = shell.works(
        *[
            "compare",
            "fc4-mnist5k",
            "-o",
            "here",
            "--methods",
            "plain,hrat",
            "--chips",
            "2",
            "--epochs",
            "1",
            "--spec",
            "ideal",
        ]
    )
    assert compare.options["methods"] == ["plain", "hrat"]
    assert (compare.options["chips"], compare.options["folder"]) == (2, Path("here"))
    assert "94.00 %" in out
    assert "here/comparison.png" in out


def test_demo_says_where_the_picture_is_and_what_next(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = Calls(COMPARISON)
    monkeypatch.setattr(hrat.experiments, "demo", demo)
    Path("hrat-demo").mkdir()
    Path("hrat-demo/comparison.png").touch()
    out = shell.works("demo", "--quick")
    assert demo.arguments == (Path("hrat-demo"),)
    assert demo.options == {"quick": True, "progress": True}
    assert "picture: hrat-demo/comparison.png" in out
    assert "next: hrat " in out


def test_inspect_of_a_comparison(shell: Shell, tmp_path: Path) -> None:
    COMPARISON.save(tmp_path / "comparison.json")
    for path in (".", "comparison.json"):
        assert "94.00 %" in shell.works("inspect", path)
    assert "wrote c.svg" in shell.works("inspect", ".", "--picture", "c.svg")
    assert (tmp_path / "c.svg").stat().st_size > 1000
    assert "expected a deployment or chips" in shell.refuses("inspect", ".", "--csv", "tables")


def test_inspect_of_chips_and_deployment(shell: Shell, make_chips: Callable[[], Path], tmp_path: Path) -> None:
    make_chips()
    assert "a.deployment: deployment" in shell.works("inspect", "a.deployment")
    out = shell.works("inspect", "a.chips", "--csv", "tables", "--picture", "chip.png")
    assert "2 programmed chips, seeds 0 to 1" in out
    assert (tmp_path / "tables" / "layers.csv").is_file()
    assert (tmp_path / "chip.png").is_file()
    assert "expected chips or a comparison" in shell.refuses("inspect", "a.deployment", "--picture", "d.png")


def test_inspect_sends_a_spec_to_its_verb(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("")
    assert "hrat spec show mine.toml" in shell.refuses("inspect", "mine.toml")


def test_simulate_writes_the_figures(shell: Shell, make_chips: Callable[[], Path], tmp_path: Path) -> None:
    out = shell.works("simulate", make_chips(), "--data", "mnist5k", "--limit", "30", "-o", "results.json")
    assert "2 chip(s), 30 images" in out
    figures = json.loads((tmp_path / "results.json").read_text())
    assert len(figures["accuracies"]) == 2
    assert "results of a simulation (behavioural)" in shell.works("inspect", "results.json")


def test_unknown_solver(shell: Shell, make_chips: Callable[[], Path]) -> None:
    said = shell.refuses("simulate", make_chips(), "--data", "mnist5k", "--solver", "magic")
    assert "expected one of behavioural, nodal, spice, got 'magic'" in said
