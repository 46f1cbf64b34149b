"""Sources of a layer's batch statistics in training: one file for each form."""

from __future__ import annotations

from typing import Literal

from hrat.nn.batch_norm.frozen import FrozenBatchNorm
from hrat.nn.batch_norm.one_pass import OnePass
from hrat.nn.batch_norm.running import ForwardPass, RunningStatistics, running_terms_before, terms_before
from hrat.nn.batch_norm.slice_of_batch import SliceOfBatch
from hrat.nn.batch_norm.two_pass import TwoPass
from hrat.nn.batch_norm.unfused import Unfused

__all__ = [
    "BATCH_NORM_FORMS",
    "BatchNormForm",
    "ForwardPass",
    "FrozenBatchNorm",
    "RunningStatistics",
    "running_terms_before",
    "statistics_of",
    "terms_before",
]

BatchNormForm = Literal["two_pass", "slice", "one_pass", "unfused"]
"""Source of the batch statistics in training.

`two_pass`
    The reference: from the undistorted operation on the whole batch, as batch norm has it. Costs the operation twice.
`slice`
    From the undistorted operation on the first eighth of the batch.
`one_pass`
    Fuse with the running statistics, normalise the distorted output by its own batch statistics, and feed these back
    through the gain of the fusing. Costs the operation once.
`unfused`
    Batch norm stays apart in training and is merged only on the chip. Not HRAT: the ablation.
"""
BATCH_NORM_FORMS: tuple[BatchNormForm, ...] = ("two_pass", "slice", "one_pass", "unfused")

_FORMS: dict[BatchNormForm, RunningStatistics] = {
    "two_pass": TwoPass(),
    "slice": SliceOfBatch(),
    "one_pass": OnePass(),
    "unfused": Unfused(),
}
_RUNNING = RunningStatistics()


def statistics_of(form: BatchNormForm, *, training: bool, frozen: bool) -> RunningStatistics:
    """Statistics by which a layer normalises.

    Args:
        form: the form in training.
        training: whether the layer is in training mode.
        frozen: whether its batch norms are frozen, so that training and eval are the same function.
    """
    if not training or (frozen and form != "unfused"):
        return _RUNNING
    return _FORMS[form]
