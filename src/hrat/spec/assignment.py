"""Single settings: `device.weight_bits=3` as text, and names of fields without their section."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hrat.errors import SpecError
from hrat.spec.base import did_you_mean
from hrat.spec.sections import SECTIONS
from hrat.spec.toml import toml_table

__all__ = ["nest", "parse_assignment"]

# The spec's own keys; a section's field of the same name is reached as `section.field` only.
OWN = ("name", "description", "sources", *SECTIONS)


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read `key=value`, as given on a command line.

    The value is read as TOML (`3`, `2e-6`, `true`, `[1e-6, 2e-6]`, `"text"`); `none` is None, and anything else is
    taken as text.

    Raises:
        SpecError: no `=`, or no key before it.
    """
    key, equals, value = (piece.strip() for piece in text.partition("="))
    if not equals or not key:
        raise SpecError(f"expected key=value, such as device.weight_bits=3, got {text!r}")
    if value.lower() == "none":
        return key, None
    try:
        table = toml_table(f"value = {value}")
    except SpecError:
        return key, value
    # More than one key: the text held a line break, and is no TOML value.
    return key, table["value"] if len(table) == 1 else value


def nest(overrides: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Settings by bare or dotted name -> a nested table, as in a TOML file.

    Raises:
        SpecError: a name that belongs to no field, or a field that is given twice.
    """
    table: dict[str, Any] = {}
    for key, value in overrides:
        section, field = _place(key)
        if not field:  # a whole section, or one of the spec's own keys
            whole = value.model_dump() if hasattr(value, "model_dump") else value
            _put(table, section, dict(whole) if isinstance(whole, dict) else whole, key)
        else:
            inner = table.setdefault(section, {})
            if not isinstance(inner, dict):
                raise SpecError(f"{key!r} is given beside {section!r} = {inner!r}; give one of them")
            _put(inner, field, value, key)
    return table


def _put(table: dict[str, Any], name: str, value: Any, key: str) -> None:
    if name in table:
        raise SpecError(f"{key!r} is given twice; give it once")
    table[name] = value


def _place(key: object) -> tuple[str, str]:
    """`(section, field)` of a name; the field is empty for one of the spec's own keys."""
    if not isinstance(key, str):
        raise SpecError(f"expected the name of a field, got {key!r}")
    if key in OWN:
        return key, ""
    section, dot, field = key.partition(".")
    if dot and section in SECTIONS:
        if field in SECTIONS[section].model_fields:
            return section, field
        raise SpecError(f"unknown key {field!r} in [{section}]{did_you_mean(field, SECTIONS[section].model_fields)}")
    if dot and section == "sources":
        return section, field
    owners = [name for name, part in SECTIONS.items() if key in part.model_fields]
    if len(owners) == 1:
        return owners[0], key
    if owners:
        ways = " or ".join(f"{owner}.{key}" for owner in owners)
        raise SpecError(f"{key!r} is a field of more than one section; write {ways}")
    fields = [(name, field) for name, part in SECTIONS.items() for field in part.model_fields]
    known = [".".join(pair) for pair in fields] if dot else [*OWN, *(field for _, field in fields)]
    hint = did_you_mean(key, known) or "; expected section.field, such as 'device.weight_bits'"
    raise SpecError(f"there is no field {key!r}{hint}")
