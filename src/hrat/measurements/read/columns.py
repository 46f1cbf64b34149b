"""Columns of a lab's CSV file: their quantity and their unit, both read from the header."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hrat.errors import DataError

__all__ = ["KINDS", "Column", "RecordKind", "recognised", "record_kind"]

SIEMENS = {"S": 1.0, "mS": 1e-3, "uS": 1e-6, "nS": 1e-9, "pS": 1e-12}
OHM = {"Ohm": 1.0, "kOhm": 1e3, "MOhm": 1e6, "GOhm": 1e9}
VOLT = {"V": 1.0, "mV": 1e-3}
SECOND = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12, "min": 60.0, "h": 3600.0, "d": 86400.0}
KELVIN = {"K": 1.0, "degC": 1.0}
"""Celsius is shifted as well: see `Column.offset`."""

UNITS: dict[str, dict[str, float]] = {
    "conductance": SIEMENS | OHM,
    "voltage": VOLT,
    "time": SECOND,
    "temperature": KELVIN,
}
"""Quantity -> its units and what one of each is in SI units (a resistance, in ohm, becomes a conductance)."""

NAMES: dict[str, tuple[str, ...]] = {
    "device": ("device", "deviceid", "deviceno", "devicenumber", "dev", "cell", "cellid"),
    "cycle": ("cycle", "cycleno", "cyclenumber", "sweep", "run"),
    "pulse": ("pulse", "pulseno", "pulsenumber", "pulseindex", "n"),
    "voltage": ("voltage", "v", "amplitude", "pulsevoltage", "pulseamplitude", "vpulse"),
    "width": ("width", "pulsewidth", "duration", "twidth", "tpulse"),
    "conductance": ("conductance", "g", "gread", "resistance", "r", "rread"),
    "time": ("time", "t", "timeafterprogramming", "elapsed"),
    "temperature": ("temperature", "temp"),
    "target": ("target", "targetconductance", "targetresistance", "gtarget", "rtarget"),
    "achieved": ("achieved", "achievedconductance", "achievedresistance", "gachieved", "rachieved", "final", "gfinal"),
    "pulses": ("pulses", "npulses", "pulsesspent", "pulsecount"),
}
"""Role of a column -> how its name may be written, in small letters and without signs."""

QUANTITY = {
    "voltage": "voltage",
    "width": "time",
    "conductance": "conductance",
    "time": "time",
    "temperature": "temperature",
    "target": "conductance",
    "achieved": "conductance",
}
"""Roles that have a unit."""

ALIKE = {"\u00b5": "u", "\u03bc": "u", "\u03a9": "Ohm", "\u2126": "Ohm", "\u00b0C": "degC", "\u2103": "degC"}
"""Micro sign and Greek mu; Omega and ohm sign; degrees Celsius in two letters and in one."""


@dataclass(frozen=True)
class Column:
    """A column that hrat can use."""

    role: str
    """Quantity that it holds: a key of `NAMES`."""
    place: int
    """Place in the row, from 0."""
    header: str
    """Its name in the file."""
    factor: float = 1.0
    """SI units in one of its unit."""
    offset: float = 0.0
    """Offset that is added after the factor (0 degC is 273.15 K)."""
    reciprocal: bool = False
    """Whether it is a resistance, which becomes a conductance."""


@dataclass(frozen=True)
class RecordKind:
    """One of the three kinds of records."""

    name: str
    needed: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def example(self) -> str:
        """An example of a valid header."""
        units = {"voltage": "_V", "width": "_s", "time": "_s", "temperature": "_K"}
        whole = sorted((*self.needed, *self.optional), key=list(NAMES).index)
        return ",".join(
            role + ("_uS" if QUANTITY.get(role) == "conductance" else units.get(role, "")) for role in whole
        )


KINDS = (
    RecordKind("pulse sweep", needed=("pulse", "voltage", "conductance"), optional=("device", "cycle", "width")),
    RecordKind("write-verify", needed=("target", "achieved"), optional=("device", "pulses")),
    RecordKind("retention", needed=("time", "conductance"), optional=("device", "temperature")),
)


def recognised(header: list[str], where: str) -> tuple[list[Column], list[str]]:
    """The columns that hrat can use, and the headers of those that it cannot.

    Args:
        header: names as the file has them.
        where: the file, for messages.

    Raises:
        DataError: a unit that is missing or unknown, or two columns for the same thing.
    """
    columns: list[Column] = []
    others: list[str] = []
    for place, text in enumerate(header):
        column = _column(text, place, where)
        if column is None:
            others.append(text)
            continue
        twin = next((known for known in columns if known.role == column.role), None)
        if twin is not None:
            raise DataError(
                f"{where}: columns {twin.header!r} and {column.header!r} are both taken for the {column.role}; rename "
                "or remove one of them"
            )
        columns.append(column)
    return columns, others


def record_kind(columns: list[Column], others: list[str], where: str) -> RecordKind:
    """The kind of record that has these columns.

    Raises:
        DataError: none of them, with what is missing for the nearest one.
    """
    roles = {column.role for column in columns}
    for kind in KINDS:
        if roles.issuperset(kind.needed):
            return kind
    nearest = max(KINDS, key=lambda kind: len(roles.intersection(kind.needed)) / len(kind.needed))
    known = ", ".join(repr(column.header) for column in columns) or "none that is known"
    beside = f"; not understood: {', '.join(map(repr, others))}" if others else ""
    kinds = "; ".join(f"{kind.name}: {kind.example}" for kind in KINDS)
    raise DataError(
        f"{where}: the columns fit no kind of record. Found {known}{beside}. Nearest is a {nearest.name} record, which "
        f"lacks {' and '.join(role for role in nearest.needed if role not in roles)}. Headers that would do: {kinds}"
    )


def _column(text: str, place: int, where: str) -> Column | None:
    plain = text.strip()
    for sign, letters in ALIKE.items():
        plain = plain.replace(sign, letters)
    # `g (mS)`, `G [uS]`, `conductance / uS`; else the last word of `conductance_uS` is tried as a unit.
    bracketed = re.fullmatch(r"(.+?)\s*(?:\(([^()]*)\)|\[([^\[\]]*)\]|/\s*(\S+))", plain)
    if bracketed:
        name, unit = bracketed[1], next(part for part in bracketed.groups()[1:] if part is not None).strip()
        role = _role(name)
        return None if role is None else _with_unit(role, unit, place, text, where)
    role = _role(plain)
    if role is not None:
        return _with_unit(role, None, place, text, where)
    parts = re.fullmatch(r"(.+)[_\s]([A-Za-z]+)", plain)
    role = _role(parts[1]) if parts else None
    if parts is None or role is None:
        return None
    return _with_unit(role, parts[2], place, text, where)


def _role(name: str) -> str | None:
    word = re.sub(r"[^a-z]", "", name.lower())
    return next((role for role, names in NAMES.items() if word in names), None)


def _with_unit(role: str, unit: str | None, place: int, header: str, where: str) -> Column | None:
    quantity = QUANTITY.get(role)
    if quantity is None:
        return Column(role, place, header)  # a counter, whatever stands behind its name
    units = UNITS[quantity]
    if not unit:
        raise DataError(
            f"{where}: the column {header!r} names no unit; expected one of {', '.join(units)} behind its name, as "
            f"in {role}_{next(iter(units))}"
        )
    # Letters' size matters (mS, MS) only where it is not clear without.
    matches = [unit] if unit in units else [known for known in units if known.lower() == unit.lower()]
    if unit in ("C", "celsius") and quantity == "temperature":
        matches = ["degC"]
    if len(matches) != 1 or unit in ("mOhm", "mohm"):
        raise DataError(f"{where}: the column {header!r} has the unit {unit!r}; expected one of {', '.join(units)}")
    known = matches[0]
    offset = 273.15 if known == "degC" else 0.0
    return Column(role, place, header, units[known], offset, reciprocal=known in OHM)
