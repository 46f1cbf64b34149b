"""The laws, and a training step, for the families of networks that people put on crossbars."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.data import TensorDataset

import hrat
from hrat.circuit import input_names
from hrat.nn.crossbar_layer import CrossbarLayer
from hrat.simulation import Amplifier, ChipSolver, Metered, Spice
from hrat.training import make_loader
from laws.architectures import ARCHITECTURES, DenseNet, architecture
from laws.checks import assert_law2, assert_laws, assert_model_is_chip, assert_same
from laws.networks import NETWORKS, SPECS, network
from ngspice import needs_ngspice

RECURRENT = ("lstm", "lstm deep", "gru", "rnn", "rnn relu")


@pytest.mark.parametrize(
    ("spec", "scales"), [("harsh", "signal"), ("wan2022 two-stage", "channel"), ("tile ADCs", "channel")]
)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_laws_1_to_3(name: str, spec: str, scales: str) -> None:
    model, x = architecture(name)
    assert_laws(model, x, SPECS[spec], scales=scales)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_law_4_nodal(name: str) -> None:
    chip, x = _small_tiles(name, "harsh two-stage")
    assert_same(hrat.simulate(chip, x, solver="nodal").value, hrat.simulate(chip, x).value, "law 4, nodal")


@needs_ngspice
@pytest.mark.parametrize("name", ["convnext", "densenet", "lstm", "gru", "own loop, parameters", "vit", "gpt"])
def test_law_4_spice(name: str) -> None:
    chip, x = _small_tiles(name, "harsh")
    spice = hrat.simulate(chip, x[:1], solver=Spice(amplifier=Amplifier(gain=None)))
    assert_same(spice.value, hrat.simulate(chip, x[:1]).value, "law 4, SPICE", 1e-9)


def _small_tiles(name: str, spec: str) -> tuple[hrat.ProgrammedChip, Any]:
    model, x = architecture(name)
    hardware = SPECS[spec].replace({"array.rows": 12, "array.cols": 5})
    return hrat.program(hrat.deploy(hrat.prepare(model, hardware, x)), seed=2), x


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_training_step_reaches_every_parameter(name: str) -> None:
    model, x = architecture(name)
    model.requires_grad_(True).train()
    prepared = hrat.prepare(model, SPECS["harsh"], x)
    parameters = {key: p for key, p in prepared.named_parameters() if p.requires_grad}
    before = {key: p.detach().clone() for key, p in parameters.items()}
    optimiser = torch.optim.SGD(parameters.values(), lr=0.01)
    out = prepared(*x) if isinstance(x, tuple) else prepared(x)
    sum(leaf.square().mean() for leaf in tree_leaves(out) if isinstance(leaf, Tensor)).backward()  # type: ignore[union-attr]
    optimiser.step()
    for key, parameter in parameters.items():
        assert parameter.grad is not None, key
        assert bool(torch.isfinite(parameter.grad).all()), key
    assert any(not torch.equal(p, before[key]) for key, p in parameters.items())


def _longer_batch(name: str, x: Any) -> Any:
    dim = 1 if "state" in name or name == "cross attention" else 0

    def three(tensor: Tensor) -> Tensor:
        return torch.cat([tensor, tensor.flip(dim), tensor], dim)

    return tuple(map(three, x)) if isinstance(x, tuple) else three(x)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "gru without batch"])
def test_the_batch_is_free(name: str) -> None:
    model, x = architecture(name)
    prepared = hrat.prepare(model, SPECS["harsh"], x)
    chip = hrat.program(hrat.deploy(prepared))
    for other in (_longer_batch(name, x), tuple(t[:1] for t in x) if name == "transformer" else x):
        assert_model_is_chip(prepared, chip, other)
        assert_law2(model, other, SPECS["harsh"], prepared=prepared)


@pytest.mark.parametrize("name", [*RECURRENT, "gpt", "transformer encoder", "causal encoder"])
def test_the_length_of_a_sequence_is_free(name: str) -> None:
    model, x = architecture(name)
    prepared = hrat.prepare(model, SPECS["harsh"], x)
    chip = hrat.program(hrat.deploy(prepared))
    for length in (1, 3):
        assert_model_is_chip(prepared, chip, x[:, :length])
        assert_law2(model, x[:, :length], SPECS["harsh"], prepared=prepared)


@pytest.mark.parametrize("name", ["own loop, lstm cell", "own loop, parameters"])
def test_a_loop_of_ones_own_has_the_examples_length_and_says_so(name: str) -> None:
    model, x = architecture(name)
    prepared = hrat.prepare(model, SPECS["harsh"], x)
    assert any("size stays at 4" in note and "architectures.py" in note for note in prepared.report.notes)
    chip = hrat.program(hrat.deploy(prepared))
    longer = torch.cat([x, x], dim=1)
    for call in (lambda: prepared(longer), lambda: hrat.simulate(chip, longer)):
        with pytest.raises(hrat.HratError, match=r"architectures\.py:\d+: expected 4, got 8; prepare it again"):
            call()


@pytest.mark.parametrize("name", ["lstm deep", "gpt", "transformer encoder, padded"])
def test_law_1_after_saving_and_loading(name: str, tmp_path: Any) -> None:
    model, x = architecture(name)
    prepared = hrat.prepare(model, SPECS["harsh"], x)
    hrat.program(hrat.deploy(prepared), chips=2).save(tmp_path / "chips")
    loaded = hrat.load(tmp_path / "chips")
    assert isinstance(loaded, hrat.ProgrammedChip)
    assert_model_is_chip(prepared, loaded, x)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", ["lstm deep", "gru with state", "transformer", "gpt", "convnext", "slopes"])
def test_chips_that_pass_each_operation_together(name: str) -> None:
    """As they do on a GPU."""
    model, x = network(name) if name in NETWORKS else architecture(name)
    chip = hrat.program(hrat.deploy(hrat.prepare(model, SPECS["harsh"], x)), chips=2)
    names = input_names(chip.deployment.graph)
    inputs = dict(zip(names, x if isinstance(x, tuple) else (x,), strict=True))
    with torch.no_grad():
        together, apart = (ChipSolver(chip, together=how).compute(inputs) for how in (True, False))
    assert_same(together, apart, "together")


@pytest.mark.parametrize("name", ["lstm deep", "own loop, lstm cell", "transformer encoder", "vit", "gpt", "densenet"])
def test_a_prepared_model_moves_to_another_device(name: str) -> None:
    """To one that has no numbers, here: whatever stayed behind would not mix with what moved."""
    model, x = architecture(name)
    prepared = hrat.prepare(model, SPECS["harsh"], x).to("meta")
    with torch.no_grad():
        out = prepared(x.to("meta"))
    assert out.device.type == "meta"


# -- recurrent layers


@pytest.mark.parametrize("name", ["lstm deep", "own loop, gru cell", "own loop, parameters"])
def test_all_steps_meet_the_same_devices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In training too: each layer's error is drawn once, however many steps there are."""
    model, x = architecture(name)
    prepared = hrat.prepare(model, SPECS["harsh"], x).train()
    drawn: list[CrossbarLayer] = []
    monkeypatch.setattr(CrossbarLayer, "draw_error", _noting(CrossbarLayer.draw_error, drawn))
    prepared(x)
    assert len(drawn) == len(set(drawn)) == (4 if name == "lstm deep" else 2)
    assert len(hrat.deploy(prepared).layers) == len(prepared.report.layers)


