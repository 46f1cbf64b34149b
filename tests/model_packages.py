"""timm and transformers, whose models are prepared as they are; both are optional where tests run by hand."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

import pytest
import torch

_DECLARED: list[torch.library.Library] = []


def package(name: str) -> ModuleType:
    """A package of models, or skip the test; `HRAT_REQUIRE_MODELS=1`, as in `make test`, makes a missing one fail."""
    try:
        _make_torchvision_importable()
        return importlib.import_module(name)
    except ImportError as error:
        if os.environ.get("HRAT_REQUIRE_MODELS"):
            raise
        pytest.skip(f"{name} is not installed ({error}): pip install -c constraints.txt -e '.[models]'")


def _make_torchvision_importable() -> None:
    """Import torchvision, which timm needs for its Python part alone.

    torchvision's wheel on the registry is built for CUDA. Beside a CPU build of torch its compiled part cannot be
    loaded, and then its import fails where it describes operators of that part. They are declared here, empty.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for module in [module for module in sys.modules if module.split(".")[0] == "torchvision"]:
            del sys.modules[module]
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(library)
        importlib.import_module("torchvision")
