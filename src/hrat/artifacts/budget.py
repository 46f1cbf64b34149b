"""Restriction budget: the cost of each restriction for a trained network, and the change that would help most."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from hrat.artifacts.decode import STRICT, Count, Part, Positive, load_json
from hrat.errors import ArtifactError
from hrat.files import write_atomic
from hrat.names import one_line
from hrat.tables import csv_text

__all__ = ["BudgetLayer", "BudgetRow", "BudgetStep", "RestrictionBudget"]


@dataclass(frozen=True, kw_only=True)
class BudgetRow:
    """One restriction. Costs are parts of 1 of images classified right, positive where it hurts."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    alone: float
    """Cost of this restriction alone: the ideal network less the chips with nothing else."""
    alone_error: Positive
    """Standard error of `alone`, over chips."""
    removed: float
    """Accuracy gained when it alone is removed from the full set."""
    removed_error: Positive
    rms_alone: Positive
    """Error of the outputs under it alone, relative to the outputs' own standard deviation."""
    rms_removed: float
    """Fall of that error of the full set when it alone is removed."""
    so_far: Part
    """Accuracy with this restriction and all those above it."""


@dataclass(frozen=True, kw_only=True)
class BudgetStep:
    """One number of the spec changed, everything else and the trained network as they are."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    field: str
    before: float
    after: float
    gain: float
    """Accuracy gained, as a part of 1."""
    gain_error: Positive
    rms_gain: float
    """Fall of the relative error of the outputs."""


@dataclass(frozen=True, kw_only=True)
class BudgetLayer:
    """One layer."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    input_peak_V: Positive
    """The 99.9 % quantile of the magnitude on the word lines, before any limit, V."""
    input_clamped: Part
    """Part of the values beyond the read threshold."""
    output_peak_V: Positive
    output_clamped: Part
    """Part of the values beyond the amplifiers' swing."""
    snr_dB: dict[str, Annotated[float, Field(allow_inf_nan=True)]]
    """Signal-to-error ratio of its outputs under each restriction alone, and under `all`, dB."""
    states_used: Count
    """Number of conductance states that are the target of some device."""
    states_bits: Positive
    """Entropy of the states over the devices, bits."""
    weights_at_edge: Part
    """Part of the weights that are held at the edge of the window."""
    bias_codes_used: Count
    bias_saturated: Part
    """Part of the biases that are held at the full scale of their DAC."""


@dataclass(frozen=True, kw_only=True)
class RestrictionBudget:
    """The whole budget of a network on its hardware."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    spec: str
    n_images: Count
    n_chips: Count
    seed: Count
    ideal: Part
    """Accuracy without any restriction."""
    full: Part
    """Mean accuracy of the chips under all of them."""
    full_error: Positive
    worst: Part
    rms: Positive
    """Relative error of the outputs under all restrictions."""
    rows: tuple[BudgetRow, ...]
    """Restrictions, ordered by the gain of their removal."""
    steps: tuple[BudgetStep, ...]
    """Steps, ordered by their gain."""
    verified: BudgetStep | None
    """The best step once more, on other chips than those that it was chosen by."""
    layers: tuple[BudgetLayer, ...]
    seconds: Positive = 0.0

    @property
    def cost(self) -> float:
        """Accuracy that all restrictions cost together."""
        return self.ideal - self.full

    @property
    def interaction(self) -> float:
        """Cost of all restrictions together beyond the sum of their costs alone."""
        return self.cost - sum(row.alone for row in self.rows)

    def sentences(self) -> list[str]:
        """The result in words."""
        sentences = [
            f"All restrictions together cost {_points(self.cost)} ({100 * self.ideal:.2f} % to {100 * self.full:.2f} % "
            f"on {self.n_chips} chips); each alone, they add up to {_points(self.cost - self.interaction)}."
        ]
        if self.rows:
            sentences.append(_of_the_dearest(self.rows[0]))
        step = self.verified
        if step is None:
            sentences.append("No number of the spec acts on this network.")
        elif step.gain > 2 * step.gain_error:
            sentences.append(
                f"The one number to change is {step.field}, {step.before:g} -> {step.after:g}: "
                f"{_points(step.gain)} +- {_points(step.gain_error)} on other chips, and "
                f"{step.rms_gain:.1%} less error of the outputs; without training anew."
            )
        elif step.rms_gain > 0:
            sentences.append(
                "No single step of a number changes the accuracy by more than these chips can tell; the error of the "
                f"outputs falls most by {step.field}, {step.before:g} -> {step.after:g}: by {step.rms_gain:.1%} of "
                f"their spread, on other chips ({_points(step.gain)} +- {_points(step.gain_error)} of accuracy), "
                "without training anew."
            )
        else:
            sentences.append(
                "No single step of a number helps: the network is at its limit on this hardware, as trained."
            )
        return sentences

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write as JSON, whole or not at all."""
        return write_atomic(path, json.dumps(asdict(self), indent=1) + "\n")

    def save_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the restrictions and the steps as a table, whole or not at all."""
        header = ("kind", "name", "before", "after", "alone", "alone_error", "gain", "gain_error", "rms_gain")
        rows: list[tuple[Any, ...]] = [
            (
                "restriction",
                row.name,
                "",
                "",
                row.alone,
                row.alone_error,
                *(row.removed, row.removed_error, row.rms_removed),
            )
            for row in self.rows
        ]
        rows += [
            ("step", step.field, step.before, step.after, "", "", step.gain, step.gain_error, step.rms_gain)
            for step in self.steps
        ]
        return write_atomic(path, csv_text(header, rows))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RestrictionBudget:
        """Read a file that `save` wrote.

        Raises:
            ArtifactError: the file is damaged or foreign.
        """
        budget = load_json(cls, path, "restriction budget")
        for layer in budget.layers:
            if "all" not in layer.snr_dB:
                raise ArtifactError(
                    f"{os.fspath(path)}: layer '{one_line(layer.name)}' has no signal-to-error ratio under all "
                    "restrictions; expected 'all' among its snr_dB"
                )
        return budget


def _points(part: float) -> str:
    return f"{100 * part:.2f} points"


def _of_the_dearest(row: BudgetRow) -> str:
    if row.removed <= 2 * row.removed_error:
        return (
            "No restriction costs more, beside the others, than these chips can tell: taking away "
            f"'{row.name}' wins {_points(row.removed)} +- {_points(row.removed_error)}; alone it costs "
            f"{_points(row.alone)}."
        )
    return (
        f"The most is won by taking away '{row.name}': {_points(row.removed)} +- {_points(row.removed_error)}; "
        f"alone it costs {_points(row.alone)}."
    )
