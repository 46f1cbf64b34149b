"""The table of what a scheme reaches, and training's draws from it; ageing."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import ks_2samp

import hrat
from formulas import achieved_conductance
from hrat.programming.schemes import SCHEMES
from hrat.spec import load_spec, spec_from_toml


@pytest.mark.parametrize("budget", [20, 200])
def test_training_draws_what_pulses_reach(budget: int) -> None:
    """The loop closed: the distribution of a statistical draw from the table is that of a pulse-programmed array."""
    spec = load_spec("generic-4bit", window_spread_rel=0.05, limit_faults=True)
    table = hrat.characterise(spec, scheme="write_verify", max_pulses=budget, seed=1)
    assert table.spec.programming.scheme == "write_verify"
    for target_S in spec.device.states_S[::3]:
        targets = torch.full((20_000,), target_S, dtype=torch.float64)
        done = SCHEMES["write_verify"](targets, table.spec, torch.Generator().manual_seed(99), None)
        drawn = achieved_conductance(targets, table.spec, generator=torch.Generator().manual_seed(7))
        assert float(drawn.mean()) == pytest.approx(float(done.g_S.mean()), abs=0.002 * spec.device.g_range_S)
        # Chance of 20,000 devices each, and half of the 2 % between two quantiles of the table.
        assert ks_2samp(drawn.numpy(), done.g_S.numpy()).statistic < 0.014 + 0.01


def test_the_table_is_a_preset_like_any_other(tmp_path: object) -> None:
    table = hrat.characterise(load_spec("yao2020"), scheme="write-verify", max_pulses=100, devices=500)
    path = table.spec.save(f"{tmp_path}/table.toml")
    assert load_spec(path) == table.spec
    assert spec_from_toml(table.spec.to_toml()) == table.spec
    assert "write_verify, at most 100 pulses" in table.spec.sources["programming.table_S"]
    assert table.spec.programming.sigma_rel is None
    assert "500 devices a state" in str(table)
    assert len(table.states) == 32


def test_more_pulses_make_a_narrower_table() -> None:
    spec = load_spec("yao2020")
    errors = [
        hrat.characterise(spec, scheme="write_verify", max_pulses=budget, devices=1000).rms_rel
        for budget in (5, 20, 50, 500)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < spec.programming.tolerance_rel  # type: ignore[operator]


def test_the_gaussian_for_comparison_has_the_same_mean_square_error() -> None:
    table = hrat.characterise(load_spec("yao2020"), scheme="write_verify", max_pulses=60, devices=2000)
    spec = table.gaussian_spec()
    assert spec.programming.table_S is None
    drawn = [
        achieved_conductance(torch.full((2000,), t, dtype=torch.float64), spec.without("states")) - t
        for t in spec.device.states_S
    ]
    # Below zero conductance nothing is drawn, which takes a little away at the lower states.
    assert float(torch.cat(drawn).square().mean().sqrt()) / spec.device.g_range_S == pytest.approx(
        table.rms_rel, rel=0.1
    )


def test_stuck_devices_are_left_to_their_shares() -> None:
    spec = load_spec("generic-4bit", stuck_on=0.3, limit_faults=True)
    table = hrat.characterise(spec, scheme="write_verify", devices=500)
    assert max(state.budget_spent for state in table.states) == 0.0
    assert table.spec.faults.stuck_on == 0.3
    drawn = achieved_conductance(torch.full((20_000,), 100e-6, dtype=torch.float64), table.spec)
    assert float((drawn == spec.device.g_max_S).double().mean()) == pytest.approx(0.3, abs=0.02)


def test_a_continuous_device_is_characterised_over_its_window() -> None:
    spec = load_spec("generic-4bit", limit_states=False)
    table = hrat.characterise(spec, scheme="write_verify", devices=200)
    assert (table.states[0].target_S, table.states[-1].target_S) == (spec.device.g_min_S, spec.device.g_max_S)


def test_refusals() -> None:
    with pytest.raises(hrat.HratError, match="needs no other one; expected scheme='write_verify' or 'open_loop'"):
        hrat.characterise(load_spec("generic-4bit"))
    with pytest.raises(hrat.HratError, match="at least 100 devices"):
        hrat.characterise(load_spec("generic-4bit"), scheme="write_verify", devices=10)


def test_a_model_trains_under_a_table_and_its_chips_miss_as_it_says() -> None:
    torch.manual_seed(0)
    table = hrat.characterise(
        load_spec("generic-4bit", stuck_off=0.01, limit_faults=True), scheme="write_verify", max_pulses=30, devices=500
    )
    network = torch.nn.Sequential(torch.nn.Linear(20, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    x = torch.randn(64, 20)
    model = hrat.prepare(network, table.spec, x).train()
    first, second = model(x), model(x)
    assert not torch.equal(first, second)  # another chip each time
    first.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.isfinite(compiled(x)).all()


# ---- ageing ----------------------------------------------------------------------------------------------------------


def chip_of(spec: hrat.HardwareSpec, **options: object) -> hrat.ProgrammedChip:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(200, 100))
    return hrat.program(hrat.deploy(hrat.prepare(network, spec, torch.randn(8, 200))), chips=2, **options)  # type: ignore[arg-type]


def test_chips_age_as_the_device_does() -> None:
    chip = chip_of(load_spec("ibm-pcm", sigma_rel=0.0))
    day, year = hrat.age(chip, 86400.0), hrat.age(chip, 3.15e7)
    means = [float(c.layers["0"].g_pos_S.mean()) for c in (chip, day, year)]
    assert means[0] > means[1] > means[2] > 0
    again = hrat.age(chip, 86400.0)
    assert torch.equal(day.layers["0"].g_pos_S, again.layers["0"].g_pos_S)
    assert day.deployment.spec.retention.age_s == 86400.0
    hot = load_spec("ibm-pcm", sigma_rel=0.0, **{"retention.activation_eV": 0.5})
    kept, baked = hrat.age(chip_of(hot), 1e4), hrat.age(chip_of(hot), 1e4, temperature_K=360.0)
    assert float(baked.layers["0"].g_pos_S.mean()) < float(kept.layers["0"].g_pos_S.mean())


def test_stuck_devices_do_not_age() -> None:
    chip = chip_of(load_spec("wan2022", sigma_rel=0.0, stuck_on=0.2, limit_faults=True))
    aged = hrat.age(chip, 1e6)
    top = chip.layers["0"].g_pos_S == chip.deployment.spec.device.g_max_S
    assert torch.equal(aged.layers["0"].g_pos_S[top], chip.layers["0"].g_pos_S[top])
    assert not torch.equal(aged.layers["0"].g_pos_S[~top], chip.layers["0"].g_pos_S[~top])


def test_ageing_refuses_what_it_cannot_know() -> None:
    with pytest.raises(hrat.HratError, match="has no retention figures"):
        hrat.age(chip_of(load_spec("generic-4bit")), 10.0)
    old = chip_of(load_spec("wan2022", limit_retention=True), scheme="write_verify")
    with pytest.raises(hrat.HratError, match="after the 86400 s that the chips are old already"):
        hrat.age(old, 10.0)
    assert hrat.age(old, 1e6).deployment.spec.retention.age_s == 1e6


def test_a_budget_that_leaves_states_out_of_reach_is_odd() -> None:
    few, many = (
        hrat.characterise(load_spec("yao2020"), scheme="write_verify", max_pulses=budget, devices=200)
        for budget in (20, 500)
    )
    assert any("out of reach" in warning for warning in few.spec.warnings())
    assert many.spec.warnings() == []
    assert "accepted within 0.288 uS" in str(few)
