"""The laws would notice: each known mistake, made on purpose, breaks one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hrat
import hrat.nn.crossbar_layer as layers_module
from hrat.encoding import Geometry, Readout
from hrat.nn import signals
from hrat.nn.fusing import BatchNormTerms
from hrat.simulation import behavioural
from hrat.simulation.solvers import linear_model
from laws.checks import (
    assert_law1,
    assert_law2,
    assert_law3,
    assert_model_is_chip,
    assert_patches_are_the_operation,
)
from laws.networks import SPECS, as_trained

SPEC = SPECS["harsh"]
deploy_module = import_module("hrat.mapping.deploying")
fuse, to_matrix, from_matrix = layers_module.fuse, Geometry.to_matrix, Geometry.from_matrix


def case(kind: str) -> tuple[nn.Module, Tensor]:
    """Square weights, so that a wrong order changes numbers and not shapes."""
    layers: dict[str, tuple[nn.Module, nn.Module, tuple[int, ...]]] = {
        "linear": (nn.Linear(5, 5), nn.BatchNorm1d(5), (8, 5)),
        "conv": (nn.Conv2d(4, 4, 3, groups=2), nn.BatchNorm2d(4), (4, 4, 6, 6)),
        "transposed": (nn.ConvTranspose2d(4, 4, 3, stride=2), nn.BatchNorm2d(4), (3, 4, 3, 3)),
    }
    layer, norm, shape = layers[kind]
    model = as_trained(nn.Sequential(layer, norm, nn.ReLU()))
    return model, torch.randn(shape, dtype=torch.float64)


def changed_fuse(change: Callable[[dict[str, Any]], None]) -> Callable[..., Any]:
    def mutated(*args: Any, **kwargs: Any) -> Any:
        change(kwargs)
        return fuse(*args, **kwargs)

    return mutated


def drop(key: str) -> Callable[[dict[str, Any]], None]:
    def change(kwargs: dict[str, Any]) -> None:
        kwargs[key] = torch.ones_like(kwargs[key]) if isinstance(kwargs[key], Tensor) else None

    return change


def without(**parts: Any) -> Callable[[dict[str, Any]], None]:
    """Batch norm with some of its numbers replaced, such as sigma = 1."""

    def change(kwargs: dict[str, Any]) -> None:
        terms = kwargs["after"]
        if terms is not None:
            kwargs["after"] = replace(terms, **{k: f(getattr(terms, k)) for k, f in parts.items()})

    return change


def wrong_bias(change: Callable[[Tensor, dict[str, Any]], Tensor]) -> Callable[..., Any]:
    def mutated(*args: Any, **kwargs: Any) -> Any:
        fused = fuse(*args, **kwargs)
        return fused if fused.bias_V is None else replace(fused, bias_V=change(fused.bias_V, kwargs))

    return mutated


WRONG_FUSING: dict[str, Callable[..., Any]] = {
    "no batch norm": changed_fuse(drop("after")),
    "gamma dropped": changed_fuse(without(gamma=torch.ones_like)),
    "sign of gamma lost": changed_fuse(without(gamma=torch.abs)),
    "sigma dropped": changed_fuse(without(inverse=torch.ones_like)),
    "mean dropped": changed_fuse(without(mean=torch.zeros_like)),
    "beta dropped": changed_fuse(without(beta=torch.zeros_like)),
    "alpha_in dropped": changed_fuse(drop("alpha_in")),
    "alpha_out dropped": changed_fuse(drop("alpha_out")),
    "bias not scaled": wrong_bias(lambda bias_V, kwargs: bias_V / kwargs["alpha_out"]),
    "bias doubled": wrong_bias(lambda bias_V, _: 2 * bias_V),
}
WRONG_SCALES = ("alpha_in dropped", "alpha_out dropped", "bias not scaled")


@pytest.mark.parametrize("kind", ["linear", "conv", "transposed"])
@pytest.mark.parametrize("mistake", sorted(WRONG_FUSING))
def test_law_2_notices_wrong_fusing(kind: str, mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = case(kind)
    prepared = hrat.prepare(model, SPEC, x)
    assert_law2(model, x, SPEC, prepared=prepared)
    monkeypatch.setattr(layers_module, "fuse", WRONG_FUSING[mistake])
    with pytest.raises(AssertionError, match="law 2"):
        assert_law2(model, x, SPEC, prepared=prepared)


@pytest.mark.parametrize("kind", ["linear", "conv", "transposed"])
@pytest.mark.parametrize("mistake", WRONG_SCALES)
def test_law_3_notices_a_scale_that_does_not_vanish(kind: str, mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = case(kind)
    prepared = hrat.prepare(model, SPEC, x)
    assert_law3(prepared, x, SPEC)
    monkeypatch.setattr(layers_module, "fuse", WRONG_FUSING[mistake])
    with pytest.raises(AssertionError, match="law 3"):
        assert_law3(prepared, x, SPEC)


def test_law_3_notices_a_reader_that_does_not_undo_the_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = case("linear")
    prepared = hrat.prepare(model, SPEC, x)
    monkeypatch.setattr(signals.OutputRescale, "forward", lambda self, voltage, alpha: voltage)
    with pytest.raises(AssertionError, match="law 3"):
        assert_law3(prepared, x, SPEC)


def test_preparing_itself_refuses_wrong_fusing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = case("linear")
    monkeypatch.setattr(layers_module, "fuse", WRONG_FUSING["sigma dropped"])
    with pytest.raises(hrat.HratError, match="differs from the original although all restrictions are off"):
        hrat.prepare(model, SPEC, x)


def not_transposed(self: Geometry, weight: Tensor) -> Tensor:
    return to_matrix(self, weight).mT if self.matrix_shape[1] == self.matrix_shape[2] else to_matrix(self, weight)


def kernel_slowest(self: Geometry, weight: Tensor) -> Tensor:
    """Rows in the order (kernel, channel) in place of (channel, kernel)."""
    matrix = to_matrix(self, weight)
    groups, rows, cols = self.matrix_shape
    channels = self.in_channels // self.groups
    return matrix.reshape(groups, channels, rows // channels, cols).transpose(1, 2).reshape(groups, rows, cols)


def groups_swapped(self: Geometry, weight: Tensor) -> Tensor:
    return to_matrix(self, weight).flip(0)


def kernel_mirrored(self: Geometry, weight: Tensor) -> Tensor:
    return to_matrix(self, weight.flip(tuple(range(2, weight.ndim))))


WRONG_ORDER = [
    ("linear", not_transposed),
    ("conv", kernel_slowest),
    ("conv", groups_swapped),
    ("conv", kernel_mirrored),
    ("transposed", kernel_slowest),
    ("transposed", kernel_mirrored),
]


@pytest.mark.parametrize(("kind", "mistake"), WRONG_ORDER)
def test_law_1_notices_weights_at_the_wrong_cells(
    kind: str, mistake: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = case(kind)
    prepared = hrat.prepare(model, SPEC, x)
    assert_law1(prepared, x, SPEC)
    monkeypatch.setattr(Geometry, "to_matrix", mistake)
    with pytest.raises(AssertionError, match="law 1"):
        assert_law1(prepared, x, SPEC)


@pytest.mark.parametrize(("kind", "mistake"), WRONG_ORDER)
def test_word_lines_notice_weights_at_the_wrong_cells(
    kind: str, mistake: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the way back makes the same mistake, so that law 1 sees nothing."""
    model, x = case(kind)
    (layer,) = hrat.nn.crossbar_layers(hrat.prepare(model, SPEC, x)).values()
    assert_patches_are_the_operation(layer.geometry, layer.weight.detach(), x)
    monkeypatch.setattr(Geometry, "to_matrix", mistake)
    with pytest.raises(AssertionError, match="patches"):
        assert_patches_are_the_operation(layer.geometry, layer.weight.detach(), x)


