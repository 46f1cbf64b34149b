"""Deployments, chips and fault maps whose check-sum holds and whose content was changed."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from torch import Tensor, nn

import hrat
from fuzz.harness import QUICK, SLOW, bounded
from fuzz.mutate import change_bytes, change_json, change_tensors
from hrat.artifacts.storage import read_artifact, write_artifact
from hrat.circuit.operations import OPS
from hrat.simulation import SolverError
from hrat.simulation.nested import tensors_of
from laws.networks import SPECS, network

Content = tuple[dict[str, Any], dict[str, Tensor]]


@cache
def chip_of(case: str) -> tuple[hrat.ProgrammedChip, Any]:
    """Small chips that hold, together, all that a file can hold; and inputs for them."""
    if case == "lstm":
        model, x = nn.LSTM(3, 4, batch_first=True).double(), torch.randn(2, 3, 3, dtype=torch.float64)
        return hrat.program(hrat.deploy(hrat.prepare(model, SPECS["harsh"], x)), seed=2, chips=2), x
    name, spec = {
        "conv": ("residual", "harsh"),
        "adc": ("fc4", "tile ADCs"),
        "digital": ("digital operations", "wan2022 two-stage"),
    }[case]
    model, x = network(name)
    return hrat.program(hrat.deploy(hrat.prepare(model, SPECS[spec], x)), seed=2, chips=2), x


CASES = ("conv", "adc", "digital", "lstm")


def graph_of(content: dict[str, Any]) -> Any:
    return content.get("graph") or content["deployment"]["graph"]


def change_graph(content: dict[str, Any], rng: random.Random) -> None:
    """A node with another operation, other arguments, or one that is new."""
    graph = graph_of(content)
    at = rng.randrange(len(graph))
    node = graph[at]
    match rng.randrange(5):
        case 0:
            node["op"] = rng.choice(sorted(OPS))
        case 1:
            node["args"] = [rng.choice(graph)["args"][:1], *node["args"][1:]]
        case 2:
            graph[at], graph[at - 1] = graph[at - 1], graph[at]
        case _:
            big = rng.choice((10, 10**6, 10**10, 10**18))
            ref = {"ref": rng.choice(graph)["name"]}
            op, args = rng.choice(
                (
                    ("zeros", [[big, big]]),
                    ("arange", [big]),
                    ("eye", [big]),
                    ("full", [[big], 1.0]),
                    ("pow", [10, big]),
                    ("mul", [[1, 2, 3], big]),
                    ("mod", ["%9999999999d", 1]),
                    ("repeat", [ref, big, big]),
                    ("expand", [ref, big]),
                    ("pad", [ref, [0, big]]),
                    ("one_hot", [ref, big]),
                    ("interpolate", [ref, big]),
                    ("linspace", [0, 1, big]),
                    ("tensor", [[big] * 100]),
                )
            )
            graph.insert(at, {"name": "new", "op": op, "args": args, "kwargs": {}})
            if rng.random() < 0.7 and at + 1 < len(graph) and graph[at + 1]["args"]:
                graph[at + 1]["args"][0] = {"ref": "new"}
            if op == "mul" and rng.random() < 0.5:  # a list that doubles at each step
                steps = [{"name": f"new{k}", "op": "add", "kwargs": {}} for k in range(40)]
                for k, step in enumerate(steps):
                    step["args"] = [{"ref": f"new{k - 1}" if k else "new"}] * 2
                graph[at]["args"] = [[1], 2]
                graph[at + 1 : at + 1] = steps


def exercise(path: Path, folder: Path, x: Any) -> None:
    """All that may be done with a file, until somebody refuses."""
    artifact = hrat.load(path)
    str(artifact)
    chips = artifact if isinstance(artifact, hrat.ProgrammedChip) else hrat.program(artifact, chips=1)
    artifact.save(folder / "again")
    hrat.export_csv(artifact, folder / "tables")
    result = hrat.simulate(chips, x)
    for tensor in tensors_of(result.value):
        assert not bool(tensor.isnan().any()), "outputs that are not a number, without a word"


def one_mutant(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = random.Random(seed)
    chip, x = chip_of(rng.choice(CASES))
    folder = tmp_path_factory.mktemp("mutant") / "inside"
    folder.mkdir()
    artifact: Any = chip if rng.random() < 0.6 else chip.deployment
    path = artifact.save(folder / "mutant")
    content, tensors = read_artifact(path, artifact.KIND)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        change = rng.random()
        if change < 0.45:
            content = change_json(content, rng)
        elif change < 0.75:
            change_tensors(tensors, rng)
        else:
            try:
                change_graph(content, rng)
            except (KeyError, TypeError, IndexError, AttributeError, ValueError):
                continue  # an earlier change left no graph to change
    try:
        write_artifact(path, artifact.KIND, content, tensors)
    except (ValueError, TypeError, UnicodeEncodeError, SafetensorError, OSError):
        return  # not even a file
    with bounded(folder), suppress(hrat.HratError, FileNotFoundError):
        exercise(path, folder, x)


@QUICK
@given(seed=st.integers(0, 2**32))
def test_a_changed_artefact_is_refused_or_right(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    one_mutant(seed, tmp_path_factory)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@SLOW
@given(seed=st.integers(0, 2**48))
def test_many_changed_artefacts(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    one_mutant(seed, tmp_path_factory)


@QUICK
@given(seed=st.integers(0, 2**32))
def test_damaged_bytes_are_refused(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = random.Random(seed)
    chip, _ = chip_of("conv")
    path = chip.save(tmp_path_factory.mktemp("damaged") / "chip")
    whole = path.read_bytes()
    damaged = change_bytes(whole, rng)
    path.write_bytes(damaged)
    if damaged != whole:
        with pytest.raises(hrat.HratError):
            hrat.load(path)


def _with(content: dict[str, Any], change: Callable[[list[dict[str, Any]]], None]) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(content))
    change(graph_of(changed))
    return changed


def first(graph: list[dict[str, Any]], op: str) -> dict[str, Any]:
    return next(node for node in graph if node["op"] == op)


def _insert_on_wide(graph: list[dict[str, Any]], op: str, args: list[Any]) -> None:
    """An operation that may read `wide x` and `wide x.mT`: a row of 100,000 zeros, and a column."""
    _insert(graph, op, args)
    for name, shape in (("wide x", [1, 100_000]), ("wide x.mT", [100_000, 1]), ("flat", [100_000])):
        graph.insert(1, {"name": name, "op": "zeros", "args": [shape], "kwargs": {}})


def _insert(graph: list[dict[str, Any]], op: str, args: list[Any]) -> None:
    graph.insert(1, {"name": "new", "op": op, "args": args, "kwargs": {}})
    graph[2]["args"][0] = {"ref": "new"}


@pytest.mark.parametrize(
    ("op", "args", "words"),
    [
        ("zeros", [[10**5, 10**5]], "bytes for these inputs"),
        ("pow", [10, 10**9], "more than 64 bits"),
        ("mul", [[0], 10**9], "repeated 1000000000 times"),
        ("mod", ["%9999999d", 1], "remainder of a text"),
        ("arange", [10**12], "bytes for these inputs"),
        ("split", [{"ref": "wide x"}, 1, -1], "cut into 100,000 pieces"),
        ("unbind", [{"ref": "wide x"}, -1], "cut into 100,000 pieces"),
        ("chunk", [{"ref": "wide x"}, 10**6, -1], "cut into 100,000 pieces"),
        ("tensor_split", [{"ref": "wide x"}, 10**8], "cut into 100,000,000 pieces"),
        ("hsplit", [{"ref": "wide x"}, 10**6], "cut into 1,000,000 pieces"),
        ("left_shift", [1, 10**9], "more than 64 bits"),
        ("number_prod", [[[0], 10**9]], "math.prod of a list"),
        ("logspace", [0, 1, 10**12], "bytes for these inputs"),
        ("tril_indices", [10**6, 10**6], "bytes for these inputs"),
        ("diag", [{"ref": "flat"}], "bytes for these inputs"),
        ("diag_embed", [{"ref": "wide x"}], "bytes for these inputs"),
        ("kron", [{"ref": "wide x"}, {"ref": "wide x.mT"}], "bytes for these inputs"),
        ("cdist", [{"ref": "wide x.mT"}, {"ref": "wide x.mT"}], "bytes for these inputs"),
        ("meshgrid", [{"ref": "flat"}, {"ref": "flat"}], "bytes for these inputs"),
        ("cartesian_prod", [{"ref": "flat"}, {"ref": "flat"}], "bytes for these inputs"),
        ("broadcast_tensors", [{"ref": "wide x"}, {"ref": "wide x.mT"}], "bytes for these inputs"),
        ("block_diag", [{"ref": "wide x"}, {"ref": "wide x.mT"}], "bytes for these inputs"),
        ("one_hot", [{"ref": "flat"}, 10**9], "bytes for these inputs|cannot be computed"),
        ("cosine_similarity", [{"ref": "wide x"}, {"ref": "wide x.mT"}, -1], "bytes for these inputs"),
    ],
)
def test_nothing_is_built_of_any_size(op: str, args: list[Any], words: str, tmp_path: Path) -> None:
    chip, x = chip_of("adc")
    path = chip.save(tmp_path / "chip")
    content, tensors = read_artifact(path, chip.KIND)
    write_artifact(path, chip.KIND, _with(content, lambda graph: _insert_on_wide(graph, op, args)), tensors)
    loaded = hrat.load(path)
    assert isinstance(loaded, hrat.ProgrammedChip)
    with bounded(tmp_path), pytest.raises(hrat.HratError, match=words):
        hrat.simulate(loaded, x)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda graph: graph.insert(0, graph.pop(1)), "names of nodes in front of it"),
        (
            lambda graph: graph.append(
                {"name": "late", "op": "identity", "args": [{"ref": graph[1]["name"]}], "kwargs": {}}
            ),
            "as its last node",
        ),
        (lambda graph: graph[1].update(name=graph[0]["name"]), "expected each name once"),
        (
            lambda graph: _insert(graph, "threshold", [{"ref": graph[0]["name"]}, 0.5, 0.0, True]),
            "overwrites nothing, got True",
        ),
        (
            lambda graph: graph.insert(
                1, {"name": "new", "op": "exp", "args": [{"ref": graph[0]["name"]}], "kwargs": {"out": 1}}
            ),
            "overwrites nothing, got the argument out",
        ),
        (lambda graph: graph[-1].update(args=[]), "one value, or a nest of them"),
        (lambda graph: first(graph, "dac")["args"].append(3), "a value and a scale"),
        (lambda graph: first(graph, "crossbar").update(args=[{"ref": graph[0]["name"]}, "nine"]), "one of the layers"),
    ],
)
def test_a_graph_that_is_none(change: Callable[[list[dict[str, Any]]], None], words: str, tmp_path: Path) -> None:
    chip, _ = chip_of("adc")
    path = chip.save(tmp_path / "chip")
    content, tensors = read_artifact(path, chip.KIND)
    write_artifact(path, chip.KIND, _with(content, change), tensors)
    with pytest.raises(hrat.HratError, match=words):
        hrat.load(path)


def _changed_chip(op: str, args: Callable[[str], list[Any]], folder: Path) -> tuple[hrat.ProgrammedChip, Any]:
    """A chip from a file whose graph does something else with its input first."""
    chip, x = chip_of("adc")
    path = chip.save(folder / "chip")
    content, tensors = read_artifact(path, chip.KIND)
    changed = _with(content, lambda graph: _insert(graph, op, args(graph[0]["name"])))
    write_artifact(path, chip.KIND, changed, tensors)
    return hrat.ProgrammedChip.load(path), x


def test_results_that_are_held_together_are_bounded(tmp_path: Path) -> None:
    chip, x = chip_of("adc")
    path = chip.save(tmp_path / "chip")
    content, tensors = read_artifact(path, chip.KIND)

    def many(graph: list[dict[str, Any]]) -> None:
        names = [f"zeros {k}" for k in range(8)]
        graph[1:1] = [{"name": name, "op": "zeros", "args": [[10**8]], "kwargs": {}} for name in names]
        sums = [
            {"name": f"sum {k}", "op": "add", "args": [{"ref": name}, {"ref": f"sum {k - 1}" if k else name}]}
            for k, name in enumerate(names)
        ]
        graph[9:9] = [{**node, "kwargs": {}} for node in sums]

    write_artifact(path, chip.KIND, _with(content, many), tensors)
    with bounded(tmp_path), pytest.raises(hrat.HratError, match="bytes of results would be held behind node"):
        hrat.simulate(hrat.ProgrammedChip.load(path), x)


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("repeat_interleave", lambda source: [{"ref": source}, 2, 0]),
        ("getitem", lambda source: [{"ref": source}, {"slice": [0, 1, None]}]),
    ],
)
def test_accuracy_needs_an_output_for_each_image(op: str, args: Callable[[str], list[Any]], tmp_path: Path) -> None:
    chip, x = _changed_chip(op, args, tmp_path)
    labels = torch.zeros(len(x), dtype=torch.int64)
    with pytest.raises(hrat.HratError, match="expected an output for each image"):
        hrat.simulate(chip, [(x, labels)])


def test_a_chip_whose_outputs_are_not_numbers_has_failed(tmp_path: Path) -> None:
    chip, x = _changed_chip("mul", lambda source: [{"ref": source}, -1e30], tmp_path)
    content, tensors = read_artifact(tmp_path / "chip", chip.KIND)
    write_artifact(
        tmp_path / "chip", chip.KIND, _with(content, lambda graph: _insert_behind(graph, "new", "sqrt")), tensors
    )
    chip = hrat.ProgrammedChip.load(tmp_path / "chip")
    labels = torch.zeros(len(x), dtype=torch.int64)
    with pytest.raises(SolverError, match=r"not numbers \(NaN\)"):
        hrat.simulate(chip, [(x.abs() + 1, labels)])
    result = hrat.simulate(chip, [(x.abs() + 1, labels)], throw=False)
    assert result.failures.keys() == set(chip.seeds)
    assert result.accuracies is not None
    assert all(math.isnan(share) for share in result.accuracies)


def _insert_behind(graph: list[dict[str, Any]], name: str, op: str) -> None:
    at = next(k for k, node in enumerate(graph) if node["name"] == name)
    graph.insert(at + 1, {"name": "newer", "op": op, "args": [{"ref": name}], "kwargs": {}})
    graph[at + 2]["args"][0] = {"ref": "newer"}


def test_a_feedback_resistance_is_one_of_a_resistor(tmp_path: Path) -> None:
    chip, _ = chip_of("adc")
    path = chip.save(tmp_path / "chip")
    content, tensors = read_artifact(path, chip.KIND)
    content["deployment"]["layers"][0]["r_f_ohm"] = 1e300
    write_artifact(path, chip.KIND, content, tensors)
    with pytest.raises(hrat.HratError, match="r_f_ohm"):
        hrat.load(path)
