"""Numbers as a person reads them."""

from __future__ import annotations

import math

from rich.markup import escape

from hrat.names import plain_text

__all__ = ["count", "duration", "percent", "points", "safe_markup", "si"]


def percent(share: float, digits: int = 2) -> str:
    """0.9612 -> `96.12 %`; what rounds to zero has no sign."""
    text = f"{100 * share:.{digits}f}"
    return f"{text.removeprefix('-') if float(text) == 0 else text} %"


def points(difference: float) -> str:
    """A difference of two shares, 0.0312 -> `3.12`; what rounds to zero has no sign."""
    text = f"{100 * difference:.2f}"
    return "0.00" if text == "-0.00" else text


def duration(seconds: float) -> str:
    """75 -> `1 min 15 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 chip`, `20 chips`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def safe_markup(text: str) -> str:
    """Text from a file, with nothing in it that rich would take for markup or that a terminal would obey."""
    return escape(plain_text(text))


def si(value: float, unit: str) -> str:
    """1.7e-6, "J" -> `1.7 µJ`; three digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    power = max(min(math.floor(math.log10(abs(value)) / 3), 4), -6)
    scaled = f"{value / 1000.0**power:.3g}"
    if abs(float(scaled)) >= 1000 and power < 4:  # 999.9 becomes 1000
        power += 1
        scaled = f"{value / 1000.0**power:.3g}"
    prefix = "afpnµm kMGT"[power + 6].strip()
    return f"{float(scaled):g} {prefix}{unit}"
