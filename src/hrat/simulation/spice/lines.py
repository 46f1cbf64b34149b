"""Which lines a netlist may have before it is handed to ngspice.

ngspice runs what a circuit file tells it to, in batch mode too: `.control` sections, lines that begin with `*#` and
files that begin with `*ng_script` hold commands, `shell` among them; `.include` and `.lib` read other files. It has no
option that switches this off (44 and before). So a netlist goes to ngspice only if each of its lines is of a kind that
hrat writes: an element, one of a few dot commands, the continuation of either, or a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hrat.names import one_line
from hrat.simulation.spice.circuit import CircuitError

__all__ = ["harmless"]

ELEMENTS = "BCEHRVX"
COMMANDS = ("subckt", "ends", "options", "ic", "dc", "op", "tran", "save", "end")
OTHER_LINE = re.compile(
    rf"^(?!(?:\* [^\x00-\x1f\x7f]*|(?:[{ELEMENTS}]\w|\+ |\.(?:{'|'.join(COMMANDS)})\b)[\w .,:=(){{}}+*/-]*)?$).*$",
    re.ASCII | re.MULTILINE,
)


def harmless(pieces: Iterable[str]) -> Iterator[str]:
    """Pass a netlist through, each piece some whole lines.

    Raises:
        CircuitError: a line that hrat does not write.
    """
    for piece in pieces:
        other = OTHER_LINE.search(piece)
        if other is not None or not piece.endswith("\n"):
            line = other[0] if other is not None else piece[piece.rfind("\n") + 1 :]
            raise CircuitError(
                f"the netlist has the line '{one_line(line, 80)}', which is none that hrat writes, and was not handed "
                "to ngspice, which could obey it; expected elements, analyses and comments alone"
            )
        yield piece
