"""Checkpoints: of one run, whole, and the same whenever the process is killed."""

from __future__ import annotations

import errno
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from hrat.errors import TrainingError
from hrat.training import ArrayDataset, fit, load_weights, make_loader
from hrat.training.checkpoint import load_state, save_state, save_weights

QUICK: dict[str, Any] = {"epochs": 2, "lr": 1e-2, "checkpoint_every_s": 0.0, "progress": False}


class Killed(BaseException):
    """The process ends here."""


def network(width: int = 8, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), activation(), nn.Dropout(0.2), nn.Linear(width, 3))


def points(n: int = 48, shift: float = 0.0) -> TensorDataset:
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(1)) + shift
    return TensorDataset(x, x[:, :3].argmax(1))


def loader(dataset: Any = None, batch_size: int = 16) -> DataLoader[Any]:
    return make_loader(points() if dataset is None else dataset, batch_size, shuffle=True, seed=0)


def trained(folder: Path, **changes: Any) -> dict[str, torch.Tensor]:
    model = changes.pop("model", None) or network()
    torch.manual_seed(changes.pop("seed", 3))
    data = changes.pop("data", None) or loader()
    fit(model, data, data, folder=folder, **{**QUICK, **changes})
    return {name: value.clone() for name, value in model.state_dict().items()}


def count_down(monkeypatch: pytest.MonkeyPatch, left: int, *, behind: bool) -> list[str]:
    """Kill in front of, or behind, the change of a file after so many; returns the list of what was changed."""
    done: list[str] = []

    def wrapped(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> None:
            name = os.fspath(args[-1])
            if name.endswith(".part"):  # cleaning up behind an error, which a killed process does not get to
                return change(*args, **kwargs)
            if not behind and len(done) == left:
                raise Killed
            change(*args, **kwargs)
            done.append(Path(name).name)
            if behind and len(done) == left + 1:
                raise Killed
            return None

        return call

    for name in ("replace", "unlink"):
        monkeypatch.setattr(os, name, wrapped(getattr(os, name)))
    return done


@pytest.mark.parametrize("behind", [False, True])
def test_a_run_killed_between_any_two_writes_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    with monkeypatch.context() as patched:
        writes = count_down(patched, 10_000, behind=behind)
        whole = trained(tmp_path / "whole")
    assert {"last.pt", "best.pt", "metrics.csv"} <= set(writes)
    for k in range(len(writes)):
        folder = tmp_path / f"killed-{k}"
        with monkeypatch.context() as patched:
            count_down(patched, k, behind=behind)
            with pytest.raises(Killed):
                trained(folder)
        again = trained(folder, seed=3 if not (folder / "last.pt").is_file() else 77)
        assert all(torch.equal(whole[name], again[name]) for name in whole), writes[k]
        assert (folder / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()
        best = [load_state(tmp_path / each / "best.pt")["model"] for each in ("whole", folder.name)]
        assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])


def test_a_fresh_run_never_meets_what_the_one_before_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(tmp_path / "whole", seed=8, identity={"seed": 8})
    for k in range(7):
        folder = tmp_path / str(k)
        trained(folder, seed=3, identity={"seed": 3})
        with monkeypatch.context() as patched:
            count_down(patched, k, behind=False)
            with pytest.raises(Killed):
                trained(folder, seed=8, identity={"seed": 8}, resume=False)
        if k == 0:  # nothing is removed yet: the folder still holds the other run, and says so
            with pytest.raises(
                TrainingError, match=r"last\.pt was trained with seed=3, now 8; .*--fresh; resume=False"
            ):
                trained(folder, seed=8, identity={"seed": 8})
            continue
        again = trained(folder, seed=8, identity={"seed": 8})
        assert all(torch.equal(whole[name], again[name]) for name in whole), k


