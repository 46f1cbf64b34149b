"""Layers that compute as the chip does, straight-through gradients, batch-norm fusing, and the prepared model."""

from __future__ import annotations

from hrat.nn.batch_norm import BATCH_NORM_FORMS, BatchNormForm
from hrat.nn.calibration import calibrate
from hrat.nn.crossbar_layer import CrossbarLayer
from hrat.nn.prepared import PreparedModel, crossbar_layers, restrictions
from hrat.nn.report import ConversionReport
from hrat.nn.signals import Scale
from hrat.nn.state import freeze_batch_norm, sampled_chip, set_noise_strength, use_chip

__all__ = [
    "BATCH_NORM_FORMS",
    "BatchNormForm",
    "ConversionReport",
    "CrossbarLayer",
    "PreparedModel",
    "Scale",
    "calibrate",
    "crossbar_layers",
    "freeze_batch_norm",
    "restrictions",
    "sampled_chip",
    "set_noise_strength",
    "use_chip",
]
