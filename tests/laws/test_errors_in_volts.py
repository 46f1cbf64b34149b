"""Errors of amplifiers and readings: the laws with each of them, in every solver, and what breaks them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hrat
from hrat import physics
from hrat.artifacts import ProgrammedChip
from hrat.encoding import amplifier_errors
from hrat.nn import PreparedModel, crossbar_layer, use_chip
from hrat.simulation import Amplifier, ChipSolver, Nodal, Spice, verify
from hrat.simulation.spice import circuit
from hrat.spec import RESTRICTIONS, HardwareSpec, load_spec
from laws.checks import assert_same
from ngspice import needs_ngspice

ERRORS: dict[str, dict[str, Any]] = {
    "offset": {"periphery.amplifier_offset_V": 1e-3},
    "noise": {"periphery.amplifier_noise_V": 2e-4, "periphery.amplifier_noise_V_rtHz": 1e-7},
    "gain": {"periphery.amplifier_gain": 1e3},
    "mismatch": {"periphery.r_f_tolerance_rel": 0.01},
    "read_noise": {"device.read_noise_rel": 0.02},
    "curvature": {"device.curvature_V": 0.15},
    "floor": {"periphery.v_floor_V": 0.05},
    "unequal swing": {"periphery.v_swing_low_V": 0.3, "periphery.v_swing_V": 0.5},
}
# Offsets meet ohmic devices by the formula and curved ones in SPICE: together they agree to first order only.
ALL: dict[str, Any] = {
    field: value for name, of in ERRORS.items() if name != "curvature" for field, value in of.items()
}
READOUTS = ("dual_rail", "two_stage", "reference_column")
WIRES = {"array.limit_wires": True, "array.r_word_ohm": 20.0, "array.r_bit_ohm": 20.0, "array.r_driver_ohm": 50.0}
IDEAL_SPICE = Spice(amplifier=Amplifier(gain=None))


def test_every_error_that_needs_a_figure_is_held_to_the_laws_below() -> None:
    assert {name for name, one in RESTRICTIONS.items() if one.sizes} <= set(ERRORS)


def spec_of(errors: dict[str, Any], readout: str = "dual_rail", **more: Any) -> HardwareSpec:
    tiles = {"periphery.readout": readout, "array.rows": 7, "array.cols": 3}
    return load_spec("generic-4bit").replace({**tiles, **errors, **more})


def network() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layers = nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(24, 7)).double(), torch.randn(8, 4, 4, 4, dtype=torch.float64)


def prepared_for(spec: HardwareSpec) -> tuple[PreparedModel, Tensor]:
    model, x = network()
    return hrat.prepare(model, spec, x).eval(), x


def chip_of(spec: HardwareSpec, chips: int = 1) -> tuple[ProgrammedChip, Tensor]:
    model, x = prepared_for(spec)
    return hrat.program(hrat.deploy(model), seed=3, chips=chips), x


def law_1(model: PreparedModel, x: Tensor, chip: ProgrammedChip) -> None:
    simulated = hrat.simulate(chip, x)
    for index in range(chip.n_chips):
        with torch.no_grad(), use_chip(model, chip, index):
            trained = torch.cat([model(x[:3]), model(x[3:])])  # two calls in a row are one series of readings
        assert_same(trained, simulated.value[index], f"law 1, chip {index}", 1e-12)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("errors", ERRORS)
def test_what_is_trained_is_what_is_deployed(errors: str, readout: str) -> None:
    model, x = prepared_for(spec_of(ERRORS[errors], readout))
    chip = hrat.program(hrat.deploy(model), seed=3, chips=2)
    law_1(model, x, chip)
    assert_same(hrat.simulate(chip, x).value, hrat.simulate(chip, x, solver="nodal").value, "law 4, nodal", 1e-12)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("more", [WIRES, {"periphery.partial_sums": "adc"}], ids=["wires", "adcs"])
def test_with_wires_and_adcs(more: dict[str, Any], readout: str) -> None:
    model, x = prepared_for(spec_of(ALL, readout, **more))
    law_1(model, x, hrat.program(hrat.deploy(model), seed=3, chips=2))


@needs_ngspice
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("errors", [*ERRORS, pytest.param("all", marks=pytest.mark.wide)])
def test_spice_meets_the_same_errors(errors: str, readout: str) -> None:
    chip, x = chip_of(spec_of(ERRORS.get(errors, ALL), readout))
    behavioural, spice = hrat.simulate(chip, x[:2]).value, hrat.simulate(chip, x[:2], solver=IDEAL_SPICE).value
    assert_same(behavioural, spice, "law 4, SPICE", 1e-9)


@needs_ngspice
@pytest.mark.parametrize("readout", READOUTS)
def test_spice_meets_the_same_errors_through_wires(readout: str) -> None:
    errors = {field: value for field, value in ALL.items() if field != "periphery.amplifier_gain"}
    chip, x = chip_of(spec_of(errors, readout, **WIRES))
    nodal, spice = (hrat.simulate(chip, x[:2], solver=solver).value for solver in (Nodal(), IDEAL_SPICE))
    assert_same(nodal, spice, "law 4, wires", 1e-6)


@needs_ngspice
@pytest.mark.parametrize("readout", READOUTS)
def test_spice_meets_the_same_errors_on_tiles_with_adcs(readout: str) -> None:
    chip, x = chip_of(spec_of(ALL, readout, **{"periphery.partial_sums": "adc"}))
    behavioural, spice = hrat.simulate(chip, x[:2]).value, hrat.simulate(chip, x[:2], solver=IDEAL_SPICE).value
    assert_same(behavioural, spice, "law 4, ADCs", 1e-9)


def test_curved_devices_become_ohmic_ones_as_their_curvature_goes() -> None:
    chip, x = chip_of(spec_of(ALL))
    ohmic, curved = hrat.simulate(chip, x[:2]).value, hrat.simulate(chip, x[:2], solver=Nodal(curvature_V=1e4)).value
    assert_same(ohmic, curved, "curved", 1e-6)


def test_a_recurrence_has_one_set_of_amplifiers_and_a_reading_at_each_step() -> None:
    torch.manual_seed(0)
    model, x = nn.GRU(5, 6, batch_first=True).double(), torch.randn(4, 3, 5, dtype=torch.float64)
    prepared = hrat.prepare(model, spec_of(ALL), x).eval()
    chip = hrat.program(hrat.deploy(prepared), seed=0)
    with torch.no_grad(), use_chip(prepared, chip):
        trained = prepared(x)
    simulated = hrat.simulate(chip, x).value
    assert_same(trained[0], simulated[0][0], "law 1", 1e-12)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_readings_do_not_depend_on_the_batches(batch: int) -> None:
    chip, x = chip_of(spec_of(ALL), chips=2)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, torch.zeros(8, dtype=torch.int64)), batch)
    together = hrat.simulate(chip, x).value
    assert_same(together, hrat.simulate(chip, loader).value, f"batches of {batch}", 1e-12)
    assert_same(together[1:], hrat.simulate(chip[1], x).value, "a chip alone", 1e-12)
    assert not torch.equal(together[0], together[1])


def test_chips_on_a_device_that_takes_them_together() -> None:
    errors = {**ERRORS["offset"], **ERRORS["gain"], **ERRORS["mismatch"]}
    chip, x = chip_of(spec_of(errors), chips=3)
    inputs = {"input": x}
    alone = ChipSolver(chip, together=False).compute(inputs)
    assert_same(ChipSolver(chip, together=True).compute(inputs), alone, "together", 1e-12)


# ---- their physics ---------------------------------------------------------------------------------------------------


def linear(rows: int = 40, cols: int = 400) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return nn.Linear(rows, cols).double(), torch.randn(6, rows, dtype=torch.float64)


ONLY_VOLTS = tuple(name for name, one in RESTRICTIONS.items() if one.sizes and name not in ("floor", "curvature"))


def outputs_V(spec: HardwareSpec, *, chips: int = 1) -> tuple[Tensor, ProgrammedChip]:
    model, x = linear()
    chip = hrat.program(hrat.deploy(hrat.prepare(model, spec, x).eval()), seed=0, chips=chips)
    return hrat.simulate(chip, x, voltages_of=["model"] if "model" in chip.layers else list(chip.layers)).voltages[
        next(iter(chip.layers))
    ], chip


def plain_spec(changes: dict[str, Any]) -> HardwareSpec:
    return load_spec("generic-4bit").replace(changes).only(*ONLY_VOLTS)


def test_offsets_spread_outputs_by_the_noise_gain() -> None:
    sigma_V = 1e-4
    with_V, chip = outputs_V(plain_spec({"periphery.amplifier_offset_V": sigma_V}), chips=30)
    without_V, _ = outputs_V(plain_spec({}))
    error_V = with_V - without_V
    assert_same(error_V, error_V[:, :1].expand_as(error_V), "the same for every image", 1e-9)
    (layer,) = chip.deployment.layers.values()
    noise_gain = 2 + layer.r_f_ohm * (layer.g_pos_S + layer.g_neg_S)[0].sum(0)
    measured = (error_V[:, 0] / noise_gain / sigma_V).square().mean().sqrt()
    assert float(measured) == pytest.approx(1.0, rel=0.03)
    assert float(noise_gain.min()) > 5


def test_noise_of_devices_is_that_of_all_devices_drawn_one_by_one() -> None:
    """The brute-force way: every conductance of every reading is drawn."""
    rho = 0.05
    with_V, chip = outputs_V(plain_spec({"device.read_noise_rel": rho}), chips=30)
    without_V, _ = outputs_V(plain_spec({}))
    (layer,), x = chip.deployment.layers.values(), linear()[1]
    alpha = chip.deployment.tensors[next(key for key in chip.deployment.tensors if key.startswith("scale"))]
    v_V = x * alpha
    generator = torch.Generator().manual_seed(1)
    drawn = []
    for _ in range(30):
        noisy = [
            g_S[0] * (1 + rho * torch.randn(6, *g_S[0].shape, generator=generator, dtype=torch.float64))
            for g_S in (layer.g_pos_S, layer.g_neg_S)
        ]
        drawn.append(layer.r_f_ohm * torch.einsum("nr,nrc->nc", v_V, noisy[0] - noisy[1]))
    brute_V = torch.stack(drawn).std(0)
    found_V = (with_V - without_V).std(0)
    assert float((found_V / brute_V).mean()) == pytest.approx(1.0, rel=0.03)
    # Image by image, since the noise grows with the signal.
    ratio = found_V.square().mean(1).sqrt() / brute_V.square().mean(1).sqrt()
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0.05, atol=0)


def test_the_same_images_read_by_two_chips_or_layers_have_independent_noise() -> None:
    with_V, _ = outputs_V(plain_spec({"periphery.amplifier_noise_V": 1e-4}), chips=2)
    without_V, _ = outputs_V(plain_spec({}))
    noise_V = (with_V - without_V).flatten(1)
    assert abs(float(torch.corrcoef(noise_V)[0, 1])) < 0.1
    assert float(noise_V.std()) > 5e-4


def test_eval_mode_without_a_chip_has_the_gain_and_nothing_random() -> None:
    model, x = prepared_for(spec_of(ALL))
    state = torch.get_rng_state()
    assert torch.equal(model(x), model(x))
    assert torch.equal(torch.get_rng_state(), state)
    without, _ = prepared_for(spec_of({k: v for k, v in ALL.items() if k != "periphery.amplifier_gain"}))
    assert not torch.equal(model(x), without(x))


@pytest.mark.parametrize("form", ["two_pass", "one_pass", "slice", "unfused"])
@pytest.mark.parametrize("readout", READOUTS)
def test_training_draws_all_of_them_and_has_a_gradient(form: Any, readout: str) -> None:
    model, x = network()
    prepared = hrat.prepare(model, spec_of(ALL, readout), x, batch_norm=form).train()
    first, second = prepared(x), prepared(x)
    assert not torch.equal(first, second)
    first.square().sum().backward()
    for name, parameter in prepared.named_parameters():
        assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all()), name
    # A change of one error alone changes what training sees.
    hrat.nn.set_noise_strength(prepared, 0.0)
    again = copy.deepcopy(prepared)  # statistics move on at each call
    torch.manual_seed(0)
    quiet = prepared(x)
    torch.manual_seed(1)
    assert_same(quiet, again(x), "without strength nothing is drawn", 1e-12)


# ---- where they are broken -------------------------------------------------------------------------------------------


def _wrong_sign(loop: physics.ClosedLoop) -> physics.ClosedLoop:
    return physics.ClosedLoop(loop.factor, -loop.of_input)


def _wrong_unit(loop: physics.ClosedLoop) -> physics.ClosedLoop:
    return physics.ClosedLoop(loop.factor, loop.of_input * 1e3)


def _without_feedback(loop: physics.ClosedLoop) -> physics.ClosedLoop:
    return physics.ClosedLoop(loop.factor, loop.of_input - 1.0)


def _wrong_factor(loop: physics.ClosedLoop) -> physics.ClosedLoop:
    return physics.ClosedLoop(2.0 - loop.factor, loop.of_input)


@needs_ngspice
@pytest.mark.parametrize(
    ("errors", "change"),
    [
        ("offset", _wrong_sign),
        ("offset", _wrong_unit),
        ("offset", _without_feedback),
        ("noise", _wrong_sign),
        ("gain", _wrong_factor),
        ("mismatch", _wrong_factor),
    ],
)
def test_spice_notices_a_wrong_formula(
    errors: str, change: Callable[[physics.ClosedLoop], physics.ClosedLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    chip, x = chip_of(spec_of(ERRORS[errors]))
    right = amplifier_errors.closed_loop
    monkeypatch.setattr(amplifier_errors, "closed_loop", lambda *args: change(right(*args)))
    behavioural, spice = hrat.simulate(chip, x[:2]).value, hrat.simulate(chip, x[:2], solver=IDEAL_SPICE).value
    with pytest.raises(AssertionError):
        assert_same(behavioural, spice, "law 4, SPICE", 1e-9)


def test_law_1_notices_amplifiers_of_another_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = prepared_for(spec_of(ERRORS["offset"]))
    chip = hrat.program(hrat.deploy(model), seed=3)
    other = hrat.program(hrat.deploy(model), seed=4)
    of_other = {name: other.amplifiers(name) for name in other.layers}
    simulated = hrat.simulate(chip, x).value[0]
    monkeypatch.setattr(ProgrammedChip, "amplifiers", lambda self, name, index=0: of_other[name])
    with torch.no_grad(), use_chip(model, chip), pytest.raises(AssertionError):
        assert_same(model(x), simulated, "law 1", 1e-12)


def test_offsets_cannot_be_given_twice() -> None:
    chip, x = chip_of(spec_of(ERRORS["offset"]))
    with pytest.raises(circuit.CircuitError, match="offsets are given twice"):
        hrat.simulate(chip, x[:1], solver=Spice(amplifier=Amplifier(offset_V=1e-3)))


class Rectifiers(nn.Module):
    """A ReLU behind a sum, one behind a pooling, and one on numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)  # in front of the first DAC
        y = torch.relu(self.first(x) + self.second(x))
        return torch.relu(self.last(torch.relu(torch.max_pool2d(self.first(y), 2)).flatten(1)))


