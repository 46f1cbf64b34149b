"""`simulate`: chips, batches, inputs of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, SequentialSampler, TensorDataset

import hrat
from hrat.circuit import input_names
from laws.networks import NETWORKS, SPECS, network, small_network


def chips(n: int = 3, name: str | None = None, spec: str = "harsh") -> tuple[hrat.ProgrammedChip, Any]:
    model, x = small_network() if name is None else network(name)
    return hrat.program(hrat.deploy(hrat.prepare(model, SPECS[spec], x)), seed=1, chips=n), x


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("spec", ["harsh", "wan2022 two-stage"])
def test_chips_together_are_the_chips_alone(name: str, spec: str) -> None:
    chip, x = chips(3, name, spec)
    together = tree_leaves(hrat.simulate(chip, x).value)
    for index in range(3):
        alone = tree_leaves(hrat.simulate(chip[index], x).value)
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[index], b[0], rtol=1e-12, atol=1e-12)


def test_chips_taken_in_groups_are_the_same() -> None:
    chip, x = chips(5)
    want = hrat.simulate(chip, x, voltages_of=["3"])
    least = 2 * sum(value.numel() * 8 for value in (want.value, want.voltages["3"]))
    for memory_bytes in (least, 2 * least, 2**30):
        got = hrat.simulate(chip, x, memory_bytes=memory_bytes, voltages_of=["3"])
        torch.testing.assert_close(got.value, want.value, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(got.voltages["3"], want.voltages["3"], rtol=1e-12, atol=1e-12)
        assert got.seeds == (1, 2, 3, 4, 5)


def test_the_same_chip_gives_the_same_outputs() -> None:
    chip, x = chips(1)
    assert torch.equal(hrat.simulate(chip, x).value, hrat.simulate(chip, x).value)


def test_batches_are_the_whole() -> None:
    chip, x = chips()
    whole = hrat.simulate(chip, x).value
    labels = torch.zeros(len(x), dtype=torch.long)
    for batch_size in (1, 5, 12):
        parts = hrat.simulate(chip, DataLoader(TensorDataset(x, labels), batch_size=batch_size))
        torch.testing.assert_close(parts.value, whole, rtol=1e-12, atol=1e-12)
        assert parts.n_images == 12


def test_accuracy_is_the_share_of_right_answers_of_each_chip() -> None:
    chip, x = chips(4)
    labels = torch.arange(12) % 4
    value = hrat.simulate(chip, x).value
    by_hand = tuple(float((value[i].argmax(1) == labels).double().mean()) for i in range(4))
    for data in (TensorDataset(x, labels), DataLoader(TensorDataset(x, labels), batch_size=5), [(x, labels)]):
        result = hrat.simulate(chip, data)
        assert result.accuracies == pytest.approx(by_hand)
        assert result.mean == pytest.approx(sum(by_hand) / 4)
        assert result.worst == min(by_hand)
        torch.testing.assert_close(result.value, value, rtol=1e-12, atol=1e-12)
    result = hrat.simulate(chip, x)
    assert result.accuracies is None
    assert result.mean != result.mean  # NaN
    assert "accuracy" not in str(result)


@pytest.mark.parametrize(("limit", "n"), [(1, 1), (5, 5), (7, 7), (12, 12), (100, 12)])
def test_a_limit_takes_the_first_images(limit: int, n: int) -> None:
    chip, x = chips(2)
    labels = torch.arange(12) % 4
    whole = hrat.simulate(chip, TensorDataset(x[:n], labels[:n]))
    for data in (x, TensorDataset(x, labels), DataLoader(TensorDataset(x, labels), batch_size=5), {"input": x}):
        result = hrat.simulate(chip, data, limit=limit)
        assert result.n_images == n
        torch.testing.assert_close(result.value, whole.value, rtol=1e-12, atol=1e-12)
        if result.accuracies is not None:
            assert result.accuracies == pytest.approx(whole.accuracies)


def test_a_limit_stops_reading() -> None:
    chip, x = chips(1)

    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield x, torch.zeros(12, dtype=torch.long)

    assert hrat.simulate(chip, endless(), limit=30).n_images == 30


def test_arguments_by_position_and_by_name() -> None:
    chip, (image, text) = chips(2, "two inputs")
    by_position = hrat.simulate(chip, (image, text)).value
    by_name = hrat.simulate(chip, {"text": text, "image": image}).value
    labelled = hrat.simulate(chip, [(image, text, torch.tensor([0, 1, 0, 1]))])
    for other in (by_name, labelled.value):
        assert torch.equal(by_position["logits"], other["logits"])
    assert by_position["logits"].shape == (2, 4, 2)
    assert by_position["parts"][0].shape == (2, 4, 8)
    assert labelled.accuracies is not None


@pytest.mark.parametrize("n", [1, 3])
def test_voltages_have_the_shape_of_the_layer_and_stay_within_the_swing(n: int) -> None:
    chip, x = chips(n, "lenet5")
    result = hrat.simulate(chip, 50 * x, voltages_of=["0", "4", "13"])
    shapes = {name: tuple(v.shape) for name, v in result.voltages.items()}
    names = list(chip.layers)
    assert names == ["0", "4", "8", "11", "13"]
    assert shapes == {"0": (n, 3, 6, 28, 28), "4": (n, 3, 16, 10, 10), "13": (n, 3, 10)}
    for volts in result.voltages.values():
        assert float(volts.abs().max()) <= 1.0
    alpha = chip.deployment.tensors[next(key for key in chip.deployment.tensors if "reader" in key)]
    torch.testing.assert_close(result.voltages["13"] / alpha, result.value, rtol=1e-12, atol=1e-12)


def test_progress_is_told_after_each_batch() -> None:
    chip, x = chips(1)
    told: list[tuple[int, int | None]] = []
    loader = DataLoader(TensorDataset(x, torch.zeros(12, dtype=torch.long)), batch_size=5)
    hrat.simulate(chip, loader, progress=lambda done, total: told.append((done, total)))
    assert told == [(5, 12), (10, 12), (12, 12)]
    told.clear()
    hrat.simulate(chip, x, limit=4, progress=lambda done, total: told.append((done, total)))
    assert told == [(4, 4)]


def test_inputs_take_the_number_type_of_the_chip() -> None:
    chip, x = chips(1)
    assert hrat.simulate(chip, x.float()).value.dtype == torch.float64


def test_results_as_figures(tmp_path: Any) -> None:
    chip, x = chips(2)
    result = hrat.simulate(chip, TensorDataset(x, torch.arange(12) % 4))
    figures = result.to_dict()
    assert figures["seeds"] == [1, 2]
    assert figures["mean"] == result.mean
    assert (tmp_path / "figures.json") == result.save(tmp_path / "figures.json")
    assert "accuracy mean" in str(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"solver": "exact"}, r"unknown solver 'exact'; expected one of behavioural"),
        ({"voltages_of": ["0", "fc9"]}, r"no layer 'fc9'; it has 0, 3"),
        ({"data": []}, "no images"),
        ({"data": TensorDataset(torch.zeros(0, 6), torch.zeros(0))}, "no images"),
        ({"limit": 0}, "limit: expected 1 image or more"),
        ({"limit": -1}, "limit: expected 1 image or more"),
        ({"data": 3}, r"cannot simulate on a int; expected a tensor of inputs, a loader"),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    chip, x = chips(1)
    with pytest.raises(hrat.HratError, match=message):
        hrat.simulate(chip, **{"data": x, **arguments})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_are_refused(value: float) -> None:
    chip, x = chips(1)
    x[3, 2] = value
    with pytest.raises(ValueError, match="'input' has values that are not finite"):
        hrat.simulate(chip, x)


def test_labels_for_a_network_without_classes_are_refused() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Flatten(0)).double()
    x = torch.randn(12, 6, dtype=torch.float64)
    chip = hrat.program(hrat.deploy(hrat.prepare(model, SPECS["harsh"], x)))
    with pytest.raises(hrat.HratError, match="no classes"):
        hrat.simulate(chip, [(x, torch.zeros(12, dtype=torch.long))])


def test_a_loader_of_inputs_alone() -> None:
    chip, x = chips(2)
    whole = hrat.simulate(chip, x).value
    torch.testing.assert_close(hrat.simulate(chip, DataLoader(x, batch_size=5)).value, whole)


def test_a_data_set_without_labels() -> None:
    chip, x = chips(1)
    result = hrat.simulate(chip, TensorDataset(x))
    assert torch.equal(result.value, hrat.simulate(chip, x).value)
    assert result.accuracies is None


def test_surplus_or_unknown_inputs_are_refused() -> None:
    chip, x = chips(1)
    with pytest.raises(hrat.HratError, match=r"takes 1 input.*got 2"):
        hrat.simulate(chip, (x, x))
    name = input_names(chip.deployment.graph)[0]
    with pytest.raises(hrat.HratError, match="no input 'bogus'"):
        hrat.simulate(chip, {name: x, "bogus": x})
    with pytest.raises(hrat.HratError, match=r"expected the chips that hrat\.program returned"):
        hrat.simulate(chip.deployment, x)  # type: ignore[arg-type]
    with pytest.raises(hrat.HratError, match=r"expected what hrat\.deploy returned"):
        hrat.program(chip)  # type: ignore[arg-type]


def test_several_outputs_are_not_taken_for_class_scores() -> None:
    class FeaturesFirst(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = torch.nn.Linear(6, 4), torch.nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features = torch.relu(self.body(x))
            return features, self.head(features)

    x = torch.randn(8, 6)
    chip = hrat.program(hrat.deploy(hrat.prepare(FeaturesFirst(), "ideal", x)))
    with pytest.raises(hrat.HratError, match="several outputs"):
        hrat.simulate(chip, [(x, torch.zeros(8, dtype=torch.long))])
    assert hrat.simulate(chip, x).value[1].shape == (1, 8, 3)


def test_labels_that_are_no_classes_give_no_accuracy() -> None:
    chip, x = chips(1)
    result = hrat.simulate(chip, [(x, torch.randn(len(x)))])
    assert result.accuracies is None
    assert "accuracy" not in str(result)


def test_a_sampler_says_how_many_images_there_are() -> None:
    chip, x = chips(1)
    told: list[tuple[int, int | None]] = []
    some = DataLoader(TensorDataset(x, torch.zeros(12)), batch_size=4, sampler=SequentialSampler(range(6)))
    hrat.simulate(chip, some, progress=lambda done, total: told.append((done, total)))
    assert told == [(4, 6), (6, 6)]


def test_no_images_are_refused_and_an_empty_batch_is_passed_over() -> None:
    chip, x = chips(1)
    with pytest.raises(hrat.HratError, match="no images"):
        hrat.simulate(chip, x[:0])
    with pytest.raises(hrat.HratError, match="holds no inputs"):
        hrat.simulate(chip, [({}, torch.zeros(3, dtype=torch.long))])
    assert hrat.simulate(chip, [(x[:0], torch.zeros(0)), (x, torch.zeros(12))]).n_images == 12


def test_accuracies_alone() -> None:
    chip, x = chips(3)
    data = TensorDataset(x, torch.arange(12) % 4)
    result = hrat.simulate(chip, data, keep_outputs=False)
    assert result.value is None
    assert result.accuracies == hrat.simulate(chip, data).accuracies
