"""ADCs between the tiles of a layer: formula, gradient, what they cost, and what learning their range is worth."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import hrat
from hrat.nn import CrossbarLayer, Scale, restrictions, set_noise_strength
from hrat.nn.calibration import calibrate_tile_adcs
from hrat.nn.straight_through import digital_sum_ste
from hrat.physics import digital_sum, digitised
from hrat.spec import HardwareSpec
from hrat.training import parameter_groups


def hardware(**fields: Any) -> HardwareSpec:
    return hrat.load_spec("generic-4bit", **{"partial_sums": "adc", "rows": 8, **fields})


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(30, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 4)).double()


def data(n: int = 400) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 30, dtype=torch.float64, generator=generator)
    return x, (x @ torch.randn(30, 4, dtype=torch.float64, generator=generator)).argmax(1)


# ---- the converter


@given(bits=st.integers(2, 10), full_scale_V=st.floats(0.01, 2.0))
def test_an_adc_is_off_by_half_a_step_and_saturates(bits: int, full_scale_V: float) -> None:
    scale = torch.tensor([full_scale_V], dtype=torch.float64)
    step_V = full_scale_V / (2 ** (bits - 1) - 1)
    x = torch.linspace(-2 * full_scale_V, 2 * full_scale_V, 997, dtype=torch.float64)
    got = digitised(x, bits, scale)
    assert bool((got.diff() >= 0).all())
    assert float(got.abs().max()) == pytest.approx(full_scale_V)
    inside = x.abs() <= full_scale_V
    assert float((got - x)[inside].abs().max()) <= step_V / 2 * (1 + 1e-9)
    assert len(got.unique()) <= 2**bits - 1
    torch.testing.assert_close(digitised(-x, bits, scale), -got)


def test_each_tile_meets_its_own_limits() -> None:
    spec = hardware(tile_adc_bits=8, v_swing_V=0.5)
    partial_V = torch.tensor([[0.2], [0.9], [-0.9]], dtype=torch.float64)
    full_scale_V = torch.tensor([0.1, 0.4, 1.0], dtype=torch.float64)
    got = digital_sum(partial_V, full_scale_V, spec.periphery)
    assert float(got) == pytest.approx(0.1 + 0.4 - 64 / 127)  # its ADC, its ADC, the swing of its amplifier
    assert float(digital_sum(partial_V, full_scale_V, spec.ideal().periphery)) == pytest.approx(0.2)


def test_the_gradient_is_that_of_the_formula_with_rounding_passed_through() -> None:
    spec = hardware(tile_adc_bits=4, v_swing_V=0.8)
    generator = torch.Generator().manual_seed(2)
    partial_V = torch.randn(3, 7, 5, dtype=torch.float64, generator=generator).requires_grad_()
    full_scale_V = torch.tensor([0.3, 0.7, 1.5], dtype=torch.float64, requires_grad=True)
    wanted = torch.randn(7, 5, dtype=torch.float64, generator=generator)

    held = partial_V.clamp(-0.8, 0.8)
    x = (held / full_scale_V.view(3, 1, 1)).clamp(-1, 1)
    plain = (full_scale_V.view(3, 1, 1) * (x + (torch.round(x * 7) / 7 - x).detach())).sum(0)
    torch.testing.assert_close(digital_sum_ste(partial_V, full_scale_V, spec.periphery), plain)
    expected = torch.autograd.grad((plain * wanted).sum(), (partial_V, full_scale_V))
    got = torch.autograd.grad(
        (digital_sum_ste(partial_V, full_scale_V, spec.periphery) * wanted).sum(), (partial_V, full_scale_V)
    )
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


# ---- the network


@pytest.mark.parametrize("readout", ["dual_rail", "two_stage"])
@pytest.mark.parametrize("form", ["one_pass", "two_pass", "slice", "unfused"])
def test_every_part_of_it_trains(form: Any, readout: str) -> None:
    x, y = data(64)
    model = hrat.prepare(network(), hardware(tile_adc_bits=4, readout=readout), x, batch_norm=form).train()
    F.cross_entropy(model(x), y).backward()
    scales = [layer.log_tile_adc_V for layer in model.modules() if isinstance(layer, CrossbarLayer)]
    assert [None if p is None else len(p) for p in scales] == [4, 3]
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert bool(torch.isfinite(p.grad).all()), name
    assert all(p is not None and p.grad is not None and bool((p.grad != 0).any()) for p in scales)


def test_many_bits_are_as_good_as_one_sum_and_fewer_are_worse() -> None:
    x, _ = data(200)
    net = network().eval()
    with torch.no_grad():
        exact = net(x)
        distances = []
        for bits in (8, 10, 12, 14, 16):
            spec = hardware(tile_adc_bits=bits, v_tile_adc_V=4.0, learn_tile_adc=False).only("tile_adc")
            distances.append(float((hrat.prepare(net, spec, x).eval()(x) - exact).square().mean().sqrt()))
    assert distances == sorted(distances, reverse=True)
    for coarse, fine in pairwise(distances):
        assert coarse / fine == pytest.approx(4, rel=0.3)  # two bits more are steps of a quarter


def test_training_finds_the_full_scales() -> None:
    """From a start that wastes most codes, with scales of signals held: they could make up for it."""
    x, y = data(1200)
    losses = {}
    for learn in (True, False):
        torch.manual_seed(3)
        spec = hardware(tile_adc_bits=3, v_tile_adc_V=8.0, v_swing_V=8.0, learn_tile_adc=learn).without("error")
        model = hrat.prepare(network(), spec, x)
        for module in model.modules():
            if isinstance(module, Scale):
                module.requires_grad_(False)
        optimizer = torch.optim.AdamW(parameter_groups(model.train(), lr=3e-3, scale_lr=3e-2))
        for step in range(150):
            batch = slice(step % 12 * 100, step % 12 * 100 + 100)
            loss = F.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            losses[learn] = float(F.cross_entropy(model.eval()(x), y))
        scales = [p.exp() for n, p in model.named_parameters() if n.endswith("log_tile_adc_V")]
        moved = [bool(((s * len(s) ** 0.5 if learn else s) - 8.0).abs().max() > 0.1) for s in scales]
        assert moved == [learn, learn]
    assert losses[True] < 0.8 * losses[False]


def test_calibration_fits_full_scales_to_what_flows() -> None:
    x, _ = data(300)
    model = hrat.prepare(network().eval(), hardware(v_tile_adc_V=1.0), x).eval()
    calibrate_tile_adcs(model, lambda: model(x), quantile=1.0)
    layer = next(m for m in model.modules() if isinstance(m, CrossbarLayer))
    seen: list[Tensor] = []
    layer.watch_partial_sums = seen.append
    with torch.no_grad(), restrictions(model, model.spec.ideal()):
        model(x)
    assert layer.tile_adc_V is not None
    torch.testing.assert_close(layer.tile_adc_V.detach(), seen[0].abs().flatten(1).amax(1).clamp(max=1.0))
    fixed = hrat.prepare(network().eval(), hardware(learn_tile_adc=False), x).eval()
    calibrate_tile_adcs(fixed, lambda: fixed(x))
    layer = next(m for m in fixed.modules() if isinstance(m, CrossbarLayer))
    assert layer.tile_adc_V is not None
    assert layer.tile_adc_V.tolist() == [1.0] * 4


def test_the_report_names_the_adcs() -> None:
    x, _ = data(20)
    model = hrat.prepare(network(), hardware(tile_adc_bits=6), x)
    text = str(model.report)
    assert "4, ADCs of 6 bits" in text
    assert "digital" in text
    assert model.report.adcs == 2
    assert [row.operation for row in model.report.digital_operations] == ["relu"]
    assert "partial_sums" not in text


def test_adcs_without_a_layer_that_needs_them_are_told() -> None:
    x, _ = data(20)
    report = hrat.prepare(network(), hardware(rows=30), x).report
    assert any("rows (30): there are no partial sums" in note for note in report.notes)
    assert not any("partial sums" in note for note in hrat.prepare(network(), hardware(rows=29), x).report.notes)


# ---- the chip


def test_a_saved_chip_computes_the_same(tmp_path: Path) -> None:
    x, _ = data(20)
    spec = hardware(tile_adc_bits=4)
    model = hrat.prepare(network(), spec, x).eval()
    deployment = hrat.deploy(model)
    assert [None if layer.tile_adc_V is None else len(layer.tile_adc_V) for layer in deployment.layers.values()] == [
        4,
        3,
    ]
    assert all(layer.bias_codes is None for layer in deployment.layers.values())
    loaded = hrat.load(deployment.save(tmp_path / "net.deployment"))
    assert loaded.is_same_as(deployment)
    chips = [hrat.program(one, seed=1) for one in (deployment, loaded)]
    assert torch.equal(*(hrat.simulate(chip, x).value for chip in chips))
    hrat.export_csv(deployment, tmp_path / "tables")
    rows = (tmp_path / "tables" / "tile_adcs.csv").read_text().splitlines()
    assert rows[0] == "layer,grid_row,bits,full_scale_V"
    assert [row.split(",")[:3] for row in rows[1:]] == [["0", str(k), "4"] for k in range(4)] + [
        ["3", str(k), "4"] for k in range(3)
    ]


def test_other_tiles_than_those_trained_for_are_refused() -> None:
    x, _ = data(20)
    deployment = hrat.deploy(hrat.prepare(network(), hardware(), x).eval())
    with pytest.raises(hrat.HratError, match=r"layer '0': tile_adc_V has shape \(4,\), expected \(2,\).*16 rows"):
        deployment.with_array(rows=16)
    with pytest.raises(hrat.HratError, match=r"layer '0': 2 copies of its word lines would lie on other tiles"):
        hrat.mapping.replicate(deployment, {"0": 2})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tile_adc_bits": None}, "partial_sums is adc and limit_tile_adc is on, but tile_adc_bits is not given"),
        ({"tile_adc_bits": 1}, "tile_adc_bits"),
        ({"v_tile_adc_V": 0.0}, "v_tile_adc_V"),
        ({"partial_sums": "digital"}, "partial_sums"),
    ],
)
def test_adcs_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(hrat.HratError, match=message):
        hardware(**fields)


def test_settings_without_effect_are_told() -> None:
    assert any("tile_adc_bits has no effect" in w for w in hrat.load_spec("generic-4bit", tile_adc_bits=5).warnings())
    assert any("outer codes" in w for w in hardware(v_tile_adc_V=2.0, learn_tile_adc=False).warnings())
    assert not any("ADC" in w for w in hardware().warnings())
    assert hardware().restrictions()["tile_adc"]
    assert not hrat.load_spec("generic-4bit").restrictions()["tile_adc"]


def test_autocast_keeps_fine_converters_fine() -> None:
    x, _ = data(50)
    spec = hardware(tile_adc_bits=12, learn_tile_adc=False).only("tile_adc")
    model = hrat.prepare(network().float(), spec, x.float()).train()
    set_noise_strength(model, 0.0)
    plain = copy.deepcopy(model)(x.float())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(x.float())
    assert float((mixed.float() - plain).square().mean().sqrt()) < 0.03 * float(plain.std())
