"""Sign, orientation and units, with numbers worked out by hand: V = ohm * S * V."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hrat
from hrat.artifacts import DeployedLayer, ProgrammedLayer
from hrat.circuit import Crossbar, Dac, Input, Output, OutputRescale, Ref, TensorKey
from hrat.encoding import Geometry
from hrat.spec import HardwareSpec

IDEAL = HardwareSpec().ideal()


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def crossbar(
    g_pos_S: Any, g_neg_S: Any, *, r_f_ohm: float, spec: HardwareSpec = IDEAL, bias_V: Any = None
) -> hrat.ProgrammedChip:
    """One linear layer whose word lines carry the input in volts and whose outputs are read in volts."""
    g_pos_S, g_neg_S = tensor(g_pos_S).unsqueeze(0), tensor(g_neg_S).unsqueeze(0)
    geometry = Geometry(kind="linear", in_channels=g_pos_S.shape[1], out_channels=g_pos_S.shape[2])
    layer = DeployedLayer(
        name="fc",
        geometry=geometry,
        g_pos_S=g_pos_S,
        g_neg_S=g_neg_S,
        r_f_ohm=r_f_ohm,
        bias_V=None if bias_V is None else tensor(bias_V),
        bias_codes=None,
    )
    graph = (
        Input("x", "x"),
        Dac("v", Ref("x"), TensorKey("one")),
        Crossbar("out", Ref("v"), "fc"),
        OutputRescale("read", Ref("out"), TensorKey("one")),
        Output("output", Ref("read")),
    )
    deployment = hrat.Deployment(spec=spec, layers={"fc": layer}, graph=graph, tensors={"one": tensor(1.0)})
    programmed = ProgrammedLayer(g_pos_S=g_pos_S.unsqueeze(0), g_neg_S=g_neg_S.unsqueeze(0))
    return hrat.ProgrammedChip(deployment=deployment, layers={"fc": programmed}, seeds=(0,), scheme="by hand")


def out_V(chip: hrat.ProgrammedChip, volts: Any) -> list[list[float]]:
    value = hrat.simulate(chip, tensor(volts), voltages_of=["fc"])
    assert torch.equal(value.value, value.voltages["fc"])
    return value.value[0].tolist()


def test_one_cell() -> None:
    """10 kohm * (150 - 50) uS * 0.2 V = 0.2 V; a larger positive partner makes a positive output."""
    chip = crossbar([[150e-6]], [[50e-6]], r_f_ohm=1e4)
    assert out_V(chip, [[0.2], [-0.1], [0.0]]) == [[pytest.approx(0.2)], [pytest.approx(-0.1)], [0.0]]
    assert out_V(crossbar([[50e-6]], [[150e-6]], r_f_ohm=1e4), [[0.2]]) == [[pytest.approx(-0.2)]]


def test_five_rows_drive_four_columns() -> None:
    """One row at a time: row j times column i gives R_f (G+_ji - G-_ji) v_j, and nothing else."""
    g_pos = [[10e-6 * (1 + 4 * j + i) for i in range(4)] for j in range(5)]
    g_neg = [[5e-6 * (j + 1) for _ in range(4)] for j in range(5)]
    chip = crossbar(g_pos, g_neg, r_f_ohm=2000.0)
    for row in range(5):
        volts = [0.1 if j == row else 0.0 for j in range(5)]
        expected = [2000.0 * (g_pos[row][i] - g_neg[row][i]) * 0.1 for i in range(4)]
        assert out_V(chip, [volts])[0] == pytest.approx(expected, rel=1e-12)
    volts = [0.1, -0.2, 0.05, 0.3, -0.15]
    expected = [2000.0 * math.fsum((g_pos[j][i] - g_neg[j][i]) * volts[j] for j in range(5)) for i in range(4)]
    assert out_V(chip, [volts])[0] == pytest.approx(expected, rel=1e-12)


def test_bias_is_added_in_volts() -> None:
    chip = crossbar([[100e-6, 60e-6]], [[50e-6, 50e-6]], r_f_ohm=1e4, bias_V=[0.25, -0.5])
    assert out_V(chip, [[0.1]])[0] == pytest.approx([0.05 + 0.25, 0.01 - 0.5])


def test_word_lines_and_outputs_are_clamped() -> None:
    spec = HardwareSpec().only("read_voltage", "swing").replace(v_read_V=0.3, v_swing_V=0.8)
    chip = crossbar([[150e-6]], [[50e-6]], r_f_ohm=2e4, spec=spec)
    got = [row[0] for row in out_V(chip, [[0.1], [0.3], [0.39], [-5.0]])]
    assert got == pytest.approx([0.2, 0.6, 0.6, -0.6])
    steep = crossbar([[150e-6]], [[50e-6]], r_f_ohm=1e5, spec=spec)
    assert [row[0] for row in out_V(steep, [[0.05], [0.1], [-0.3]])] == pytest.approx([0.5, 0.8, -0.8])


def test_in_two_stages_the_negative_column_saturates_by_itself() -> None:
    """I+ 1.5 V, I- 1.2 V held to 1 V: 0.5 V in place of 0.3 V."""
    spec = HardwareSpec().only("swing").replace(v_swing_V=1.0, readout="two_stage")
    chip = crossbar([[150e-6]], [[120e-6]], r_f_ohm=1e5, spec=spec)
    assert out_V(chip, [[0.1]])[0] == pytest.approx([0.5])
    assert out_V(chip, [[-0.1]])[0] == pytest.approx([-0.5])
    assert out_V(chip, [[0.05]])[0] == pytest.approx([0.15])
    dual = crossbar([[150e-6]], [[120e-6]], r_f_ohm=1e5, spec=spec.replace(readout="dual_rail"))
    assert out_V(dual, [[0.1]])[0] == pytest.approx([0.3])


def test_the_input_converter_rounds_to_its_codes() -> None:
    """3 bits over 0.3 V: steps of 0.1 V."""
    spec = HardwareSpec().only("input_dac").replace(input_dac_bits=3, v_read_V=0.3)
    chip = crossbar([[150e-6]], [[50e-6]], r_f_ohm=1e4, spec=spec)
    got = [row[0] for row in out_V(chip, [[0.04], [0.06], [0.29], [2.0], [-0.16]])]
    assert got == pytest.approx([0.0, 0.1, 0.3, 0.3, -0.2])


def known_model() -> tuple[nn.Module, Tensor]:
    """Five inputs, four outputs, weights of both signs and of different size."""
    layer = nn.Linear(5, 4).double()
    layer.weight.data = tensor([[(1 + 5 * i + j) * (-1) ** (i * j) / 20 for j in range(5)] for i in range(4)])
    layer.bias.data = tensor([0.1, -0.25, 0.0, 2.0])
    return layer, torch.eye(5, dtype=torch.float64)


def test_a_weight_of_the_network_becomes_the_pair_at_row_input_column_output() -> None:
    model, x = known_model()
    prepared = hrat.prepare(model, HardwareSpec().only("bias_dac"), x)
    scale_in, scale_out = (m for m in prepared.modules() if isinstance(m, hrat.nn.Scale))
    scale_in.set(0.3)
    scale_out.set(0.5)
    (layer,) = hrat.deploy(prepared).layers.values()
    assert layer.g_pos_S.shape == (1, 5, 4)
    for j in range(5):
        for i in range(4):
            g_pos, g_neg = float(layer.g_pos_S[0, j, i]), float(layer.g_neg_S[0, j, i])
            weight = model.weight[i, j].item()
            assert layer.r_f_ohm * (g_pos - g_neg) == pytest.approx(0.5 / 0.3 * weight, rel=1e-12)
            assert min(g_pos, g_neg) == 50e-6
            assert (g_pos > g_neg) == (weight > 0)


def test_bias_codes_by_hand() -> None:
    """6 bits over 1 V: codes -31 to 31. With 0.5 V per unit, 0.1 -> 0.05 V -> code 2, -0.25 -> -4, 2.0 -> 31."""
    model, x = known_model()
    prepared = hrat.prepare(model, HardwareSpec().only("bias_dac"), x)
    _, scale_out = (m for m in prepared.modules() if isinstance(m, hrat.nn.Scale))
    scale_out.set(0.5)
    (layer,) = hrat.deploy(prepared).layers.values()
    assert layer.bias_codes is not None
    assert layer.bias_codes.tolist() == [2, -4, 0, 31]
    assert layer.bias_codes.dtype == torch.int32
    assert layer.bias_V is not None
    assert layer.bias_V.tolist() == pytest.approx([2 / 31, -4 / 31, 0.0, 1.0])


def test_a_full_pair_realises_the_range_of_the_layer() -> None:
    """With states or errors a weight of exp(log_range) root mean squares is the whole window."""
    model, x = known_model()
    prepared = hrat.prepare(model, HardwareSpec().only("states"), x)
    (layer,) = hrat.nn.crossbar_layers(prepared).values()
    layer.log_range.data.fill_(math.log(2.0))
    scale_in, scale_out = (float(m().detach()) for m in prepared.modules() if isinstance(m, hrat.nn.Scale))
    (deployed,) = hrat.deploy(prepared).layers.values()
    rms = float(model.weight.detach().square().mean().sqrt()) * scale_out / scale_in
    assert deployed.r_f_ohm * 150e-6 == pytest.approx(2.0 * rms, rel=1e-12)
