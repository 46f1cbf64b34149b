#!/usr/bin/env python3
"""Write docs/operations.md: what a network may do between crossbars, from the table of operations itself.

    python scripts/list_operations.py            # writes the page
    python scripts/list_operations.py --check    # tells by its exit status whether the page is up to date

What torch has and the table lacks is listed too, so the page is that of the torch of constraints.txt.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hrat.circuit import OPS, Op, outside_by_reason, ways_to_write
from hrat.conversion.tracer import KNOWN_METHODS, PLACE

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"
HEAD = """# Operations

What a network may do between its linear layers and convolutions, as `scripts/list_operations.py` finds it in the table
of operations. **On voltages** stands what commutes with a positive scale, so that a circuit does it without converters.
**Digital** is all else: an ADC in front, floating-point arithmetic, a DAC behind, with the reason that the conversion
report gives. **Refused** is what the table lacks.

* A function, the method of the same name and the function of `torch.nn.functional` are one operation, with the options
  and keywords of PyTorch's documentation. An option that an operation does not have is refused by name.
* A layout or a cast that reads digital numbers is digital too, and costs no converter. An operation on voltages that
  also reads a digital number or a constant is digital.
* A cast to a coarser number type rounds, and is digital; so is max pooling that also tells where its values stood.
* Layers of `torch.nn` are followed into these functions. Linear layers and convolutions become crossbars, and so does
  what is written out with them: attention, LSTM, GRU and RNN. Dropout and stochastic depth act in training alone.
  `nn.RReLU` has its mean slope in training too.
* `max_norm` of `nn.Embedding` shortens the rows that are read and leaves the table as it is.
* One of your own is registered with `hrat.operation` ([how](howto/own-layer.md)).
"""


def page() -> str:
    """The whole page."""
    shown = [op for op in OPS.values() if not op.own and op.name not in ("expect", "assert")]
    parts = [HEAD, "\n## On voltages\n\n", _names([op for op in shown if op.analog])]
    parts.append("\n## Digital\n")
    for why in dict.fromkeys(op.why for op in shown if op.why):
        parts += [f"\n### {why[0].upper()}{why[1:]}\n\n", _names([op for op in shown if op.why == why])]
    parts += ["\n## Of sizes alone\n\n", "These look at no value; they are part of the graph.\n\n"]
    parts.append(_names([op for op in shown if not op.analog and not op.why]))
    parts.append("\n## Refused\n\nIn-place forms of what is listed here are refused with it.\n")
    for reason, names in outside_by_reason(KNOWN_METHODS | PLACE | DROPOUTS).items():
        title = f"{reason[0].upper()}{reason[1:]}" if reason else "Not there yet"
        parts += [f"\n### {title}\n\n", *([] if reason else [REST]), _wrapped(f"`{name}`" for name in names)]
    return "".join(parts)


DROPOUTS = {"dropout", "dropout1d", "dropout2d", "dropout3d"}
REST = "Nobody has asked for these; `hrat.operation` registers one, and an issue brings it here.\n\n"


def _names(ops: list[Op]) -> str:
    return _wrapped(f"`{op.name}`{_others(op)}" for op in ops)


def _others(op: Op) -> str:
    """What else means an operation, where that is not its name."""
    ways = {_word(way) for way in ways_to_write(op)} - {op.name, f"{op.name}_", "call"}
    return f" ({', '.join(f'`{way}`' for way in sorted(ways))})" if ways else ""


def _word(way: Any) -> str:
    return way if isinstance(way, str) else str(way.__name__).lstrip("_")


def _wrapped(words: Any, width: int = 120) -> str:
    """Words with commas in between, as lines."""
    lines = [""]
    for word in ", ".join(words).split(" "):
        if len(lines[-1]) + len(word) + 1 > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines) + "\n"


def main() -> int:
    """Command line."""
    text = page()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
