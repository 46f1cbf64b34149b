"""Programming pulse by pulse: the limits that must be right, and what each device is charged."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import hrat
from hrat.artifacts import Status
from hrat.errors import SpecError
from hrat.programming.schemes import SCHEMES, Achieved, tolerance_S
from hrat.spec import HardwareSpec, load_spec

N = 4000


def spec_of(**changes: object) -> HardwareSpec:
    return load_spec("generic-4bit", scheme="write_verify", **changes)


def targets(spec: HardwareSpec, n: int = N, seed: int = 0) -> Tensor:
    states = torch.tensor(spec.device.states_S, dtype=torch.float64)
    return states[torch.randint(len(states), (n,), generator=torch.Generator().manual_seed(seed))]


def programmed(spec: HardwareSpec, target_S: Tensor | None = None, seed: int = 0) -> tuple[Tensor, Achieved]:
    target_S = targets(spec) if target_S is None else target_S
    scheme = SCHEMES[spec.programming.scheme]
    return target_S, scheme(target_S, spec, torch.Generator().manual_seed(seed), None)


def mean_error_S(spec: HardwareSpec, seed: int = 0) -> float:
    target_S, done = programmed(spec, seed=seed)
    return float((done.g_S - target_S).abs().mean())


# ---- limits ----------------------------------------------------------------------------------------------------------


@given(tolerance=st.floats(1e-4, 0.05), noise=st.sampled_from([0.0, 0.002, 0.01]), seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_with_a_large_budget_devices_end_within_the_tolerance_and_the_read_noise(
    tolerance: float, noise: float, seed: int
) -> None:
    spec = spec_of(tolerance_rel=tolerance, read_noise_rel=noise, max_pulses=20_000)
    target_S, done = programmed(spec, targets(spec, 500, seed), seed)
    assert done.pulses is not None
    # Read noise is relative to the conductance, and a device is believed when it seems right.
    allowed = tolerance * spec.device.g_range_S + 5 * noise * target_S * 1.1
    assert ((done.g_S - target_S).abs() <= allowed + 1e-15).all()
    assert (done.pulses.status == Status.ACCEPTED).all()


@pytest.mark.parametrize("start", ["lowest", "highest", "random"])
@pytest.mark.parametrize("scheme", ["write_verify", "open_loop"])
def test_without_a_pulse_devices_stay_where_they_start(start: str, scheme: str) -> None:
    if scheme == "open_loop" and start == "random":
        with pytest.raises(SpecError, match="counts pulses from a known start"):
            load_spec("generic-4bit", scheme=scheme, start=start)
        return
    spec = load_spec("generic-4bit", scheme=scheme, start=start, max_pulses=0)
    target_S, done = programmed(spec)
    device = spec.device
    assert done.pulses is not None
    assert int(done.pulses.pulses.max()) == 0
    assert float(done.pulses.energy_J.max()) == 0.0
    if start == "random":
        assert float(done.g_S.mean()) == pytest.approx((device.g_min_S + device.g_max_S) / 2, rel=0.02)
        assert float(done.g_S.std()) == pytest.approx(device.g_range_S / math.sqrt(12), rel=0.03)
    else:
        end = device.g_min_S if start == "lowest" else device.g_max_S
        assert torch.equal(done.g_S, torch.full_like(target_S, end))


@given(seed=st.integers(0, 1000), nonlinearity=st.floats(0, 6), spread=st.floats(0, 0.6), n=st.floats(8, 200))
@settings(max_examples=12)
def test_more_pulses_never_worsen_the_mean_error(seed: int, nonlinearity: float, spread: float, n: float) -> None:
    spec = spec_of(
        nonlinearity_set=nonlinearity, nonlinearity_reset=nonlinearity, cycle_spread_rel=spread,
        **{"soft_bounds.n_set": n, "soft_bounds.n_reset": n},
    )  # fmt: skip
    errors = [mean_error_S(spec.replace(max_pulses=budget), seed) for budget in (0, 1, 2, 5, 10, 20, 50, 100, 300)]
    # Chance of N devices apart, which is largest where they are about to arrive.
    chance = 3 * spec.device.g_range_S / n * (1 + spread) / math.sqrt(N)
    for fewer, more in pairwise(errors):
        assert more <= fewer + chance


@given(seed=st.integers(0, 1000))
@settings(max_examples=5)
def test_stuck_devices_stay_and_are_told(seed: int) -> None:
    spec = spec_of(stuck_on=0.02, stuck_off=0.05, stuck_anywhere=0.03, limit_faults=True, max_pulses=60)
    target_S = targets(spec)
    stuck = torch.rand(N, generator=torch.Generator().manual_seed(seed)) < 0.1
    where_S = targets(spec, seed=seed + 1)
    for scheme in SCHEMES.values():
        done = scheme(target_S, spec, torch.Generator().manual_seed(seed), (stuck, where_S))
        assert torch.equal(done.g_S[stuck], where_S[stuck])
        if done.pulses is not None:
            assert torch.equal(done.pulses.status == Status.STUCK, stuck)
    done = SCHEMES["write_verify"](target_S, spec, torch.Generator().manual_seed(seed), (stuck, where_S))
    assert done.pulses is not None
    off_target = stuck & ((where_S - target_S).abs() > tolerance_S(spec))
    assert (done.pulses.pulses[off_target] == 60).all()  # nobody knows, so all pulses are spent on them
    assert (done.pulses.pulses[stuck & ~off_target] == 0).all()


def test_a_device_of_a_narrow_window_cannot_leave_it() -> None:
    spec = spec_of(window_spread_rel=0.1, limit_faults=True, max_pulses=200)
    target_S = torch.full((N,), spec.device.g_max_S, dtype=torch.float64)
    _, done = programmed(spec, target_S)
    short_S = spec.device.g_max_S - done.g_S
    assert done.pulses is not None
    failed = done.pulses.status == Status.BUDGET_SPENT
    # Half of a Gaussian of 10 % of the window; the tolerance is 2 % of it.
    assert float(failed.double().mean()) == pytest.approx(math.erfc(0.2 / math.sqrt(2)), abs=0.03)
    assert float(short_S[failed].mean()) > 0.05 * spec.device.g_range_S


# ---- one device's account --------------------------------------------------------------------------------------------


def test_energy_and_time_are_those_of_the_pulses() -> None:
    """With equal steps and no variation every pulse is known."""
    spec = load_spec("generic-4bit").replace(
        {
            "pulses.model": "linear_step", "linear_step.n_set": 15.0, "linear_step.n_reset": 15.0,
            "pulses.cycle_spread_rel": 0.0, "pulses.device_spread_rel": 0.0, "programming.scheme": "write_verify",
            "pulses.set_V": 2.0, "pulses.set_width_s": 1e-7, "programming.tolerance_rel": 1e-3,
        }
    )  # fmt: skip
    target_S, done = programmed(spec, torch.tensor([50e-6, 60e-6, 90e-6], dtype=torch.float64))
    assert done.pulses is not None
    assert torch.allclose(done.g_S, target_S, rtol=1e-9)
    assert done.pulses.set_pulses.tolist() == [0, 1, 4]
    assert done.pulses.reset_pulses.tolist() == [0, 0, 0]
    # V^2 t sum of the means of G before and after each pulse: 55, and 55 + 65 + 75 + 85 uS.
    expected = [0.0, 4 * 1e-7 * 55e-6, 4 * 1e-7 * 280e-6]
    assert done.pulses.energy_J.tolist() == pytest.approx(expected, rel=1e-6)


def test_totals_count_pulses_readings_and_seconds() -> None:
    layer = small_deployment(reads_per_verify=3, read_s=1e-6, set_width_s=2e-6, reset_width_s=5e-6)
    chip = hrat.program(layer, chips=2, scheme="write-verify", max_pulses=40)
    totals = chip.pulse_totals()
    assert totals.devices == 2 * layer.n_devices
    assert totals.accepted + totals.budget_spent + totals.stuck == totals.devices
    assert totals.readings == 3 * (totals.set_pulses + totals.reset_pulses + totals.devices)
    seconds = totals.set_pulses * 2e-6 + totals.reset_pulses * 5e-6 + totals.readings * 1e-6
    assert totals.time_s == pytest.approx(seconds, rel=1e-9)
    assert chip.pulse_totals("hidden").devices < totals.devices
    assert f"{totals.mean_pulses:.1f} pulses each" in str(chip)


# ---- schemes ---------------------------------------------------------------------------------------------------------


def test_open_loop_meets_the_target_where_nothing_varies_and_misses_where_devices_do() -> None:
    calm = load_spec("generic-4bit", scheme="open_loop", cycle_spread_rel=0.0, device_spread_rel=0.0)
    spacing = calm.device.g_range_S / 64 * 1.6  # the largest of 64 steps
    assert mean_error_S(calm) < spacing / 2
    wild = calm.replace(device_spread_rel=0.3, cycle_spread_rel=0.3)
    verified = wild.replace(scheme="write_verify")
    assert mean_error_S(wild) > 5 * mean_error_S(verified)
    _, done = programmed(calm)
    assert done.pulses is not None
    assert (done.pulses.status == Status.NOT_READ).all()
    down_S, down = programmed(calm.replace(start="highest"))
    assert float((down.g_S - down_S).abs().mean()) < spacing / 2
    assert down.pulses is not None
    assert int(down.pulses.set_pulses.max()) == 0


def test_averaged_readings_are_believed_more_rightly() -> None:
    noisy = spec_of(read_noise_rel=0.05, tolerance_rel=0.005)
    assert mean_error_S(noisy.replace(reads_per_verify=16)) < 0.6 * mean_error_S(noisy)


def test_incremental_pulses_need_fewer() -> None:
    plain = spec_of(efold_V=0.2, max_pulses=5000, **{"soft_bounds.n_set": 400.0, "soft_bounds.n_reset": 400.0})
    rising = plain.replace(set_step_V=0.05, reset_step_V=0.05, v_max_V=2.2)
    counts = []
    for spec in (plain, rising):
        target_S, done = programmed(spec)
        assert done.pulses is not None
        assert float((done.g_S - target_S).abs().max()) <= tolerance_S(spec) + 1e-12
        counts.append(float(done.pulses.pulses.double().mean()))
    assert counts[1] < 0.5 * counts[0]


def test_passes_that_wait_for_relaxation_leave_less_of_it() -> None:
    spec = load_spec("wan2022", scheme="write_verify", limit_retention=True, age_s=1.0, wait_s=1.0, max_pulses=300)
    errors = [mean_error_S(spec.replace(passes=passes)) for passes in (1, 2, 4)]
    # The last pass is not waited for, so that what it has pulsed relaxes as if it were the first.
    assert errors[2] < errors[1] < errors[0]
    without = mean_error_S(spec.without("retention"))
    assert without < errors[2]


def test_the_budget_is_that_of_all_passes_together() -> None:
    spec = load_spec("wan2022", scheme="write_verify", limit_retention=True, passes=5, max_pulses=12)
    _, done = programmed(spec)
    assert done.pulses is not None
    assert int(done.pulses.pulses.max()) == 12


def test_relaxation_comes_after_the_pulses() -> None:
    spec = load_spec("wan2022", scheme="write_verify", limit_retention=True)
    target_S = torch.full((50_000,), 20e-6, dtype=torch.float64)
    _, done = programmed(spec, target_S)
    x = 0.5
    day_uS = 0.701 + 22.086 * x - 50.773 * x**2 + 47.095 * x**3 - 16.458 * x**4
    # On top of what verifying leaves: 1 uS either way.
    assert float(done.g_S.std()) * 1e6 == pytest.approx(math.hypot(day_uS, 1 / math.sqrt(3)), rel=0.05)


# ---- chips -----------------------------------------------------------------------------------------------------------


def small_deployment(**changes: object) -> hrat.Deployment:
    torch.manual_seed(0)
    network = torch.nn.Sequential()
    network.add_module("hidden", torch.nn.Linear(30, 20))
    network.add_module("relu", torch.nn.ReLU())
    network.add_module("out", torch.nn.Linear(20, 5))
    x = torch.randn(8, 30)
    return hrat.deploy(hrat.prepare(network, load_spec("generic-4bit", **changes), x))


def test_a_pulse_programmed_chip_is_made_by_its_seed_alone_whatever_the_threads() -> None:
    deployment = small_deployment(stuck_on=0.01, limit_faults=True)
    together = hrat.program(deployment, chips=3, seed=5, scheme="write_verify", max_pulses=50)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = hrat.program(deployment, seed=6, scheme="write_verify", max_pulses=50)
    finally:
        torch.set_num_threads(threads)
    for name, layer in alone.layers.items():
        assert torch.equal(layer.g_pos_S[0], together.layers[name].g_pos_S[1])
        assert layer.neg_pulses is not None
        assert torch.equal(layer.neg_pulses.energy_J, together[1].layers[name].neg_pulses.energy_J)  # type: ignore[union-attr]


def test_large_arrays_do_not_depend_on_the_number_of_threads() -> None:
    spec = spec_of(max_pulses=30)
    target_S = targets(spec, 100_000).float()
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            results.append(programmed(spec, target_S)[1].g_S)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_stuck_devices_belong_to_the_chip_not_to_what_is_programmed() -> None:
    deployment = small_deployment(stuck_on=0.05, stuck_off=0.05, limit_faults=True)
    statistical = hrat.program(deployment, seed=3)
    pulsed = hrat.program(deployment, seed=3, scheme="write_verify")
    device = deployment.spec.device
    for name, layer in pulsed.layers.items():
        assert layer.pos_pulses is not None
        stuck = layer.pos_pulses.status == Status.STUCK
        assert stuck.any()
        ends = torch.tensor([device.g_min_S, device.g_max_S], dtype=layer.g_pos_S.dtype)
        assert torch.isin(layer.g_pos_S[stuck], ends).all()
        assert torch.equal(statistical.layers[name].g_pos_S[stuck], layer.g_pos_S[stuck])


def test_the_log_is_saved_with_the_chip(tmp_path: object) -> None:
    chip = hrat.program(small_deployment(), chips=2, scheme="write_verify", max_pulses=20)
    loaded = hrat.load(chip.save(f"{tmp_path}/one.chips"))
    assert isinstance(loaded, hrat.ProgrammedChip)
    assert loaded.pulse_totals() == chip.pulse_totals()
    assert loaded.deployment.spec.programming.max_pulses == 20
    assert loaded.scheme == "write_verify"
    assert loaded[1].pulse_totals().devices == chip.deployment.n_devices
    plain = hrat.program(small_deployment())
    assert not plain.has_pulses
    with pytest.raises(hrat.HratError, match="without pulses"):
        plain.pulse_totals()


def test_a_pulse_programmed_chip_computes_what_the_model_does_with_its_errors() -> None:
    """The first law, for chips that were programmed pulse by pulse and have stuck devices."""
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.ReLU(), torch.nn.Linear(20, 5)).double()
    x = torch.randn(8, 30, dtype=torch.float64)
    model = hrat.prepare(network, load_spec("wan2022", stuck_on=0.02, limit_faults=True), x).eval()
    chip = hrat.program(hrat.deploy(model), chips=2, scheme="write_verify")
    values = hrat.simulate(chip, x).value
    for index in range(2):
        with hrat.use_chip(model, chip, index), torch.no_grad():
            assert torch.allclose(model(x), values[index], rtol=0, atol=1e-12)


def test_without_the_error_restriction_pulses_have_nothing_to_do() -> None:
    chip = hrat.program(small_deployment(limit_error=False), scheme="write_verify")
    assert not chip.has_pulses
    for name, layer in chip.layers.items():
        assert torch.equal(layer.g_pos_S[0], chip.deployment.layers[name].g_pos_S)


def test_chips_in_chunks_are_programmed_the_same_way() -> None:
    deployment = small_deployment()
    chunks = hrat.programming.program_in_chunks(
        deployment, chips=3, scheme="write-verify", max_pulses=10, memory_bytes=1
    )
    together = hrat.program(deployment, chips=3, scheme="write_verify", max_pulses=10)
    for index, chunk in enumerate(chunks):
        assert torch.equal(chunk.layers["out"].g_neg_S[0], together.layers["out"].g_neg_S[index])
        assert chunk.pulse_totals() == together[index].pulse_totals()
