"""Differences between ngspice, LTspice and Xyce, and nothing else.

| matter | ngspice | LTspice | Xyce |
|---|---|---|---|
| table of a B source | `pwl(v(x), ...)` | `table(v(x), ...)` | `table(v(x), ...)` |
| expression of a B source | `V=...` | `V=...` | `V={...}` |
| tolerances | `.options reltol=` | `.options reltol=` | `.options nonlin reltol=` |
| sparse solver | `.options klu` | its own | KLU, unless told otherwise |
| node in a subcircuit | `x1.node` | `x1:node` | `x1:node` |
| what is kept | `.save v(x)` | `.save v(x)`, `numdgt` for doubles | `.print dc format=raw v(x)` |

All else is written in the form that the three share: comments on lines of their own that begin with `*`, continuation
lines that begin with `+`, names of letters, digits and `_`, numbers without unit suffixes, `min` and `max` of two.
"""

from __future__ import annotations

from collections.abc import Sequence

from hrat.names import one_line
from hrat.simulation.spice.circuit import DIALECTS, CircuitError, Dialect, SpiceOptions

__all__ = [
    "behavioural",
    "check_dialect",
    "clamped",
    "comment",
    "inside",
    "kept",
    "number",
    "options_lines",
    "table",
    "wrapped",
]

WIDTH = 110
COMMENT_CHARACTERS = 1000


def check_dialect(dialect: str) -> None:
    """Refuse a dialect that is not known.

    Raises:
        CircuitError: with those that are.
    """
    if dialect not in DIALECTS:
        raise CircuitError(f"dialect: expected one of {', '.join(DIALECTS)}, got {dialect!r}")


def comment(text: str) -> str:
    """A comment of one line, whatever stands in the text: a name must not begin a line of its own.

    ngspice takes `*#` for a command and `*ng_script` in the first line for a script of them; a space keeps both away.
    """
    return f"* {one_line(text, COMMENT_CHARACTERS)}"


def number(value: float) -> str:
    """A number to the last bit, without suffix."""
    return repr(float(value))


def wrapped(words: Sequence[str], separator: str = " ") -> str:
    """Words on one logical line, with continuation lines."""
    lines, line = [], ""
    for word in words:
        if line and len(line) + len(word) > WIDTH:
            lines.append(line)
            line = ""
        line += word + separator
    lines.append(line.removesuffix(separator))
    return "\n+ ".join(line.rstrip() for line in lines)


def behavioural(name: str, plus: str, minus: str, kind: str, expression: str, dialect: Dialect) -> str:
    """A B source of kind V or I."""
    expression = f"{{{expression}}}" if dialect == "xyce" else expression
    return f"B{name} {plus} {minus} {kind}={expression}"


def clamped(expression: str, low_V: float, high_V: float) -> str:
    """The expression within limits; an infinite one is none."""
    if low_V != -float("inf"):
        expression = f"max({expression},{number(low_V)})"
    if high_V != float("inf"):
        expression = f"min({expression},{number(high_V)})"
    return expression


def inside(instance: str, node: str, dialect: Dialect) -> str:
    """The name that a node of a subcircuit has outside of it."""
    return f"{instance}{'.' if dialect == 'ngspice' else ':'}{node}"


def table(control: str, values: Sequence[float], dialect: Dialect) -> str:
    """A function of a node's voltage that takes `values[k]` at k volts, linear in between."""
    points = list(values) if len(values) > 1 else [values[0], values[0]]  # a table needs two
    name = "pwl" if dialect == "ngspice" else "table"
    pairs = [f"{k},{number(value)}" for k, value in enumerate(points)]
    return f"{name}(v({control}),{wrapped(pairs, ',')})"


def options_lines(options: SpiceOptions, dialect: Dialect, *, klu: bool, analysis: str) -> list[str]:
    """Tolerances and solver."""
    reltol, vntol = number(options.reltol), number(options.vntol_V)
    if dialect == "xyce":
        package = "nonlin-tran" if analysis == "tran" else "nonlin"
        return [f".options {package} reltol={reltol} abstol={vntol}"]
    tolerances = f"reltol={reltol} vntol={vntol} abstol=1e-12 itl1=500 itl2=500"
    if dialect == "ltspice":
        return [f".options {tolerances}", ".options numdgt=15"]
    return [f".options {'klu ' if klu else ''}{tolerances}"]


def kept(nodes: Sequence[str], dialect: Dialect, *, analysis: str) -> str:
    """Which voltages are written, and no others."""
    head = [f".print {analysis} format=raw"] if dialect == "xyce" else [".save"]
    return wrapped([*head, *(f"v({node})" for node in nodes)])
