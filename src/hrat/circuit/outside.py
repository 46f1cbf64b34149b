"""Why a function of torch is not in the table of operations, for messages and for the page that lists them."""

from __future__ import annotations

import re
from collections.abc import Collection
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import get_overridable_functions

from hrat.circuit.operations import op_of

__all__ = ["outside_by_reason", "why_outside"]

RANDOM = "draws random numbers, so that no chip could be what was trained"
BY_VALUES = "yields what has another size, or lets Python go another way, with other values, which a circuit cannot"
COMPLEX = "computes complex numbers"
SPARSE = "handles sparse tensors"
QUANTISED = "handles quantised tensors: numbers of converters are the hardware's matter"
OBJECTS = "handles memory, devices, gradients or Python objects, not numbers"
KERNELS = "is a form of another function that torch itself calls"
WRITTEN_OUT = "computes a whole layer in one call; the modules of torch.nn for it are written out"
MANY = "takes a function as an argument"
REST = ""

_TAGS = (
    (RANDOM, ("nondeterministic_seeded",)),
    (BY_VALUES, ("dynamic_output_shape", "data_dependent_output")),
)
"""What torch itself says of its functions."""
_NAMES: tuple[tuple[str, str], ...] = (
    (RANDOM, "dropout fractional_max_pool gumbel random rrelu pca_lowrank svd_lowrank lobpcg"),
    (BY_VALUES, r"item tolist __\w+__ equal allclose is_nonzero unique\w* bincount histogram\w* histc gradient"),
    (BY_VALUES, "ctc_loss gaussian_nll_loss combinations argwhere linalg_lstsq linalg_matrix_rank cov corrcoef"),
    (COMPLEX, "complex conj angle polar real imag view_as_ cdouble cfloat chalf resolve_ fft_ stft istft linalg_eig"),
    (SPARSE, r"sparse sspaddmm hspmm saddmm smm hsmm coalesce is_coalesced \w*(crow|ccol|col|row)_indices indices"),
    (SPARSE, "values dense_dim to_dense to_mkldnn to_sparse"),
    (QUANTISED, r"q_ qscheme quantize fake_quantize fbgemm dequantize int_repr choose_qparams \w*fake_quant"),
    (OBJECTS, "backward register_ retain_grad requires_grad numpy data_ptr const_data storage untyped_ apply_ map2?_"),
    (OBJECTS, "share_memory pin_memory record_stream resize set_ module_load copy_ cpu$ cuda xpu ipu mtia is_"),
    (OBJECTS, "get_device element_size hash_tensor as_strided stride dim_order empty new_empty autocast expand_copy"),
    (OBJECTS, "data$ grad detach_ name output_nr volatile layout nbytes itemsize"),
    (KERNELS, r"\w+_copy$ sym_ unsafe_ convolution conv_tbc grid_sampler slice_inverse affine_grid_generator"),
    (KERNELS, r"constant_pad_nd norm_except_dim instance_norm batch_norm \w+_ex$ frobenius_norm nuclear_norm"),
    (KERNELS, "embedding_bag"),
    (MANY, "triplet_margin_with_distance_loss"),
)
"""Beginnings of names."""
_FIRST: tuple[tuple[str, str], ...] = (
    (WRITTEN_OUT, "lstm gru rnn multi_head_attention_forward"),
    (KERNELS, "native_ miopen_ cudnn_ batch_norm_"),
)
"""The same, for functions of which the tags do not tell the most."""
_PLACES: tuple[tuple[str, Any], ...] = (
    ("torch.", torch),
    ("torch.", torch.functional),
    ("torch.nn.functional.", F),
    ("torch.linalg.", torch.linalg),
    ("torch.fft.", torch.fft),
    ("torch.special.", torch.special),
    ("Tensor.", Tensor),
)


def why_outside(target: Any) -> str:
    """Why a function of torch, or a method of tensors by its name, is no operation of a chip.

    Returns:
        A sentence without a capital and a stop; empty for what is not torch's.
    """
    name = target if isinstance(target, str) else str(getattr(target, "__name__", ""))
    own = isinstance(target, str) or str(getattr(target, "__module__", None) or "torch").startswith("torch")
    if not name or not own:
        return ""
    packet: Any = getattr(torch.ops.aten, name, None)
    forms = [] if packet is None else [getattr(packet, form) for form in packet.overloads()]
    tags = {tag.name for form in forms for tag in form.tags}
    by_tag = next((reason for reason, known in _TAGS if not tags.isdisjoint(known)), None)
    return _by_name(name, _FIRST) or by_tag or _by_name(name, _NAMES) or REST


def _by_name(name: str, reasons: tuple[tuple[str, str], ...]) -> str | None:
    return next((why for why, beginnings in reasons if re.match("|".join(beginnings.split()), name)), None)


def outside_by_reason(known: Collection[str] = ()) -> dict[str, list[str]]:
    """Public functions of torch and methods of tensors that the table lacks, by the reason.

    In-place forms are left out, and names that are `known` elsewhere.
    """
    found: dict[str, set[str]] = {}
    functions = get_overridable_functions()
    for prefix, place in _PLACES:
        for function in functions.get(place, ()):
            name = _public_name(place, function)
            if name is None or op_of(function) is not None or (place is Tensor and op_of(name) is not None):
                continue
            if name in known or (name.endswith("_") and hasattr(place, name[:-1])):
                continue
            found.setdefault(why_outside(name if place is Tensor else function), set()).add(prefix + name)
    order = (RANDOM, BY_VALUES, COMPLEX, SPARSE, QUANTISED, OBJECTS, WRITTEN_OUT, KERNELS, MANY, REST)
    return {reason: sorted(found[reason]) for reason in order if reason in found}


def _public_name(place: ModuleType | type, function: Any) -> str | None:
    """A function's name in its module; None if it has none there that is public."""
    name = str(getattr(function, "__name__", "_"))
    for each in (name, name.removeprefix("linalg_").removeprefix("fft_").removeprefix("special_")):
        if not each.startswith("_") and hasattr(place, each):
            return each
    return None
