"""Compensation of known wires after training."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

import hrat
from hrat.artifacts import Deployment
from hrat.encoding.wires import effective_pair
from hrat.errors import ConversionError
from hrat.mapping import compensate
from hrat.physics import attenuated
from hrat.spec import Array


def deployment(limit_wires: bool = True, **changes: object) -> Deployment:
    torch.manual_seed(4)
    network = nn.Sequential(nn.Linear(40, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 10)).double()
    spec = hrat.load_spec("generic-4bit", rows=32, cols=32, **changes)
    model = hrat.prepare(network, spec, torch.rand(16, 40, dtype=torch.float64)).eval()
    return dataclasses.replace(hrat.deploy(model), spec=spec.replace(limit_wires=limit_wires))


def gains(given: Deployment, name: str, wires: bool) -> Tensor:
    layer = given.layers[name]
    pos, neg = layer.g_pos_S, layer.g_neg_S
    if wires:
        pos, neg = effective_pair(pos, neg, given.spec)
    return layer.r_f_ohm * (pos - neg)


def error(given: Deployment, wanted: Deployment, name: str) -> float:
    want = gains(wanted, name, wires=False)
    return float((gains(given, name, wires=True) - want).norm() / want.norm())


@pytest.mark.parametrize("readout", ["dual_rail", "two_stage"])
@pytest.mark.parametrize("r_ohm", [1.0, 5.0])
def test_most_of_the_error_goes_and_the_report_is_true(readout: str, r_ohm: float) -> None:
    plain = deployment(readout=readout, r_word_ohm=r_ohm, r_bit_ohm=r_ohm)
    compensated, report = compensate(plain)
    for name, row in report.layers.items():
        assert row.error_before == pytest.approx(error(plain, plain, name), rel=1e-9)
        assert row.error_after == pytest.approx(error(compensated, plain, name), rel=1e-9)
        # Where the states are coarser than the loss, the targets are best left alone.
        assert row.error_after <= (1.0 if r_ohm < 2.0 else 0.6) * row.error_before
        assert row.removed == pytest.approx(1 - row.error_after / row.error_before)
        assert row.r_f_factor >= 1.0
        assert compensated.layers[name].r_f_ohm == pytest.approx(row.r_f_factor * plain.layers[name].r_f_ohm)
    assert "R_f times" in str(report)


def test_continuous_conductances_within_the_window_leave_nearly_no_error() -> None:
    plain = deployment(r_word_ohm=2.0, r_bit_ohm=2.0, limit_states=False, limit_error=False)
    compensated, report = compensate(plain)
    for row in report.layers.values():
        assert row.error_before > 0.03
        # With no programming error to magnify, R_f may grow until no weight wants more than the window has.
        assert row.error_after < 1e-4
        assert row.saturated == 0.0
    assert compensated.layers.keys() == plain.layers.keys()


def test_targets_are_states_of_the_device_and_one_partner_rests() -> None:
    compensated, _ = compensate(deployment(r_word_ohm=3.0, r_bit_ohm=3.0))
    states_S = torch.tensor(compensated.spec.device.states_S, dtype=torch.float64)
    for layer in compensated.layers.values():
        for g_S in (layer.g_pos_S, layer.g_neg_S):
            assert float((g_S.unsqueeze(-1) - states_S).abs().amin(-1).max()) < 1e-12
        assert bool((torch.minimum(layer.g_pos_S, layer.g_neg_S) == states_S[0]).all())


def test_biases_graph_and_the_given_deployment_stay() -> None:
    plain = deployment()
    before = {name: layer.g_pos_S.clone() for name, layer in plain.layers.items()}
    compensated, _ = compensate(plain)
    assert compensated.graph == plain.graph
    for name, layer in plain.layers.items():
        assert torch.equal(layer.g_pos_S, before[name])
        assert compensated.layers[name].bias_V is layer.bias_V
        assert compensated.layers[name].bias_codes is layer.bias_codes
        assert compensated.layers[name].g_pos_S.dtype == layer.g_pos_S.dtype


def test_ideal_wires_leave_everything_as_it_is() -> None:
    plain = deployment(r_word_ohm=0.0, r_bit_ohm=0.0)
    compensated, report = compensate(plain)
    assert compensated.is_same_as(plain)
    assert all(row.error_before == 0.0 and row.removed == 0.0 for row in report.layers.values())


def test_a_common_loss_goes_to_the_feedback_resistance() -> None:
    def third(g_S: Tensor, array: Array) -> Tensor:
        return g_S / 3

    plain = deployment()
    compensated, report = compensate(plain, effective=third)
    for name, row in report.layers.items():
        assert row.r_f_factor == pytest.approx(3.0)
        assert row.error_after < 1e-12
        torch.testing.assert_close(compensated.layers[name].g_pos_S, plain.layers[name].g_pos_S, rtol=1e-12, atol=0.0)


def test_another_solver_is_asked() -> None:
    asked = []

    def solver(g_S: Tensor, array: Array) -> Tensor:
        asked.append(g_S.shape[-2:])
        return attenuated(g_S, array)

    same, _ = compensate(deployment(), effective=solver)
    assert (64, 24) in asked  # 32 of the 40 inputs, twice each
    assert same.is_same_as(compensate(deployment())[0])


def test_a_spec_with_ideal_wires_is_refused() -> None:
    with pytest.raises(ConversionError, match="limit_wires"):
        compensate(deployment(limit_wires=False))
