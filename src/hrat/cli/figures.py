"""Figures of a deployment or of chips for `--json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hrat.artifacts import Comparison, Deployment, ProgrammedChip

__all__ = ["figures"]


def figures(artifact: Deployment | ProgrammedChip | Comparison) -> dict[str, Any]:
    """Hardware, layers, devices, and of chips their seeds and programming errors."""
    from hrat.artifacts import Comparison, ProgrammedChip

    if isinstance(artifact, Comparison):
        return artifact.to_dict()
    deployment = artifact.deployment if isinstance(artifact, ProgrammedChip) else artifact
    layers = []
    for name, layer in deployment.layers.items():
        groups, rows, cols = layer.array_shape
        of_layer = {
            "name": name,
            "kind": layer.geometry.kind,
            "groups": groups,
            "rows": rows,
            "cols": cols,
            "tiles": len(deployment.tiles(name)),
            "devices": layer.n_devices,
            "r_f_ohm": layer.r_f_ohm,
        }
        if isinstance(artifact, ProgrammedChip):
            of_layer["rms_error_S"] = artifact.rms_error_S(name)
        layers.append(of_layer)
    values: dict[str, Any] = {
        "spec": deployment.spec.name,
        "devices": deployment.n_devices,
        "tiles": deployment.n_tiles,
        "layers": layers,
    }
    if isinstance(artifact, ProgrammedChip):
        values["seeds"] = list(artifact.seeds)
    return values
