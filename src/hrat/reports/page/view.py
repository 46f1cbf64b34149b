"""Content of the page's template, made from the artefacts: numbers become words here, not in the template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hrat.reports.accuracy import AccuracySection, TrainingSection, accuracy_section, training_section
from hrat.reports.budget import BudgetSection, budget_section
from hrat.reports.chip import (
    HistogramsSection,
    PulsesSection,
    error_rms,
    histograms_section,
    layers_table,
    pulses_section,
)
from hrat.reports.costs import CostsSection, costs_section
from hrat.reports.device import HardwareSection, hardware_sections
from hrat.reports.drawing import US
from hrat.reports.html import Fact, Table
from hrat.reports.page.parts import ReportParts
from hrat.reports.verification import VerificationSection, verification_section
from hrat.reports.words import count, percent, si

__all__ = ["PageView", "page_view"]


@dataclass(frozen=True, kw_only=True)
class PageView:
    """The page's sections in words; a section that is None is not in the report."""

    title: str
    subtitle: str
    facts: Mapping[str, str]
    """Origin of the chips."""
    figures: Sequence[Fact]
    """Figures at the top of the page."""
    said: Sequence[str]
    accuracy: AccuracySection | None
    training: TrainingSection | None
    budget: BudgetSection | None
    layers: Table
    histograms: HistogramsSection
    pulses: PulsesSection | None
    verification: VerificationSection | None
    estimate: CostsSection | None
    hardware: Sequence[HardwareSection]
    missing: Mapping[str, str]
    """Why a section is not there, by its name."""


def page_view(parts: ReportParts) -> PageView:
    """Content of the template from the artefacts."""
    chip = parts.chip
    return PageView(
        title=parts.title,
        subtitle=_subtitle(parts),
        facts=dict(parts.facts),
        figures=_figures(parts),
        said=_said(parts),
        accuracy=accuracy_section(parts.result, parts.accuracy_without_error),
        training=training_section(parts.training),
        budget=None if parts.budget is None else budget_section(parts.budget, parts.budget_on),
        layers=layers_table(chip),
        histograms=histograms_section(chip),
        pulses=pulses_section(chip) if chip.has_pulses else None,
        verification=None if parts.verification is None else verification_section(parts.verification),
        estimate=None if parts.estimate is None else costs_section(parts.estimate),
        hardware=hardware_sections(chip.deployment.spec),
        missing=dict(parts.missing),
    )


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


def _figures(parts: ReportParts) -> list[Fact]:
    """The figures that stand on top."""
    facts = []
    result = parts.result
    if result is not None and result.accuracies:
        chips = count(len(result.accuracies), "chip")
        if math.isnan(result.mean):
            facts.append(Fact("Accuracy", "none", f"of {chips}, all of which failed"))
        else:
            name = "Accuracy, mean" if len(result.accuracies) > 1 else "Accuracy"
            failed = f"; {len(result.failures)} failed" if result.failures else ""
            facts.append(Fact(name, percent(result.mean), f"{chips}, {result.n_images:,} test images{failed}"))
            if len(result.accuracies) > 1:
                facts.append(Fact("Worst chip", percent(result.worst), f"of {chips}"))
    if parts.accuracy_without_error is not None:
        facts.append(
            Fact("As trained", percent(parts.accuracy_without_error), "the network without programming errors")
        )
    if parts.budget is not None:
        budget = parts.budget
        facts.append(
            Fact(
                "Cost of all restrictions",
                f"{100 * budget.cost:.2f} points",
                f"±{100 * budget.full_error:.2f} over chips, on {parts.budget_on}",
            )
        )
    share = error_rms(parts.chip)
    window_S = parts.chip.deployment.spec.device.g_range_S
    facts.append(Fact("Programming error", percent(share), f"of the window, rms; {si(share * window_S, 'S')}"))
    if parts.verification is not None and len(parts.verification.depths) > 1:
        last = [depth for depth in parts.verification.depths if depth.failure is None][-1]
        if last.agreement is not None:
            note = f"{last.name} against the formula, {parts.verification.n_images} images"
            facts.append(Fact("Same class on the circuit", percent(last.agreement), note))
    if parts.estimate is not None:
        estimate = parts.estimate
        facts.append(Fact("Energy, estimated", si(estimate.energy_J, "J"), "for one input"))
        facts.append(
            Fact(
                "Time, estimated",
                si(estimate.latency_s, "s"),
                f"for one input; one each {si(estimate.interval_s, 's')}",
            )
        )
    return facts


def _said(parts: ReportParts) -> list[str]:
    sentences = []
    if parts.budget is not None:
        sentences += parts.budget.sentences()
    if parts.verification is not None:
        sentences += [sentence + "." for sentence in parts.verification.sentences()]
    return sentences
