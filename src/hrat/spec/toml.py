"""Spec tables as TOML text and back.

TOML has no null. A setting that is None is left out where None is what its absence means, and written as "none" where
the default is a number; "none" is read so for every setting that may be None.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import tomli_w

from hrat.errors import SpecError
from hrat.spec.base import Part
from hrat.spec.pulses import PULSE_MODELS
from hrat.spec.sections import SECTIONS

__all__ = ["dump_toml", "parse_toml", "toml_table"]

DEEPEST = 16
"""Most levels of a TOML text; those of hrat have five."""


def dump_toml(table: Mapping[str, Any]) -> str:
    """TOML text of a spec's plain data."""
    out = dict(table)
    for name, part in SECTIONS.items():
        if name in PULSE_MODELS and name != table["pulses"]["model"] and table[name] == part().model_dump(mode="json"):
            del out[name]  # a model that is not in use
        else:
            out[name] = _without_none(table[name], part)
    sources: dict[str, dict[str, str]] = {}
    for key, source in table["sources"].items():
        section, field = key.split(".")
        sources.setdefault(section, {})[field] = source
    if sources:
        out["sources"] = sources
    else:
        del out["sources"]
    return tomli_w.dumps(out)


def toml_table(text: str) -> dict[str, Any]:
    """Nested table of a TOML text as it is.

    Raises:
        SpecError: text that is not TOML, with the line; a number of thousands of digits, or a nest that nobody means.
    """
    try:
        table = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError is one; so is Python's for a number of too many digits
        raise SpecError(f"not valid TOML: {error}") from None
    except RecursionError:
        raise SpecError(f"not valid TOML: expected at most {DEEPEST} levels of nesting, got hundreds") from None
    level: list[Any] = [table]
    for _ in range(DEEPEST):
        level = [part for value in level if isinstance(value, dict | list) for part in _parts(value)]
    if level:
        raise SpecError(f"not valid TOML: expected at most {DEEPEST} levels of nesting, got more")
    return table


def _parts(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def parse_toml(text: str) -> dict[str, Any]:
    """Nested table of a TOML text, with sources by `section.field` and None where it says "none".

    Raises:
        SpecError: text that is not TOML, with the line.
    """
    table = toml_table(text)
    for name, part in SECTIONS.items():
        values = table.get(name)
        if isinstance(values, dict):
            optional = part.optional_fields()
            table[name] = {key: None if key in optional and value == "none" else value for key, value in values.items()}
    if isinstance(table.get("sources"), dict):
        table["sources"] = _flat(table["sources"])
    return table


def _without_none(values: Mapping[str, Any], part: type[Part]) -> dict[str, Any]:
    # What the other settings clear need not be said: with levels_S given, weight_bits is None anyway.
    given = {key: value for key, value in values.items() if value is not None}
    absent = {key: field.default for key, field in part.model_fields.items()} | part.with_cleared(given)
    return given | {key: "none" for key, value in values.items() if value is None and absent[key] is not None}


def _flat(sources: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in sources.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{field}": source for field, source in value.items()})
        else:
            flat[key] = value
    return flat
