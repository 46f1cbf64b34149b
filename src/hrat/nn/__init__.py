"""Layers that compute as the chip does, straight-through gradients, batch-norm fusing, and the prepared model."""

from __future__ import annotations

from hrat.nn.batch_norm import BATCH_NORM_FORMS, BatchNormForm, FrozenBatchNorm
from hrat.nn.calibration import OUTPUT_PEAK, calibrate, calibrate_scales
from hrat.nn.call_form import FREE, Arguments, Form, is_record, plain_value, taken_apart
from hrat.nn.crossbar_layer import CrossbarLayer
from hrat.nn.device_errors import NoiseSource, draw_pair_error
from hrat.nn.dropout import DROPOUTS, is_drop_path, is_dropout
from hrat.nn.numbers import is_half
from hrat.nn.prepared import (
    PreparedModel,
    crossbar_layers,
    layers_with_scales,
    restrictions,
    tensor_value,
)
from hrat.nn.recurrent import CrossbarRecurrence, Recurrence
from hrat.nn.report import ConversionReport, DigitalOperationRow, LayerRow
from hrat.nn.shared_error import SharedError
from hrat.nn.signals import (
    DigitalBatchNorm,
    GradientStop,
    InputDac,
    OutputAdc,
    OutputRescale,
    Rectifier,
    Scale,
    SwingClamp,
    batch_norm_over_ranks,
)
from hrat.nn.state import freeze_batch_norm, sampled_chip, set_noise_strength, use_chip
from hrat.nn.turned import TurnedLinear

__all__ = [
    "BATCH_NORM_FORMS",
    "DROPOUTS",
    "FREE",
    "OUTPUT_PEAK",
    "Arguments",
    "BatchNormForm",
    "ConversionReport",
    "CrossbarLayer",
    "CrossbarRecurrence",
    "DigitalBatchNorm",
    "DigitalOperationRow",
    "Form",
    "FrozenBatchNorm",
    "GradientStop",
    "InputDac",
    "LayerRow",
    "NoiseSource",
    "OutputAdc",
    "OutputRescale",
    "PreparedModel",
    "Rectifier",
    "Recurrence",
    "Scale",
    "SharedError",
    "SwingClamp",
    "TurnedLinear",
    "batch_norm_over_ranks",
    "calibrate",
    "calibrate_scales",
    "crossbar_layers",
    "draw_pair_error",
    "freeze_batch_norm",
    "is_drop_path",
    "is_dropout",
    "is_half",
    "is_record",
    "layers_with_scales",
    "plain_value",
    "restrictions",
    "sampled_chip",
    "set_noise_strength",
    "taken_apart",
    "tensor_value",
    "use_chip",
]
