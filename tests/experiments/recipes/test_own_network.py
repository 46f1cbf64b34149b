"""A network, weights and images of one's own, by a recipe: trained, swept, deployed, and never run unasked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import hrat
from cli.shell import Shell
from hrat.errors import ArtifactError, DataError, HratError
from hrat.experiments import RecipeError, Trial, load_recipe, load_run, read_report_source, sweep, train
from hrat.experiments.recipes import load_start
from hrat.training import folder_data

CODE = """
from torch import nn
from width import WIDTH

def ran():
    import pathlib
    pathlib.Path({mark!r}).touch()

ran()

class Net(nn.Sequential):
    def __init__(self, classes=3):
        super().__init__(nn.Flatten(), nn.Linear(3 * 8 * 6, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(),
                         nn.Linear(WIDTH, classes))

def no_network():
    return 3
"""
RECIPE = """
network = "nets/mynet.py:Net"
network_args = { classes = 2 }
data = "photos"
spec = "generic-4bit"
batch_size = 16
chips = 2

[fit]
epochs = 1
"""


@pytest.fixture
def shell() -> Shell:
    return Shell()


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe in a folder of its own, with a network and bright and dark photos; the command runs elsewhere."""
    folder = tmp_path / "project"
    (folder / "nets").mkdir(parents=True)
    (folder / "nets" / "width.py").write_text("WIDTH = 5\n")
    (folder / "nets" / "mynet.py").write_text(CODE.format(mark=str(tmp_path / "ran")))
    draw = np.random.RandomState(0)
    for part, count in (("train", 24), ("test", 8)):
        for name, low in (("bright", 128), ("dark", 0)):
            (folder / "photos" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.randint(low, low + 128, (8, 6, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / part / name / f"{number:02}.png")
    (folder / "mine.toml").write_text(RECIPE)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return folder / "mine.toml"


def test_a_folder_of_images_by_class(recipe: Path) -> None:
    photos = recipe.parent / "photos"
    data = folder_data(photos)
    assert data.classes == ("bright", "dark")
    assert (len(data.train), len(data.test)) == (48, 16)
    assert data.train.images.shape[1:] == (3, 8, 6)
    first = np.asarray(Image.open(photos / "train" / "dark" / "00.png"))
    row = int((data.train.labels == 1).nonzero()[0])
    assert np.array_equal(data.train.images[row].permute(1, 2, 0).numpy(), first)
    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(photos / "train" / "dark" / "99.png")
    with pytest.raises(DataError, match=r"99.png: an image of 6 x 5 pixels in colour.*expected all images of one size"):
        folder_data(photos)
    (photos / "train" / "dark" / "99.png").write_text("no image")
    with pytest.raises(DataError, match=r"99.png cannot be read as an image"):
        folder_data(photos)
    (photos / "train" / "dark" / "99.png").unlink()
    (photos / "test" / "gray").mkdir()
    with pytest.raises(DataError, match=r"gray: a class without images in train; expected bright, dark"):
        folder_data(photos)


def test_gray_images_have_one_channel(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part / "a").mkdir(parents=True)
        Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(tmp_path / part / "a" / "1.png")
    data = folder_data(tmp_path)
    assert data.train.images.tolist() == [[[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]]]
    (tmp_path / "test" / "a" / "1.png").unlink()
    with pytest.raises(DataError, match="holds no images"):
        folder_data(tmp_path)


def test_from_the_command_line_to_the_chip(recipe: Path, shell: Shell) -> None:
    said = shell.works("train", recipe, "-o", "run")
    code = f"{recipe.parent / 'nets' / 'mynet.py'}:Net"
    assert f"next: hrat deploy run --network {code}" in said
    shell.works("deploy", "run", "--network", code)
    shell.works("program", "run/network.deployment", "-o", "chips", "--chips", "2")
    assert "16 images" in shell.works("simulate", "chips", "--data", recipe.parent / "photos")
    shell.works("budget", "run", "--network", code, "--chips", "1", "--images", "20")
    shell.works("report", "run", "--network", code, "--chips", "1", "--budget-images", "0", "--verify", "0")
    shell.works("inspect", "run")
    shell.works("compare", recipe, "--methods", "plain,hrat", "-o", "compared")


def test_a_runs_word_is_not_enough_to_run_code(recipe: Path, tmp_path: Path, shell: Shell) -> None:
    train(recipe, "run", progress=False)
    (tmp_path / "ran").unlink()
    for words in (["deploy", "run"], ["budget", "run"], ["report", "run"]):
        assert "code of your own, which is run only where you name it" in shell.refuses(*words)
    with pytest.raises(ArtifactError, match=r"expected its file and name: --network PATH/mynet.py:Net"):
        read_report_source("run")
    info = json.loads(Path("run/run.json").read_text())
    assert info["recipe"]["network"] == "nets/mynet.py:Net"
    assert len(info["recipe"]["network_sha256"]) == 64
    with pytest.raises(ArtifactError, match=r"is nets/mynet.py:Net, got .*:Other"):
        load_run("run", network=f"{recipe.parent / 'nets/mynet.py'}:Other")
    assert not (tmp_path / "ran").exists()
    # A run that names another file is not obeyed either: its digest is not that of the recipe.
    (recipe.parent / "nets" / "other.py").write_text("from torch.nn import Linear as Net")
    with pytest.raises(RecipeError, match="has changed since"):
        load_run("run", network=f"{recipe.parent / 'nets/other.py'}:Net")


def test_going_on_with_a_changed_file_is_refused(recipe: Path) -> None:
    train(recipe, "run", progress=False)
    again = train(recipe, "run", progress=False)  # finished: read again
    assert again.recipe.name == "mine"
    file = recipe.parent / "nets" / "mynet.py"
    file.write_text(file.read_text() + "\n# changed\n")
    with pytest.raises(HratError, match="holds a run with another recipe"):
        train(recipe, "run", progress=False)
    with pytest.raises(RecipeError, match="has changed since it was first used here"):
        load_run("run", network=f"{file}:Net")


def test_a_moved_project_goes_on(recipe: Path) -> None:
    train(recipe, "run", progress=False)
    before = Path("run/last.pt").stat().st_mtime_ns
    moved = recipe.parent.rename(recipe.parent.parent / "moved")
    renamed = load_recipe(moved / "mine.toml")
    # Its data are named by their path.
    told = json.loads(Path("run/run.json").read_text())
    told["recipe"]["data"] = renamed.data
    assert renamed.identity["network_sha256"] == told["recipe"]["network_sha256"]
    assert renamed.identity["folder"] == told["recipe"]["folder"] == ""
    assert Path("run/last.pt").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('network = "nets/none.py:Net"', "there is no file .*none.py"),
        ('network = "nets/mynet.py:Nothing"', "has no class or function 'Nothing'"),
        (
            'network = "nets/mynet.py:no_network"\nnetwork_args = {}',
            "no_network makes a int; expected a torch.nn.Module",
        ),
        ('network = "nets/mynet.py:Net"\nnetwork_args = {width = 3}', r"Net\(width=3\) fails: TypeError"),
        ('network = "nets/broken.py:Net"', "broken.py cannot be run: ZeroDivisionError: division by zero"),
        ('network = "mynet"', "unknown network 'mynet'.*or a class of a file of yours, as mynet.py:Net"),
        ('network = "fc4"\nnetwork_args = {width = 3}', "network_args do not fit fc4"),
    ],
)
def test_what_is_wrong_with_a_network_is_said(recipe: Path, text: str, message: str) -> None:
    (recipe.parent / "nets" / "broken.py").write_text("1 / 0\n")
    recipe.write_text(f'{text}\ndata = "photos"\n')
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe).build()


