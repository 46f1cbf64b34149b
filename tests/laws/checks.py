"""The laws as functions that raise AssertionError, so that any layer, network or device can be held against them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import hrat
from hrat.encoding import Geometry
from hrat.nn import Scale, restrictions
from hrat.spec import HardwareSpec

TOLERANCE = 1e-12
"""Of the output's magnitude, in float64."""


def call(model: nn.Module, x: Any) -> Any:
    """Call with a tensor, a tuple of arguments or a dict of keyword arguments, without a gradient, in eval mode."""
    model.eval()
    with torch.no_grad():
        if isinstance(x, dict):
            return model(**x)
        return model(*x) if isinstance(x, tuple) else model(x)


def assert_same(got: Any, want: Any, what: str, tolerance: float = TOLERANCE) -> None:
    """Two nests of tensors are equal, relative to the magnitude of each tensor."""
    have, expected = _tensors(got), _tensors(want)
    assert len(have) == len(expected), f"{what}: {len(have)} tensors, expected {len(expected)}"
    for a, b in zip(have, expected, strict=True):
        assert a.shape == b.shape, f"{what}: shape {tuple(a.shape)}, expected {tuple(b.shape)}"
        assert a.dtype == b.dtype, f"{what}: {a.dtype}, expected {b.dtype}"
        assert bool(torch.isfinite(a).all()), f"{what}: values that are not finite"
        error, size = float((a - b).abs().max()), float(b.abs().max())
        assert error <= tolerance * max(size, 1e-9), f"{what}: differs by {error:.3g} where the largest is {size:.3g}"


def assert_law1(model: nn.Module, x: Any, spec: HardwareSpec | str, *, n_chips: int = 3, **how: Any) -> None:
    """What you train is what you deploy: the model with a chip's errors computes what that chip does."""
    prepared = as_prepared(model, x, spec, **how)
    chip = hrat.program(hrat.deploy(prepared), seed=11, chips=n_chips)
    assert_model_is_chip(prepared, chip, x)


def assert_model_is_chip(prepared: nn.Module, chip: hrat.ProgrammedChip, x: Any) -> None:
    """Law 1 for chips that are there already."""
    value = hrat.simulate(chip, x).value
    for index in range(chip.n_chips):
        with hrat.use_chip(prepared, chip, index):
            got = call(prepared, x)
        assert_same(got, [part[index] for part in _tensors(value)], f"law 1, chip {index}")


def assert_law2(
    model: nn.Module, x: Any, spec: HardwareSpec | str, *, prepared: hrat.PreparedModel | None = None, **how: Any
) -> None:
    """Nothing is lost: with every restriction off the prepared model is the original one."""
    prepared = prepared if prepared is not None else as_prepared(model, x, spec, **how)
    with restrictions(prepared, prepared.spec.ideal()):
        assert_same(call(prepared, x), call(model, x), "law 2")


def assert_law3(model: nn.Module, x: Any, spec: HardwareSpec | str, *, seed: int = 5, **how: Any) -> None:
    """Scale is a gauge: with every restriction off the outputs do not depend on the scales."""
    prepared = as_prepared(model, x, spec, **how)
    with restrictions(prepared, prepared.spec.ideal()):
        before = call(prepared, x)
        change_scales(prepared, seed)
        assert_same(call(prepared, x), before, "law 3")


def assert_laws(model: nn.Module, x: Any, spec: HardwareSpec | str, **how: Any) -> hrat.PreparedModel:
    """Laws 1 to 3 on the same prepared model; law 1 with the scales of `prepare` and, channel by channel, others."""
    prepared = hrat.prepare(model, spec, x, **how)
    assert_law2(model, x, spec, prepared=prepared)
    assert_law1(prepared, x, spec)
    assert_law3(prepared, x, spec)
    assert_law1(prepared, x, spec, n_chips=1)
    assert_law2(model, x, spec, prepared=prepared)
    return prepared


def assert_patches_are_the_operation(geometry: Geometry, weight: Tensor, inputs: Tensor) -> None:
    """What the bit lines of the crossbars yield from the word lines is the PyTorch operation."""
    lines = geometry.to_matrix(weight).mT @ geometry.patches(inputs)  # (batch, groups, cols, positions)
    out = geometry.apply(inputs, weight)
    if geometry.kind == "linear":
        got = lines.squeeze(1).mT.reshape(out.shape)
    else:
        got = lines.flatten(1, 2).reshape(out.shape)
    assert_same(got, out, "patches")


def change_scales(prepared: nn.Module, seed: int) -> None:
    """Other scales, each within a factor of four."""
    generator = torch.Generator().manual_seed(seed)
    for module in prepared.modules():
        if isinstance(module, Scale):
            drawn = torch.rand(module.log_alpha.shape, dtype=torch.float64, generator=generator)
            module.set(module().detach() * torch.exp(2.8 * (drawn - 0.5)))


def as_prepared(model: nn.Module, x: Any, spec: HardwareSpec | str, **how: Any) -> hrat.PreparedModel:
    return model if isinstance(model, hrat.PreparedModel) else hrat.prepare(model, spec, x, **how)


def _tensors(nested: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(nested) if isinstance(leaf, Tensor)]
