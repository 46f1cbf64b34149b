"""What a chip takes: against sums over single devices, and counted by hand."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

import formulas
import hrat
from hrat.artifacts import Estimate, ProgrammedChip
from hrat.mapping.redundancy import replicate
from hrat.simulation import Metered, estimate


def chip_of(network: nn.Module, example: Tensor, **overrides: object) -> ProgrammedChip:
    spec = hrat.load_spec("generic-4bit", **{"costs.mvm_s": 1e-7, **overrides})
    model = hrat.prepare(network.double(), spec, example).eval()
    return hrat.program(hrat.deploy(model), seed=1)


NETWORKS = {
    "linear": (lambda: nn.Linear(7, 5), (7,)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=2), (4, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2), (4, 3, 3)),
    "circular": (lambda: nn.Conv1d(3, 2, 3, padding=1, padding_mode="circular"), (3, 6)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("readout", ["dual_rail", "two_stage"])
def test_power_is_the_sum_over_all_devices(name: str, readout: str) -> None:
    make, shape = NETWORKS[name]
    x = torch.rand(3, *shape, dtype=torch.float64) - 0.3
    chip = chip_of(make(), x, **{"periphery.readout": readout})
    result = hrat.simulate(chip, x, solver=Metered())
    plain = hrat.simulate(chip, x)
    torch.testing.assert_close(result.value, plain.value, rtol=1e-12, atol=1e-12)

    (layer_name, layer), programmed = next(iter(chip.deployment.layers.items())), next(iter(chip.layers.values()))
    dac = next(node for node in chip.deployment.graph if node.op == "dac")
    volts_V = formulas.input_voltage(x, chip.deployment.tensors[dac.alpha.key], chip.deployment.spec)
    devices_W = drive_W = products = 0.0
    for patches_V in layer.geometry.patches(volts_V):  # (groups, rows, positions)
        products += patches_V.shape[-1]
        for g_S in (programmed.g_pos_S[0], programmed.g_neg_S[0]):
            for group in range(g_S.shape[0]):
                for v_V in patches_V[group].unbind(-1):
                    each_A = v_V.abs()[:, None] * g_S[group]
                    devices_W += float((each_A * v_V.abs()[:, None]).sum())
                    drive_W += float((each_A * (2.5 - v_V.abs()[:, None])).sum())
    told = result.statistics[layer_name]
    assert told["products"] == products
    assert told["devices_W"] == pytest.approx(devices_W, rel=1e-12)
    assert told["drive_W"] == pytest.approx(drive_W, rel=1e-12)


def test_copies_of_a_weight_count_as_the_devices_they_are() -> None:
    x = torch.rand(2, 6, dtype=torch.float64)
    once = chip_of(nn.Linear(6, 4), x)
    twice = hrat.program(replicate(once.deployment, dict.fromkeys(once.layers, 2)), seed=0)
    power = [
        sum(told["devices_W"] for told in hrat.simulate(chip, x, solver=Metered()).statistics.values())
        for chip in (once, twice)
    ]
    assert power[1] == pytest.approx(2 * power[0], rel=0.1)


class Branches(nn.Module):
    """Two layers that read the same input, and one behind their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.relu(self.a(x) + self.b(x)))


def test_parts_are_counted_as_they_stand_in_the_circuit() -> None:
    x = torch.rand(5, 8, dtype=torch.float64)
    found = estimate(chip_of(Branches(), x), x)
    a, b, c = found.layers
    assert [layer.n_devices for layer in found.layers] == [96, 96, 36]
    assert [layer.n_amplifiers for layer in found.layers] == [14, 14, 9]  # bit lines, and an inverter a word line
    assert a.n_dacs == b.n_dacs == 8 + 6
    assert (c.n_dacs, c.n_adcs) == (3, 3)
    per_conversion_J = 10.1e-15 * 256
    assert a.dac_J + b.dac_J == pytest.approx(8 * per_conversion_J)  # eight values, which both read
    assert c.adc_J == pytest.approx(3 * per_conversion_J)
    assert a.amplifiers_J == pytest.approx(14 * 5e-3 * 1e-7)
    assert [layer.macs for layer in found.layers] == [48, 48, 18]
    assert found.latency_s == pytest.approx(3e-7)
    assert found.interval_s == pytest.approx(1e-7)
    assert sum(found.parts_J().values()) == pytest.approx(found.energy_J, rel=1e-12)
    assert found.ops_per_J == pytest.approx(2 * 114 / found.energy_J)