def _noting(method: Any, calls: list[CrossbarLayer]) -> Any:
    def call(self: CrossbarLayer, *args: Any) -> Any:
        calls.append(self)
        return method(self, *args)

    return call


def test_the_state_passes_its_converters_at_every_step() -> None:
    """Its voltages are those of the DAC's codes, and an ADC of two bits behind the product changes what comes out."""
    model, x = architecture("lstm")
    spec = SPECS["harsh"].replace(limit_adc=True, adc_bits=2)
    prepared = hrat.prepare(model, spec, x)
    seen: list[Tensor] = []
    loop = prepared.graph.get_submodule("rnn.state_l0")
    loop.word_lines.register_forward_hook(lambda module, args, out: seen.append(out))
    chip = hrat.program(hrat.deploy(prepared))
    result = hrat.simulate(chip, x, voltages_of=["rnn.state_l0.product"])
    voltage = result.voltages["rnn.state_l0.product"]
    assert voltage.shape == (1, 3, 6, 20)  # chips, batch, steps, gates
    assert float(voltage.abs().max()) <= spec.periphery.v_swing_V
    with hrat.use_chip(prepared, chip):
        assert_same(prepared(x), result.value[0], "law 1")
    assert len(seen) == 6
    step_V = spec.device.v_read_V / (2 ** (spec.periphery.input_dac_bits - 1) - 1)
    codes = torch.stack(seen) / step_V
    assert_same(codes, codes.round(), "codes of the DAC", 1e-9)
    without = hrat.simulate(hrat.program(hrat.deploy(hrat.prepare(model, spec.without("adc"), x))), x)
    assert float((without.value - result.value).abs().max()) > 1e-3


