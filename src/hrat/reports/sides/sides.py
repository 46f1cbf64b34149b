"""Runs, chips, reports and specs side by side: what is the same is left out, what differs stands beside each other."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hrat.files import write_atomic
from hrat.reports.words import percent, points, si
from hrat.spec import HardwareSpec
from hrat.tables import csv_text

__all__ = ["FIGURES", "Side", "Sides"]


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
    "software": Figure("accuracy without programming error", percent, 1),
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
    """Figures by the keys of `FIGURES`."""
    costs: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Accuracy gained when a restriction is removed, and its standard error, as parts of 1."""
    accuracies: tuple[float, ...] = ()
    verdict: str = ""
    """The budget's last sentence."""


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Two or more of them."""

    sides: tuple[Side, ...]

    @property
    def labels(self) -> list[str]:
        """Name of each side."""
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
        rows = [(name, [side.facts.get(name, "-") for side in self.sides]) for name in names]
        return [(name, values) for name, values in rows if len(set(values)) > 1]

    def fields(self) -> list[tuple[str, list[Any]]]:
        """(`section.field`, the value of each side) of all fields of the specs that differ."""
        tables = [side.spec.to_dict() for side in self.sides]
        rows = []
        for section, part in tables[0].items():
            if section in ("name", "description", "sources"):
                continue
            for name in part:
                values = [table[section][name] for table in tables]
                if any(value != values[0] for value in values[1:]):
                    rows.append((f"{section}.{name}", values))
        return rows

    def costs(self) -> list[tuple[str, list[tuple[float, float] | None]]]:
        """(restriction, what its removal wins on each side), the dearest first."""
        names = dict.fromkeys(name for side in self.sides for name in side.costs)
        rows = [(name, [side.costs.get(name) for side in self.sides]) for name in names]
        return sorted(rows, key=lambda row: -max(value[0] for value in row[1] if value is not None))

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON data."""
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
