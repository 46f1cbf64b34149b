"""The restriction budget: a spec with one bad number must be told by that number; sums, order, files, and refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import hrat
from hrat.artifacts import RestrictionBudget
from hrat.errors import ArtifactError, HratError
from hrat.experiments import next_steps, restriction_budget
from hrat.nn import PreparedModel
from hrat.reports import budget_figure, budget_table
from hrat.training import fit

Batches = list[tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def trained() -> tuple[PreparedModel, Batches]:
    """A network that learned four noisy patterns on mild hardware, and images to measure on."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(4, 24, generator=generator)

    def images(count: int) -> tuple[Tensor, Tensor]:
        y = torch.randint(4, (count,), generator=generator)
        return patterns[y] + 1.1 * torch.randn(count, 24, generator=generator), y

    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(24, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
    x, y = images(1500)
    model = hrat.prepare(net, hrat.load_spec("generic-4bit", weight_bits=6, sigma_rel=0.01, bias_dac_bits=8), x)
    loader = [(x[k : k + 100], y[k : k + 100]) for k in range(0, 1500, 100)]
    fit(model, loader, epochs=6, lr=5e-3, progress=False)
    test = images(1000)
    return model, [(test[0][:500], test[1][:500]), (test[0][500:], test[1][500:])]


WEAK = {
    "programming.sigma_rel": {"sigma_rel": 0.4},
    "device.weight_bits": {"weight_bits": 1},
    "device.v_read_V": {"v_read_V": 0.015, "input_dac_bits": 12},
    "periphery.v_swing_V": {"v_swing_V": 0.02},
    "periphery.bias_dac_bits": {"bias_dac_bits": 2},
    "periphery.input_dac_bits": {"input_dac_bits": 2},
}
RESTRICTION = {
    "programming.sigma_rel": "error",
    "device.weight_bits": "states",
    "device.v_read_V": "read_voltage",
    "periphery.v_swing_V": "swing",
    "periphery.bias_dac_bits": "bias_dac",
    "periphery.input_dac_bits": "input_dac",
}


@pytest.mark.parametrize("field", WEAK)
def test_the_one_bad_number_is_named(field: str, trained: tuple[PreparedModel, Batches]) -> None:
    model, batches = trained
    budget = restriction_budget(model, batches, spec=model.spec.replace(WEAK[field]), chips=6)
    assert budget.rows[0].name == RESTRICTION[field]
    assert budget.rows[0].removed > 3 * budget.rows[0].removed_error
    assert budget.verified is not None
    assert budget.verified.field == field
    assert budget.verified.rms_gain > 0
    assert field in budget.sentences()[-1]


def test_sums_and_order(trained: tuple[PreparedModel, Batches]) -> None:
    model, batches = trained
    spec = model.spec.replace(sigma_rel=0.15, weight_bits=2, bias_dac_bits=3)
    budget = restriction_budget(model, batches, spec=spec, chips=8)
    assert {row.name for row in budget.rows} == {name for name, on in spec.restrictions().items() if on}
    removed = [row.removed for row in budget.rows]
    assert removed == sorted(removed, reverse=True)
    assert budget.rows[-1].so_far == budget.full
    assert budget.cost == pytest.approx(budget.ideal - budget.full)
    assert budget.interaction == pytest.approx(budget.cost - sum(row.alone for row in budget.rows))
    chips = hrat.program(_deployed(model, spec), chips=8, seed=0)
    accuracies = [hrat.simulate(chips, batches_as_loader(batches)).accuracies]
    assert budget.full == pytest.approx(sum(accuracies[0] or ()) / 8)
    assert budget.worst == pytest.approx(min(accuracies[0] or ()))
    assert [step.gain for step in budget.steps] == sorted((step.gain for step in budget.steps), reverse=True)
    exact = [row for row in budget.rows if row.name not in ("error",)]
    assert all(row.alone_error == 0 for row in exact)  # without an error all chips are one


def _deployed(model: PreparedModel, spec: hrat.HardwareSpec) -> hrat.Deployment:
    with hrat.nn.restrictions(model, spec):
        return hrat.deploy(model)


def batches_as_loader(batches: Batches) -> Any:
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 500)


