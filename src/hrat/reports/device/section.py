"""The hardware in the report's page."""

from __future__ import annotations

from dataclasses import dataclass

from hrat.reports.html import Table
from hrat.spec import PULSE_MODELS, HardwareSpec

__all__ = ["HardwareSection", "hardware_sections"]


@dataclass(frozen=True, kw_only=True)
class HardwareSection:
    """A section of the spec, field by field."""

    name: str
    table: Table


def hardware_sections(spec: HardwareSpec) -> list[HardwareSection]:
    """The spec's sections; of the pulse models the one that is in use."""
    sections = []
    for section in type(spec).model_fields:
        part = getattr(spec, section)
        unused = section in PULSE_MODELS and section != spec.pulses.model
        if not hasattr(type(part), "model_fields") or unused:
            continue
        rows = []
        for field, info in type(part).model_fields.items():
            value = getattr(part, field)
            source = spec.sources.get(f"{section}.{field}", "")
            rows.append((field, _value(value), (info.description or "").strip(), source))
        table = Table(f"[{section}]", ("field", "value", "meaning", "source"), rows, text=True)
        sections.append(HardwareSection(name=section, table=table))
    return sections


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        if len(value) > 12 or any(isinstance(part, tuple) for part in value):
            return f"a list of {len(value)}"
        return ", ".join(_value(part) for part in value) or "none"
    return str(value)
