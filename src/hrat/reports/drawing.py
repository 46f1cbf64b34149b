"""Parts of all figures: canvas, colours, and writing to disk."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hrat.errors import HratError
from hrat.files import atomic_path
from hrat.names import plain_text

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = [
    "BLUE",
    "GREY",
    "INK",
    "LINE",
    "US",
    "VERMILION",
    "figure_format",
    "make_plain",
    "new_figure",
    "plain_frame",
    "save_figure",
]

# Okabe and Ito's palette: told apart by people with any colour vision.
BLUE, VERMILION = "#0072B2", "#D55E00"
INK, GREY, LINE = "#1a1a1a", "#767676", "#d9d9d9"

US = 1e6
"""Siemens -> microsiemens, for people."""

FORMATS = ("png", "svg", "pdf")


def plain_frame(axis: Axes, *, grid: bool = True) -> None:
    """Axes without a box: small ticks, and a light grid behind what is drawn."""
    axis.tick_params(labelsize=8, length=2, colors=INK)
    if grid:
        axis.grid(color=LINE, linewidth=0.5)
        axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def figure_format(path: str | os.PathLike[str]) -> str:
    """The picture's format, by the suffix of its path.

    Raises:
        HratError: another suffix, or none.
    """
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        expected = ", ".join(f".{name}" for name in FORMATS)
        raise HratError(f"{path}: expected a picture that ends in one of {expected}, got {Path(path).suffix!r}")
    return suffix


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure of its own: neither pyplot's global state nor a display is touched."""
    # Here, since it takes half a second that tables need not wait for.
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), dpi=150, facecolor="white")


def draw_beside(draw: Callable[[Path], object], path: Path) -> None:
    """Draw a picture of figures that are in files already; where that fails, warn and keep what there is.

    Args:
        draw: writes the picture to the path that it gets.
        path: path of the picture; an older one that is no longer true is removed.
    """
    try:
        draw(path)
    except Exception as error:  # whatever it is, hours of computing are not lost for a picture
        with suppress(OSError):
            path.unlink(missing_ok=True)
        words = f"{path} could not be drawn ({type(error).__name__}: {error}); the figures beside it are whole"
        warnings.warn(words, RuntimeWarning, stacklevel=2)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write the picture whole or not at all, its words as they are: no name in it is taken for a formula.

    Raises:
        HratError: a suffix that stands for no picture.
        OSError: the folder cannot be written or the disk is full.
    """
    chosen = figure_format(path)
    from matplotlib import rc_context

    make_plain(figure)

    # Neither a date nor random names inside: the same result gives the same file.
    metadata = {"png": {"Software": "hrat"}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[chosen]
    with atomic_path(path) as temporary, rc_context({"svg.hashsalt": "hrat"}):
        figure.savefig(temporary, format=chosen, metadata=metadata)
    return Path(path)


def make_plain(figure: Figure) -> None:
    """Show the words of a figure as they are, in every format; hrat writes no formulas into its pictures.

    Matplotlib takes what stands between two `$` for TeX and fails where it is none, and no format can hold half a
    surrogate pair. Numbers at ticks are left to matplotlib, whose powers of ten are formulas.
    """
    for text in _texts(figure):
        text.set_parse_math(False)
        text.set_text(plain_text(text.get_text()))
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            _plain_ticks(axis)


def _texts(artist: Artist) -> Iterator[Text]:
    """All words in it but those at ticks, which an axis makes anew for each drawing."""
    from matplotlib.axis import Axis
    from matplotlib.text import Text

    if isinstance(artist, Text):
        yield artist
    for part in [artist.label] if isinstance(artist, Axis) else artist.get_children():
        yield from _texts(part)


def _plain_ticks(axis: Axis) -> None:
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    given = axis.get_major_formatter()
    if isinstance(given, FixedFormatter | FuncFormatter):  # words, or numbers in hrat's own writing
        axis.set_major_formatter(
            FuncFormatter(lambda value, place: plain_text(given(value, place)).replace("$", r"\$"))
        )