def mean_of_squares(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (out - nn.functional.one_hot(y, 3)).square().mean()


OTHER_RUNS: list[tuple[dict[str, Any], str]] = [
    ({"model": network(activation=nn.Tanh)}, "another network"),
    ({"model": network(width=9)}, "another network"),
    ({"data": loader(points(shift=0.1))}, "other data .*sha256="),
    ({"data": loader(points(n=40))}, r"other data .*images=48, now 40"),
    ({"data": loader(Subset(points(), range(48)))}, "other data"),
    ({"data": loader(batch_size=15)}, r"other data .*batches=3, now 4, batch_size=16, now 15"),
    ({"loss": mean_of_squares}, "loss cross entropy, now mean_of_squares"),
    ({"identity": {"seed": 1}}, "seed=not given, now 1"),
    ({"weight_decay": 0.5, "momentum": 0.5}, r"weight_decay=0\.0001, now 0\.5, momentum=0\.9, now 0\.5"),
]


@pytest.mark.parametrize(("changes", "words"), OTHER_RUNS, ids=[words for _, words in OTHER_RUNS])
def test_the_state_of_another_run_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    trained(tmp_path)
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(TrainingError, match=f"was trained with {words}"):
        trained(tmp_path, **changes)
    assert (tmp_path / "last.pt").read_bytes() == before
    trained(tmp_path, checkpoint_every_s=5.0)  # of no matter for the weights


def test_arrays_of_images_are_told_apart(tmp_path: Path) -> None:
    def images(pixel: int, mean: float) -> ArrayDataset:
        pixels = torch.zeros(32, 1, 2, 3, dtype=torch.uint8)
        pixels[5, 0, 1, 1] = pixel
        return ArrayDataset(pixels, torch.arange(32) % 3, mean=[mean], std=[1.0])

    flat = nn.Sequential(nn.Flatten(), *network())
    trained(tmp_path, model=flat, data=loader(images(1, 0.0)))
    for other in (images(2, 0.0), images(1, 0.1)):
        with pytest.raises(TrainingError, match="other data"):
            trained(tmp_path, model=flat, data=loader(other))


def test_an_identity_is_plain_data(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="expected an identity of plain data"):
        trained(tmp_path, identity={"seed": torch.ones(2)})


@pytest.mark.parametrize("name", ["last.pt", "best.pt", "model.pt"])
def test_one_bit_that_flips_anywhere_is_found(tmp_path: Path, name: str) -> None:
    model = network()
    trained(tmp_path, model=model)
    save_weights(tmp_path / "model.pt", model)
    path = tmp_path / name
    whole = bytearray(path.read_bytes())
    places = [*random.Random(0).sample(range(len(whole)), 60), *range(len(whole) - 80, len(whole)), 0, 1, 40]
    for place in places:
        whole[place] ^= 1 << place % 8
        path.write_bytes(whole)
        with pytest.raises(TrainingError, match=f"{name} is damaged"):
            load_weights(model, path)
        whole[place] ^= 1 << place % 8
    path.write_bytes(whole)
    load_weights(model, path)


def foreign(path: Path, what: str) -> None:
    whole = path.read_bytes()
    if what == "older":
        torch.save({"hrat_checkpoint": 1, "model": network().state_dict()}, path)
    elif what == "plain":
        torch.save(network().state_dict(), path)
    elif what == "module":
        torch.save(network(), path)
    elif what == "weights alone":
        save_weights(path, network())
    elif what == "newer":
        save_state(path, {"hrat_checkpoint": 99})
    else:
        path.write_bytes({"text": b"not a checkpoint\n" * 20, "empty": b"", "cut": whole[:-1]}.get(what, whole[:5000]))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("text", "damaged, or not a checkpoint of hrat"),
        ("empty", "damaged, or not a checkpoint of hrat"),
        ("cut", "its check-sum does not hold"),
        ("half", "its check-sum does not hold"),
        ("older", "written by an older version of hrat.*train anew"),
        ("newer", r"written by another version of hrat \(format 99"),
        ("plain", "a file of PyTorch, but not a checkpoint that hrat wrote; .*load_state_dict"),
        ("module", "damaged, or not a checkpoint of hrat"),
        ("weights alone", "holds the weights of a model alone"),
    ],
)
def test_a_file_that_is_no_state_is_refused_with_its_name(tmp_path: Path, what: str, words: str) -> None:
    trained(tmp_path)
    foreign(tmp_path / "last.pt", what)
    with pytest.raises(TrainingError, match=rf"last\.pt .*{words}"):
        trained(tmp_path)
    if what != "weights alone":
        with pytest.raises(TrainingError, match=r"last\.pt"):
            load_weights(network(), tmp_path / "last.pt")


def test_no_file_and_a_folder_are_no_checkpoint(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.pt"):
        with pytest.raises(FileNotFoundError, match="no checkpoint at"):
            load_weights(network(), path)


def test_weights_of_another_run_are_told_by_the_identity(tmp_path: Path) -> None:
    save_weights(tmp_path / "model.pt", network(), {"seed": 1})
    load_weights(network(), tmp_path / "model.pt", identity={"seed": 1})
    with pytest.raises(TrainingError, match="weights of another run"):
        load_weights(network(), tmp_path / "model.pt", identity={"seed": 0})


def test_pytorch_reads_a_checkpoint_as_a_file_of_its_own(tmp_path: Path) -> None:
    weights = trained(tmp_path)
    found = torch.load(tmp_path / "last.pt", weights_only=True)["model"]
    assert all(torch.equal(weights[name], found[name]) for name in weights)


def test_a_disk_that_takes_no_more_is_told_in_the_systems_words(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the write fails in the same place."""
    path = tmp_path / "model.pt"
    save_weights(path, network())
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            save_weights(path, network(width=500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.pt"]