@pytest.mark.parametrize("on", ["swing", "read_voltage", "input_dac", "adc", "bias_dac", "states"])
def test_each_restriction_acts_on_a_recurrence_as_in_the_simulation(on: str) -> None:
    model, x = architecture("lstm")
    prepared = hrat.prepare(model, SPECS["harsh"].only(on, "error"), x)
    for module in prepared.modules():
        if isinstance(module, hrat.nn.Scale):
            module.log_alpha.data += 2.0  # signals reach far beyond their limits
    assert_model_is_chip(prepared, hrat.program(hrat.deploy(prepared), chips=2), x)


def test_calibration_reaches_the_states_of_recurrences() -> None:
    model, x = architecture("gru")
    prepared = hrat.prepare(model, SPECS["harsh"], x)
    scales = {key: value for key, value in prepared.named_parameters() if "_state" in key or "_product" in key}
    assert len(scales) == 8
    for scale in scales.values():
        scale.data.fill_(7.0)
    hrat.calibrate(prepared, [x])
    assert all(float(scale) < 6.0 for scale in scales.values())


def test_errors_of_a_recurrence_reach_its_outputs() -> None:
    model, x = architecture("rnn")
    chip = hrat.program(hrat.deploy(hrat.prepare(model, SPECS["harsh"], x)), chips=2)
    name = "rnn.state_l0.product"
    layer = chip.layers[name]
    layer.g_pos_S[1], layer.g_neg_S[1] = layer.g_pos_S[0], layer.g_neg_S[0]
    for other in chip.layers:
        chip.layers[other].g_pos_S[1], chip.layers[other].g_neg_S[1] = (
            chip.layers[other].g_pos_S[0].clone(),
            chip.layers[other].g_neg_S[0].clone(),
        )
    same = hrat.simulate(chip, x).value
    assert_same(same[0], same[1], "equal devices")
    layer.g_pos_S[1] *= 1.3
    differs = hrat.simulate(chip, x).value
    assert_same(differs[0, :, 0], differs[1, :, 0], "the first step, whose state is zero")
    assert float((differs[0, :, 1:] - differs[1, :, 1:]).abs().max()) > 1e-4


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 16, batch_first=True), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


@pytest.mark.slow
def test_a_recurrent_network_learns_and_its_chips_do_what_it_learned() -> None:
    """Whether the sum of 24 numbers is positive, from eight steps of three; guessing would give a half."""
    x = torch.randn(800, 8, 3, generator=torch.Generator().manual_seed(0))
    labels = (x.sum((1, 2)) > 0).long()
    torch.manual_seed(0)
    prepared = hrat.prepare(Counts(), "generic-4bit", x[:32])
    hrat.fit(prepared, make_loader(TensorDataset(x[:600], labels[:600]), 50, shuffle=True, seed=0), epochs=15)
    chips = hrat.program(hrat.deploy(prepared), chips=3)
    result = hrat.simulate(chips, make_loader(TensorDataset(x[600:], labels[600:]), 100))
    assert result.accuracies is not None
    assert min(result.accuracies) > 0.85


