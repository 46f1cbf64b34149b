"""Grids and searches: points, keys, cache, files, and what they refuse."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest

import hrat
from hrat.artifacts import SweepTable
from hrat.errors import HratError
from hrat.experiments import Recipe, Trial, parse_axis, run_trials, sweep
from hrat.experiments.sweeps.axes import changed, grid, random_points
from hrat.experiments.sweeps.bayesian_search import BayesianSearch
from hrat.reports import sweep_figure, sweep_table
from hrat.spec import load_spec


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """One epoch on a folder of a few made digits: four stripes that a network learns at once."""
    folder = tmp_path_factory.mktemp("stripes")
    generator = np.random.RandomState(0)
    for prefix, count in (("train", 300), ("t10k", 100)):
        labels = generator.randint(0, 4, count).astype(np.uint8)
        images = generator.randint(0, 120, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[7 * label : 7 * label + 7] += 110
        header = np.array([count], dtype=">i4").tobytes()
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01" + header + labels.tobytes())
        sizes = np.array([count, 28, 28], dtype=">i4").tobytes()
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03" + sizes + images.tobytes())
    return Recipe.from_dict(
        {"name": "stripes", "network": "fc4", "data": str(folder), "batch_size": 50, "chips": 3, "fit": {"epochs": 1}}
    )


# ---- the picture


def table_of(*rows: dict[str, Any], varied: tuple[str, ...], search: str = "grid") -> SweepTable:
    done = [{"status": "done", "mean": 0.5, "worst": 0.4, "std": 0.1, **row} for row in rows]
    about = {"recipe": "r", "data": "d", "spec": "s", "search": search, "held_out": 0, "n_test": 10}
    return SweepTable(**about, varied=varied, rows=tuple(done))


@pytest.mark.parametrize("search", ["grid", "random", "bayes"])
@pytest.mark.parametrize(
    "points",
    [
        [{"seed": 0}, {"seed": 1}],
        [{"seed": 5}],
        [{"method": "hrat", "seed": 0}, {"method": "plain", "seed": 0}],
        [{"method": "hrat", "seed": 0}, {"method": "hrat", "seed": 1}],
        [{"lr": 0.1, "seed": 0}, {"lr": 0.2, "seed": 1}],
        [{"augment": "none", "seed": 0}, {"augment": "flip", "seed": 0}],
        [{"lr": 0.1, "weight_bits": 2, "seed": 0}, {"lr": 0.2, "weight_bits": 3, "seed": 0}],
    ],
)
def test_whatever_is_varied_has_a_picture(tmp_path: Path, points: list[dict[str, Any]], search: str) -> None:
    table = table_of(*points, varied=tuple(points[0]), search=search)
    assert sweep_figure(table, tmp_path / "sweep.png").stat().st_size > 1000


def test_a_sweep_over_seeds_alone_whose_picture_fails_keeps_its_table(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = sweep(recipe, ["seed=0,1"], tmp_path, spec="generic-4bit", method="float", progress=False)
    assert [row["seed"] for row in table.done] == [0, 1]
    assert (tmp_path / "sweep.png").is_file()

    def broken(*_: object) -> None:
        raise KeyError("method")

    monkeypatch.setattr("hrat.experiments.sweeps.sweeping.sweep_figure", broken)
    with pytest.warns(RuntimeWarning, match=r"sweep\.png could not be drawn \(KeyError.* figures beside it are whole"):
        again = sweep(recipe, ["seed=0,1"], tmp_path, spec="generic-4bit", method="float", progress=False)
    assert [row["mean"] for row in again.done] == [row["mean"] for row in table.done]
    assert (tmp_path / "trials.csv").is_file()
    assert not (tmp_path / "sweep.png").exists()  # it would be that of another sweep


@pytest.mark.parametrize("seed", [True, 1.0, "1", -1, 2**63])
def test_a_seed_that_is_none_is_refused_before_anything_is_trained(tmp_path: Path, recipe: Recipe, seed: Any) -> None:
    with pytest.raises(HratError, match="seeds: expected a whole number"):
        sweep(recipe, ["weight_bits=2"], tmp_path, seeds=[seed])
    with pytest.raises(HratError, match="search_seed: expected a whole number"):
        sweep(recipe, ["weight_bits=2"], tmp_path, search_seed=seed)
    with pytest.raises(HratError, match="cannot be: seed: expected a whole number"):
        changed(Trial(recipe=recipe, spec=load_spec("generic-4bit")), {"seed": seed})
    assert list(tmp_path.iterdir()) == []


# ---- points


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("weight_bits=2,3,4", (2, 3, 4)),
        ("sigma_rel=0:0.2:5", (0.0, 0.05, 0.1, 0.15, 0.2)),
        ("lr=log:1e-4:1e-2:3", (1e-4, 1e-3, 1e-2)),
        ("weight_bits=2:6:5", (2, 3, 4, 5, 6)),
        ("readout=dual_rail,two_stage", ("dual_rail", "two_stage")),
        ("limit_swing=true,false", (True, False)),
        ("method=plain,hrat", ("plain", "hrat")),
    ],
)
def test_axes_as_people_write_them(text: str, values: tuple[Any, ...]) -> None:
    assert parse_axis(text).on_grid() == pytest.approx(values) if isinstance(values[0], float) else values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight_bits", "expected NAME=A,B,C"),
        ("weight_bitz=2,3", "nothing is called 'weight_bitz'; did you mean 'weight_bits'"),
        ("chip.lr=1,2", r"nothing is called 'chip\.lr'"),
        ("sigma_rel=0.2:0.1", "LOW < HIGH"),
        ("lr=log:0:1", "for a logarithm LOW > 0"),
        ("lr=a:b", "cannot read the range"),
        ("weight_bits=2,,3", "empty value"),
    ],
)
def test_axes_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(HratError, match=message):
        parse_axis(text)


def test_a_grid_has_every_combination_and_a_search_is_the_same_for_the_same_seed() -> None:
    axes = [parse_axis("weight_bits=2,3"), parse_axis("sigma_rel=0:0.1:2")]
    assert list(grid(axes)) == [{"weight_bits": bits, "sigma_rel": sigma} for bits in (2, 3) for sigma in (0.0, 0.1)]
    many, few = list(random_points(axes, 20, seed=1)), list(random_points(axes, 5, seed=1))
    assert many[:5] == few
    assert list(random_points(axes, 5, seed=2)) != few
    assert {point["weight_bits"] for point in many} == {2, 3}
    assert all(0 <= point["sigma_rel"] <= 0.1 for point in many)


def test_a_bayesian_search_closes_in_on_the_best_point() -> None:
    axes = [parse_axis("v_read_V=0.1:0.9"), parse_axis("weight_bits=2:6")]
    found = []
    for seed in (0, 0, 1):
        search, points = BayesianSearch(axes, seed), []
        for _ in range(20):
            batch = search.propose(2)
            search.tell([-((p["v_read_V"] - 0.4) ** 2) - 0.01 * abs(p["weight_bits"] - 5) for p in batch])
            points += batch
        found.append(points)
    assert found[0] == found[1] != found[2]
    late = [abs(point["v_read_V"] - 0.4) for point in found[0][20:]]
    early = [abs(point["v_read_V"] - 0.4) for point in found[0][:10]]
    assert sum(late) / len(late) < sum(early) / len(early)


# ---- keys


def test_a_key_holds_all_that_a_result_depends_on(recipe: Recipe) -> None:
    base = Trial(recipe=recipe, spec=load_spec("generic-4bit"))
    same = [{"description": "another one"}, {"name": "another"}, {"amplifier_W": 1e-4}]
    assert all(Trial(recipe=recipe, spec=base.spec.replace(change)).key == base.key for change in same)
    for point in ({"weight_bits": 3}, {"lr": 1e-3}, {"seed": 1}, {"method": "plain"}, {"batch_size": 25}):
        assert changed(base, point).key != base.key
        assert changed(base, point).training_key != base.training_key
    for point in ({"chip.sigma_rel": 0.1}, {"chip.v_read_V": 0.1}):
        assert changed(base, point).key != base.key
        assert changed(base, point).training_key == base.training_key
    assert Trial(recipe=recipe, spec=base.spec, chips=5).training_key == base.training_key
    assert Trial(recipe=recipe, spec=base.spec, chips=5).key != base.key
    restored = Trial.from_dict(json.loads(json.dumps(changed(base, {"chip.sigma_rel": 0.1}).to_dict())))
    assert restored == changed(base, {"chip.sigma_rel": 0.1})


def test_networks_that_know_no_hardware_are_trained_once(recipe: Recipe) -> None:
    spec = load_spec("generic-4bit")
    plain = Trial(recipe=recipe, spec=spec, method="plain")
    assert plain.training_key == Trial(recipe=recipe, spec=spec.replace(weight_bits=2), method="plain").training_key
    assert plain.training_key == Trial(recipe=recipe, spec=spec, method="float").training_key
    aware = Trial(recipe=recipe, spec=spec, method="variation-aware")
    assert aware.training_key == changed(aware, {"weight_bits": 2}).training_key
    assert aware.training_key != changed(aware, {"sigma_rel": 0.2}).training_key


# ---- sweeps


def test_a_sweep_has_its_files_and_does_nothing_twice(recipe: Recipe, tmp_path: Path) -> None:
    axes = ["weight_bits=1,3", "method=plain,hrat,float"]
    table = sweep(recipe, axes, tmp_path, progress=False)
    assert len(table.done) == 6
    assert not any(row["cached"] for row in table.rows)
    assert all(0.25 < row["worst"] <= row["mean"] <= 1 for row in table.rows)
    trained = sorted((tmp_path / "trained").iterdir())
    assert len(trained) == 3  # plain, which float is too, and hrat for each number of bits
    untouched = [(path / "last.pt").stat().st_mtime_ns for path in trained]
    again = sweep(recipe, [*axes[:1], "method=plain,hrat"], tmp_path, workers=2, progress=False)
    assert all(row["cached"] for row in again.rows)
    assert [(path / "last.pt").stat().st_mtime_ns for path in trained] == untouched
    more = sweep(recipe, ["weight_bits=1,3", "chip.sigma_rel=0,0.3"], tmp_path, progress=False)
    assert sorted((tmp_path / "trained").iterdir()) == trained
    assert [row["cached"] for row in more.rows] == [False] * 4
    assert min(row["mean"] for row in more.rows if row["chip.sigma_rel"] == 0) > 0.5

    import pyarrow.parquet

    parquet = pyarrow.parquet.read_table(tmp_path / "trials.parquet")
    assert parquet.num_rows == 4
    assert parquet["mean"].to_pylist() == [row["mean"] for row in more.rows]
    assert parquet.schema.metadata[b"hrat.recipe"] == b"stripes"
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["chip.sigma_rel"]) for row in rows] == [0, 0.3, 0, 0.3]
    assert SweepTable.load(tmp_path / "trials.json") == more
    assert (tmp_path / "sweep.png").stat().st_size > 5_000


def test_a_search_chooses_by_images_that_are_not_tested_on(recipe: Recipe, tmp_path: Path) -> None:
    table = sweep(
        recipe, ["sigma_rel=0:0.4", "lr=log:1e-4:1e-2"], tmp_path, search="bayes", trials=4, workers=2, progress=False
    )
    assert table.held_out == 30
    assert table.score == "val_mean"
    assert table.best is not None
    assert table.best["val_mean"] == max(row["val_mean"] for row in table.rows)
    assert len({row["key"] for row in table.rows}) == 4
    again = sweep(
        recipe, ["sigma_rel=0:0.4", "lr=log:1e-4:1e-2"], tmp_path, search="bayes", trials=4, workers=2, progress=False
    )
    assert [row["key"] for row in again.rows] == [row["key"] for row in table.rows]
    assert all(row["cached"] for row in again.rows)
    sweep_figure(table, tmp_path / "search.svg")
    assert "best so far" in (tmp_path / "search.svg").read_text()


def test_seeds_are_trials_of_their_own_and_scores_are_their_mean(recipe: Recipe, tmp_path: Path) -> None:
    table = sweep(recipe, ["weight_bits=2"], tmp_path, seeds=(0, 1), progress=False)
    assert [row["seed"] for row in table.rows] == [0, 1]
    assert len({row["key"] for row in table.rows}) == 2


def test_a_trial_that_fails_is_told_and_the_others_stand(recipe: Recipe, tmp_path: Path) -> None:
    table = sweep(recipe, ["lr=2e-3,1e30"], tmp_path, progress=False)
    assert [row["status"] for row in table.rows] == ["done", "failed"]
    assert "TrainingError" in table.failed[0]["error"]
    assert math.isnan(float("nan") if "mean" not in table.failed[0] else 0.0)
    again = sweep(recipe, ["lr=2e-3,1e30"], tmp_path, progress=False)
    assert [row.get("cached") for row in again.rows] == [True, False]
    assert "failed" in str(list(sweep_table(table).columns[-1].cells)) or "TrainingError" in str(
        list(sweep_table(table).columns[-1].cells)
    )


def test_a_sweep_that_is_killed_goes_on_where_it_was(recipe: Recipe, tmp_path: Path) -> None:
    """The sweep itself, its workers with it: results that are there stay, and the training goes on."""
    script = """
        import json, sys
        from hrat.experiments import Recipe, sweep
        if __name__ == "__main__":
            recipe = Recipe.from_dict(json.loads(sys.argv[1]))
            sweep(recipe, ["weight_bits=1,2,3,4"], sys.argv[2], workers=2, progress=False)
    """
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(script))
    command = [sys.executable, str(program), json.dumps(recipe.to_dict()), str(tmp_path / "sweep")]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "sweep").glob("results/*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").glob("results/*.json")}
    assert there
    table = sweep(recipe, ["weight_bits=1,2,3,4"], tmp_path / "sweep", progress=False)
    assert len(table.done) == 4
    assert sum(row["cached"] for row in table.rows) == len(there)
    assert {path: path.stat().st_mtime_ns for path in there} == there


def test_two_sweeps_in_one_folder_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    with filelock.FileLock(tmp_path / "sweep.lock"), pytest.raises(HratError, match="another sweep is at work in"):
        sweep(recipe, ["weight_bits=2"], tmp_path, progress=False)


def test_a_damaged_result_is_found_again(recipe: Recipe, tmp_path: Path) -> None:
    trial = Trial(recipe=recipe, spec=load_spec("generic-4bit"))
    first = run_trials([trial, trial], tmp_path, progress=False)
    assert first[0] == first[1]
    (tmp_path / "results" / f"{trial.key}.json").write_text('{"status": "do')
    second = run_trials([trial], tmp_path, progress=False)
    assert second[0]["mean"] == first[0]["mean"]
    assert not second[0]["cached"]


@pytest.mark.parametrize(
    ("axes", "how", "message"),
    [
        ([], {}, "expected something to vary"),
        (["weight_bits=2", "weight_bits=3"], {}, "'weight_bits' is varied twice"),
        (["weight_bits=4,40"], {}, r"the trial with weight_bits=40, seed=0 cannot be: .*weight_bits"),
        (["method=plain,hart"], {}, "unknown method 'hart'"),
        (["weight_bits=2"], {"search": "best"}, "unknown search 'best'"),
        (["weight_bits=2"], {"trials": 0, "search": "random"}, "expected 1 trial"),
        (["weight_bits=2"], {"workers": 0}, "expected 1 worker"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_is_trained(
    recipe: Recipe, tmp_path: Path, axes: list[str], how: dict[str, Any], message: str
) -> None:
    with pytest.raises(HratError, match=message):
        sweep(recipe, axes, tmp_path / "sweep", progress=False, **how)
    assert not (tmp_path / "sweep" / "trained").exists()


def test_ray_that_is_not_there_is_named(recipe: Recipe, tmp_path: Path) -> None:
    try:
        import ray  # noqa: F401
    except ImportError:
        with pytest.raises(hrat.HratError, match=r'pip install "hrat\[ray\]"'):
            sweep(recipe, ["weight_bits=2"], tmp_path, ray="local", progress=False)
    else:
        with pytest.raises(hrat.HratError, match=r"no Ray cluster answers at '127\.0\.0\.1:1'"):
            sweep(recipe, ["weight_bits=2"], tmp_path, ray="127.0.0.1:1", progress=False)
        with pytest.raises(hrat.HratError, match="expected the address of a Ray cluster as HOST:PORT"):
            sweep(recipe, ["weight_bits=2"], tmp_path, ray="cluster", progress=False)
        table = sweep(recipe, ["weight_bits=2,3"], tmp_path, ray="local", progress=False)
        assert len(table.done) == 2


# ---- the same training, under another name; data that change; choices without chips


def test_a_training_serves_recipes_and_specs_that_differ_in_words_and_chips(recipe: Recipe, tmp_path: Path) -> None:
    base = Trial(recipe=recipe, spec=load_spec("generic-4bit"))
    others = [
        replace(base, recipe=replace(recipe, name="another", description="words"), chips=4),
        replace(base, recipe=replace(recipe, chips=5)),
        replace(base, spec=base.spec.replace({"description": "words", "sources.device.g_min_S": "elsewhere"}), chips=6),
    ]
    results = run_trials([base], tmp_path, progress=False) + run_trials(others, tmp_path, progress=False)
    assert [(result["status"], result["chips"]) for result in results] == [("done", n) for n in (3, 4, 5, 6)]
    assert len(list((tmp_path / "trained").iterdir())) == 1


def test_a_folder_whose_images_changed_is_other_data(recipe: Recipe, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(recipe.data, data)
    trial = Trial(recipe=replace(recipe, data=str(data)), spec=load_spec("generic-4bit"))
    before = trial.key
    assert trial.key == before
    labels = bytearray((data / "t10k-labels-idx1-ubyte").read_bytes())
    labels[-1] ^= 1
    (data / "t10k-labels-idx1-ubyte").write_bytes(labels)
    assert trial.key != before


def test_a_search_may_choose_a_network_without_chips(recipe: Recipe, tmp_path: Path) -> None:
    table = sweep(recipe, ["method=float,hrat"], tmp_path, search="random", trials=6, progress=False)
    assert {row["method"] for row in table.rows} == {"float", "hrat"}
    assert table.best is not None
    assert all(0 < row["val_mean"] <= 1 for row in table.rows)


def test_a_bayesian_search_is_the_same_with_any_number_of_workers(recipe: Recipe, tmp_path: Path) -> None:
    axes = ["sigma_rel=0:0.4", "lr=log:1e-4:1e-2"]
    tables = [
        sweep(recipe, axes, tmp_path, search="bayes", trials=13, workers=workers, progress=False) for workers in (2, 1)
    ]
    assert [row["key"] for row in tables[0].rows] == [row["key"] for row in tables[1].rows]
    assert all(row["cached"] for row in tables[1].rows)


def test_values_of_a_bayesian_search_that_contradict_each_other_are_rows(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(HratError, match="sigma_rel"):
        sweep(recipe, ["sigma_rel=-1:0.1"], tmp_path / "no", search="bayes", trials=2, progress=False)
    assert not (tmp_path / "no").exists()
    axes = ["g_min_S=1e-6:5e-5", "g_max_S=2e-6:1e-4"]
    table = sweep(recipe, axes, tmp_path, search="bayes", trials=8, workers=2, progress=False)
    assert len(table.rows) == 8
    assert [row["status"] == "done" for row in table.rows] == [row["g_min_S"] < row["g_max_S"] for row in table.rows]
    assert table.failed
    assert all("g_min_S" in row["error"] for row in table.failed)


def test_chips_of_one_training_are_worked_on_side_by_side_and_kept_one_by_one(recipe: Recipe, tmp_path: Path) -> None:
    """So that a worker that is killed repeats one of them, not all."""
    there: list[int] = []
    base = Trial(recipe=recipe, spec=load_spec("generic-4bit"))
    trials = [changed(base, {"chip.sigma_rel": sigma}) for sigma in (0.0, 0.1, 0.2, 0.3)]
    run_trials(
        trials,
        tmp_path,
        workers=2,
        progress=False,
        on_result=lambda number, result: there.append(len(list((tmp_path / "results").glob("*.json")))),
    )
    assert there == [1, 2, 3, 4]


def test_a_training_that_fails_is_not_begun_again_for_each_of_its_chips(recipe: Recipe, tmp_path: Path) -> None:
    base = changed(Trial(recipe=recipe, spec=load_spec("generic-4bit")), {"lr": 1e30})
    trials = [changed(base, {"chip.sigma_rel": sigma}) for sigma in (0.0, 0.1)]
    first, second = run_trials(trials, tmp_path, progress=False)
    assert first == second
    assert "TrainingError" in first["error"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_workers_leave_with_a_sweep_that_is_killed(recipe: Recipe, tmp_path: Path) -> None:
    """Else they would train on in a folder whose lock is free."""
    script = """
        import json, sys
        from hrat.experiments import Recipe, sweep
        if __name__ == "__main__":
            sweep(Recipe.from_dict(json.loads(sys.argv[1])), ["epochs=100000"], sys.argv[2], progress=False)
    """
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(script))
    command = [sys.executable, str(program), json.dumps(recipe.to_dict()), str(tmp_path / "sweep")]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "sweep").glob("trained/*/metrics.csv")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()  # it alone
        process.wait()
        time.sleep(2)
        (metrics,) = (tmp_path / "sweep").glob("trained/*/metrics.csv")
        before = metrics.stat().st_mtime_ns
        time.sleep(4)  # many epochs
        assert metrics.stat().st_mtime_ns == before
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_what_listens_and_is_not_ray_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from hrat.experiments.sweeps import ray_cluster

    monkeypatch.setattr(ray_cluster, "ANSWER_TIMEOUT_S", 8)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with pytest.raises(HratError, match="something listens there, but not like Ray"):
            list(ray_cluster.on_ray(len, [((1,),)], address=f"127.0.0.1:{mute.getsockname()[1]}"))
