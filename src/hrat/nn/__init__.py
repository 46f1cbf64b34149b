"""Layers, straight-through gradients, batch-norm fusing, and the conversion of a network (`prepare`)."""

from __future__ import annotations

from hrat.nn.batch_norm import BATCH_NORM_FORMS, BatchNormForm
from hrat.nn.calibration import calibrate
from hrat.nn.convert import prepare
from hrat.nn.crossbar_layer import CrossbarLayer
from hrat.nn.prepared import PreparedModel, crossbar_layers, restrictions
from hrat.nn.report import ConversionReport
from hrat.nn.rewrite import ScaleMode
from hrat.nn.signals import Scale
from hrat.nn.state import freeze_batch_norm, sampled_chip, set_noise_strength, use_chip

__all__ = [
    "BATCH_NORM_FORMS",
    "BatchNormForm",
    "ConversionReport",
    "CrossbarLayer",
    "PreparedModel",
    "Scale",
    "ScaleMode",
    "calibrate",
    "crossbar_layers",
    "freeze_batch_norm",
    "prepare",
    "restrictions",
    "sampled_chip",
    "set_noise_strength",
    "use_chip",
]
