"""The restriction budget: what each restriction costs, alone and in the full set, and which number to change."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hrat.artifacts import BudgetRow, BudgetStep, RestrictionBudget
from hrat.batches import Batch, class_scores, right_and_counted, split_batch
from hrat.circuit import input_names
from hrat.errors import HratError
from hrat.experiments.budget.layers import layer_figures
from hrat.experiments.budget.steps import next_steps
from hrat.mapping import deploy
from hrat.nn import PreparedModel, restrictions
from hrat.physics import has_error
from hrat.programming import program
from hrat.seeds import check_seed
from hrat.simulation import simulate
from hrat.spec import HardwareSpec

__all__ = ["restriction_budget"]

MOST_STEPS = 4
"""Steps at once of the number that costs most."""
ENOUGH = 0.5
"""Part of the gain of removing a restriction that a step should gain."""

Progress = Callable[[int, int, str], None]
"""`(runs done, runs in all, what comes next)`."""


def restriction_budget(
    model: PreparedModel,
    loader: Iterable[Any],
    *,
    spec: HardwareSpec | None = None,
    chips: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
    label_key: str | None = None,
) -> RestrictionBudget:
    """Measure the cost of each restriction for a trained network, and find the number whose change would help most.

    Each restriction is measured alone (against the ideal network) and by removing it from the full set; both on chips
    of the same seeds, whose errors are the same draws, so that differences are far more certain than the accuracies
    themselves. Then every number of the spec that limits something is taken a step further (`next_steps`; several
    steps of the number that costs most, where one is too short), and the best step is measured once more on chips that
    had no part in the choice. The network stays as it was trained: training it anew for the changed hardware may gain
    more.

    The relative error of the outputs, `rms(y - y_ideal) / std(y_ideal)`, stands beside the accuracy: it shows
    differences that the accuracy on a few thousand images does not.

    Args:
        model: a trained model from `hrat.prepare`.
        loader: batches with labels, as `hrat.fit` takes them. A choice is made by them: not the test images of a
            published accuracy.
        spec: other hardware of the same conductance window, in place of the model's.
        chips: number of chips, for the error bars.
        seed: seed of the first chip; the chips that verify have the seeds behind those.
        progress: called before each run.
        label_key: key of the label in batches that are dicts, in place of `labels` or `label`.

    Raises:
        HratError: no chips, or a loader without labels or images.
        DataError: batches of another kind, or labels that are no classes of the outputs.
    """
    if not isinstance(model, PreparedModel):
        raise HratError(f"expected a model that hrat.prepare returned, got {type(model).__name__}")
    if chips < 1:
        raise HratError(f"expected 1 chip or more, got {chips}")
    seed = check_seed(seed)
    started = time.monotonic()
    hardware = model.spec if spec is None else spec
    batches = _batches(model, loader, label_key)
    was_training = model.training
    model.eval()
    try:
        budget = _Budget(model, hardware, batches, chips, seed, progress)
        measured = budget.run()
    finally:
        model.train(was_training)
    return RestrictionBudget(**measured, seconds=time.monotonic() - started)


def _batches(model: PreparedModel, loader: Iterable[Any], label_key: str | None) -> list[Batch]:
    takes = input_names(model.circuit.nodes)
    batches = [split_batch(raw, label_key=label_key, takes=takes).labelled() for raw in loader]
    if not batches:
        raise HratError("the loader yields no images; expected one of (input, label)")
    return batches


@dataclass(frozen=True)
class _Run:
    """Result for one hardware: accuracy and relative error of the outputs of each chip."""

    accuracies: Tensor
    rms: Tensor

    @property
    def mean(self) -> float:
        return float(self.accuracies.mean())


class _Budget:
    def __init__(
        self,
        model: PreparedModel,
        spec: HardwareSpec,
        batches: list[Batch],
        chips: int,
        seed: int,
        progress: Progress | None,
    ) -> None:
        self.model, self.spec, self.batches, self.chips, self.seed = model, spec, batches, chips, seed
        self.names = [name for name, on in spec.restrictions().items() if on]
        self.steps = next_steps(spec)
        self.progress = progress
        self.done, self.total = 0, 3 + 3 * len(self.names) + len(self.steps)
        self.wanted = [out[0] for out in self._outputs(spec.ideal(), 1, 0)]
        self.size = float(torch.cat([out.flatten() for out in self.wanted]).double().std())

    def run(self) -> dict[str, Any]:
        ideal = float(self._accuracies([out.unsqueeze(0) for out in self.wanted]))
        full = self._measured(self.spec, "all")
        alone = {name: self._measured(self.spec.only(name), f"{name} alone") for name in self.names}
        without = {name: self._measured(self.spec.without(name), f"without {name}") for name in self.names}
        order = sorted(
            self.names,
            key=lambda name: (without[name].mean - full.mean, float((full.rms - without[name].rms).mean())),
            reverse=True,
        )
        rows = []
        for count, name in enumerate(order, 1):
            last = count == len(order)
            so_far = full if last else self._measured(self.spec.only(*order[:count]), f"up to {name}")
            rows.append(
                BudgetRow(
                    name=name,
                    alone=ideal - alone[name].mean,
                    alone_error=_error(alone[name].accuracies),
                    removed=without[name].mean - full.mean,
                    removed_error=_error(without[name].accuracies - full.accuracies),
                    rms_alone=float(alone[name].rms.mean()),
                    rms_removed=float((full.rms - without[name].rms).mean()),
                    so_far=so_far.mean,
                )
            )
        steps = [self._step(step.field, step.before, step.after, full, step.spec, self.seed) for step in self.steps]
        steps += self._further(rows[0], full, steps) if rows else []
        steps.sort(key=lambda step: (step.gain, step.rms_gain), reverse=True)
        verified = self._verified(steps)
        self._tell("layers")
        return {
            "spec": self.spec.name,
            "n_images": sum(batch.rows for batch in self.batches),
            "n_chips": self.chips,
            "seed": self.seed,
            "ideal": ideal,
            "full": full.mean,
            "full_error": _error(full.accuracies),
            "worst": float(full.accuracies.min()),
            "rms": float(full.rms.mean()),
            "rows": tuple(rows),
            "steps": tuple(steps),
            "verified": verified,
            "layers": tuple(layer_figures(self.model, self.spec, self.batches[0], self.names, self.seed)),
        }

    def _further(self, worst: BudgetRow, full: _Run, steps: Sequence[BudgetStep]) -> list[BudgetStep]:
        """Larger steps of the number that costs most, where a single one is too short to tell."""
        further_steps: list[BudgetStep] = []
        if worst.removed <= 2 * worst.removed_error:
            return further_steps
        for times in range(2, MOST_STEPS + 1):
            if any(step.gain >= ENOUGH * worst.removed for step in [*steps, *further_steps]):
                break
            further = [step for step in next_steps(self.spec, times) if step.restriction == worst.name]
            self.total += len(further)
            self.steps += further
            further_steps += [self._step(s.field, s.before, s.after, full, s.spec, self.seed) for s in further]
        return further_steps

    def _verified(self, steps: Sequence[BudgetStep]) -> BudgetStep | None:
        """The best step on chips that had no part in the choice; of those that chance may have put first the surest."""
        if not steps:
            return None
        best = steps[0]
        close = [s for s in steps if best.gain - s.gain <= 2 * math.hypot(best.gain_error, s.gain_error)]
        best = max(close, key=lambda step: step.rms_gain)
        other = self.seed + self.chips
        full = self._measured(self.spec, "other chips", other)
        spec = next(step.spec for step in self.steps if (step.field, step.after) == (best.field, best.after))
        return self._step(best.field, best.before, best.after, full, spec, other)

    def _step(self, field: str, before: float, after: float, full: _Run, spec: HardwareSpec, seed: int) -> BudgetStep:
        run = self._measured(spec, f"{field} {before:g} -> {after:g}", seed)
        return BudgetStep(
            field=field,
            before=before,
            after=after,
            gain=run.mean - full.mean,
            gain_error=_error(run.accuracies - full.accuracies),
            rms_gain=float((full.rms - run.rms).mean()),
        )

    def _tell(self, what: str) -> None:
        if self.progress is not None:
            self.progress(self.done, self.total, what)
        self.done += 1

    def _measured(self, spec: HardwareSpec, what: str, seed: int | None = None) -> _Run:
        self._tell(what)
        differ = has_error(spec.programming, spec.faults)  # without errors all chips are one
        outputs = self._outputs(spec, self.chips if differ else 1, self.seed if seed is None else seed)
        accuracies = self._accuracies(outputs)
        differences = zip(outputs, self.wanted, strict=True)
        squares = torch.cat([(now - wanted).double().square().flatten(1) for now, wanted in differences], 1)
        rms = squares.mean(1).sqrt() / self.size
        if not differ:
            accuracies, rms = accuracies.expand(self.chips), rms.expand(self.chips)
        return _Run(accuracies, rms)

    def _accuracies(self, outputs: list[Tensor]) -> Tensor:
        """Share of the labels that count which each chip has right, `(chips,)`."""
        of_chips = []
        for index in range(len(outputs[0])):
            counts = [right_and_counted(out[index], x.label) for out, x in zip(outputs, self.batches, strict=True)]
            right, counted = (sum(float(count) for count in part) for part in zip(*counts, strict=True))
            of_chips.append(right / counted if counted else math.nan)
        return torch.tensor(of_chips, dtype=torch.float64)

    def _outputs(self, spec: HardwareSpec, chips: int, seed: int) -> list[Tensor]:
        """Class scores of each batch, `(chips, images, ...)`, digital units."""
        with restrictions(self.model, spec):
            deployment = deploy(self.model)
        programmed = program(deployment, chips=chips, seed=seed)
        return [_scores(simulate(programmed, Batch(x.args, x.kwargs)).value) for x in self.batches]


def _scores(value: Any) -> Tensor:
    """The class scores, or the first of the outputs."""
    scores = class_scores(value)
    while scores is None:
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
        scores = class_scores(value)
    return scores


def _error(values: Tensor) -> float:
    """Standard error of the mean over chips."""
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else 0.0
