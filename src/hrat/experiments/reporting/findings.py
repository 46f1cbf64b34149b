"""Measure all that a report shows by running the chips, and write the page."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hrat.artifacts import Estimate, ProgrammedChip, RestrictionBudget, SimulationResult, Verification
from hrat.errors import HratError
from hrat.experiments.budget import restriction_budget
from hrat.nn import PreparedModel, crossbar_layers
from hrat.reports import MAX_TILES, ReportParts, write_report
from hrat.simulation import estimate, ladder, simulate, verify

__all__ = ["Say", "nobody_asks", "report", "report_parts"]

Say = Callable[[str, int, int], None]
"""Called with the current task, the steps done, and the steps in all."""


def report(
    chips: ProgrammedChip,
    folder: str | os.PathLike[str],
    test: Any = None,
    *,
    max_tiles: int = MAX_TILES,
    **options: Any,
) -> list[Path]:
    """Measure chips and write one HTML page about them, with PNG, CSV and JSON beside it.

    Args:
        chips: one or several.
        folder: folder of the page; made if it does not exist.
        test: test images, as `hrat.simulate` takes them; read several times. None leaves out what needs images.
        max_tiles: tiles whose conductances the page holds.
        options: those of `report_parts`: `model` and `train` for the restriction budget, `title`, `limit`,
            `verify_images`, `spice` and others.

    Returns:
        The files, the page first.

    Raises:
        HratError: as `report_parts`.
        OSError: the folder cannot be written, or the disk is full.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)  # refused before the work, not after it
    return write_report(report_parts(chips, test, save_in=folder, **options), folder, max_tiles=max_tiles)


def report_parts(
    chips: ProgrammedChip,
    test: Any = None,
    *,
    model: PreparedModel | None = None,
    train: Any = None,
    title: str | None = None,
    limit: int | None = None,
    budget: RestrictionBudget | None = None,
    budget_chips: int = 10,
    verification: Verification | None = None,
    verify_images: int = 20,
    spice: bool = True,
    estimate_images: int = 100,
    seed: int = 0,
    accuracy_without_error: float | None = None,
    training: Sequence[Mapping[str, float]] = (),
    facts: Mapping[str, str] | None = None,
    save_in: str | os.PathLike[str] | None = None,
    progress: Say | None = None,
    label_key: str | None = None,
) -> ReportParts:
    """Measure all that a report shows.

    Args:
        chips: one or several.
        test: test images, as `hrat.simulate` takes them; they are measured on, and nothing is chosen by them.
        model: the trained network, and `train`: a loader of training images, both for the restriction budget.
        train: see `model`.
        title: title of the page.
        limit: test images for the accuracy, the first ones; all by default.
        budget: a restriction budget that was made before, in place of a new one.
        budget_chips: chips of a new one.
        verification: one that was made before, in place of a new one.
        verify_images: test images for a new one; 0 for none.
        spice: whether that goes down to SPICE.
        estimate_images: test images for energy and time.
        seed: seed of the budget's first chip.
        accuracy_without_error: accuracy of the trained network without programming errors, as a part of 1.
        training: a row for each epoch, with `loss`, `accuracy`, `val_loss`, `val_accuracy` as far as they are there.
        facts: further facts, shown as they are.
        save_in: folder to leave `budget.json` and `verification.json` in as soon as they are made, so that they can be
            given to another call.
        progress: called as work goes on.
        label_key: key of the label in batches that are dicts, in place of `labels` or `label`.

    Raises:
        HratError: the chips are not those of the model, or as `hrat.simulate`.
    """
    if not isinstance(chips, ProgrammedChip):
        raise HratError(f"expected the chips that hrat.program returned, got {type(chips).__name__}")
    say = progress or nobody_asks
    missing: dict[str, str] = {}
    if budget is None:
        budget = _budget(chips, model, train, budget_chips, seed, say, missing, label_key)
        if budget is not None and save_in is not None:
            budget.save(Path(save_in) / "budget.json")
    result: SimulationResult | None = None
    cost_estimate: Estimate | None = None
    if test is None:
        missing |= dict.fromkeys(("accuracy", "estimate"), "it needs test images (hrat report CHIPS --data NAME)")
    else:
        result = simulate(
            chips,
            test,
            limit=limit,
            keep_outputs=False,
            throw=False,
            label_key=label_key,
            progress=lambda done, total: say("accuracy", done, total or done),
        )
        if not result.accuracies:
            missing["accuracy"] = "the images have no labels"
        say("estimate", 0, 1)
        cost_estimate = estimate(chips, test, limit=estimate_images, label_key=label_key)
        if verification is None and verify_images:
            rungs = ladder(chips.deployment.spec, spice=spice)
            names = [rung.name for rung in rungs]
            verification = verify(
                chips,
                test,
                rungs=rungs,
                limit=verify_images,
                label_key=label_key,
                progress=lambda name: say(f"circuit: {name}", names.index(name), len(names)),
            )
            if save_in is not None:
                verification.save(Path(save_in) / "verification.json")
    if verification is None:
        why = "it was not asked for" if test is not None else "it needs test images (hrat report CHIPS --data NAME)"
        missing["verification"] = why
    return ReportParts(
        title=title or f"Chips on {chips.deployment.spec.name}",
        chip=chips,
        result=result,
        accuracy_without_error=accuracy_without_error,
        budget=budget,
        budget_on="training images" if train is not None else "images",
        verification=verification,
        estimate=cost_estimate,
        training=training,
        facts=facts or {},
        missing=missing,
    )


def _budget(
    chips: ProgrammedChip,
    model: PreparedModel | None,
    train: Any,
    n_chips: int,
    seed: int,
    say: Say,
    missing: dict[str, str],
    label_key: str | None,
) -> RestrictionBudget | None:
    if model is None:
        missing["budget"] = "it needs the trained network, which chips do not hold (hrat report CHIPS --run RUN_FOLDER)"
        return None
    layers = crossbar_layers(model)
    if set(layers) != set(chips.layers):
        raise HratError(
            f"the chips are not those of the model: they have the layers {', '.join(chips.layers)}, the model "
            f"{', '.join(layers)}"
        )
    if train is None:
        missing["budget"] = "it was not asked for"
        return None
    return restriction_budget(
        model,
        train,
        spec=chips.deployment.spec,
        chips=n_chips,
        seed=seed,
        label_key=label_key,
        progress=lambda done, total, what: say(f"budget: {what}", done, total),
    )


def nobody_asks(what: str, done: int, total: int) -> None:
    """Ignore progress."""