def test_networks_that_come_with_hrat_take_arguments() -> None:
    recipe = load_recipe("vgg16-cifar10-short")
    small = recipe.with_network("vgg11")
    assert small.build()[-1].out_features == 10
    assert replace(small, network_args={"classes": 7, "width": 2}).build()[-1].out_features == 7


def plain_weights(recipe: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    state = load_recipe(recipe).build().state_dict()
    return {name: torch.rand_like(v) + 0.5 if v.is_floating_point() else v for name, v in state.items()}


@pytest.mark.parametrize("kind", ["safetensors", "pt", "nested pt", "DataParallel"])
def test_weights_of_the_plain_network_are_where_training_starts(recipe: Path, tmp_path: Path, kind: str) -> None:
    weights = plain_weights(recipe)
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        save_file(weights, path)
    else:
        named = {f"module.{key}": value for key, value in weights.items()} if kind == "DataParallel" else weights
        torch.save({"state_dict": named, "epoch": 3} if kind == "nested pt" else named, path)
    chosen = load_recipe(recipe).with_weights(path)
    network = chosen.build()
    load_start(network, path, sha256=chosen.weights_sha256)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    run = train(chosen.with_fit(lr=1e-9, scale_lr=1e-9), "run", progress=False)
    assert torch.allclose(run.model.state_dict()["graph.1.weight"], weights["1.weight"], atol=1e-6)


def test_a_run_without_a_chip_is_tuned_for_one(recipe: Path, shell: Shell) -> None:
    shell.works("train", recipe, "-o", "float", "--method", "plain", "--epochs", "4", "--lr", "1e-2")
    shell.works("train", recipe, "-o", "tuned", "--from", "float", "--epochs", "1", "--lr", "1e-4")
    tuned = load_run("tuned", network=f"{recipe.parent / 'nets/mynet.py'}:Net")
    assert tuned.accuracy_without_error > 0.8
    assert "holds a run with another recipe" in shell.refuses(
        "train", recipe, "-o", "tuned", "--epochs", "1", "--lr", "1e-4"
    )
    assert "of the method plain or variation-aware" in shell.refuses("train", recipe, "-o", "third", "--from", "tuned")
    shell.works("train", recipe, "-o", "noisy", "--method", "variation-aware")
    shell.works("train", recipe, "-o", "fourth", "--from", "noisy")


def test_weights_that_do_not_fit_are_refused(recipe: Path, tmp_path: Path) -> None:
    weights = plain_weights(recipe)
    wrong: list[tuple[Any, str]] = [
        ({**weights, "1.weight": torch.zeros(3)}, r"1.weight has shape \(3,\), not \(5, 144\)"),
        ({key: value for key, value in weights.items() if key != "4.bias"}, "4.bias is missing"),
        ({**weights, "5.bias": torch.zeros(3)}, "5.bias is unknown"),
        ([1, 2], "holds no state dict"),
        (nn.Linear(2, 2), "holds more than weights, which would be code to run"),
    ]
    chosen = load_recipe(recipe)
    for content, message in wrong:
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(RecipeError, match=message):
            load_start(chosen.build(), tmp_path / "w.pt", sha256="")
    (tmp_path / "w.pt").write_text("nothing")
    with pytest.raises(RecipeError):
        load_start(chosen.build(), tmp_path / "w.pt", sha256="")
    with pytest.raises(RecipeError, match="there is no file"):
        chosen.with_weights(tmp_path / "none.pt")
    torch.save(weights, tmp_path / "w.pt")
    chosen = chosen.with_weights(tmp_path / "w.pt")
    torch.save({**weights, "4.bias": torch.ones(2)}, tmp_path / "w.pt")
    with pytest.raises(RecipeError, match="have changed since training began"):
        train(chosen, "run", progress=False)


def test_a_sweep_of_an_own_network(recipe: Path) -> None:
    table = sweep(str(recipe), ["weight_bits=2,4"], "bits", chips=1)
    assert len(table.done) == 2
    file = recipe.parent / "nets" / "mynet.py"
    file.write_text(file.read_text().replace("nn.ReLU()", "nn.LeakyReLU()"))
    again = sweep(str(recipe), ["weight_bits=2,4"], "bits", chips=1)
    assert {row["key"] for row in again.done}.isdisjoint(row["key"] for row in table.done)


def test_the_recipes_key_in_a_sweep_is_that_of_before() -> None:
    """Fields that recipes got later do not make trials of earlier sweeps unknown."""
    trial = Trial(recipe=load_recipe("fc4-mnist5k"), spec=hrat.load_spec("generic-4bit"))
    assert trial.training_key == KEY_BEFORE


KEY_BEFORE = "d5e0b9e5f870c49a5e03"
