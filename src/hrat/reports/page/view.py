"""What the page's template shows, worked out of the artefacts: numbers become words here, not in the template."""

from __future__ import annotations

import math
from typing import Any

from hrat.reports.drawing import US
from hrat.reports.page import accuracy_view, circuit_view, device_view
from hrat.reports.page.budget_view import budget_section
from hrat.reports.page.parts import ReportParts
from hrat.reports.sides import error_rms
from hrat.reports.words import count, percent, si

__all__ = ["view"]


def view(parts: ReportParts) -> dict[str, Any]:
    """All that the template asks for."""
    return {
        "title": parts.title,
        "subtitle": _subtitle(parts),
        "facts": dict(parts.facts),
        "tiles": _tiles(parts),
        "said": _said(parts),
        "accuracy": accuracy_view.accuracy(parts),
        "training": accuracy_view.training(parts),
        "budget": None if parts.budget is None else budget_section(parts.budget, parts.budget_on),
        "layers": device_view.layers(parts),
        "histograms": device_view.histograms(parts),
        "pulses": device_view.pulses(parts) if parts.chip.has_pulses else None,
        "verification": None if parts.verification is None else circuit_view.verification(parts.verification),
        "estimate": circuit_view.costs(parts),
        "spec": circuit_view.hardware(parts),
        "missing": dict(parts.missing),
    }


def _subtitle(parts: ReportParts) -> str:
    deployment = parts.chip.deployment
    device = deployment.spec.device
    states = f"{device.n_states} states" if device.n_states else "continuous conductance"
    return (
        f"{deployment.spec.name}: {states}, {device.g_min_S * US:g} to {device.g_max_S * US:g} µS; "
        f"{count(len(parts.chip.layers), 'layer')}, {count(deployment.n_tiles, 'tile')}, "
        f"{count(deployment.n_devices, 'device')} a chip; {count(parts.chip.n_chips, 'chip')}, "
        f"programmed by {parts.chip.scheme}"
    )


def _tiles(parts: ReportParts) -> list[tuple[str, str, str]]:
    """(name, value, note) of the figures that stand on top."""
    found = []
    result = parts.result
    if result is not None and result.accuracies:
        chips = count(len(result.accuracies), "chip")
        if math.isnan(result.mean):
            found.append(("Accuracy", "none", f"of {chips}, all of which failed"))
        else:
            name = "Accuracy, mean" if len(result.accuracies) > 1 else "Accuracy"
            failed = f"; {len(result.failures)} failed" if result.failures else ""
            found.append((name, percent(result.mean), f"{chips}, {result.n_images:,} test images{failed}"))
            if len(result.accuracies) > 1:
                found.append(("Worst chip", percent(result.worst), f"of {chips}"))
    if parts.software is not None:
        found.append(("As trained", percent(parts.software), "the network without programming errors"))
    if parts.budget is not None:
        budget = parts.budget
        found.append(
            (
                "Cost of all restrictions",
                f"{100 * budget.cost:.2f} points",
                f"±{100 * budget.full_error:.2f} over chips, on {parts.budget_on}",
            )
        )
    share = error_rms(parts.chip)
    window_S = parts.chip.deployment.spec.device.g_range_S
    found.append(("Programming error", percent(share), f"of the window, rms; {si(share * window_S, 'S')}"))
    if parts.verification is not None and len(parts.verification.depths) > 1:
        last = [depth for depth in parts.verification.depths if depth.failure is None][-1]
        if last.agreement is not None:
            note = f"{last.name} against the formula, {parts.verification.n_images} images"
            found.append(("Same class on the circuit", percent(last.agreement), note))
    if parts.estimate is not None:
        estimate = parts.estimate
        found.append(("Energy, estimated", si(estimate.energy_J, "J"), "for one input"))
        found.append(
            ("Time, estimated", si(estimate.latency_s, "s"), f"for one input; one each {si(estimate.interval_s, 's')}")
        )
    return found


def _said(parts: ReportParts) -> list[str]:
    said = []
    if parts.budget is not None:
        said += parts.budget.sentences()
    if parts.verification is not None:
        said += [sentence + "." for sentence in parts.verification.sentences()]
    return said
