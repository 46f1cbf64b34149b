"""What all figures share: the canvas, the colours, the way to disk."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hrat.errors import HratError
from hrat.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "GREY",
    "INK",
    "LINE",
    "US",
    "VERMILION",
    "figure_format",
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
        path: of the picture; an older one that is no longer true is removed.
    """
    try:
        draw(path)
    except Exception as error:  # whatever it is, hours of computing are not lost for a picture
        with suppress(OSError):
            path.unlink(missing_ok=True)
        words = f"{path} could not be drawn ({type(error).__name__}: {error}); the figures beside it are whole"
        warnings.warn(words, RuntimeWarning, stacklevel=2)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write the picture whole or not at all.

    Raises:
        HratError: a suffix that stands for no picture.
        OSError: the folder cannot be written or the disk is full.
    """
    chosen = figure_format(path)
    from matplotlib import rc_context

    # Neither a date nor random names inside: the same result gives the same file.
    metadata = {"png": {"Software": "hrat"}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[chosen]
    with atomic_path(path) as temporary, rc_context({"svg.hashsalt": "hrat"}):
        figure.savefig(temporary, format=chosen, metadata=metadata)
    return Path(path)
