"""Runs, chips, reports and specs side by side: what is the same is left out, what differs stands beside each other."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from hrat.artifacts import Deployment, ProgrammedChip, load
from hrat.artifacts.run_facts import RunFacts
from hrat.errors import ArtifactError, HratError
from hrat.files import write_atomic
from hrat.reports.report_file import ReportFile, read_report
from hrat.reports.words import percent, points, si
from hrat.spec import HardwareSpec, load_spec, preset_names
from hrat.tables import csv_text

__all__ = ["FIGURES", "Side", "Sides", "error_rms", "read_side", "side_by_side"]

KNOWN = "a run's folder, a report's folder, chips, a deployment, or a spec (a preset or a TOML file)"


@dataclass(frozen=True)
class Figure:
    """A number that sides have."""

    name: str
    show: Callable[[float], str]
    better: int
    """1 where more is better, -1 where less is, 0 where neither."""


def _points(value: float) -> str:
    return f"{points(value)} points"


FIGURES: dict[str, Figure] = {
    "mean": Figure("accuracy, mean of the chips", percent, 1),
    "worst": Figure("accuracy, worst chip", percent, 1),
    "software": Figure("accuracy as trained", percent, 1),
    "cost": Figure("cost of all restrictions", _points, -1),
    "rms": Figure("output error under all restrictions", lambda value: percent(value, 1), -1),
    "error_rms": Figure("programming error, of the window", percent, -1),
    "agreement": Figure("same class on the circuit", percent, 1),
    "energy_J": Figure("energy of an input, estimated", lambda value: si(value, "J"), -1),
    "latency_s": Figure("time of an input, estimated", lambda value: si(value, "s"), -1),
    "area_m2": Figure("area, estimated", lambda value: f"{value * 1e6:.4g} mm²", -1),
    "devices": Figure("devices of a chip", lambda value: f"{value:,.0f}", 0),
    "tiles": Figure("tiles of a chip", lambda value: f"{value:,.0f}", 0),
    "chips": Figure("chips", lambda value: f"{value:,.0f}", 0),
    "images": Figure("test images", lambda value: f"{value:,.0f}", 0),
}


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the things that are compared."""

    label: str
    kind: str
    """`spec`, `run`, `report`, `chips` or `deployment`."""
    spec: HardwareSpec
    facts: dict[str, str] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    """By the keys of `FIGURES`."""
    costs: dict[str, tuple[float, float]] = field(default_factory=dict)
    """What is won when a restriction is taken away, and its standard error, as parts of 1."""
    accuracies: tuple[float, ...] = ()
    verdict: str = ""
    """The budget's last sentence."""


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Two or more of them."""

    sides: tuple[Side, ...]

    @property
    def labels(self) -> list[str]:
        """What a person calls each."""
        return [side.label for side in self.sides]

    def figures(self) -> list[tuple[str, list[float | None]]]:
        """(key, the value of each side) of each figure that some side has."""
        return [
            (key, [side.figures.get(key) for side in self.sides])
            for key in FIGURES
            if any(key in side.figures for side in self.sides)
        ]

    def facts(self) -> list[tuple[str, list[str]]]:
        """(name, the value of each side) of what differs, or is known of some only."""
        names = dict.fromkeys(name for side in self.sides for name in side.facts)
        found = [(name, [side.facts.get(name, "-") for side in self.sides]) for name in names]
        return [(name, values) for name, values in found if len(set(values)) > 1]

    def fields(self) -> list[tuple[str, list[Any]]]:
        """(`section.field`, the value of each side) of all fields of the specs that differ."""
        tables = [side.spec.to_dict() for side in self.sides]
        found = []
        for section, part in tables[0].items():
            if section in ("name", "description", "sources"):
                continue
            for name in part:
                values = [table[section][name] for table in tables]
                if any(value != values[0] for value in values[1:]):
                    found.append((f"{section}.{name}", values))
        return found

    def costs(self) -> list[tuple[str, list[tuple[float, float] | None]]]:
        """(restriction, what its removal wins on each side), the dearest first."""
        names = dict.fromkeys(name for side in self.sides for name in side.costs)
        rows = [(name, [side.costs.get(name) for side in self.sides]) for name in names]
        return sorted(rows, key=lambda row: -max(value[0] for value in row[1] if value is not None))

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "sides": [
                {"label": side.label, "kind": side.kind, "spec": side.spec.name, "accuracies": list(side.accuracies)}
                for side in self.sides
            ],
            "figures": dict(self.figures()),
            "facts": dict(self.facts()),
            "fields": dict(self.fields()),
            "costs": {name: [None if one is None else list(one) for one in values] for name, values in self.costs()},
        }

    def save_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write all that differs as one table, whole or not at all."""
        rows: list[list[Any]] = [["figure", key, *values] for key, values in self.figures()]
        rows += [["fact", name, *values] for name, values in self.facts()]
        rows += [["field", name, *values] for name, values in self.fields()]
        rows += [["won without", name, *(one and one[0] for one in values)] for name, values in self.costs()]
        return write_atomic(path, csv_text(["kind", "name", *self.labels], rows))


def side_by_side(things: Sequence[str | os.PathLike[str]]) -> Sides:
    """Read two or more things to compare.

    Args:
        things: paths or names of presets, each one of: a run's folder (with its report, if there is one), a report's
            folder or its `report.json`, chips, a deployment, a spec.

    Raises:
        HratError: fewer than two.
        ArtifactError: something that is none of these, or is damaged.
        SpecError: a spec that is wrong.
    """
    if len(things) < 2:
        raise HratError(f"expected two or more things to compare, got {len(things)}; each is {KNOWN}")
    sides = [read_side(thing) for thing in things]
    return Sides(sides=tuple(_told_apart(sides)))