def test_only_outputs_are_expected_to_grow_to_logits() -> None:
    """What an ADC reads in front of gates starts with the range that it has in the example."""
    model, x = architecture("lstm")
    spec = SPECS["harsh"]
    prepared = hrat.prepare(model, spec, x, output_peak=10.0)
    scales = {key: float(value.detach().exp()) for key, value in prepared.named_parameters() if "log_alpha" in key}
    assert scales["graph.scales.head.log_alpha"] == pytest.approx(spec.periphery.v_swing_V / 10.0, rel=1e-6)
    with torch.no_grad():
        peak = float(model.rnn(model.embed(x))[0].abs().max())  # of the state
        sums = model.embed(x) @ model.rnn.weight_ih_l0.T + model.rnn.bias_ih_l0
    # A quantile of the magnitude, which of so few numbers is not quite the largest.
    assert scales["graph.scales.rnn_state_l0_state.log_alpha"] == pytest.approx(spec.device.v_read_V / peak, rel=0.15)
    wanted = spec.periphery.v_swing_V / float(sums.abs().max())
    assert scales["graph.scales.rnn_input_l0.log_alpha"] == pytest.approx(wanted, rel=0.15)


# -- what the report says


def test_digital_operations_are_named_with_reason_and_converters() -> None:
    model, x = architecture("lstm")
    report = hrat.prepare(model, "generic-4bit", x).report
    gates = next(row for row in report.digital_operations if row.operation == "lstm gates")
    assert "rnn.state_l0" in gates.node
    assert "at every step" in gates.why
    assert (gates.adc_bits, gates.dac_bits) == (8, 8)
    table = next(row for row in report.digital_operations if row.operation == "embedding")
    assert "table look-up" in table.why
    assert (table.adc_bits, table.dac_bits) == (None, 8)
    assert (report.adcs, report.dacs) == (2, 3)  # input's and state's products; embedding, state and head
    assert "2 digital operations, 2 signals through ADCs, 3 through DACs" in str(report)
    assert [row.name for row in report.layers] == ["rnn.input_l0", "rnn.state_l0.product", "head"]


def test_attention_is_digital_between_converters() -> None:
    model, x = architecture("gpt")
    report = hrat.prepare(model, "generic-4bit", x).report
    rows = {row.node: row for row in report.digital_operations}
    first, second = rows["blocks.0/matmul"], rows["blocks.0/matmul_1"]
    assert (first.adc_bits, first.dac_bits) == (8, None)  # queries and keys come from a crossbar
    assert (second.adc_bits, second.dac_bits) == (8, 8)  # values too; its result drives the projection
    assert "multiplies signals" in first.why
    assert (rows["blocks.0/softmax"].adc_bits, rows["blocks.0/softmax"].dac_bits) == (None, None)
    assert rows["blocks.0.ln2/layer_norm_1"].dac_bits == 8
    # One table line for nodes that are alike.
    assert "blocks.0/gelu, blocks.1/gelu_1" in str(report)


def test_which_batch_norms_of_a_densenet_fuse() -> None:
    model, x = architecture("densenet")
    assert isinstance(model, DenseNet)
    report = hrat.prepare(model, "generic-4bit", x).report
    fused = {row.name: row.batch_norm for row in report.layers if row.batch_norm}
    assert fused == {
        "stem.0": "stem.1",
        "block1.0.conv1": "block1.0.norm2",
        "block1.1.conv1": "block1.1.norm2",
        "block2.0.conv1": "block2.0.norm2",
    }
    norms = [row for row in report.digital_operations if row.operation == "batch_norm"]
    assert len(norms) == 5
    assert {row.why for row in norms} == {"stands between cat and relu, beside no crossbar"}


def test_a_residual_sum_has_one_scale_with_its_branches() -> None:
    model, x = architecture("resnet18")
    report = hrat.prepare(model, "generic-4bit", x).report
    rows = {row.name: row for row in report.layers}
    assert not report.digital_operations
    down = [name for name in rows if name.endswith("shortcut.0")]
    assert len(down) == 3
    for name in down:
        assert rows[name].scale_out == rows[name.replace("shortcut.0", "branch.3")].scale_out


