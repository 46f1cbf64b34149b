"""Seeds: whole numbers from 0 to 2**63 - 1, wherever they enter."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import hrat
from hrat.artifacts import ProgrammedChip
from hrat.artifacts.storage import read_artifact, write_artifact
from hrat.errors import ArtifactError, SeedError
from hrat.experiments import compare, reproduce, restriction_budget, train
from hrat.mapping import choose_redundancy
from hrat.measurements.synthetic import retention_csv, sweep_csv, write_verify_csv
from hrat.nn import sampled_chip
from hrat.programming import find_faults, program_in_chunks
from hrat.seeds import check_seed
from hrat.training import load_data, make_loader

NO_SEEDS = [True, 1.0, "1", None, -1, 2**63, np.float64(2.0)]


@pytest.fixture(scope="module")
def model() -> hrat.PreparedModel:
    torch.manual_seed(0)
    return hrat.prepare(nn.Linear(5, 3).eval(), "generic-4bit", torch.randn(8, 5))


@pytest.fixture(scope="module")
def deployment(model: hrat.PreparedModel) -> hrat.Deployment:
    return hrat.deploy(model)


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1, np.int64(7), np.uint8(3)])
def test_whole_numbers_are_seeds(seed: Any) -> None:
    assert check_seed(seed) == int(seed)
    assert type(check_seed(seed)) is int


@pytest.mark.parametrize("seed", NO_SEEDS)
def test_what_is_no_seed_is_refused_everywhere(
    tmp_path: Path, model: hrat.PreparedModel, deployment: hrat.Deployment, seed: Any
) -> None:
    spec = hrat.load_spec("yao2020")
    data = TensorDataset(torch.zeros(4, 5), torch.zeros(4, dtype=torch.int64))
    batches = [(torch.zeros(4, 5), torch.zeros(4, dtype=torch.int64))]
    doors: list[Callable[[], Any]] = [
        lambda: hrat.program(deployment, seed=seed),
        lambda: hrat.program(deployment, seeds=[0, seed]),
        lambda: program_in_chunks(deployment, seed=seed),
        lambda: find_faults(deployment, seed),
        lambda: hrat.characterise(spec, scheme="write_verify", devices=100, seed=seed),
        lambda: sampled_chip(model, seed).__enter__(),
        lambda: restriction_budget(model, batches, seed=seed),
        lambda: choose_redundancy(model, batches, extra_devices=10, seed=seed),
        lambda: load_data("mnist5k", seed=seed),
        lambda: load_data("mnist5k").train.subset(3, seed=seed),
        lambda: train("fc4-mnist5k", tmp_path / "run", seed=seed),
        lambda: compare("fc4-mnist5k", folder=tmp_path / "compared", seed=seed),
        lambda: reproduce("fc4", tmp_path / "reproduced", seeds=[seed]),
        lambda: sweep_csv(spec, devices=2, cycles=1, pulses=3, seed=seed),
        lambda: retention_csv(spec, devices=2, seed=seed, times_s=(0.0, 1.0)),
        lambda: write_verify_csv(spec, devices=2, seed=seed),
        *([lambda: hrat.simulation.Amplifier(seed=seed)] if seed != 2**63 else []),  # may hold a chip's seed as well
    ]
    if seed is not None:  # which lets the default generator shuffle
        doors.append(lambda: make_loader(data, 2, shuffle=True, seed=seed))
    for door in doors:
        with pytest.raises(SeedError, match="expected a whole number from 0 to"):
            door()
    assert list(tmp_path.iterdir()) == []


def test_the_last_of_many_chips_has_a_seed_too(deployment: hrat.Deployment) -> None:
    assert hrat.program(deployment, seed=2**63 - 2, chips=2).seeds == (2**63 - 2, 2**63 - 1)
    with pytest.raises(SeedError, match="seed of the last chip"):
        hrat.program(deployment, seed=2**63 - 2, chips=3)


@pytest.mark.parametrize("seed", [True, 1.5, "1", -1])
def test_files_with_a_seed_that_is_none_are_refused(tmp_path: Path, deployment: hrat.Deployment, seed: Any) -> None:
    path = hrat.program(deployment).save(tmp_path / "one.chips")
    content, tensors = read_artifact(path, ProgrammedChip.KIND)
    write_artifact(path, ProgrammedChip.KIND, {**content, "seeds": [seed]}, tensors)
    with pytest.raises(ArtifactError, match=r"seeds\.0: "):
        hrat.load(path)
    made = hrat.artifacts.Comparison(
        network="n", data="d", spec="s", spec_summary="", n_train=1, n_test=1, n_chips=1, seed=0, rows=()
    )
    with pytest.raises(ArtifactError, match="seed: "):
        hrat.artifacts.Comparison.from_dict({**json.loads(json.dumps(made.to_dict())), "seed": seed})
