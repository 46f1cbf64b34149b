"""`program`: make chips from a deployment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from hrat.artifacts import Deployment, ProgrammedChip, ProgrammedLayer
from hrat.errors import HratError
from hrat.programming.schemes import SCHEMES, Scheme

__all__ = ["program"]


@torch.no_grad()
def program(
    deployment: Deployment,
    *,
    seed: int = 0,
    chips: int = 1,
    seeds: Iterable[int] | None = None,
    scheme: str = "gaussian",
) -> ProgrammedChip:
    """Program one chip, or several that differ in nothing but their programming errors.

    Args:
        deployment: the targets.
        seed: seed of the first chip; the others follow it, `seed + 1`, `seed + 2`, ...
        chips: how many chips.
        seeds: the seed of each chip, in place of `seed` and `chips`.
        scheme: how to program; see `hrat.programming.schemes`.

    Returns:
        The chips. A chip depends on its seed and the deployment alone, not on the chips beside it.

    Raises:
        HratError: the scheme is unknown, or no chip is asked for.
    """
    if not isinstance(deployment, Deployment):
        raise HratError(f"expected what hrat.deploy returned, got {type(deployment).__name__}")
    if scheme not in SCHEMES:
        raise HratError(f"unknown programming scheme {scheme!r}; expected one of {', '.join(SCHEMES)}")
    chosen = tuple(range(seed, seed + chips)) if seeds is None else tuple(seeds)
    if not chosen:
        raise HratError("expected at least one chip to program, got none")
    how = SCHEMES[scheme]
    layers = {}
    for name, target in deployment.layers.items():
        layers[name] = ProgrammedLayer(
            g_pos_S=_stack(deployment, target.g_pos_S, f"{name}/+", chosen, how),
            g_neg_S=_stack(deployment, target.g_neg_S, f"{name}/-", chosen, how),
        )
    return ProgrammedChip(deployment=deployment, layers=layers, seeds=chosen, scheme=scheme)


def _stack(deployment: Deployment, target_S: Tensor, place: str, seeds: tuple[int, ...], scheme: Scheme) -> Tensor:
    """`(groups, rows, cols)` -> `(chips, groups, rows, cols)`."""
    out = target_S.new_empty((len(seeds), *target_S.shape))
    for k, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(_seed_of(seed, place))
        out[k] = scheme.achieve(target_S, deployment.spec, generator)
    return out


def _seed_of(seed: int, place: str) -> int:
    """A seed of its own for each chip and place on it; neighbours share nothing, whatever the seeds."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{place}".encode()).digest()[:8], "little", signed=True)
