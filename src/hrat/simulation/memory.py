"""Numbers of chips and images to simulate at a time, so that a bound on memory holds."""

from __future__ import annotations

from dataclasses import dataclass

from hrat.errors import HratError

__all__ = ["Footprint", "Share", "check_results", "in_words", "share_for"]


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Memory of one chip, bytes."""

    gains: int
    """Gains: taken as long as the solver of the chip lives."""
    making: int
    """Additional memory while the gains are made."""
    signals: int
    """Largest sum of signals that are alive at the same time, for one image."""
    outputs: int
    """Outputs of the network for one image."""
    voltages: int
    """Recorded voltages for one image."""
    together: bool = False
    """Whether the signals of all chips of a group are alive at the same time, not those of one chip only."""

    def of(self, chips: int, images: int) -> int:
        """Memory of a group of chips while some images pass through it, bytes."""
        signals = self.signals * (chips if self.together else 1)
        # What comes from chip after chip is joined to one tensor: it is there twice for a moment.
        return chips * (self.gains + self.making) + images * (signals + 2 * chips * (self.outputs + self.voltages))


@dataclass(frozen=True, kw_only=True)
class Share:
    """Numbers of chips and images that are simulated together."""

    chips: int
    """Chips in a group, at least one."""
    images: int
    """Images that pass through a group at a time, at least one."""
    ahead: int
    """Bytes of inputs to read before each pass through the groups; 0 where one group holds all chips."""


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
    """Largest image batch that fits `memory_bytes` for `chips` chips."""
    each = max(1, footprint.of(chips, 1) - footprint.of(chips, 0))
    return max(1, (memory_bytes - footprint.of(chips, 0)) // each)


def check_results(n_bytes: int, memory_bytes: int) -> None:
    """Refuse results that take more than half of the memory: joining them needs a second copy.

    Raises:
        HratError: the results are too large.
    """
    if n_bytes > memory_bytes // 2:
        raise HratError(
            f"the outputs and voltages of all chips and images take {in_words(n_bytes)}; expected at most "
            f"{in_words(memory_bytes // 2)}, half of memory_bytes. Ask for accuracies alone (keep_outputs=False), for "
            "fewer images (limit=...) or chips, or allow more memory"
        )


def in_words(n_bytes: int) -> str:
    """A number of bytes in KiB, MiB or GiB, as text."""
    size, unit = float(n_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.3g} {unit}"
