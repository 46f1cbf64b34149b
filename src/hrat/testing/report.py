"""Findings of a check, clause by clause, as a value and as a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from hrat.errors import LawError

__all__ = ["CheckReport", "Finding", "Status", "at_most", "held", "merged", "true_or_not", "unchecked"]

Status = Literal["holds", "broken", "approximate", "not checked"]
"""`approximate`: it does not hold to the bound, and is not claimed to."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result for one law, or for one clause of a contract."""

    name: str
    """Name, such as `law 1`."""
    claim: str
    """The claim in a few words."""
    status: Status
    error: float | None = None
    """How far off, relative to the largest value of the tensor in question; None where that is no matter of degree."""
    bound: float | None = None
    """Largest allowed error."""
    detail: str = ""
    """Which output is the farthest off, what is wrong with it, or why the check was not made."""

    @property
    def ok(self) -> bool:
        """Whether it was not found broken."""
        return self.status != "broken"

    def require(self) -> Finding:
        """Return the finding itself.

        Raises:
            LawError: it is broken; the message says which clause, where, by how much, and what it means.
        """
        if not self.ok:
            raise LawError(self.in_words())
        return self

    def in_words(self) -> str:
        """One sentence on what is broken."""
        return f"{self.name} does not hold{self.claim and f' ({self.claim})'}: {self.detail}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """Findings about one thing; `print(report)` shows them as a table."""

    subject: str
    """Name of what was checked."""
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing that was checked is broken."""
        return all(finding.ok for finding in self.findings)

    def __getitem__(self, name: str) -> Finding:
        """The finding of that name, such as `report["law 1"]`.

        Raises:
            KeyError: there is none.
        """
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(f"no finding {name!r}; there are {', '.join(finding.name for finding in self.findings)}")

    def require(self) -> CheckReport:
        """Return the report itself.

        Raises:
            LawError: something is broken; the message tells everything that is.
        """
        broken = [finding for finding in self.findings if not finding.ok]
        if not broken:
            return self
        raise LawError(f"{self.subject}: " + "\n".join(one.in_words() for one in broken))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"subject": self.subject, "ok": self.ok, "findings": [finding.to_dict() for finding in self.findings]}

    def __str__(self) -> str:
        """A table for people: a line for each finding, with what there is to say about it below."""
        heads = ("", "claim", "result", "off by", "bound")
        table = [(one.name, one.claim, one.status, _figure(one.error), _figure(one.bound)) for one in self.findings]
        widths = [max(len(row[column]) for row in (heads, *table)) for column in range(len(heads))]
        lines = [self.subject]
        for row, finding in zip((heads, *table), (None, *self.findings), strict=True):
            lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
            if finding is not None and finding.detail:
                lines.append(f"{'':{widths[0]}}  - {finding.detail}")
        return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def at_most(name: str, claim: str, error: float, bound: float, detail: str = "") -> Finding:
    """A finding that holds where `error` is at most `bound`; a number that is none breaks it."""
    status: Status = "holds" if error <= bound else "broken"
    return Finding(name=name, claim=claim, status=status, error=error, bound=bound, detail=detail)


def true_or_not(name: str, claim: str, holds: bool, detail: str = "") -> Finding:
    """A finding that is no matter of degree."""
    return Finding(name=name, claim=claim, status="holds" if holds else "broken", detail=detail)


def unchecked(name: str, claim: str, why: str) -> Finding:
    """A finding that says why there is none."""
    return Finding(name=name, claim=claim, status="not checked", detail=why)


def held(name: str, claim: str, check: Callable[[], Finding]) -> Finding:
    """The finding of a check under its name and claim; broken where the thing that is checked raises something."""
    try:
        finding = check()
    except Exception as error:  # whatever the code of others raises
        return true_or_not(name, claim, False, f"{type(error).__name__}: {error}")
    detail = f"{finding.name}: {finding.detail}" if finding.name != name and finding.detail else finding.detail
    return replace(finding, name=name, claim=claim, detail=detail)


def merged(findings: list[Finding]) -> Finding:
    """Several findings of the same clause as one: of those that are broken the worst, else the farthest off."""
    broken = [one for one in findings if not one.ok]
    made = [one for one in findings if one.status == "holds"]
    return max(broken or made or findings, key=_how_bad)


def _how_bad(finding: Finding) -> float:
    if finding.error is None or math.isnan(finding.error):
        return math.inf if finding.status == "broken" else 0.0
    return finding.error / finding.bound if finding.bound else finding.error
