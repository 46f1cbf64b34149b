"""Several processes train one model: two ranks are one, and what may go wrong with them."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import hrat
from hrat.errors import TrainingError
from hrat.training import FitOptions, fit, join_ranks, launch, make_loader
from training.rank_jobs import (
    order_from_the_default_generator,
    setting,
    too_large_a_world,
    train_a_rank,
    train_several,
)

TESTS = str(Path(__file__).parents[1])


def assert_close(ours: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    assert ours.keys() == others.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, others[name], rtol=1e-7, atol=1e-9, msg=name)


IN_PARTS = {"accumulate": 2, "optimizer": "sgd", "lr": 0.05}
PER_RANK = {"rank_noise": "per_rank"}
TOGETHER: list[tuple[str, dict[str, Any]]] = [
    *((form, {}) for form in ("one_pass", "two_pass", "slice", "unfused")),
    ("", {"prepared": False}),
    ("one_pass", IN_PARTS),
    ("one_pass", PER_RANK),
    ("one_pass", PER_RANK),
]


@pytest.fixture(scope="module")
def by_two_ranks() -> list[dict[str, Tensor]]:
    """Weights that two ranks find in each of these settings."""
    found: list[dict[str, Tensor]] = launch(train_several, TOGETHER, devices=2, device="cpu")
    return found


@pytest.mark.parametrize("place", range(5), ids=["one_pass", "two_pass", "slice", "unfused", "no hardware"])
def test_two_ranks_are_one_with_the_whole_batch(place: int, by_two_ranks: list[dict[str, Tensor]]) -> None:
    form, options = TOGETHER[place]
    assert_close(by_two_ranks[place], train_a_rank(form, "", dict(options)))


def test_so_are_two_ranks_that_take_their_batches_in_parts(by_two_ranks: list[dict[str, Tensor]]) -> None:
    alone = train_a_rank("one_pass", "", dict(IN_PARTS))
    # The halves of the batch are other images for two ranks than for one: only the size of the gradient is the same.
    for name, value in alone.items():
        off = float((by_two_ranks[5][name].double() - value.double()).norm())
        assert off < 0.5 * float(value.double().norm() + 1), name


def test_with_noise_of_their_own_ranks_meet_other_chips_and_agree_on_weights(
    by_two_ranks: list[dict[str, Tensor]],
) -> None:
    shared, own, again = by_two_ranks[0], by_two_ranks[6], by_two_ranks[7]
    assert not torch.allclose(own["graph.conv.weight"], shared["graph.conv.weight"], rtol=1e-4)
    assert_close(own, again)


@pytest.mark.parametrize(("first", "then"), [(2, 2), (2, 1), (1, 2)])
def test_a_run_whose_rank_is_killed_goes_on_with_any_number_of_ranks(tmp_path: Path, first: int, then: int) -> None:
    folder = str(tmp_path / "run")
    if first == 2:
        with pytest.raises(TrainingError, match=r"rank 1 .*signal 9.*the same command goes on"):
            launch(train_a_rank, "one_pass", folder, {"dies_at": 19}, devices=2, device="cpu")
    else:
        script = f"""
            import sys; sys.path.insert(0, {TESTS!r})
            from training.rank_jobs import OPTIONS, fit, setting
            model, loader = setting("one_pass", dies_at=19)
            fit(model, loader, loader, folder={folder!r}, **OPTIONS)
        """
        killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
        assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "run" / "last.pt").is_file()
    went_on = launch(train_a_rank, "one_pass", folder, {}, devices=then, device="cpu")
    assert_close(went_on, train_a_rank("one_pass", "", {}))


def test_parts_of_a_batch_add_up_to_the_batch() -> None:
    """Without batch norm and noise exactly."""
    found = []
    for accumulate in (1, 3):
        torch.manual_seed(2)
        x, y = torch.randn(60, 5, dtype=torch.float64), torch.arange(60) % 3
        net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double()
        model = hrat.prepare(net, hrat.load_spec("generic-4bit").without("error"), x)
        loader = make_loader(TensorDataset(x, y), 12, shuffle=True, seed=1)
        result = fit(model, loader, epochs=2, accumulate=accumulate, progress=False)
        found.append((dict(model.state_dict()), result.history[-1]["loss"]))
    assert_close(found[0][0], found[1][0])
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-9)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (too_large_a_world, r"expected batches that 2 ranks can share equally, got one of 15; .*drop_last"),
        (order_from_the_default_generator, r"rank_noise is per_rank, but the loader's order .* make_loader"),
    ],
)
def test_what_ranks_cannot_do_is_said_by_the_one_that_finds_it(function: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        launch(function, devices=2, device="cpu")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"devices": 0}, "expected 1 device and 1 node or more, got 0 and 1"),
        (
            {"devices": 10_000, "device": "cpu"},
            r"expected at most as many devices as there are, \d+ CPU core\(s\); got",
        ),
        ({"nodes": 2}, r"2 nodes need an address where they meet: give --rendezvous HOST:PORT"),
    ],
)
def test_what_cannot_be_started(how: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        launch(too_large_a_world, **how)


def test_machines_that_do_not_come_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrat.training.ranks.JOIN_TIMEOUT_S", 2)
    started = time.monotonic()
    with pytest.raises(TrainingError, match=r"did not come together at localhost:1 within 2 s"):
        launch(too_large_a_world, nodes=2, rendezvous="localhost:1", device="cpu")
    assert time.monotonic() - started < 60


def test_variables_of_torchrun_in_part_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(TrainingError, match=r"RANK are set, but not WORLD_SIZE, LOCAL_RANK"), join_ranks():
        pass
    with pytest.raises(TrainingError, match="started by torchrun already"):
        launch(too_large_a_world, devices=2, device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "accumulate to be at least 1"),
        ({"optimizer": "adam"}, "optimizer: expected one of adamw, sgd, got 'adam'"),
        ({"momentum": 1.0}, r"momentum in \[0, 1\)"),
        ({"rank_noise": "own"}, "rank_noise: expected one of shared, per_rank, got 'own'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        FitOptions(**options)


def test_a_batch_that_has_no_equal_parts() -> None:
    model, loader = setting("one_pass")
    with pytest.raises(TrainingError, match=r"worked on in 5 equal parts \(accumulate=5\), got one of 24"):
        fit(model, loader, epochs=1, accumulate=5, progress=False)


def test_a_launch_leaves_the_handlers_of_signals_as_they_were() -> None:
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in signals]
    with pytest.raises(TrainingError):
        launch(too_large_a_world, devices=2, device="cpu")
    assert [signal.getsignal(number) for number in signals] == before