# -- modules of others


class DropPath(nn.Module):
    """As timm, torchvision and transformers have it, each in their own words."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0.0 or not self.training:
            return x
        keep = torch.rand(x.shape[0], *(1,) * (x.ndim - 1), dtype=x.dtype) >= self.p
        return x * keep / (1 - self.p)


class Skips(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.drop, self.head = nn.Linear(4, 6), nn.Linear(6, 6), DropPath(0.5), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return self.head(x + self.drop(self.second(x)))


def test_stochastic_depth_is_kept_in_training_and_gone_on_the_chip() -> None:
    torch.manual_seed(1)
    model, x = Skips().double().eval(), torch.randn(64, 4, dtype=torch.float64)
    prepared = assert_laws(model, x, SPECS["harsh"])
    assert not prepared.report.digital_operations
    with hrat.nn.restrictions(prepared, prepared.spec.ideal()):
        whole = prepared.eval()(x)
        moved = (prepared.train()(x) - whole).abs().amax(1) > 1e-6
    assert int(moved.sum()) > 0


# -- nn.MultiheadAttention in all its forms


class Attends(nn.Module):
    """Self-attention with masks."""

    def __init__(self, batch_first: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, dropout=dropout, batch_first=batch_first)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, key_padding_mask: Tensor | None = None) -> Any:
        return self.attention(
            x, x, x, attn_mask=attn_mask, key_padding_mask=key_padding_mask, average_attn_weights=False
        )


def _causal(n: int) -> Tensor:
    return torch.ones(n, n, dtype=torch.bool).triu(1)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masks", ["none", "causal", "float", "per head", "padding", "both"])
def test_attention_with_masks(masks: str, batch_first: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn((3, 4, 6) if batch_first else (4, 3, 6), dtype=torch.float64, generator=generator)
    given: dict[str, Any] = {"x": x}
    if masks in ("causal", "both"):
        given["attn_mask"] = _causal(4)
    elif masks == "float":
        given["attn_mask"] = torch.randn(4, 4, dtype=torch.float64, generator=generator)
    elif masks == "per head":
        given["attn_mask"] = torch.stack([_causal(4) if k % 2 else torch.zeros(4, 4).bool() for k in range(6)])
    if masks in ("padding", "both"):
        given["key_padding_mask"] = torch.tensor([[False, False, False, True], [False] * 4, [False] * 4])
    torch.manual_seed(0)
    assert_laws(Attends(batch_first).double().eval(), given, SPECS["harsh"])


@pytest.mark.parametrize("mask", [None, _causal(4), torch.stack([_causal(4), torch.zeros(4, 4).bool()])])
def test_attention_without_a_batch(mask: Tensor | None) -> None:
    x = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(0)
    model = Attends(batch_first=False, dropout=0.1).double().eval()
    prepared = hrat.prepare(model, SPECS["harsh"], x if mask is None else (x, mask))
    assert_law2(model, x if mask is None else (x, mask), SPECS["harsh"], prepared=prepared)


@pytest.mark.parametrize("spec", ["harsh", "harsh two-stage", "tile ADCs"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_it_takes_can_be_estimated(name: str, spec: str) -> None:
    model, x = architecture(name)
    chip = hrat.program(hrat.deploy(hrat.prepare(model, SPECS[spec], x)), seed=2)
    assert_same(hrat.simulate(chip, x, solver=Metered()).value, hrat.simulate(chip, x).value, "metered")
    found = hrat.estimate(chip, x)
    assert [layer.name for layer in found.layers] == list(chip.layers)
    assert sum(layer.n_devices for layer in found.layers) == chip.deployment.n_devices
    for layer in found.layers:
        assert layer.products > 0, layer.name
        assert 0 < layer.energy_J < 0.1, layer.name
        assert min(layer.devices_J, layer.drive_J, layer.dac_J, layer.adc_J) >= 0, layer.name
    # What enters passes DACs, what leaves ADCs.
    assert sum(layer.dac_J for layer in found.layers) > 0
    assert sum(layer.adc_J for layer in found.layers) > 0