@pytest.mark.parametrize("readout", READOUTS)
def test_a_relu_on_wires_ends_at_the_floor_wherever_it_stands(readout: str) -> None:
    torch.manual_seed(0)
    model, x = Rectifiers().double(), torch.randn(8, 4, 4, 4, dtype=torch.float64)
    prepared = hrat.prepare(model, spec_of(ERRORS["floor"], readout), x).eval()
    chip = hrat.program(hrat.deploy(prepared), seed=0, chips=2)
    law_1(prepared, x, chip)
    without = hrat.program(
        hrat.deploy(hrat.prepare(model, spec_of({}, readout), x).eval()), seed=0
    )  # the same weights and errors
    assert not torch.equal(hrat.simulate(without, x).value[0], hrat.simulate(chip, x).value[0])
    assert float(hrat.simulate(chip, x).value.min()) > 0  # volts above ground, as a number


def test_the_floor_leaves_numbers_alone() -> None:
    model, x = (
        nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.ReLU(), nn.Linear(4, 3)).double(),
        torch.randn(5, 6).double(),
    )
    with_floor, without = (
        hrat.prepare(copy.deepcopy(model), spec_of(errors), x).eval() for errors in (ERRORS["floor"], {})
    )
    assert torch.equal(with_floor(x), without(x))


