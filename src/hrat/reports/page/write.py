"""Writing the report."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from hrat.files import atomic_path, path_within, write_atomic
from hrat.reports.budget import budget_figure
from hrat.reports.chip import LayerMap, chip_figure, error_rms, layer_maps, programming_figure
from hrat.reports.html import Table, asset, for_script, hrat_version, quantile, template
from hrat.reports.page.parts import ReportParts
from hrat.reports.page.view import PageView, page_view
from hrat.reports.verification import verification_figure
from hrat.tables import csv_text

__all__ = ["MAX_TILES", "write_report"]

MAX_TILES = 2000
"""Tiles whose conductances a page holds; VGG-16 has a thousand on arrays of 128x128."""
SECTIONS = (
    ("summary", "Summary"),
    ("accuracy", "Accuracy"),
    ("budget", "Budget"),
    ("layers", "Layers"),
    ("maps", "Maps"),
    ("histograms", "Histograms"),
    ("pulses", "Programming"),
    ("circuit", "Circuit"),
    ("costs", "Energy, time, area"),
    ("hardware", "Hardware"),
)


def write_report(parts: ReportParts, folder: str | os.PathLike[str], *, max_tiles: int = MAX_TILES) -> list[Path]:
    """Write `report.html`, which needs nothing else, and its figures as PNG, CSV and JSON beside it.

    Args:
        parts: what to show.
        folder: where to; made if it is not there. Files of an earlier report in it are replaced, each as a whole.
        max_tiles: tiles whose conductances go into the page; the others show no more than their error.

    Returns:
        The files, the page first.

    Raises:
        HratError: a link in the folder leads out of it.
        OSError: the folder cannot be written, or the disk is full.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    shown = page_view(parts)
    beside = [
        *_pictures(parts, root),
        *_tables(parts, shown, root),
        write_atomic(path_within(root, "report.json"), _json(parts)),
    ]
    page = path_within(root, "report.html")
    with atomic_path(page) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(template("page.html.jinja").generate(page=_page(parts, shown, max_tiles, beside)))
    return [page, *beside]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Variables of the template."""

    view: PageView
    version: str
    sections: Sequence[tuple[str, str]]
    """Identity and heading of each."""
    style: Markup
    script: Markup
    maps: Sequence[LayerMap]
    maps_note: str
    map_json: Markup
    files: str
    """Names of the files beside the page."""


def _page(parts: ReportParts, shown: PageView, max_tiles: int, beside: list[Path]) -> Page:
    chip = parts.chip
    device = chip.deployment.spec.device
    maps = list(layer_maps(chip, max_tiles))
    layers = []
    for layer in maps:
        errors = [quantile(error[0].abs(), 0.999) for error in chip.errors_S(layer.name)]
        layers.append({**layer.meta(), "eShown": max(errors) or layer.e_max_S})
    kept = sum(tile.text is not None for layer in maps for tile in layer.tiles)
    total = chip.deployment.n_tiles
    notes = [f"Seed {chip.seeds[0]}."]
    if any(not layer.exact for layer in maps):
        notes.append("Targets are continuous, and shown in 256 steps.")
    notes.append("Errors are within 0.8 % of the layer's largest.")
    if kept < total:
        notes.append(f"The page holds {kept:,} of {total:,} tiles; the others show their error only.")
    return Page(
        view=shown,
        version=hrat_version(),
        sections=SECTIONS,
        style=asset("style.css"),
        script=asset("script.js"),
        maps=maps,
        maps_note=" ".join(notes),
        map_json=for_script({"gMin": device.g_min_S, "gMax": device.g_max_S, "layers": layers}),
        files=", ".join(path.name for path in beside),
    )


def _pictures(parts: ReportParts, root: Path) -> list[Path]:
    made = [
        chip_figure(parts.chip, path_within(root, "chip.png")),
        programming_figure(parts.chip, path_within(root, "programming.png")),
    ]
    if parts.budget is not None:
        made.append(budget_figure(parts.budget, path_within(root, "budget.png")))
    if parts.verification is not None:
        made.append(verification_figure(parts.verification, path_within(root, "verification.png")))
    return made


def _tables(parts: ReportParts, shown: PageView, root: Path) -> list[Path]:
    made = [_csv(shown.layers, path_within(root, "layers.csv"))]
    if shown.accuracy is not None:
        made.append(_csv(shown.accuracy.table, path_within(root, "accuracy.csv")))
    if shown.pulses is not None:
        made.append(_csv(shown.pulses.table, path_within(root, "pulses.csv")))
    if parts.budget is not None:
        made.append(parts.budget.save_csv(path_within(root, "budget.csv")))
    if parts.estimate is not None:
        made.append(parts.estimate.save_csv(path_within(root, "estimate.csv")))
    return made


def _csv(table: Table, path: Path) -> Path:
    return write_atomic(path, csv_text(table.headings, table.rows))


def _json(parts: ReportParts) -> str:
    """All figures for scripts, and for `hrat diff`."""
    chip = parts.chip
    data = {
        "report": 1,
        "title": parts.title,
        "facts": dict(parts.facts),
        "spec": chip.deployment.spec.to_dict(),
        "chips": {
            "seeds": list(chip.seeds),
            "scheme": chip.scheme,
            "devices": chip.deployment.n_devices,
            "tiles": chip.deployment.n_tiles,
            "error_rms": error_rms(chip),
        },
        "software": parts.accuracy_without_error,
        "result": None if parts.result is None else parts.result.to_dict(),
        "budget": None if parts.budget is None else asdict(parts.budget),
        "verification": None if parts.verification is None else parts.verification.to_dict(),
        "estimate": None if parts.estimate is None else parts.estimate.to_dict(),
        "training": [dict(row) for row in parts.training],
        "said": [] if parts.budget is None else parts.budget.sentences(),
        "missing": dict(parts.missing),
    }
    return json.dumps(_finite(data), indent=1, allow_nan=False) + "\n"


def _finite(data: Any) -> Any:
    """Data with None for numbers that JSON cannot hold: not a number, or not finite."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
