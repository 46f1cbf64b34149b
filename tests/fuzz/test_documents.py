"""Changed JSON, TOML and CSV files, through the verbs and readers that take them."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import nn

import hrat
from cli.shell import Shell
from fuzz.harness import QUICK, SLOW, bounded
from fuzz.mutate import change_json, change_text, nasty
from hrat.artifacts import Comparison, ComparisonRow, FaultMap, SweepTable
from hrat.artifacts.budget import RestrictionBudget
from hrat.artifacts.verification import Verification
from hrat.reports import (
    budget_table,
    comparison_markdown,
    comparison_table,
    side_by_side,
    sides_table,
    sweep_table,
    verification_table,
)

SHELL = Shell()


def shown(table: Any) -> None:
    with open("/dev/null", "w") as nowhere:
        Console(width=80, file=nowhere).print(table)


@cache
def originals() -> Path:
    """A folder with one file of each kind."""
    folder = Path(mkdtemp(prefix="originals-"))
    torch.manual_seed(3)
    x, y = torch.randn(40, 12), torch.randint(4, (40,))
    network = nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 4))
    model = hrat.prepare(network, hrat.load_spec("generic-4bit", sigma_rel=0.1), x).eval()
    deployment = hrat.deploy(model)
    chips = hrat.program(deployment, chips=2)
    hrat.report(chips, folder / "report", [(x, y)], model=model, train=[(x, y)], budget_chips=2, spice=False)
    hrat.simulate(chips, [(x, y)]).save(folder / "results.json")
    deployment.save(folder / "a.deployment")
    hrat.export_csv(chips, folder / "tables")
    hrat.load_spec("yao2020").save(folder / "spec.toml")
    rows = [
        ComparisonRow(method=m, label=m, accuracies=(0.9, 0.8), accuracy_without_error=0.9, train_seconds=1.0, epochs=2)
        for m in "ab"
    ]
    Comparison(
        network="n",
        data="d",
        spec="s",
        spec_summary="4 bits",
        n_train=10,
        n_test=5,
        n_chips=2,
        seed=0,
        rows=tuple(rows),
    ).save(folder / "comparison.json")
    trial = {"status": "done", "mean": 0.9, "worst": 0.8, "std": 0.1, "software": 0.9, "chips": 2, "weight_bits": 3}
    SweepTable(
        recipe="r",
        data="d",
        spec="s",
        varied=("weight_bits",),
        search="grid",
        held_out=0,
        n_test=10,
        rows=(trial, trial),
    ).save(folder / "trials.json")
    run = {
        "recipe": {"name": "r", "network": "fc4", "data": "mnist5k", "fit": {"epochs": 3}},
        "spec": deployment.spec.to_dict(), "method": "hrat", "seed": 0, "software": 0.9, "seconds": 3.0,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run))
    return folder


def sweep_shown(path: Path) -> None:
    table = SweepTable.load(path)
    shown(sweep_table(table))
    table.save(path.with_suffix(".csv"))


def diffed(path: Path) -> None:
    shown(sides_table(side_by_side([path, path])))


def inspected(path: Path) -> None:
    SHELL("inspect", path)


def run_inspected(path: Path) -> None:
    path.rename(path.with_name("run.json"))
    SHELL("inspect", path.parent)
    SHELL("diff", path.parent, path.parent)


def compared(path: Path) -> None:
    comparison = Comparison.load(path)
    shown(comparison_table(comparison))
    comparison_markdown(comparison)
    inspected(path)


READERS: dict[str, Callable[[Path], None]] = {
    "report/budget.json": lambda path: shown(budget_table(RestrictionBudget.load(path))),
    "report/verification.json": lambda path: shown(verification_table(Verification.load(path))),
    "report/report.json": diffed,
    "results.json": inspected,
    "comparison.json": compared,
    "trials.json": sweep_shown,
    "run.json": run_inspected,
}


def one_json(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = random.Random(seed)
    name = rng.choice(sorted(READERS))
    source = originals() / name
    folder = tmp_path_factory.mktemp("mutant") / "inside"
    folder.mkdir()
    text = source.read_text()
    path = folder / "mutant.json"
    if rng.random() < 0.8:
        path.write_text(json.dumps(change_json(json.loads(text), rng)))
    else:
        path.write_bytes(change_text(text, rng))
    with bounded(folder), contextlib.suppress(hrat.HratError):
        READERS[name](path)


def spec_checked(path: Path) -> None:
    code, _, _ = SHELL("spec", "check", path)
    if code:
        return
    spec = hrat.load_spec(str(path))
    x = torch.randn(5, 6)
    model = hrat.prepare(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)), spec, x)
    value = hrat.simulate(hrat.program(hrat.deploy(model), chips=1), x).value
    assert not bool(value.isnan().any())


def one_spec(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = random.Random(seed)
    folder = tmp_path_factory.mktemp("mutant") / "inside"
    folder.mkdir()
    path = folder / "mutant.toml"
    text = (originals() / "spec.toml").read_text()
    if rng.random() < 0.6:
        lines = text.split("\n")
        at = rng.choice([k for k, line in enumerate(lines) if "=" in line])
        value = nasty(rng)
        name = lines[at].split("=")[0]
        lines[at] = f"{name}= {json.dumps(value) if isinstance(value, str | bool | list | dict) else value}"
        path.write_text("\n".join(lines), errors="replace")
    else:
        path.write_bytes(change_text(text, rng))
    with bounded(folder), contextlib.suppress(hrat.HratError):
        spec_checked(path)


def one_table(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = random.Random(seed)
    folder = tmp_path_factory.mktemp("mutant") / "inside"
    deployment = hrat.load(originals() / "a.deployment")
    assert isinstance(deployment, hrat.Deployment)
    (folder / "conductances").mkdir(parents=True)
    tables = sorted((originals() / "tables" / "conductances").glob("*.csv"))
    changed = rng.choice(tables)
    for table in tables:
        text = table.read_text()
        data = change_text(text, rng) if table == changed else text.encode()
        (folder / "conductances" / table.name).write_bytes(data)
    (folder / "faults.csv").write_bytes(
        change_text("layer,group,tile,row,col,partner,g_S\n0,0,tile0_0,1,2,pos,1e-5\n", rng)
    )
    with bounded(folder):
        for read in (hrat.import_csv, lambda d, f: FaultMap.from_csv(f / "faults.csv", d).check(d)):
            with contextlib.suppress(hrat.HratError):
                read(deployment, folder)


KINDS = {"json": one_json, "spec": one_spec, "table": one_table}


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(seed=st.integers(0, 2**32))
def test_a_changed_document_is_refused_or_right(kind: str, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    KINDS[kind](seed, tmp_path_factory)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
@SLOW
@given(seed=st.integers(0, 2**48))
def test_many_changed_documents(kind: str, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    KINDS[kind](seed, tmp_path_factory)
