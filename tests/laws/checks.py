"""The laws of `hrat.testing` as functions that raise AssertionError, for networks, devices and layers of the tests."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

import hrat
from hrat.encoding import Geometry
from hrat.spec import HardwareSpec
from hrat.testing.compare import call, compared
from hrat.testing.laws import (
    TOLERANCE,
    change_scales,
    nothing_is_lost,
    patches_are_the_operation,
    scale_is_a_gauge,
    trained_is_deployed,
)

__all__ = [
    "assert_law1",
    "assert_law2",
    "assert_law3",
    "assert_laws",
    "assert_model_is_chip",
    "assert_patches_are_the_operation",
    "assert_same",
    "call",
    "change_scales",
]


def assert_same(got: Any, want: Any, what: str, tolerance: float = TOLERANCE) -> None:
    """Two nests of tensors are equal, relative to the magnitude of each tensor."""
    compared(what, "", got, want, tolerance).require()


def assert_law1(model: nn.Module, x: Any, spec: HardwareSpec | str, *, n_chips: int = 3, **how: Any) -> None:
    """What you train is what you deploy: the model with a chip's errors computes what that chip does."""
    prepared = as_prepared(model, x, spec, **how)
    chip = hrat.program(hrat.deploy(prepared), seed=11, chips=n_chips)
    assert_model_is_chip(prepared, chip, x)


def assert_model_is_chip(prepared: nn.Module, chip: hrat.ProgrammedChip, x: Any) -> None:
    """Law 1 for chips that are there already."""
    trained_is_deployed(prepared, chip, x).require()


def assert_law2(
    model: nn.Module, x: Any, spec: HardwareSpec | str, *, prepared: hrat.PreparedModel | None = None, **how: Any
) -> None:
    """Nothing is lost: with every restriction off the prepared model is the original one."""
    prepared = prepared if prepared is not None else as_prepared(model, x, spec, **how)
    nothing_is_lost(model, prepared, x).require()


def assert_law3(model: nn.Module, x: Any, spec: HardwareSpec | str, *, seed: int = 5, **how: Any) -> None:
    """Scale is a gauge: with every restriction off the outputs do not depend on the scales; other ones stay."""
    prepared = as_prepared(model, x, spec, **how)
    scale_is_a_gauge(prepared, x, seed).require()
    change_scales(prepared, seed)


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
    patches_are_the_operation(geometry, weight, inputs).require()


def as_prepared(model: nn.Module, x: Any, spec: HardwareSpec | str, **how: Any) -> hrat.PreparedModel:
    return model if isinstance(model, hrat.PreparedModel) else hrat.prepare(model, spec, x, **how)
