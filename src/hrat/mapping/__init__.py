"""Trained model -> Deployment, and ways to improve it before a chip is programmed."""

from __future__ import annotations

from hrat.mapping.compensation import CompensationReport, LayerCompensation, compensate
from hrat.mapping.deploying import deploy
from hrat.mapping.redundancy import Redundancy, choose_redundancy, replicate
from hrat.mapping.remapping import LayerRemap, RemapReport, favour_states, remap

__all__ = [
    "CompensationReport",
    "LayerCompensation",
    "LayerRemap",
    "Redundancy",
    "RemapReport",
    "choose_redundancy",
    "compensate",
    "deploy",
    "favour_states",
    "remap",
    "replicate",
]