# ---- full scale of the bias DACs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["two_pass", "one_pass", "unfused"])
def test_a_layer_has_bias_dacs_of_its_own_full_scale(form: Any, tmp_path: Any) -> None:
    spec = spec_of({}, **{"periphery.bias_full_scale": "layer", "periphery.bias_dac_bits": 3})
    model, x = network()
    prepared = hrat.prepare(model, spec, x, batch_norm=form)
    prepared.train()(x).square().sum().backward()
    prepared.eval()
    chip = hrat.program(hrat.deploy(prepared), seed=3, chips=2)
    law_1(prepared, x, chip)
    for name, layer in chip.deployment.layers.items():
        assert layer.bias_V is not None
        assert layer.bias_codes is not None
        assert layer.bias_full_scale_V is not None
        # The largest bias meets the last code, whatever the size of the others.
        assert int(layer.bias_codes.abs().max()) == 3
        assert float(layer.bias_V.abs().max()) == pytest.approx(layer.bias_full_scale_V)
        assert chip.deployment.bias_step_V(name) == pytest.approx(layer.bias_full_scale_V / 3)
    again = hrat.ProgrammedChip.load(chip.save(tmp_path / "chip"))
    assert torch.equal(hrat.simulate(again, x).value, hrat.simulate(chip, x).value)


