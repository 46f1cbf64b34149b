"""What each restriction costs a trained network: plain data, with the one number whose change would help most."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hrat.errors import ArtifactError, SeedError
from hrat.files import write_atomic
from hrat.seeds import check_seed

__all__ = ["BudgetLayer", "BudgetRow", "BudgetStep", "RestrictionBudget"]


@dataclass(frozen=True, kw_only=True)
class BudgetRow:
    """One restriction. Costs are parts of 1 of images classified right, positive where it hurts."""

    name: str
    alone: float
    """Cost of this restriction alone: the ideal network less the chips with nothing else."""
    alone_error: float
    """Standard error of `alone`, over chips."""
    removed: float
    """What is won when it alone is taken away from the full set."""
    removed_error: float
    rms_alone: float
    """Error of the outputs under it alone, relative to the outputs' own standard deviation."""
    rms_removed: float
    """By how much that error of the full set falls when it is taken away."""
    so_far: float
    """Accuracy with this restriction and all those above it."""


@dataclass(frozen=True, kw_only=True)
class BudgetStep:
    """One number of the spec changed, everything else and the trained network as they are."""

    field: str
    before: float
    after: float
    gain: float
    """Accuracy won, as a part of 1."""
    gain_error: float
    rms_gain: float
    """By how much the relative error of the outputs falls."""


@dataclass(frozen=True, kw_only=True)
class BudgetLayer:
    """One layer."""

    name: str
    input_peak_V: float
    """The 99.9 % quantile of the magnitude on the word lines, before any limit, V."""
    input_clamped: float
    """Part of the values beyond the read threshold."""
    output_peak_V: float
    output_clamped: float
    """Part of the values beyond the amplifiers' swing."""
    snr_dB: dict[str, float]
    """Signal-to-error ratio of its outputs under each restriction alone, and under `all`, dB."""
    states_used: int
    """Conductance states that some device is to have."""
    states_bits: float
    """Entropy of the states over the devices, bits."""
    weights_at_edge: float
    """Part of the weights that are held at the edge of the window."""
    bias_codes_used: int
    bias_saturated: float
    """Part of the biases that are held at the full scale of their DAC."""


@dataclass(frozen=True, kw_only=True)
class RestrictionBudget:
    """The whole budget of a network on its hardware."""

    spec: str
    n_images: int
    n_chips: int
    seed: int
    ideal: float
    """Accuracy without any restriction."""
    full: float
    """Mean accuracy of the chips under all of them."""
    full_error: float
    worst: float
    rms: float
    """Relative error of the outputs under all restrictions."""
    rows: tuple[BudgetRow, ...]
    """In the order of what their removal wins."""
    steps: tuple[BudgetStep, ...]
    """In the order of what they win."""
    verified: BudgetStep | None
    """The best step once more, on other chips than those that it was chosen by."""
    layers: tuple[BudgetLayer, ...]
    seconds: float = 0.0

    @property
    def cost(self) -> float:
        """Accuracy that all restrictions cost together."""
        return self.ideal - self.full

    @property
    def interaction(self) -> float:
        """What they cost together beyond the sum of what each costs alone."""
        return self.cost - sum(row.alone for row in self.rows)

    def sentences(self) -> list[str]:
        """What it comes to, in words."""
        said = [
            f"All restrictions together cost {_points(self.cost)} ({100 * self.ideal:.2f} % to {100 * self.full:.2f} % "
            f"on {self.n_chips} chips); each alone, they add up to {_points(self.cost - self.interaction)}."
        ]
        if self.rows:
            said.append(_of_the_dearest(self.rows[0]))
        step = self.verified
        if step is None:
            said.append("No number of the spec acts on this network.")
        elif step.gain > 2 * step.gain_error:
            said.append(
                f"The one number to change is {step.field}, {step.before:g} -> {step.after:g}: "
                f"{_points(step.gain)} +- {_points(step.gain_error)} on other chips, and "
                f"{step.rms_gain:.1%} less error of the outputs; without training anew."
            )
        elif step.rms_gain > 0:
            said.append(
                "No single step of a number changes the accuracy by more than these chips can tell; the error of the "
                f"outputs falls most by {step.field}, {step.before:g} -> {step.after:g}: by {step.rms_gain:.1%} of "
                f"their spread, on other chips ({_points(step.gain)} +- {_points(step.gain_error)} of accuracy), "
                "without training anew."
            )
        else:
            said.append("No single step of a number helps: the network is at its limit on this hardware, as trained.")
        return said

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write as JSON, whole or not at all."""
        return write_atomic(path, json.dumps(asdict(self), indent=1) + "\n")

    def save_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the restrictions and the steps as a table, whole or not at all."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["kind", "name", "before", "after", "alone", "alone_error", "gain", "gain_error", "rms_gain"])
        for row in self.rows:
            writer.writerow(
                [
                    "restriction",
                    row.name,
                    "",
                    "",
                    row.alone,
                    row.alone_error,
                    row.removed,
                    row.removed_error,
                    row.rms_removed,
                ]
            )
        for step in self.steps:
            writer.writerow(
                ["step", step.field, step.before, step.after, "", "", step.gain, step.gain_error, step.rms_gain]
            )
        return write_atomic(path, text.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RestrictionBudget:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the file is damaged or foreign.
        """
        try:
            data: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
            verified = data["verified"]
            return cls(
                **{
                    **data,
                    "seed": check_seed(data["seed"]),
                    "rows": tuple(BudgetRow(**row) for row in data["rows"]),
                    "steps": tuple(BudgetStep(**step) for step in data["steps"]),
                    "verified": None if verified is None else BudgetStep(**verified),
                    "layers": tuple(BudgetLayer(**layer) for layer in data["layers"]),
                }
            )
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, SeedError) as error:
            raise ArtifactError(f"{path} is damaged or no restriction budget: {error}") from error


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
