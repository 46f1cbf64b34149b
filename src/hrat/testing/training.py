"""Laws 5 and 6: with every restriction off, gradients and training are those of the original network."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map

from hrat.conversion import last_digit
from hrat.nn import PreparedModel, restrictions
from hrat.testing.compare import compared, dropout_places, named_tensors, passed, without_dropout
from hrat.testing.origins import Origins, batch_norms_by_origin
from hrat.testing.report import Finding, merged, true_or_not, unchecked

__all__ = ["STEPS", "TRAINING_TOLERANCE", "gradients_are_the_networks", "trained_alike", "training_is_the_networks"]

TRAINING_TOLERANCE = 1e-10
"""Of the largest value of an output, a gradient or a statistic, in float64: sums over a batch, forward and back."""
SMALL_GRADIENT = 1e-3
"""Part of the network's largest gradient below which a tensor's own largest is no measure: a bias in front of a batch
norm has no gradient but the rounding of others."""
STEPS = 3
STEP = 1e-2
"""Largest change of a parameter in a step."""

GRADIENTS = "gradients are the network's"
TRAINING = "training is the network's"


def gradients_are_the_networks(
    model: nn.Module, prepared: PreparedModel, inputs: Any, *, seed: int = 0, bound: float = TRAINING_TOLERANCE
) -> Finding:
    """Law 5, in eval mode: gradients of a weighted sum of the outputs, by parameters and by inputs.

    Args:
        model: the original network, no two numbers of its parameters alike (`told_apart`).
        prepared: what `hrat.prepare` made of it.
        inputs: inputs as the network takes them, in float64.
        seed: seed of the weights in the sum.
        bound: largest difference, relative to the largest gradient of each tensor.
    """
    origins = Origins.find(dict(model.named_parameters()), dict(prepared.named_parameters()))
    try:
        theirs = _Gradients.of(model.eval(), inputs, seed)
    except RuntimeError as error:
        return unchecked("law 5", GRADIENTS, f"the original network has no gradient: {error}")
    with restrictions(prepared, prepared.spec.ideal()):
        ours = _Gradients.of(prepared.eval(), inputs, seed)
    return merged(
        [
            *_gradient_findings("law 5", GRADIENTS, origins, ours, theirs, bound),
            *_without_copy("law 5", GRADIENTS, origins, theirs),
        ]
    )


def training_is_the_networks(
    model: nn.Module,
    prepared: PreparedModel,
    inputs: Any,
    *,
    steps: int = STEPS,
    seed: int = 0,
    bound: float = TRAINING_TOLERANCE,
) -> Finding:
    """Law 6: several steps of gradient descent change both networks alike. Both are left as they are.

    Outputs and gradients of each step are compared, and parameters, batch statistics and counts of batches at the end.
    Both draw the same random numbers. Where dropout draws them in another order than the original does, both are
    compared without dropout; where rounding alone moves the original's own training by more than the bound, there is
    nothing to compare. The finding then says so.

    Args:
        model: the original network, no two numbers of its parameters and statistics alike (`told_apart`).
        prepared: what `hrat.prepare` made of it.
        inputs: a batch as the network takes it, in float64.
        steps: how many.
        seed: seed of the weights of the outputs in the loss, and of random numbers.
        bound: largest difference, relative to the largest value of each tensor.
    """
    finding = trained_alike(model, prepared, inputs, steps=steps, seed=seed, bound=bound)
    if finding.ok:
        return finding
    detail = ""
    if dropout_places(model):
        with without_dropout(model), without_dropout(prepared):
            finding = trained_alike(model, prepared, inputs, steps=steps, seed=seed, bound=bound)
        detail = "without dropout, for which the original draws its random numbers in another order"
        if finding.ok:
            return replace(finding, detail=detail)
    moved = _moved_by_rounding(model, inputs, steps, seed)
    if moved > bound:
        why = (
            f"rounding alone moves what the original network learns from these inputs by {moved:.2g}; expected more "
            "images, so that its batch statistics are no differences of nearly equal numbers"
        )
        return unchecked("law 6", TRAINING, why)
    return replace(finding, detail=f"{finding.detail}; {detail}") if detail else finding


def trained_alike(
    model: nn.Module, prepared: PreparedModel, inputs: Any, *, steps: int, seed: int, bound: float
) -> Finding:
    """The bare comparison of law 6, on copies, whatever rounding and dropout do to it."""
    model, prepared = copy.deepcopy(model), copy.deepcopy(prepared)
    pair = _Pair(model, prepared)
    findings: list[Finding] = []
    with torch.random.fork_rng(devices=[]), restrictions(prepared, prepared.spec.ideal()):
        for step in range(steps):
            batch = _scaled(inputs, step)
            try:
                theirs = _Gradients.of(model.train(), batch, seed + step)
            except (RuntimeError, ValueError) as error:
                return unchecked("law 6", TRAINING, f"the original network cannot be trained on these inputs: {error}")
            ours = _Gradients.of(prepared.train(), batch, seed + step)
            findings.append(
                compared("law 6", TRAINING, ours.outputs, theirs.outputs, bound, where=f"step {step}, output")
            )
            findings += _gradient_findings("law 6", TRAINING, pair.parameters, ours, theirs, bound, f"step {step}, ")
            pair.step(ours, theirs)
    return merged([*findings, *pair.compared(bound), *_without_copy("law 6", TRAINING, pair.parameters, theirs)])


def _moved_by_rounding(model: nn.Module, inputs: Any, steps: int, seed: int) -> float:
    """Difference of two trainings of the original whose inputs and parameters differ in the last digit."""
    apart, moved = [copy.deepcopy(model).train() for _ in range(2)], 0.0
    generator = torch.Generator().manual_seed(seed)
    _round(list(apart[1].parameters()), generator)
    with torch.random.fork_rng(devices=[]), without_dropout(apart[0]), without_dropout(apart[1]):
        for step in range(steps):
            batches = [_scaled(inputs, step), _scaled(inputs, step)]
            _round([leaf for _, leaf in named_tensors(batches[1])], generator)
            one, other = (_Gradients.of(net, batch, seed + step) for net, batch in zip(apart, batches, strict=True))
            same = Origins.find(one.parameters, one.parameters)
            findings = [compared("", "", other.outputs, one.outputs, 0.0)]
            findings += _gradient_findings("", "", same, other, one, 0.0)
            moved = max(moved, *(math.inf if finding.error is None else finding.error for finding in findings))
            for net, gradients in zip(apart, (one, other), strict=True):
                _descend(net, gradients)
    return moved


@torch.no_grad()
def _round(tensors: list[Tensor], generator: torch.Generator) -> None:
    """Change the last digit of each number, or not."""
    for tensor in tensors:
        tensor.copy_(last_digit(tensor, generator))


@torch.no_grad()
def _descend(model: nn.Module, gradients: _Gradients) -> float:
    """A step of gradient descent; returns its rate."""
    rate = STEP / gradients.largest if gradients.largest else 0.0
    for name, parameter in model.named_parameters():
        if name in gradients.parameters:
            parameter.sub_(rate * gradients.parameters[name])
    return rate


class _Gradients:
    """Outputs of a network, and gradients of their weighted sum."""

    def __init__(self, outputs: list[tuple[str, Tensor]], parameters: dict[str, Tensor], inputs: list[Tensor]) -> None:
        self.outputs = {place: tensor.detach() for place, tensor in outputs}
        self.parameters = parameters
        self.inputs = inputs

    @classmethod
    def of(cls, model: nn.Module, inputs: Any, seed: int) -> _Gradients:
        """Run it forward and back; the same seed gives the same weights and the same dropout."""
        torch.manual_seed(seed)
        leaves = tree_map(_leaf, inputs)
        outputs = [(p, t) for p, t in named_tensors(passed(model, leaves)) if t.is_floating_point()]
        generator = torch.Generator().manual_seed(seed)
        loss = sum(
            (tensor * torch.randn(tensor.shape, dtype=tensor.dtype, generator=generator)).sum() for _, tensor in outputs
        )
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        wanted = [*parameters.values(), *(t for _, t in named_tensors(leaves) if t.requires_grad)]
        gradients = torch.autograd.grad(loss, wanted, allow_unused=True)  # type: ignore[arg-type]
        full = [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, gradients, strict=True)]
        return cls(outputs, dict(zip(parameters, full, strict=False)), full[len(parameters) :])

    @property
    def largest(self) -> float:
        """The largest gradient by any parameter."""
        return max((float(g.abs().max()) for g in self.parameters.values() if g.numel()), default=0.0)


def _leaf(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().clone().requires_grad_()
    return value


def _scaled(inputs: Any, step: int) -> Any:
    """The inputs of a step: each has a batch of another size of signal."""
    factor = 1 + 0.5 * step
    return tree_map(lambda x: factor * x if isinstance(x, Tensor) and x.is_floating_point() else x, inputs)


def _gradient_findings(
    name: str,
    claim: str,
    origins: Origins,
    ours: _Gradients,
    theirs: _Gradients,
    bound: float,
    prefix: str = "",
) -> Iterator[Finding]:
    """One finding for each parameter of the original, and one for the inputs."""
    yield compared(name, claim, ours.inputs, theirs.inputs, bound, where=f"{prefix}gradient of input")
    if not origins.copies:
        return
    zeros = {key: torch.zeros_like(tensor) for key, (tensor, _) in origins.copies.items()}
    gathered = origins.gathered({**zeros, **ours.parameters})
    missing = set(origins.missing())
    for key, gradient in theirs.parameters.items():
        if key not in missing:
            # Beside a value of that size the gradient is measured against it at least.
            beside = gradient.new_full((1,), SMALL_GRADIENT * theirs.largest)
            summed, want = (torch.cat([g.flatten(), beside]) for g in (gathered[key], gradient))
            yield compared(name, claim, summed, want, bound, where=f"{prefix}gradient of {key}")


def _without_copy(name: str, claim: str, origins: Origins, theirs: _Gradients) -> Iterator[Finding]:
    """Parameters that move the original's outputs and of which the prepared model has no copy."""
    lost = [key for key in origins.missing() if key in theirs.parameters and bool(theirs.parameters[key].any())]
    if lost:
        yield true_or_not(name, claim, False, f"the prepared model has no copy of the parameters {', '.join(lost)}")