def test_adcs_between_tiles_are_counted_and_recurrent_layers_convert_each_step() -> None:
    x = torch.rand(4, 40, dtype=torch.float64)
    tiled = chip_of(nn.Linear(40, 5), x, **{"periphery.partial_sums": "adc", "array.rows": 16})
    (layer,) = estimate(tiled, x).layers
    assert layer.n_adcs == 3 * 5
    assert layer.n_amplifiers == 3 * 5 + 40
    assert layer.adc_J == pytest.approx(15 * 10.1e-15 * 256)

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0][:, -1]

    steps = torch.rand(2, 6, 3, dtype=torch.float64)
    found = estimate(chip_of(Last(), steps), steps)
    state = max(found.layers, key=lambda layer: layer.products)
    assert state.products == 6
    assert state.adc_J > 0


def test_energy_follows_voltage_time_and_supply() -> None:
    x = torch.rand(6, 7, dtype=torch.float64)
    network = nn.Linear(7, 5)
    base = estimate(chip_of(network, x), x)
    slower = estimate(chip_of(network, x, **{"costs.mvm_s": 2e-7}), x)
    assert slower.parts_J()["devices"] == pytest.approx(2 * base.parts_J()["devices"])
    assert slower.parts_J()["dac"] == base.parts_J()["dac"]
    dark = estimate(chip_of(network, x), torch.zeros_like(x))
    assert dark.parts_J()["devices"] == dark.parts_J()["drive"] == 0.0
    assert dark.parts_J()["amplifiers"] == base.parts_J()["amplifiers"]
    higher = estimate(chip_of(network, x, **{"costs.supply_V": 5.0}), x)
    assert higher.parts_J()["drive"] > 2 * base.parts_J()["drive"]


def test_the_time_of_a_product_is_the_settling_unless_it_is_given() -> None:
    small, large = torch.rand(3, 8, dtype=torch.float64), torch.rand(3, 80, dtype=torch.float64)
    free = {"costs.mvm_s": None}
    times_s = [estimate(chip_of(nn.Linear(x.shape[1], 4), x, **free), x).layers[0].mvm_s for x in (small, large)]
    assert times_s[0] < times_s[1]


def test_every_number_is_named_with_its_source(tmp_path: object) -> None:
    x = torch.rand(3, 7, dtype=torch.float64)
    chip = chip_of(nn.Linear(7, 5), x, **{"sources": {"costs.mvm_s": "our lab book, page 3"}})
    found = estimate(chip, x)
    named = {said.what.partition(":")[0]: said for said in found.assumptions}
    for field in hrat.HardwareSpec().costs.model_dump():
        assert named[f"costs.{field}"].source
    assert named["costs.mvm_s"].source == "our lab book, page 3"
    assert named["costs.amplifier_W"].value == "0.005"
    assert "OPA836" in named["costs.amplifier_W"].source
    assert Estimate.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_what_cannot_be_estimated_is_refused() -> None:
    x = torch.rand(3, 7, dtype=torch.float64)
    chip = chip_of(nn.Linear(7, 5), x)
    with pytest.raises(hrat.HratError, match="holds no inputs"):
        estimate(chip, [])
    with pytest.raises(hrat.HratError, match="expected the chips"):
        estimate(chip.deployment, x)
    with pytest.raises(ValueError, match="finite"):
        estimate(chip, x * float("nan"))
