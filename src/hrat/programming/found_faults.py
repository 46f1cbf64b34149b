"""Which devices of a simulated chip are stuck: what a lab finds out by a test before it programs a chip."""

from __future__ import annotations

import torch
from torch import Tensor

from hrat.artifacts import Deployment, FaultMap, LayerFaults
from hrat.encoding import refuse_shared_negatives
from hrat.programming.programming_chips import stuck_on_chip
from hrat.seeds import check_seed

__all__ = ["find_faults"]


@torch.no_grad()
def find_faults(deployment: Deployment, seed: int) -> FaultMap:
    """The stuck devices of the chip that `program(deployment, seeds=[seed])` makes, before it is made.

    They are the chip's own, whatever is programmed into it, as long as the arrays keep their shape. The test is taken
    as perfect: it finds all stuck devices, and reads exactly where they are. Devices with a limited window
    (`faults.window_spread_rel`) are not among them.

    Args:
        deployment: says which arrays the chip has.
        seed: of the chip.

    Raises:
        HratError: weights share devices (`periphery.readout`), so that there is no remapping.
    """
    seed = check_seed(seed)
    refuse_shared_negatives(deployment.spec, "a map of stuck devices serves remapping, which")
    layers = {}
    for name, layer in deployment.layers.items():
        parts: dict[str, Tensor] = {}
        for key, sign, target_S in (("pos", "+", layer.g_pos_S), ("neg", "-", layer.g_neg_S)):
            stuck_devices = stuck_on_chip(target_S, deployment.spec, seed, f"{name}/{sign}")
            stuck, g_S = (
                (torch.zeros_like(target_S, dtype=torch.bool), target_S) if stuck_devices is None else stuck_devices
            )
            parts |= {key: stuck, f"{key}_S": torch.where(stuck, g_S, 0.0)}
        layers[name] = LayerFaults(**parts)
    return FaultMap(layers=layers)