class _Pair:
    """Both networks in training, with what they have in common."""

    def __init__(self, model: nn.Module, prepared: PreparedModel) -> None:
        self.parameters = Origins.find(dict(model.named_parameters()), dict(prepared.named_parameters()))
        self.statistics = Origins.find(_statistics(model), dict(prepared.named_buffers()))
        self.norms = list(batch_norms_by_origin(model, prepared))
        self.buffers = {name: b.detach().clone() for name, b in model.named_buffers()}
        self.model = model

    @torch.no_grad()
    def step(self, ours: _Gradients, theirs: _Gradients) -> None:
        """Take an equal step of gradient descent on both models; parameters of the prepared one alone stay."""
        rate = _descend(self.model, theirs)
        for name, (parameter, _) in self.parameters.copies.items():
            if name in ours.parameters:
                parameter.sub_(rate * ours.parameters[name])

    def compared(self, bound: float) -> Iterator[Finding]:
        """Parameters, statistics and counts of batches as they are now."""
        for what, origins in (("parameter", self.parameters), ("statistic", self.statistics)):
            for name, duplicate, original in origins.copied_back():
                yield compared("law 6", TRAINING, duplicate, original, bound, where=f"after training, {what} {name}")
        for name, ours, theirs in self.norms:
            counts = [norm.num_batches_tracked for norm in (ours, theirs)]
            yield compared(
                "law 6", TRAINING, counts[:1], counts[1:], bound, where=f"after training, batches seen by {name}"
            )
        followed = {id(tensor) for tensor in self.statistics.original.values()}
        for name, buffer in self.model.named_buffers():
            changed = not torch.equal(buffer, self.buffers[name])
            if changed and id(buffer) not in followed and not name.endswith("num_batches_tracked"):
                detail = (
                    f"buffer {name} of the original changes in training, and the prepared model has none that follows"
                )
                yield true_or_not("law 6", TRAINING, False, detail)


def _statistics(model: nn.Module) -> dict[str, Tensor]:
    """Batch statistics of a network by name."""
    return {
        f"{name}.{what}": tensor
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        for what in ("running_mean", "running_var")
        if isinstance(tensor := getattr(module, what), Tensor)
    }
