"""A prepared model is a PyTorch module like any other."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import hrat
from hrat.nn import Scale, crossbar_layers, restrictions, sampled_chip, set_noise_strength
from laws.networks import NETWORKS, SPECS, network, small_network


def prepared_small(**how: object) -> tuple[hrat.PreparedModel, Tensor]:
    model, x = small_network()
    return hrat.prepare(model, SPECS["harsh"], x, **how), x  # type: ignore[arg-type]


def test_training_draws_new_errors_each_call_and_evaluation_none() -> None:
    prepared, x = prepared_small()
    hrat.nn.freeze_batch_norm(prepared)
    with torch.no_grad():
        assert torch.equal(prepared.eval()(x), prepared(x))
        assert not torch.equal(prepared.train()(x), prepared(x))
        set_noise_strength(prepared, 0.0)
        assert torch.equal(prepared(x), prepared(x))


@pytest.mark.parametrize("spec", ["harsh", "harsh two-stage", "wan2022", "milo2021"])
def test_seeds_reproduce_the_errors_of_training(spec: str) -> None:
    model, x = small_network()

    def outputs(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        prepared = hrat.prepare(model, SPECS[spec], x, generator=generator).train()
        with torch.no_grad():
            return torch.stack([prepared(x) for _ in range(3)])

    assert torch.equal(outputs(1), outputs(1))
    assert not torch.equal(outputs(1), outputs(2))

    prepared = hrat.prepare(model, SPECS[spec], x).train()
    hrat.nn.freeze_batch_norm(prepared)
    with torch.no_grad():
        drawn = []
        for seed in (5, 5, 6):
            torch.manual_seed(seed)
            drawn.append(prepared(x))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_shared_layer_has_one_error_in_a_training_step() -> None:
    model, x = network("shared conv")
    prepared = hrat.prepare(model, SPECS["harsh"], x).train()
    seen: list[Any] = []
    layer = crossbar_layers(prepared)["conv"]
    layer.register_forward_pre_hook(lambda _module, args: seen.append(args[3]))
    prepared(x)
    prepared(x)
    assert len(seen) == 4
    first, again, other, other_again = (sample.devices[0] for sample in seen)
    assert torch.equal(first, again)
    assert torch.equal(other, other_again)
    assert not torch.equal(first, other)


def test_the_original_is_left_as_it_is() -> None:
    model, x = small_network()
    before, mode = copy.deepcopy(model.state_dict()), model.training
    prepared = hrat.prepare(model.train(), SPECS["harsh"], x)
    assert prepared.training
    prepared(x).sum().backward()
    torch.optim.SGD(prepared.parameters(), lr=1.0).step()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not mode
    assert not hrat.prepare(model.eval(), SPECS["harsh"], x).training


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("form", ["two_pass", "one_pass"])
def test_gradients_reach_every_parameter(name: str, form: str) -> None:
    model, x = network(name)
    prepared = hrat.prepare(model, SPECS["harsh"], x, batch_norm=form).train()  # type: ignore[arg-type]
    out = prepared(**x) if isinstance(x, dict) else prepared(*x) if isinstance(x, tuple) else prepared(x)
    leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(out) if leaf.requires_grad]
    sum((leaf * torch.randn_like(leaf)).sum() for leaf in leaves).backward()
    for parameter_name, parameter in prepared.named_parameters():
        assert parameter.requires_grad, parameter_name
        assert parameter.grad is not None, parameter_name
        assert bool(torch.isfinite(parameter.grad).all()), parameter_name


def test_gradients_reach_weights_gamma_beta_scales_and_window() -> None:
    prepared, x = prepared_small()
    set_noise_strength(prepared, 0.0)
    F.cross_entropy(prepared.train()(x), torch.arange(12) % 4).backward()
    for name, parameter in prepared.named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith("graph.0.bias"):  # batch norm takes it away
            assert bool(parameter.grad.any()), name


def test_state_dict_round_trip(tmp_path: Path) -> None:
    prepared, x = prepared_small(scales="channel")
    for module in prepared.modules():
        if isinstance(module, Scale):
            module.set(torch.rand_like(module.log_alpha) + 0.5)
    prepared.train()(x)
    torch.save(prepared.state_dict(), tmp_path / "model.pt")
    other, _ = prepared_small(scales="channel")
    assert not torch.equal(other.eval()(x), prepared.eval()(x))
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert torch.equal(other.eval()(x), prepared(x))


@pytest.mark.parametrize(
    "name",
    ["tuple output", "shared conv", *("fc4", "residual", "functional")],
)
def test_a_state_dict_can_be_saved_without_pickle(name: str, tmp_path: Path) -> None:
    model, x = network(name)
    prepared = hrat.prepare(model, SPECS["harsh"], x)
    save_file(prepared.state_dict(), tmp_path / "model.safetensors")
    other = hrat.prepare(model, SPECS["no error"], x)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("name", ["residual", "shared conv"])
def test_a_copy_is_equal_and_independent(name: str) -> None:
    model, x = network(name)
    generator = torch.Generator().manual_seed(1)
    prepared = hrat.prepare(model, SPECS["harsh"], x, generator=generator)
    other = copy.deepcopy(prepared)
    assert torch.equal(prepared(x), other(x))
    with torch.no_grad():
        next(iter(crossbar_layers(other).values())).weight.mul_(-2)
    assert not torch.equal(prepared(x), other(x))
    other.train()(x).sum().backward()
    assert all(parameter.grad is None for parameter in prepared.parameters())


def test_a_model_in_single_precision_becomes_one_in_double_precision() -> None:
    model, x = small_network()
    single = hrat.prepare(model.float(), SPECS["no error"], x.float())
    double = copy.deepcopy(single).double()
    assert {p.dtype for p in double.parameters()} == {torch.float64}
    out = double(x)
    assert out.dtype == torch.float64
    # Rounding may fall to the other side for a value here and there.
    assert (out - single(x.float()).double()).abs().median().item() < 1e-5
    double.train()(x).sum().backward()


def test_single_precision_obeys_law_1_as_well_as_it_can() -> None:
    model, x = small_network()
    prepared = hrat.prepare(model.float(), SPECS["harsh"], x.float())
    chip = hrat.program(hrat.deploy(prepared))
    assert chip.layers["0"].g_pos_S.dtype == torch.float32
    value = hrat.simulate(chip, x.float()).value[0]
    with torch.no_grad(), hrat.use_chip(prepared, chip):
        torch.testing.assert_close(prepared(x.float()), value, rtol=1e-4, atol=1e-4)


def test_autocast_to_bfloat16() -> None:
    model, x = network("lenet5")
    model, x = model.float(), x.float()
    prepared = hrat.prepare(model, SPECS["harsh"], x)
    with torch.no_grad():
        exact = prepared.eval()(x)
        with torch.autocast("cpu", torch.bfloat16):
            near = prepared(x).float()
    assert float((near - exact).abs().mean()) < 0.1 * float(exact.abs().max())
    for form in hrat.nn.BATCH_NORM_FORMS:
        prepared = hrat.prepare(model, SPECS["harsh"], x, batch_norm=form).train()
        with torch.autocast("cpu", torch.bfloat16):
            loss = prepared(x).float().square().mean()
        loss.backward()
        assert all(bool(torch.isfinite(p.grad).all()) for p in prepared.parameters()), form
        assert all(b.dtype == torch.float32 for n, b in prepared.named_buffers() if "running" in n), form


def test_a_convolution_with_adcs_between_its_tiles_compiles_after_other_restrictions_were_tried() -> None:
    x = torch.randn(4, 4, 5, 5, dtype=torch.float64)
    spec = SPECS["tile ADCs"].replace({"array.rows": 7})
    prepared = hrat.prepare(nn.Conv2d(4, 6, 3, groups=2).double(), spec, x).eval()
    with restrictions(prepared, spec.ideal()):
        pass
    torch._dynamo.reset()
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(prepared, backend="eager", fullgraph=True)(x), prepared(x))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("spec", ["harsh", "wan2022 two-stage", "tile ADCs"])
def test_compiled_as_one_graph_it_evaluates_the_same(spec: str, backend: str) -> None:
    model, x = small_network()
    prepared = hrat.prepare(model, SPECS[spec], x)
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(prepared), backend=backend, fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), prepared(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("spec", "form"),
    [
        ("no error", "one_pass"),
        ("no error", "two_pass"),
        ("no error", "slice"),
        ("no error", "unfused"),
        ("harsh", "two_pass"),
        ("tile ADCs", "one_pass"),
    ],
)
def test_compiled_as_one_graph_it_trains_the_same(spec: str, form: str) -> None:
    model, x = small_network()
    prepared = hrat.prepare(model, SPECS[spec], x, batch_norm=form)  # type: ignore[arg-type]
    set_noise_strength(prepared, 0.0)
    other = copy.deepcopy(prepared)
    torch._dynamo.reset()
    for net in (torch.compile(other, backend="aot_eager", fullgraph=True), prepared):
        net.train()
        net(x).square().sum().backward()
    for (name, a), (_, b) in zip(other.named_parameters(), prepared.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-9, msg=name)
    torch.testing.assert_close(dict(other.named_buffers()), dict(prepared.named_buffers()))


def test_compiled_training_draws_new_errors() -> None:
    prepared, x = prepared_small()
    hrat.nn.freeze_batch_norm(prepared)
    torch._dynamo.reset()
    compiled = torch.compile(prepared.train(), backend="aot_eager")
    with torch.no_grad():
        assert not torch.equal(compiled(x), compiled(x))


@contextmanager
def process_group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="this torch has no gloo")
def test_distributed_data_parallel() -> None:
    model, x = network("residual")
    prepared = hrat.prepare(model, SPECS["no error"], x).train()
    alone = copy.deepcopy(prepared)
    with process_group():
        parallel = torch.nn.parallel.DistributedDataParallel(prepared)
        for net in (parallel, alone):
            optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
            for _ in range(2):
                optimizer.zero_grad()
                net(x).square().sum().backward()
                optimizer.step()
    for (name, a), (_, b) in zip(prepared.named_parameters(), alone.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


def test_a_chip_is_put_on_and_taken_off() -> None:
    prepared, x = prepared_small()
    chip = hrat.program(hrat.deploy(prepared), chips=2)
    plain = prepared.eval()(x)
    with hrat.use_chip(prepared, chip, 1):
        assert not torch.equal(prepared(x), plain)
    assert torch.equal(prepared(x), plain)
    other, other_x = network("residual")
    with (
        pytest.raises(hrat.HratError, match="is not a layer of this model"),
        hrat.use_chip(hrat.prepare(other, SPECS["harsh"], other_x), chip),
    ):
        pass


def test_a_sampled_chip_is_one_of_its_seed() -> None:
    prepared, x = prepared_small()
    plain = prepared.eval()(x)
    outputs = []
    for seed in (1, 1, 2):
        with sampled_chip(prepared, seed):
            outputs.append(prepared(x))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert torch.equal(prepared(x), plain)


def test_the_report_counts_what_the_chip_has() -> None:
    for name in sorted(NETWORKS):
        model, x = network(name)
        prepared = hrat.prepare(model, SPECS["harsh"], x)
        deployment = hrat.deploy(prepared)
        assert prepared.report.devices == deployment.n_devices, name
        assert sum(row.tiles for row in prepared.report.layers) == deployment.n_tiles, name
        text = str(prepared.report)
        assert all(row.name in text for row in prepared.report.layers), name
        assert max(map(len, text.splitlines())) <= 120, name


@pytest.mark.parametrize("scales", ["signal", "channel"])
def test_frozen_weights_keep_their_conductances(scales: Any) -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    model[0].requires_grad_(False)
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    prepared = hrat.prepare(model, SPECS["harsh"], x, scales=scales).train()

    def targets() -> list[Tensor]:
        return [part for layer in hrat.deploy(prepared).layers.values() for part in (layer.g_pos_S, layer.g_neg_S)]

    before = targets()
    optimizer = torch.optim.Adam([p for p in prepared.parameters() if p.requires_grad], 1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        prepared(x).square().sum().backward()
        optimizer.step()
    stay = [torch.equal(old, new) for old, new in zip(before, targets(), strict=True)]
    assert stay == [True, True, False, False]


def test_the_report_has_its_digital_operations_by_their_older_name_too() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 3))
    report = hrat.prepare(model, SPECS["harsh"], torch.randn(4, 6)).report
    assert [row.operation for row in report.islands] == ["gelu"]
    assert report.islands is report.digital_operations
