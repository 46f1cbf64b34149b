"""`age`: relaxation, decay and drift of programmed chips."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hrat.artifacts import ProgrammedChip
from hrat.errors import HratError
from hrat.physics import aged_S
from hrat.programming.programming_chips import stuck_on_chip
from hrat.seeds import seed_of_place

__all__ = ["age"]


@torch.no_grad()
def age(chip: ProgrammedChip, t_s: float, *, temperature_K: float | None = None) -> ProgrammedChip:
    """Age chips to `t_s` after programming: relaxation, decay and drift by the spec's `[retention]`.

    Chips that were programmed pulse by pulse with `limit_retention` on are `age_s` old already. The error of
    statistical chips holds `programming.error_age_s` after programming (`wan2022`: a day): the relaxation until then is
    in it, and ageing adds what comes later.

    Args:
        chip: one or several chips.
        t_s: time since programming, s.
        temperature_K: temperature since then, in place of the spec's, K.

    Returns:
        Chips with the conductances at that time; the same call gives the same chips.

    Raises:
        HratError: the spec has no retention figures, or the chips are older than `t_s` already.
        SpecError: a temperature that is not above zero.
    """
    spec = chip.deployment.spec
    retention = spec.retention
    if not (retention.relax_sigma_S or retention.drift_nu_mean or retention.relax_shift_S):
        raise HratError(
            f"age: '{spec.name}' has no retention figures; expected relax_sigma_S, relax_shift_S or "
            "drift_nu_mean in its section [retention]"
        )
    since_s = spec.programming.error_age_s
    if chip.has_pulses:
        since_s = retention.age_s if retention.limit_retention else 0.0
    if not t_s > since_s:
        raise HratError(f"age: expected a time after the {since_s:g} s that the chips are old already, got {t_s:g} s")
    changed = {"retention.temperature_K": retention.temperature_K if temperature_K is None else temperature_K}
    kept = spec.replace(changed).retention

    def older(g_S: Tensor, place: str) -> Tensor:
        chips = []
        for one_S, seed in zip(g_S, chip.seeds, strict=True):
            generator = torch.Generator().manual_seed(seed_of_place(seed, f"{place}/age/{t_s!r}"))
            aged = aged_S(one_S, t_s, kept, since_s=since_s, generator=generator)
            stuck = stuck_on_chip(one_S, spec, seed, place)
            chips.append(aged if stuck is None else torch.where(stuck[0], one_S, aged))
        return torch.stack(chips)

    layers = {
        name: replace(layer, g_pos_S=older(layer.g_pos_S, f"{name}/+"), g_neg_S=older(layer.g_neg_S, f"{name}/-"))
        for name, layer in chip.layers.items()
    }
    aged_spec = spec.replace({**changed, "retention.age_s": t_s})
    return replace(chip, layers=layers, deployment=replace(chip.deployment, spec=aged_spec))