def read_side(thing: str | os.PathLike[str]) -> Side:
    """Read one of them; see `side_by_side`.

    Raises:
        ArtifactError: it is none of these, or is damaged.
        SpecError: a spec that is wrong.
    """
    path = Path(thing)
    if path.is_dir():
        return _of_folder(path)
    if path.suffix == ".json":
        return _of_report(path, path.parent.name)
    if path.suffix == ".toml" or os.fspath(thing) in preset_names():
        spec = load_spec(os.fspath(thing))
        return Side(label=spec.name, kind="spec", spec=spec)
    if not path.exists():
        raise ArtifactError(f"nothing at {path}, and no preset has that name; expected {KNOWN}")
    artifact = load(path)
    chips = artifact if isinstance(artifact, ProgrammedChip) else None
    deployment = artifact.deployment if isinstance(artifact, ProgrammedChip) else artifact
    return Side(
        label=path.stem,
        kind="deployment" if chips is None else "chips",
        spec=deployment.spec,
        facts={} if chips is None else {"programmed by": chips.scheme},
        figures=_sizes(deployment) | ({} if chips is None else _of_chips(chips)),
    )


def _of_folder(folder: Path) -> Side:
    if (folder / "report.json").is_file():
        name = folder.parent.name if folder.name == "report" else folder.name
        return _of_report(folder / "report.json", name)
    if not (folder / "run.json").is_file():
        raise ArtifactError(f"{folder} holds neither run.json nor report.json; expected {KNOWN}")
    run = RunFacts.load(folder / "run.json")
    spec = run.hardware
    facts = {
        "recipe": run.recipe.name,
        "network": run.recipe.network,
        "data": run.recipe.data,
        "epochs": str(run.recipe.fit.epochs),
        "method": run.method,
        "training seed": str(run.seed),
    }
    figures = {} if run.software is None else {"software": run.software}
    side = Side(label=folder.name, kind="run", spec=spec, facts=facts, figures=figures)
    if not (folder / "report" / "report.json").is_file():
        return side
    report = _of_report(folder / "report" / "report.json", folder.name)
    return Side(
        label=side.label,
        kind="run",
        spec=report.spec,
        facts=facts,
        figures=report.figures | figures,
        costs=report.costs,
        accuracies=report.accuracies,
        verdict=report.verdict,
    )


def _of_report(path: Path, label: str) -> Side:
    report = read_report(path)
    result, budget = report.result, report.budget
    facts = {key: value for key, value in report.facts.items() if key != "from"}
    return Side(
        label=label,
        kind="report",
        spec=HardwareSpec.from_dict(report.spec),
        facts={**facts, "programmed by": report.chips.scheme},
        figures=_report_figures(report),
        costs={} if budget is None else {row.name: (row.removed, row.removed_error) for row in budget.rows},
        accuracies=tuple(a for a in (result and result.accuracies) or () if a is not None),
        verdict=report.said[-1] if budget is not None and report.said else "",
    )


def _report_figures(report: ReportFile) -> dict[str, float]:
    """By the keys of `FIGURES`, those that the report has."""
    chips, result, budget, estimate = report.chips, report.result, report.budget, report.estimate
    figures: dict[str, float | None] = {
        "devices": float(chips.devices),
        "tiles": float(chips.tiles),
        "chips": float(len(chips.seeds)),
        "error_rms": chips.error_rms,
        "software": report.software,
    }
    if result is not None and result.mean is not None:
        figures |= {"mean": result.mean, "worst": result.worst, "images": float(result.n_images)}
    if budget is not None:
        figures |= {"cost": budget.ideal - budget.full, "rms": budget.rms}
    if estimate is not None:
        figures |= {"energy_J": estimate.energy_J, "latency_s": estimate.latency_s, "area_m2": estimate.area_m2}
    depths = () if report.verification is None else report.verification.depths
    agreed = [depth.agreement for depth in depths if depth.agreement is not None]
    figures["agreement"] = agreed[-1] if agreed else None
    return {name: value for name, value in figures.items() if value is not None}


def _sizes(deployment: Deployment) -> dict[str, float]:
    return {"devices": float(deployment.n_devices), "tiles": float(deployment.n_tiles)}


def _of_chips(chips: ProgrammedChip) -> dict[str, float]:
    return {"chips": float(chips.n_chips), "error_rms": error_rms(chips)}


def error_rms(chips: ProgrammedChip) -> float:
    """Root mean square programming error over all devices of all chips, as a part of the window."""
    square, count = 0.0, 0
    for name in chips.layers:
        for error in chips.errors_S(name):
            square += float(error.square().sum(dtype=torch.float64))
            count += error.numel()
    return math.sqrt(square / count) / chips.deployment.spec.device.g_range_S


def _told_apart(sides: list[Side]) -> list[Side]:
    """Labels that are alike get a number."""
    seen: dict[str, int] = {}
    found = []
    for side in sides:
        seen[side.label] = seen.get(side.label, 0) + 1
        alike = [other.label for other in sides].count(side.label) > 1
        found.append(replace(side, label=f"{side.label} ({seen[side.label]})") if alike else side)
    return found
