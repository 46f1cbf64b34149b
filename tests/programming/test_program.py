"""Programming chips from a deployment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

import hrat
from hrat.artifacts import DeployedLayer
from hrat.encoding import Geometry
from hrat.programming import memory, program_in_chunks
from laws.networks import SPECS, network, small_network

module = sys.modules["hrat.programming.programming_chips"]


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
    mixed = hrat.program(target, seeds=[6, 3, 10**12, 2**63 - 1])
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
    with pytest.raises(
        hrat.HratError, match="unknown programming scheme 'magic'; expected one of statistical, open_loop"
    ):
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


# ---- many chips


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_chip_does_not_depend_on_the_number_of_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    target = deployment(name="lenet5")
    alone = hrat.program(target, seed=3)
    monkeypatch.setattr(module, "DEVICES_WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    together = hrat.program(target, seeds=[4, 3])
    assert same(together[1], alone)
    assert not same(together[0], alone)


def test_known_numbers() -> None:
    """A chip of today is that of tomorrow: the numbers come from a generator seeded by SHA-256 of `seed/layer/sign`."""
    g_S = torch.full((1, 4, 4), 100e-6, dtype=torch.float64)
    layer = DeployedLayer(
        name="fc",
        geometry=Geometry(kind="linear", in_channels=4, out_channels=4),
        g_pos_S=g_S,
        g_neg_S=g_S.clone(),
        r_f_ohm=1.0,
        bias_V=None,
        bias_codes=None,
    )
    target = hrat.Deployment(spec=SPECS["harsh"], layers={"fc": layer}, graph=())
    chip = hrat.program(target)
    z = torch.randn(
        1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(module.seed_of_place(0, "fc/+"))
    )
    expected = g_S + SPECS["harsh"].programming.sigma_rel * 150e-6 * z
    torch.testing.assert_close(chip.layers["fc"].g_pos_S[0], expected, rtol=1e-12, atol=0)
    assert module.seed_of_place(0, "fc/+") == -7372056911261439477


def test_some_of_the_chips_share_their_memory() -> None:
    chip = hrat.program(deployment(), chips=5)
    some = chip[1:4]
    assert some.seeds == (1, 2, 3)
    assert same(some[0], chip[1])
    assert some.layers["0"].g_pos_S.data_ptr() == chip.layers["0"].g_pos_S[1].data_ptr()


def test_more_chips_than_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    target = deployment()
    each = 8 * target.n_devices
    assert hrat.program(target, chips=3, memory_bytes=3 * each).n_chips == 3
    with pytest.raises(hrat.HratError, match=r"expected at most .* GiB, memory_bytes\. .*program_in_chunks"):
        hrat.program(target, chips=3, memory_bytes=3 * each - 1)
    monkeypatch.setattr(module, "available_bytes", lambda: 3 * each)
    assert hrat.program(target, chips=3).n_chips == 3
    with pytest.raises(hrat.HratError, match=r"4 chip\(s\) of 160 devices take .* the memory that is left"):
        hrat.program(target, chips=4)
    monkeypatch.setattr(module, "available_bytes", lambda: None)
    assert hrat.program(target, chips=4).n_chips == 4
    monkeypatch.undo()
    with pytest.raises(hrat.HratError, match="the memory that is left"):
        hrat.program(target, chips=10**12 // each)


def test_chunks() -> None:
    target = deployment()
    chunks = program_in_chunks(target, seeds=[5, 1, 9], memory_bytes=2 * 8 * target.n_devices)
    assert (chunks.n_chips, len(chunks), chunks.chunk_size) == (3, 2, 2)
    together = hrat.program(target, seeds=[5, 1, 9])
    first, second = chunks
    assert same(first, together[:2])
    assert same(second, together[2])
    with pytest.raises(hrat.HratError, match="at least one chip"):
        program_in_chunks(target, chips=0)
    with pytest.raises(hrat.HratError, match="unknown programming scheme"):
        program_in_chunks(target, scheme="magic")


def test_memory_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = memory.available_bytes()
    assert left is None or left > 2**20
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9000 kB\nMemAvailable:  5000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", meminfo)
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
    assert memory.available_bytes() == 5000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("3000000\n")
    (tmp_path / "memory.stat").write_text("anon 7\ninactive_file 1000000\n")
    assert memory.available_bytes() == 5000 * 1024
    (tmp_path / "memory.max").write_text("4000000\n")
    assert memory.available_bytes() == 2_000_000
    meminfo.unlink()
    (tmp_path / "memory.max").unlink()
    assert memory.available_bytes() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
