"""Each layer at its own depth, and what becomes of layers that cannot be solved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import hrat
from hrat.simulation import Behavioural, Nodal, SolverError, Spice, simulate

IMAGES = 7


@dataclass(frozen=True)
class PatchByPatch:
    """Asked for each batch: the definition of a crossbar, patch by patch; fails on the chips with these seeds."""

    fails_on: tuple[int, ...] = ()
    name = "patch by patch"

    def making(self, spec: Any) -> int:
        return 1

    def models(self, chip: hrat.ProgrammedChip, names: Sequence[str], device: Any, statistics: Any) -> Any:
        return {
            name: tuple(
                self._solve(chip, name, index, statistics.setdefault(name, {})) for index in range(chip.n_chips)
            )
            for name in names
        }

    def _solve(self, chip: hrat.ProgrammedChip, name: str, index: int, told: Any) -> Callable[[Tensor], Tensor]:
        layer, programmed = chip.deployment.layers[name], chip.layers[name]

        def solve(voltage_V: Tensor) -> Tensor:
            if chip.seeds[index] in self.fails_on:
                raise SolverError(f"layer {name} does not converge")
            told["batches"] = told.get("batches", 0) + 1
            difference_S = programmed.g_pos_S[index] - programmed.g_neg_S[index]
            currents_A = difference_S.double().mT @ layer.geometry.patches(voltage_V.double())
            shape = layer.geometry.apply(voltage_V, torch.zeros(layer.geometry.weight_shape)).shape
            out_V = layer.r_f_ohm * currents_A.flatten(1, 2).reshape(shape)
            return out_V if layer.bias_V is None else out_V + layer.geometry.channel_view(layer.bias_V)

        return solve


@pytest.fixture(scope="module")
def chips() -> hrat.ProgrammedChip:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
    prepared = hrat.prepare(model.eval(), "generic-4bit", torch.randn(20, 2, 6, 6))
    return hrat.program(hrat.deploy(prepared), chips=3, seed=5)


@pytest.fixture(scope="module")
def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(torch.randn(IMAGES, 2, 6, 6, generator=generator), torch.arange(IMAGES) % 3)


@pytest.mark.parametrize(
    "solver", [PatchByPatch(), {"0": PatchByPatch(), "*": "behavioural"}, {"4": PatchByPatch(), "0": "behavioural"}]
)
def test_every_depth_gives_the_same_network(chips: hrat.ProgrammedChip, data: TensorDataset, solver: Any) -> None:
    plain = simulate(chips, data, voltages_of=["0", "4"])
    other = simulate(chips, data, voltages_of=["0", "4"], solver=solver)
    assert other.accuracies == plain.accuracies
    torch.testing.assert_close(other.value, plain.value)
    torch.testing.assert_close(other.voltages, plain.voltages)


def test_results_tell_how_they_were_found(chips: hrat.ProgrammedChip, data: TensorDataset) -> None:
    result = simulate(chips, data, solver={"4": PatchByPatch(), "*": "behavioural"})
    assert result.solver == "4: patch by patch, *: behavioural"
    assert result.statistics == {"4": {"batches": 3}}
    in_groups = simulate(chips, data, solver=PatchByPatch(), memory_bytes=1, keep_outputs=False)
    assert in_groups.statistics["0"]["batches"] == 3 * IMAGES  # chip by chip and image by image: the sum over all
    assert in_groups.accuracies == result.accuracies


def test_a_chip_that_fails_is_a_value_beside_the_others(chips: hrat.ProgrammedChip, data: TensorDataset) -> None:
    plain = simulate(chips, data)
    result = simulate(chips, data, solver={"0": PatchByPatch(fails_on=(6,)), "*": "behavioural"}, throw=False)
    assert result.seeds == (5, 6, 7)
    assert result.failures == {6: "layer 0 does not converge"}
    assert bool(result.value[1].isnan().all())
    torch.testing.assert_close(result.value[[0, 2]], plain.value[[0, 2]])
    assert plain.accuracies is not None
    assert result.accuracies is not None
    assert math.isnan(result.accuracies[1])
    assert result.accuracies[::2] == plain.accuracies[::2]
    assert result.mean == pytest.approx(sum(plain.accuracies[::2]) / 2)
    assert result.worst == min(plain.accuracies[::2])
    assert "1 failed" in str(result)
    assert result.to_dict()["accuracies"][1] is None
    assert result.to_dict()["failures"] == {"6": "layer 0 does not converge"}


def test_a_chip_that_fails_in_the_end_has_no_numbers_at_all(
    chips: hrat.ProgrammedChip, data: TensorDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    solve = PatchByPatch._solve

    def fails_later(self: PatchByPatch, chip: Any, name: str, index: int, told: Any) -> Callable[[Tensor], Tensor]:
        right = solve(self, chip, name, index, told)

        def solved(voltage_V: Tensor) -> Tensor:
            calls.append(chip.seeds[index])
            if calls.count(6) == 3 and chip.seeds[index] == 6:
                raise SolverError("the third time is one too many")
            return right(voltage_V)

        return solved

    monkeypatch.setattr(PatchByPatch, "_solve", fails_later)
    for memory_bytes in (2**31, 4_000):
        calls.clear()
        loader = DataLoader(data, batch_size=2)
        how = {"memory_bytes": memory_bytes, "throw": False, "voltages_of": ["4"]}
        result = simulate(chips, loader, solver={"0": PatchByPatch(), "*": "behavioural"}, **how)
        assert list(result.failures) == [6]
        assert bool(result.value[1].isnan().all())
        assert bool(result.voltages["4"][1].isnan().all())
        assert not bool(result.value[[0, 2]].isnan().any())


def test_a_solver_that_cannot_be_set_up_is_a_value_too(chips: hrat.ProgrammedChip, data: TensorDataset) -> None:
    missing = Spice(ngspice="/nowhere/ngspice")
    result = simulate(chips, data, solver=missing, throw=False)
    assert len(result.failures) == 3
    assert all("/nowhere/ngspice" in why for why in result.failures.values())
    with pytest.raises(SolverError, match="/nowhere/ngspice"):
        simulate(chips, data, solver=missing)


def test_the_layer_that_does_not_converge_is_named(chips: hrat.ProgrammedChip, data: TensorDataset) -> None:
    """Nothing but the law bounds currents without wires, and these are beyond float64."""
    told = r"layer 0: tile of \d+x4 devices with a curvature of 1e-05 V: expected"
    with pytest.raises(SolverError, match=told):
        simulate(chips, data, solver=Nodal(curvature_V=1e-5))
    result = simulate(chips, data, solver=Nodal(curvature_V=1e-5), throw=False)
    assert list(result.failures) == [5, 6, 7]


def test_wires_bound_the_currents_of_strongly_curved_devices(chips: hrat.ProgrammedChip, data: TensorDataset) -> None:
    wired = chips[0].with_array(limit_wires=True)
    result = simulate(wired, Subset(data, [0]), solver=Nodal(curvature_V=1e-3))
    assert not result.failures
    assert bool(result.value.isfinite().all())


@pytest.mark.parametrize("curvature_V", [None, 0.1])
def test_the_layer_whose_equations_have_no_solution_is_named(
    chips: hrat.ProgrammedChip, data: TensorDataset, curvature_V: float | None
) -> None:
    broken = chips.with_array(limit_wires=True, r_word_ohm=1e308)
    with pytest.raises(SolverError, match=r"layer 0: tile of \d+x4 devices: its equations .* and 1e\+308 ohm"):
        simulate(broken, data, solver=Nodal(curvature_V=curvature_V))


def test_all_chips_may_fail(chips: hrat.ProgrammedChip, data: TensorDataset) -> None:
    result = simulate(chips, data, solver=PatchByPatch(fails_on=(5, 6, 7)), throw=False)
    assert math.isnan(result.mean)
    assert math.isnan(result.worst)
    assert len(result.failures) == 3


def test_a_failure_is_raised_unless_values_are_asked_for(chips: hrat.ProgrammedChip, data: TensorDataset) -> None:
    with pytest.raises(SolverError, match="layer 0 does not converge"):
        simulate(chips, data, solver=PatchByPatch(fails_on=(7,)))


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        ("nodall", r"unknown solver 'nodall'; expected one of behavioural"),
        ({"conv1": "behavioural", "*": "behavioural"}, r"the chip has no layer 'conv1'; it has 0, 4"),
        ({"0": "behavioural"}, r"no solver is given for layer '4'; .*'\*': 'behavioural'"),
        ({"*": "behavioural", 7: "nodal"}, r"the chip has no layer '7'; it has 0, 4"),
        (3, r"expected the name of a solver or a solver, got 3"),
        (Nodal, r"did you mean Nodal\(\)\?"),
    ],
)
def test_a_choice_that_fits_no_chip_is_refused(
    chips: hrat.ProgrammedChip, data: TensorDataset, solver: Any, message: str
) -> None:
    with pytest.raises(hrat.HratError, match=message):
        simulate(chips, data, solver=solver)


def test_the_first_pattern_that_fits_holds_and_a_name_goes_before_patterns(
    chips: hrat.ProgrammedChip, data: TensorDataset
) -> None:
    fails = PatchByPatch(fails_on=(5,))
    assert not simulate(chips[0], data, solver={"*": fails, "0": Behavioural(), "4": Behavioural()}).failures
    with pytest.raises(SolverError):
        simulate(chips[0], data, solver={"[04]": fails, "*": Behavioural()})