def test_word_lines_notice_a_transposed_kernel_that_is_mirrored_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = case("transposed")
    prepared = hrat.prepare(model, SPEC, x)
    (layer,) = hrat.nn.crossbar_layers(prepared).values()
    back = from_matrix
    monkeypatch.setattr(Geometry, "to_matrix", kernel_mirrored)
    monkeypatch.setattr(Geometry, "from_matrix", lambda self, m: back(self, m).flip((2, 3)))
    assert_law1(prepared, x, SPEC)  # the two mistakes undo each other
    with pytest.raises(AssertionError, match="patches"):
        assert_patches_are_the_operation(layer.geometry, layer.weight.detach(), x)


def _deploy_with(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[Any], Any]) -> None:
    """Each deployed layer is built with one field changed."""
    build = deploy_module.DeployedLayer

    def build_changed(**fields: Any) -> Any:
        return build(**{**fields, name: change(fields[name])})

    monkeypatch.setattr(deploy_module, "DeployedLayer", build_changed)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("r_f_ohm", lambda r_f: r_f * (1 + 1e-9)),
        ("r_f_ohm", lambda r_f: 1 / r_f),
        ("bias_V", torch.neg),
        ("bias_V", lambda bias_V: bias_V.roll(1)),
        ("g_pos_S", lambda g_S: g_S * (1 + 1e-9)),
    ],
)
@pytest.mark.parametrize("kind", ["linear", "conv", "transposed"])
def test_law_1_notices_a_wrong_number_on_the_chip(
    kind: str, field: str, change: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = case(kind)
    prepared = hrat.prepare(model, SPEC, x)
    # A model with the errors of a chip takes them relative to the chip's targets, so that wrong targets show.
    _deploy_with(monkeypatch, field, change)
    with pytest.raises(AssertionError, match="law 1"):
        assert_law1(prepared, x, SPEC)


@pytest.mark.parametrize("readout", ["dual_rail", "two_stage"])
def test_law_1_notices_the_sign_of_the_negative_partner(readout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = case("linear")
    spec = SPEC.replace(readout=readout)
    prepared = hrat.prepare(model, spec, x)

    def added(chip: Any, name: str, seen_S: tuple[Tensor, Tensor]) -> Any:
        return linear_model(chip, name, (seen_S[0], -seen_S[1]))

    monkeypatch.setattr(behavioural, "linear_model", added)
    with pytest.raises(AssertionError, match="law 1"):
        assert_law1(prepared, x, spec)


def test_law_1_notices_swapped_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = case("conv")
    prepared = hrat.prepare(model, SPEC, x)
    encode = Readout.encode
    monkeypatch.setattr(Readout, "encode", lambda self, fraction, *what: encode(self, -fraction, *what))
    with pytest.raises(AssertionError, match="law 1"):
        assert_law1(prepared, x, SPEC)


def test_law_1_notices_fusing_after_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual way: training quantises the weights without batch norm, deployment those with it."""
    model, x = case("linear")
    prepared = hrat.prepare(model, SPEC, x)
    deployment = hrat.deploy(prepared)
    chip = hrat.program(deployment)
    monkeypatch.setattr(BatchNormTerms, "gain", property(lambda self: torch.rsqrt(self.var + self.eps)))

    with pytest.raises(AssertionError, match="law 1"):
        assert_model_is_chip(prepared, chip, x)


@pytest.mark.parametrize("limit", ["read_voltage", "swing", "bias_dac", "input_dac", "states"])
def test_law_1_notices_a_restriction_that_only_training_knows(limit: str) -> None:
    model, x = case("linear")
    model = nn.Sequential(model, nn.Linear(5, 5).double())
    prepared = hrat.prepare(model, SPEC, x)
    for module in prepared.modules():
        if isinstance(module, hrat.nn.Scale):
            module.set(10 * module())  # every word line clips
    prepared.graph.get_submodule("scales.1").set(100.0)  # and every amplifier of the last layer
    if limit in ("bias_dac", "states"):  # these are in what is deployed, the others in how it runs
        with hrat.nn.restrictions(prepared, SPEC.without(limit)):
            deployment = replace(hrat.deploy(prepared), spec=SPEC)
    else:
        deployment = replace(hrat.deploy(prepared), spec=SPEC.without(limit))
    assert_model_is_chip(prepared, hrat.program(hrat.deploy(prepared)), x)
    with pytest.raises(AssertionError, match="law 1"):
        assert_model_is_chip(prepared, hrat.program(deployment), x)
