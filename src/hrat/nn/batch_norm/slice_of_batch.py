"""Statistics of the undistorted operation on a part of the batch."""

from __future__ import annotations

from hrat.nn.batch_norm.two_pass import TwoPass
from hrat.nn.ranks import world_size
from hrat.nn.word_lines import WordLines

__all__ = ["SliceOfBatch"]

SLICE_OF_BATCH = 8
SLICE_AT_LEAST = 16


class SliceOfBatch(TwoPass):
    """The first eighth of the batch stands for all of it; at least 16 images."""

    def measured_on(self, lines: WordLines) -> WordLines:
        """The first images; the ranks together hold those of the slice."""
        ranks = world_size()
        images = max(SLICE_AT_LEAST, -(-lines.voltage.shape[0] * ranks // SLICE_OF_BATCH))
        return lines.first(-(-images // ranks))
