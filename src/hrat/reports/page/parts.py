"""Parts of a report: artefacts and plain figures, each of which may be missing with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hrat.artifacts import Estimate, ProgrammedChip, RestrictionBudget, SimulationResult, Verification

__all__ = ["ReportParts"]


@dataclass(frozen=True, kw_only=True)
class ReportParts:
    """Content of a page."""

    title: str
    chip: ProgrammedChip
    """One or several chips; maps are those of the first."""
    result: SimulationResult | None = None
    """Accuracy of the chips."""
    accuracy_without_error: float | None = None
    """Accuracy of the trained network without programming error, 0 to 1."""
    budget: RestrictionBudget | None = None
    budget_on: str = "images"
    """Data that the restriction budget was measured on, such as `training images`."""
    verification: Verification | None = None
    estimate: Estimate | None = None
    training: Sequence[Mapping[str, float]] = ()
    """A row for each epoch, with `epoch` among its keys."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Facts such as `recipe`, `method`, `data`; shown as they are."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Why a part is not there, by its name: `accuracy`, `budget`, `verification`, `estimate`, `training`."""
