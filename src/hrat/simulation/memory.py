"""How many chips and images are simulated at a time, so that a bound on memory holds."""

from __future__ import annotations

from dataclasses import dataclass

from hrat.errors import HratError

__all__ = ["Footprint", "Share", "check_results", "in_words", "share_for"]


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes that one chip takes."""

    gains: int
    """As long as its solver lives."""
    making: int
    """On top of that, while its gains are made."""
    signals: int
    """While an image passes through, where most values are alive."""
    outputs: int
    """What the network returns for one image."""
    voltages: int
    """What is recorded for one image."""
    together: bool = False
    """Whether the signals of all chips of a group are alive at the same time, instead of one chip's."""

    def of(self, chips: int, images: int) -> int:
        """What a group of chips takes while some images pass through it."""
        signals = self.signals * (chips if self.together else 1)
        # What comes from chip after chip is joined to one tensor: it is there twice for a moment.
        return chips * (self.gains + self.making) + images * (signals + 2 * chips * (self.outputs + self.voltages))


@dataclass(frozen=True, kw_only=True)
class Share:
    """How the work is cut."""

    chips: int
    """Chips of a group, at least one."""
    images: int
    """Images that pass through a group at a time, at least one."""
    ahead: int
    """Bytes of inputs to read before each group gets its turn; 0 where one group holds all chips."""


def share_for(footprint: Footprint, memory_bytes: int, *, n_chips: int, n_images: int) -> Share:
    """Cut the work for batches of `n_images`.

    Gains are made once where those of all chips fit, if need be with fewer images at a time. Where they do not, the
    chips are taken in groups whose gains are made anew for each pass, and what memory they leave, about half, holds
    batches that are read ahead, so that few passes are needed.
    """
    half = memory_bytes // 2
    if footprint.of(n_chips, n_images) <= memory_bytes or footprint.of(n_chips, 1) <= half:
        return Share(chips=n_chips, images=_most(footprint, memory_bytes, chips=n_chips), ahead=0)
    at_once = half if footprint.of(1, 1) <= half else memory_bytes
    images = min(n_images, _most(footprint, at_once, chips=1))
    each = footprint.of(2, images) - footprint.of(1, images)
    chips = min(n_chips, 1 + max(0, at_once - footprint.of(1, images)) // max(1, each))
    images = _most(footprint, at_once, chips=chips)
    return Share(chips=chips, images=images, ahead=max(0, memory_bytes - footprint.of(chips, min(images, n_images))))


def _most(footprint: Footprint, memory_bytes: int, *, chips: int) -> int:
    """Images that may pass through so many chips at a time."""
    each = max(1, footprint.of(chips, 1) - footprint.of(chips, 0))
    return max(1, (memory_bytes - footprint.of(chips, 0)) // each)


def check_results(n_bytes: int, memory_bytes: int) -> None:
    """Refuse results that take more than half of the memory: joining them takes the same once more.

    Raises:
        HratError: they do.
    """
    if n_bytes > memory_bytes // 2:
        raise HratError(
            f"the outputs and voltages of all chips and images take {in_words(n_bytes)}; expected at most "
            f"{in_words(memory_bytes // 2)}, half of memory_bytes. Ask for accuracies alone (keep_outputs=False), for "
            "fewer images (limit=...) or chips, or allow more memory"
        )


def in_words(n_bytes: int) -> str:
    """A number of bytes for people."""
    size, unit = float(n_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.3g} {unit}"
