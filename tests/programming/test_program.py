"""Programming chips from a deployment."""

from __future__ import annotations

import pytest
import torch

import hrat
from laws.networks import SPECS, network, small_network


def deployment(spec: str = "harsh", name: str | None = None) -> hrat.Deployment:
    model, x = small_network() if name is None else network(name)
    return hrat.deploy(hrat.prepare(model, SPECS[spec], x))


def same(a: hrat.ProgrammedChip, b: hrat.ProgrammedChip) -> bool:
    pairs = [(a.layers[n], b.layers[n]) for n in a.layers]
    return all(torch.equal(p.g_pos_S, q.g_pos_S) and torch.equal(p.g_neg_S, q.g_neg_S) for p, q in pairs)


@pytest.mark.parametrize("spec", sorted(SPECS))
def test_a_chip_is_made_by_its_seed_alone_bit_for_bit(spec: str) -> None:
    target = deployment(spec)
    together = hrat.program(target, seed=3, chips=4)
    assert together.seeds == (3, 4, 5, 6)
    for index, seed in enumerate(together.seeds):
        assert same(together[index], hrat.program(target, seed=seed))
    assert same(together[-1], together[3])
    mixed = hrat.program(target, seeds=[6, 3, 10**12, -5])
    assert same(mixed[0], together[3])
    assert same(mixed[1], together[0])
    assert mixed.n_chips == 4


def test_chips_layers_and_partners_share_no_errors() -> None:
    chip = hrat.program(deployment(name="fc4"), chips=3)
    errors = [e for name in chip.layers for pair in chip.errors_S(name) for e in pair]
    flat = [e.flatten()[:60] for e in errors if e.numel() >= 60]
    assert len(flat) >= 6
    for i, a in enumerate(flat):
        for b in flat[:i]:
            n = min(len(a), len(b))
            assert abs(float(torch.corrcoef(torch.stack([a[:n], b[:n]]))[0, 1])) < 0.6


def test_errors_have_the_spread_of_the_spec() -> None:
    chip = hrat.program(deployment(), chips=300)
    errors = torch.cat([e.flatten() for name in chip.layers for e in chip.errors_S(name)])
    assert float(errors.std()) == pytest.approx(0.10 * 150e-6, rel=0.02)
    assert abs(float(errors.mean())) < 5 * 15e-6 / errors.numel() ** 0.5
    assert all(float(layer.g_neg_S.min()) >= 0 for layer in chip.layers.values())


def test_without_errors_a_chip_is_its_targets() -> None:
    chip = hrat.program(deployment("no error"), chips=2)
    assert not any(bool(e.any()) for name in chip.layers for e in chip.errors_S(name))


def test_refusals() -> None:
    target = deployment()
    with pytest.raises(hrat.HratError, match="unknown programming scheme 'magic'; expected one of gaussian"):
        hrat.program(target, scheme="magic")
    for nothing in ({"chips": 0}, {"seeds": []}):
        with pytest.raises(hrat.HratError, match="at least one chip"):
            hrat.program(target, **nothing)  # type: ignore[arg-type]
    with pytest.raises(IndexError, match="chip 2 of 2"):
        hrat.program(target, chips=2)[2]


def test_what_is_printed_names_layers_and_seeds() -> None:
    chip = hrat.program(deployment(), seed=7, chips=2)
    text = str(chip)
    assert "2 chip(s), seeds 7..8" in text
    assert all(name in text for name in chip.layers)
    assert "seed 7," in str(chip[0])
    assert "memristors" in str(chip.deployment)
