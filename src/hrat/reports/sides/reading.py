"""Things to compare, read from their files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hrat.artifacts import Deployment, ProgrammedChip, RunFacts, load
from hrat.errors import ArtifactError, HratError
from hrat.reports.chip import error_rms
from hrat.reports.sides.report_file import ReportFile, read_report
from hrat.reports.sides.sides import Side, Sides
from hrat.spec import HardwareSpec, load_spec, preset_names

__all__ = ["read_side", "side_by_side"]

KNOWN = "a run's folder, a report's folder, chips, a deployment, or a spec (a preset or a TOML file)"


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
    """Read one of the things that `side_by_side` compares.

    Raises:
        ArtifactError: it is none of these, or is damaged.
        SpecError: a spec that is wrong.
    """
    path = Path(thing)
    if path.is_dir():
        return _of_folder(path)
    if path.suffix == ".json":
        return _of_report(path, path.parent.name)
    if path.suffix == ".toml" or os.fspath(thing).split("+")[0] in preset_names():
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
    figures = {} if run.accuracy_without_error is None else {"software": run.accuracy_without_error}
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
    """Figures of the report, by the keys of `FIGURES`."""
    chips, result, budget, estimate = report.chips, report.result, report.budget, report.estimate
    figures: dict[str, float | None] = {
        "devices": float(chips.devices),
        "tiles": float(chips.tiles),
        "chips": float(len(chips.seeds)),
        "error_rms": chips.error_rms,
        "software": report.accuracy_without_error,
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


def _told_apart(sides: list[Side]) -> list[Side]:
    """Labels that are alike get a number."""
    seen: dict[str, int] = {}
    labelled = []
    for side in sides:
        seen[side.label] = seen.get(side.label, 0) + 1
        alike = [other.label for other in sides].count(side.label) > 1
        labelled.append(replace(side, label=f"{side.label} ({seen[side.label]})") if alike else side)
    return labelled
