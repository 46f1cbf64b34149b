"""`check_laws`: all laws for a network, in float64."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hrat.artifacts import ProgrammedChip
from hrat.conversion import ScaleMode, prepare
from hrat.errors import HratError
from hrat.mapping import deploy
from hrat.nn import BatchNormForm, PreparedModel
from hrat.programming import program
from hrat.spec import HardwareSpec, load_spec
from hrat.testing.circuit import nodal_agrees, spice_agrees
from hrat.testing.compare import doubled, in_float64
from hrat.testing.laws import change_scales, nothing_is_lost, scale_is_a_gauge, trained_is_deployed
from hrat.testing.origins import told_apart
from hrat.testing.report import CheckReport, Finding, merged
from hrat.testing.training import (
    STEPS,
    TRAINING_TOLERANCE,
    gradients_are_the_networks,
    trained_alike,
    training_is_the_networks,
)

__all__ = ["LAWS", "check_laws"]

LAWS = (1, 2, 3, 4, 5, 6)
CHIPS = 2
EXACT_FORMS: tuple[BatchNormForm, ...] = ("two_pass", "unfused")
"""Forms of batch norm whose training is the network's, to rounding; the others are approximations of `two_pass`."""


def check_laws(
    model: nn.Module | Callable[[], nn.Module],
    spec: HardwareSpec | str | os.PathLike[str],
    inputs: Any,
    *,
    laws: Iterable[int] = LAWS,
    scales: ScaleMode = "signal",
    batch_norm: BatchNormForm = "one_pass",
    seed: int = 0,
    throw: bool = True,
) -> CheckReport:
    """Check the laws that hrat is built on for a network of your own, in float64; the network is not changed.

    1. What you train is what you deploy: the prepared model in eval mode, with the errors of a chip, is the
       behavioural simulation of that chip, to 1e-12 of the largest output.
    2. Nothing is lost: with every restriction off it is the original in eval mode, to 1e-12.
    3. Scale is a gauge: with every restriction off the outputs do not depend on the scales, to 1e-12.
    4. The circuit agrees: on ideal wires the behavioural solution is the nodal one and that of SPICE, to 1e-9.
    5. Gradients are the network's: with every restriction off, by parameters and inputs in eval mode, to 1e-10.
    6. Training is the network's: with every restriction off, outputs, gradients, parameters, statistics and counts of
       several steps of gradient descent, to 1e-10. The forms `one_pass` and `slice` of batch norm are approximations:
       for them this law is held with `two_pass`, and how far the form itself is off stands in a line of its own.

    Laws 5 and 6 are held on a copy whose parameters are moved by up to a hundredth, so that each can be followed.

    Args:
        model: any `nn.Module` that `hrat.prepare` takes, or a function that makes one.
        spec: the hardware, or what `hrat.load_spec` takes.
        inputs: a tensor `(images, ...)`, a tuple of positional arguments, or a dict of keyword arguments; a dozen
            images are plenty, and at least two are needed for batch statistics.
        laws: the laws to check.
        scales: see `hrat.prepare`.
        batch_norm: see `hrat.prepare`.
        seed: seed of the chips, of the other scales and of whatever else is drawn.
        throw: False to return a report with what is broken.

    Returns:
        A finding for each law: whether it holds, how far it is off, or why it was not checked.

    Raises:
        LawError: a law does not hold, and `throw` is on; the message says which, where and by how much.
        ConversionError: the model cannot be put on crossbars.
        SpecError: the spec is not valid.
        HratError: a law of another number.
    """
    wanted = set(laws)
    if not wanted <= set(LAWS):
        raise HratError(f"laws: expected some of {', '.join(map(str, LAWS))}, got {sorted(wanted - set(LAWS))}")
    hardware = load_spec(spec)
    original, x = in_float64(model), doubled(inputs)
    findings: list[Finding] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if wanted & {1, 2, 3, 4}:
            prepared = prepare(original, hardware, x, scales=scales, batch_norm=batch_norm, check=False)
            findings += _forward(original, prepared, x, wanted, seed)
        if wanted & {5, 6}:
            findings += _backward(told_apart(original, seed), hardware, x, wanted, seed, (scales, batch_norm))
    report = CheckReport(subject=f"laws for {type(original).__name__} on {hardware.name}", findings=tuple(findings))
    return report.require() if throw else report


def _forward(original: nn.Module, prepared: PreparedModel, x: Any, wanted: set[int], seed: int) -> Iterator[Finding]:
    """Laws 1 to 4; the first both with the scales of `prepare` and with others."""
    chip = program(deploy(prepared), seed=seed, chips=CHIPS)
    if 1 in wanted:
        yield merged([trained_is_deployed(prepared, chip, x), _law_1_with_other_scales(prepared, x, seed)])
    if 2 in wanted:
        yield nothing_is_lost(original, prepared, x)
    if 3 in wanted:
        yield scale_is_a_gauge(prepared, x, seed + 1)
    if 4 in wanted:
        yield from _circuit(chip, x)


def _law_1_with_other_scales(prepared: PreparedModel, x: Any, seed: int) -> Finding:
    before = {name: value.clone() for name, value in prepared.state_dict().items()}
    try:
        change_scales(prepared, seed + 2)
        return trained_is_deployed(prepared, program(deploy(prepared), seed=seed), x)
    finally:
        prepared.load_state_dict(before)


def _circuit(chip: ProgrammedChip, x: Any) -> Iterator[Finding]:
    yield nodal_agrees(chip, x)
    yield spice_agrees(chip, x)


def _backward(
    original: nn.Module,
    spec: HardwareSpec,
    x: Any,
    wanted: set[int],
    seed: int,
    form: tuple[ScaleMode, BatchNormForm],
) -> Iterator[Finding]:
    """Laws 5 and 6."""
    scales, batch_norm = form
    prepared = prepare(original, spec, x, scales=scales, batch_norm=batch_norm, check=False)
    if 5 in wanted:
        yield gradients_are_the_networks(original, prepared, x, seed=seed)
    if 6 not in wanted:
        return
    if batch_norm in EXACT_FORMS:
        yield training_is_the_networks(original, prepared, x, seed=seed)
        return
    reference = prepare(original, spec, x, scales=scales, batch_norm="two_pass", check=False)
    yield training_is_the_networks(original, reference, x, seed=seed)
    finding = trained_alike(original, prepared, x, steps=STEPS, seed=seed, bound=TRAINING_TOLERANCE)
    if not finding.ok and _has_batch_norm(original):
        why = f"{batch_norm} is an approximation of two_pass, for which law 6 is held: {finding.detail}"
        yield replace(finding, name=f"law 6, {batch_norm}", status="approximate", detail=why)


def _has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(module, _BatchNorm) for module in model.modules())