def test_a_layers_full_scale_is_at_most_that_of_the_spec() -> None:
    layer = nn.Linear(4, 3).double()
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.5, -8.0, 2.0]))
    x = torch.randn(5, 4, dtype=torch.float64) * 0.01
    for v_bias_V in (0.05, 50.0):
        changes = {"periphery.bias_full_scale": "layer", "periphery.v_bias_V": v_bias_V}
        deployment = hrat.deploy(hrat.prepare(copy.deepcopy(layer), spec_of({}, **changes), x).eval())
        (own,) = deployment.layers.values()
        assert own.bias_full_scale_V is not None
        assert own.bias_full_scale_V <= v_bias_V
        assert (own.bias_full_scale_V == v_bias_V) == (v_bias_V == 0.05)


# ---- curved devices --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("readout", READOUTS)
def test_the_nodal_solver_meets_curved_devices_device_by_device(readout: str) -> None:
    chip, x = chip_of(spec_of(ERRORS["curvature"], readout))
    ohmic = hrat.simulate(chip_of(spec_of({}, readout))[0], x).value
    formula = hrat.simulate(chip, x).value
    assert_same(formula, hrat.simulate(chip, x, solver=Nodal(curvature_V=0.15)).value, "Newton", 1e-9)
    assert float((formula - ohmic).abs().max()) > 0.05 * float(ohmic.abs().max())


