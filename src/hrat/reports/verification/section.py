"""Agreement with the circuit in the report's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hrat.artifacts import Verification, volts
from hrat.reports.html import Table
from hrat.reports.words import count, duration, percent

__all__ = ["VerificationSection", "verification_section"]


@dataclass(frozen=True, kw_only=True)
class VerificationSection:
    """Depths of simulation, differences between layers, and their causes, in words."""

    depths: Table
    layers: Table
    said: Sequence[str]


def verification_section(verification: Verification) -> VerificationSection:
    """One depth of simulation after another, and how far each layer is from the first one."""
    depths = Table(
        f"Chip of seed {verification.chip_seed}, {count(verification.n_images, 'image')}, "
        "one depth of simulation after another",
        ("depth", "adds", "accuracy", "same class", "time"),
        [
            (
                depth.name,
                depth.adds if depth.failure is None else "failed; the summary says why",
                "-" if depth.accuracy is None else percent(depth.accuracy),
                "-" if depth.agreement is None else percent(depth.agreement),
                duration(depth.seconds),
            )
            for depth in verification.depths
        ],
    )
    solved = [depth for depth in verification.depths if depth.layers]
    layers = Table(
        f"Amplifier outputs: difference from {verification.depths[0].name}, rms (largest)",
        ("layer", "signal, rms", *(depth.name for depth in solved)),
        [
            (
                rows[0].layer,
                volts(rows[0].signal_rms_V),
                *(f"{volts(row.rms_V)} ({volts(row.largest_V)})" for row in rows),
            )
            for rows in zip(*(depth.layers for depth in solved), strict=True)
        ]
        if solved
        else [],
    )
    return VerificationSection(
        depths=depths, layers=layers, said=[sentence + "." for sentence in verification.sentences()]
    )