def test_hardware_without_restrictions_costs_nothing(trained: tuple[PreparedModel, Batches]) -> None:
    model, batches = trained
    budget = restriction_budget(model, batches, spec=model.spec.ideal(), chips=3)
    assert budget.cost == 0
    assert budget.rms == 0
    assert budget.rows == ()
    assert budget.steps == ()
    assert budget.verified is None
    assert "No number of the spec acts" in budget.sentences()[-1]


def test_layers_tell_where_signals_are_lost(trained: tuple[PreparedModel, Batches]) -> None:
    model, batches = trained
    tight = restriction_budget(model, batches, spec=model.spec.replace(v_swing_V=0.01), chips=2).layers
    wide = restriction_budget(model, batches, spec=model.spec.replace(v_swing_V=50.0), chips=2).layers
    for narrow, free in zip(tight, wide, strict=True):
        assert narrow.output_clamped > 0.3 > free.output_clamped == 0
        assert narrow.output_peak_V == pytest.approx(free.output_peak_V)
        assert math.isinf(free.snr_dB["swing"])
        assert narrow.snr_dB["all"] < narrow.snr_dB["error"]
        assert 0 < free.states_bits <= math.log2(free.states_used) <= 6
        assert 0 < free.weights_at_edge < 0.5
    coarse = restriction_budget(model, batches, spec=model.spec.replace(sigma_rel=0.1), chips=2).layers
    assert all(c.snr_dB["error"] < f.snr_dB["error"] for c, f in zip(coarse, wide, strict=True))


def test_steps_are_those_of_what_is_on() -> None:
    spec = hrat.load_spec("generic-4bit")
    steps = {step.field: (step.before, step.after) for step in next_steps(spec)}
    assert steps["device.weight_bits"] == (4, 5)
    assert steps["programming.sigma_rel"] == (0.035, 0.0175)
    assert steps["device.v_read_V"] == pytest.approx((0.3, 0.45))
    assert "array.r_word_ohm" not in steps
    assert "periphery.tile_adc_bits" not in steps
    wired = {step.field for step in next_steps(spec.replace(limit_wires=True, partial_sums="adc"))}
    assert {"array.r_word_ohm", "array.r_bit_ohm", "periphery.tile_adc_bits"} <= wired
    assert next_steps(spec.ideal()) == []
    for step in next_steps(spec):
        assert step.spec != spec


def test_files_tables_and_pictures(trained: tuple[PreparedModel, Batches], tmp_path: Path) -> None:
    model, batches = trained
    told: list[tuple[int, int]] = []
    budget = restriction_budget(model, batches, chips=2, progress=lambda done, total, _: told.append((done, total)))
    assert [done for done, _ in told] == list(range(len(told)))
    assert told[-1][0] == told[-1][1] - 1
    assert RestrictionBudget.load(budget.save(tmp_path / "budget.json")) == budget
    lines = budget.save_csv(tmp_path / "budget.csv").read_text().splitlines()
    assert len(lines) == 1 + len(budget.rows) + len(budget.steps)
    budget_figure(budget, tmp_path / "budget.svg")
    text = (tmp_path / "budget.svg").read_text()
    assert "What each restriction costs" in text
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    console.print(budget_table(budget))
    text = " ".join(console.export_text().split())
    assert "The one number" in text or "single step of a number" in text
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(ArtifactError, match="no restriction budget"):
        RestrictionBudget.load(tmp_path / "broken.json")


@pytest.mark.parametrize(
    ("loader", "how", "message"),
    [
        ([], {}, "yields no images"),
        ([torch.zeros(3, 24)], {}, r"expected batches with a label"),
        (None, {"chips": 0}, "expected 1 chip or more"),
    ],
)
def test_refusals(trained: tuple[PreparedModel, Batches], loader: Any, how: dict[str, Any], message: str) -> None:
    model, batches = trained
    with pytest.raises(HratError, match=message):
        restriction_budget(model, batches if loader is None else loader, **how)
    with pytest.raises(HratError, match="expected a model that"):
        restriction_budget(nn.Linear(2, 2), batches)  # type: ignore[arg-type]