@needs_ngspice
@pytest.mark.parametrize("readout", READOUTS)
def test_wires_before_curved_devices(readout: str) -> None:
    chip, x = chip_of(spec_of(ERRORS["curvature"], readout, **WIRES))
    nodal, spice = (hrat.simulate(chip, x[:2], solver=solver).value for solver in (Nodal(), IDEAL_SPICE))
    assert_same(nodal, spice, "law 4, curved, wires", 1e-6)
    # What training takes for it, wires and curvature apart, is near where wires are as good as usual.
    usual = chip.with_array(r_word_ohm=1.0, r_bit_ohm=1.0, r_driver_ohm=0.0)
    formula, exact = (hrat.simulate(usual, x[:2], solver=solver).value for solver in ("behavioural", "nodal"))
    assert float((formula - exact).abs().max()) < 0.01 * float(exact.abs().max())


def test_statistics_of_batch_norm_are_those_of_the_network_not_of_curved_devices() -> None:
    model, x = network()
    moments = []
    for errors in ({}, ERRORS["curvature"]):
        spec = spec_of(errors).without("error", "read_voltage", "input_dac")
        prepared = hrat.prepare(copy.deepcopy(model), spec, x, batch_norm="two_pass").train()
        prepared(x)
        moments.append(next(value.clone() for key, value in prepared.named_buffers() if key.endswith("running_var")))
    assert_same(moments[0], moments[1], "running variance", 1e-9)


