"""Wires as a restriction of training: what a layer computes with is what the chip's tiles let through."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import hrat
from hrat.artifacts import ProgrammedChip
from hrat.encoding import Geometry, Readout, effective_pair, encode_pair, tile_grid
from hrat.nn import use_chip
from hrat.nn.straight_through import pair_of
from hrat.physics import attenuated
from hrat.spec import HardwareSpec


def wired(**changes: object) -> HardwareSpec:
    """Small tiles with long wires."""
    wires = {"rows": 7, "cols": 5, "r_word_ohm": 30.0, "r_bit_ohm": 20.0, "r_sense_ohm": 15.0, "limit_wires": True}
    return hrat.load_spec("generic-4bit", **{**wires, **changes})


def pairs(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    pos, neg = (50e-6 + 150e-6 * torch.rand(*shape, dtype=torch.float64, generator=generator) for _ in range(2))
    return pos, neg


@pytest.mark.parametrize("readout", ["dual_rail", "two_stage"])
@pytest.mark.parametrize("shape", [(1, 3, 2), (2, 16, 11), (1, 7, 10), (3, 14, 4)])
def test_a_layer_is_cut_into_the_tiles_of_the_deployment(readout: str, shape: tuple[int, int, int]) -> None:
    spec = wired(readout=readout)
    pos, neg = pairs(*shape)
    got_pos, got_neg = effective_pair(pos, neg, spec)
    for tile in tile_grid(shape, spec.array):
        of_spec = Readout.of(spec)
        grid = of_spec.to_grid(pos[tile.index], neg[tile.index])
        want = of_spec.from_grid(attenuated(grid, spec.array))
        torch.testing.assert_close(got_pos[tile.index], want[0], rtol=1e-12, atol=0.0)
        torch.testing.assert_close(got_neg[tile.index], want[1], rtol=1e-12, atol=0.0)


def test_rails_lie_as_the_circuit_has_them() -> None:
    pos, neg = pairs(3, 2)
    rows = Readout.of(wired(readout="dual_rail")).to_grid(pos, neg)
    assert torch.equal(rows[2], pos[1])
    assert torch.equal(rows[3], neg[1])
    cols = Readout.of(wired(readout="two_stage")).to_grid(pos, neg)
    assert torch.equal(cols[:, 2], pos[:, 1])
    assert torch.equal(cols[:, 3], neg[:, 1])


def test_chips_are_taken_at_once() -> None:
    spec = wired()
    pos, neg = pairs(3, 2, 16, 11)
    got_pos, got_neg = effective_pair(pos, neg, spec)
    for chip in range(3):
        alone = effective_pair(pos[chip], neg[chip], spec)
        torch.testing.assert_close(got_pos[chip], alone[0], rtol=1e-11, atol=0.0)
        torch.testing.assert_close(got_neg[chip], alone[1], rtol=1e-11, atol=0.0)


def test_without_the_restriction_nothing_is_done() -> None:
    pos, neg = pairs(1, 16, 11)
    got = effective_pair(pos, neg, wired(limit_wires=False))
    assert got[0] is pos
    assert got[1] is neg


@pytest.mark.parametrize("pairs", ["one_sided", "centred"])
def test_pairs_have_the_values_of_the_encoding_and_a_gradient_of_one(pairs: str) -> None:
    device = hrat.load_spec("generic-4bit", pairs=pairs).device
    fraction = torch.tensor([-1.0, -0.2, 0.0, 1 / 3, 1.0], dtype=torch.float64, requires_grad=True)
    geometry = Geometry(kind="linear", in_channels=5, out_channels=1)
    pair = pair_of(fraction, geometry, Readout.of(HardwareSpec(device=device)), device)
    for got, want in zip(pair, encode_pair(fraction, device), strict=True):
        assert torch.equal(got, want)
    ((pair[0] - pair[1]) / device.g_range_S).sum().backward()
    assert fraction.grad is not None
    torch.testing.assert_close(fraction.grad, torch.ones_like(fraction))


LAYERS = {
    "linear": lambda: (nn.Linear(20, 9), torch.rand(6, 20) - 0.3),
    "convolution": lambda: (nn.Conv2d(3, 6, 3, padding=1), torch.rand(4, 3, 5, 5) - 0.3),
    "groups": lambda: (nn.Conv2d(4, 6, 3, groups=2), torch.rand(4, 4, 5, 5) - 0.3),
    "transposed": lambda: (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), torch.rand(4, 4, 3, 3) - 0.3),
}


def chip_formula(chip: ProgrammedChip, index: int, voltage: Tensor) -> Tensor:
    """The only layer of a chip, from the conductances that its devices reached: its outputs, V."""
    (name,) = chip.layers
    layer, spec = chip.deployment.layers[name], chip.deployment.spec
    seen = effective_pair(chip.layers[name].g_pos_S[index], chip.layers[name].g_neg_S[index], spec)
    geometry: Geometry = layer.geometry
    pos, neg = (geometry.apply(voltage, geometry.from_matrix(layer.r_f_ohm * g_S)) for g_S in seen)
    swing = spec.periphery.v_swing_V
    first = neg.clamp(-swing, swing) if spec.periphery.readout == "two_stage" else neg
    assert layer.bias_V is not None
    return (pos - first + geometry.channel_view(layer.bias_V)).clamp(-swing, swing)


@pytest.mark.parametrize("readout", ["dual_rail", "two_stage"])
@pytest.mark.parametrize("name", LAYERS)
def test_eval_with_the_errors_of_a_chip_is_that_chip(name: str, readout: str) -> None:
    layer, x = LAYERS[name]()
    layer, x = layer.double(), x.double()
    spec = wired(readout=readout, r_driver_ohm=40.0, drive="both_ends")
    model = hrat.prepare(layer, spec, x).eval()
    chip = hrat.program(hrat.deploy(model), chips=2)
    dac, reader = (next(node for node in chip.deployment.graph if node.op == op) for op in ("dac", "reader"))
    scale_in, scale_out = (chip.deployment.tensors[node.alpha.key] for node in (dac, reader))
    v_read, steps = spec.device.v_read_V, 2**7 - 1
    voltage = ((x * scale_in).clamp(-v_read, v_read) * (steps / v_read)).round() * (v_read / steps)
    for index in range(2):
        with torch.no_grad(), use_chip(model, chip, index):
            got = model(x)
        want = chip_formula(chip, index, voltage) / scale_out
        assert float((got - want).abs().max()) <= 1e-12 * max(1.0, float(want.abs().max()))
    with torch.no_grad(), use_chip(model, chip, 0), hrat.nn.restrictions(model, spec.without("wires")):
        assert float((model(x) - got).abs().max()) > 1e-3


@pytest.mark.parametrize("readout", ["dual_rail", "two_stage"])
@pytest.mark.parametrize("form", ["two_pass", "slice", "one_pass", "unfused"])
def test_trains_in_every_form_of_batch_norm(form: str, readout: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(54, 8), nn.BatchNorm1d(8), nn.ReLU()
    )
    network.append(nn.Linear(8, 3))
    x, target = torch.randn(32, 2, 5, 5), torch.arange(32) % 3
    x[:, 0] += target[:, None, None] - 1.0
    model = hrat.prepare(network, wired(readout=readout), x, batch_norm=form)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(25):
        loss = nn.functional.cross_entropy(model(x), target)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_the_switch_alone_loses_nothing_elsewhere() -> None:
    layer, x = nn.Linear(20, 9).double().eval(), torch.rand(6, 20, dtype=torch.float64)
    model = hrat.prepare(layer, wired().only("wires"), x).eval()
    with torch.no_grad():
        assert float((model(x) - layer(x)).abs().max()) > 1e-3
        with hrat.nn.restrictions(model, wired().ideal()):
            torch.testing.assert_close(model(x), layer(x), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("solver", ["behavioural", "nodal"])
def test_resistances_that_numbers_cannot_hold_are_refused(solver: str) -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    chip = hrat.program(hrat.deploy(hrat.prepare(nn.Linear(3, 2).eval(), "generic-4bit", x)))
    with pytest.raises(hrat.HratError, match="resistance"):
        hrat.simulate(chip.with_array(limit_wires=True, r_word_ohm=1e308), x, solver=solver)
    large = hrat.simulate(chip.with_array(limit_wires=True, r_word_ohm=1e12), x, solver=solver)
    assert bool(large.value.isfinite().all())