@needs_ngspice
@pytest.mark.parametrize("readout", READOUTS)
def test_noise_of_curved_devices_is_that_of_their_current(readout: str) -> None:
    chip, x = chip_of(spec_of({**ERRORS["curvature"], **ERRORS["read_noise"]}, readout))
    formula = hrat.simulate(chip, x[:2]).value
    assert_same(formula, hrat.simulate(chip, x[:2], solver=IDEAL_SPICE).value, "law 4, SPICE", 1e-9)
    assert_same(formula, hrat.simulate(chip, x[:2], solver=Nodal(curvature_V=0.15)).value, "Newton", 1e-9)


def test_the_power_of_curved_devices_is_voltage_times_current() -> None:
    ohmic, curved = (
        hrat.estimate(*chip_of(spec_of(errors))).parts_J()["devices"] for errors in ({}, ERRORS["curvature"])
    )
    assert 1.0 < curved / ohmic < 2.5  # sinh(2) / 2 = 1.8 where word lines are at 0.3 V


@pytest.mark.parametrize("form", ["one_pass", "two_pass", "unfused"])
def test_offsets_meet_the_feedback_resistor_of_the_chip_in_every_form(
    form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = network()
    prepared = hrat.prepare(model, spec_of(ERRORS["offset"]), x, batch_norm=form)
    resistors_ohm = []
    right = crossbar_layer.errors_of_layer

    def noting(*args: Any, **kwargs: Any) -> Any:
        resistors_ohm.append(float(args[3]))
        return right(*args, **kwargs)

    for _ in range(60):
        prepared.train()(x)  # running statistics become those of the batch
    monkeypatch.setattr(crossbar_layer, "errors_of_layer", noting)
    prepared.train()(x)
    on_chip = [layer.r_f_ohm for layer in hrat.deploy(prepared.eval()).layers.values()]
    assert resistors_ohm == pytest.approx(on_chip, rel=0.1)


@needs_ngspice
def test_verification_sees_no_difference_where_a_circuit_makes_the_floor_itself() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double(), torch.randn(4, 6).double()
    chip = hrat.program(hrat.deploy(hrat.prepare(model, spec_of(ERRORS["floor"]), x).eval()))
    (ideal,) = [depth for depth in verify(chip, x).depths if depth.name == "SPICE, ideal amplifiers"]
    assert [layer.largest_V < 1e-9 for layer in ideal.layers] == [True, True]
