"""`program`: make chips from a deployment; `program_lots`: many chips, a lot at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from hrat.artifacts import Deployment, ProgrammedChip, ProgrammedLayer
from hrat.errors import HratError
from hrat.programming.memory import available_bytes
from hrat.programming.schemes import SCHEMES

__all__ = ["ChipLots", "program", "program_lots"]

MEMORY_BYTES = 2 * 1024**3
DEVICES_WORTH_A_THREAD = 1_000_000


def program(
    deployment: Deployment,
    *,
    seed: int = 0,
    chips: int = 1,
    seeds: Iterable[int] | None = None,
    scheme: str = "gaussian",
    memory_bytes: int | None = None,
) -> ProgrammedChip:
    """Program one chip, or several that differ in nothing but their programming errors.

    Args:
        deployment: the targets.
        seed: seed of the first chip; the others follow it, `seed + 1`, `seed + 2`, ...
        chips: how many chips.
        seeds: the seed of each chip, in place of `seed` and `chips`.
        scheme: how to program; see `hrat.programming.schemes`.
        memory_bytes: what the chips may take at most; the memory that the machine has left unless given.

    Returns:
        The chips. A chip depends on its seed and the deployment alone, not on the chips beside it, nor on the number of
        threads.

    Raises:
        HratError: the scheme is unknown, no chip is asked for, or more than the memory can hold.
    """
    chosen = _seeds(deployment, seed, chips, seeds, scheme)
    need = len(chosen) * _bytes_of_a_chip(deployment)
    left = available_bytes() if memory_bytes is None else memory_bytes
    if left is not None and need > left:
        raise HratError(
            f"{len(chosen)} chip(s) of {deployment.n_devices:,} devices take {need / 2**30:.3g} GiB; expected at most "
            f"{left / 2**30:.3g} GiB, {'the memory that is left' if memory_bytes is None else 'memory_bytes'}. Program "
            "fewer chips, or let hrat.programming.program_lots make them in lots, which hrat.simulate takes one after "
            "another"
        )
    return _programmed(deployment, tuple(chosen), scheme)


def program_lots(
    deployment: Deployment,
    *,
    seed: int = 0,
    chips: int = 1,
    seeds: Iterable[int] | None = None,
    scheme: str = "gaussian",
    memory_bytes: int = MEMORY_BYTES,
) -> ChipLots:
    """Any number of chips, in lots whose conductances fit into the memory together.

        result = hrat.simulate(program_lots(deployment, chips=1000), test_loader, keep_outputs=False)

    Args:
        deployment: the targets.
        seed: as for `program`, and so are `chips`, `seeds` and `scheme`.
        chips: how many chips in all.
        seeds: the seed of each chip.
        scheme: how to program.
        memory_bytes: what the conductances of a lot may take; a lot has one chip at least.

    Returns:
        The lots, each a `ProgrammedChip` that is made when its turn comes: the chips that `program` would make at once.

    Raises:
        HratError: the scheme is unknown, or no chip is asked for.
    """
    chosen = _seeds(deployment, seed, chips, seeds, scheme)
    size = max(1, memory_bytes // max(1, _bytes_of_a_chip(deployment)))
    return ChipLots(deployment=deployment, seeds=tuple(chosen), scheme=scheme, lot_size=size)


@dataclass(frozen=True, kw_only=True)
class ChipLots:
    """Chips that are programmed a lot at a time, anew each time that they are gone through."""

    deployment: Deployment
    seeds: tuple[int, ...]
    """The seed of each chip, of all lots."""
    scheme: str
    lot_size: int
    """Chips of a lot; the last one may have fewer."""

    @property
    def n_chips(self) -> int:
        """Chips of all lots."""
        return len(self.seeds)

    def __len__(self) -> int:
        """How many lots there are."""
        return -(-self.n_chips // self.lot_size)

    def __iter__(self) -> Iterator[ProgrammedChip]:
        for first in range(0, self.n_chips, self.lot_size):
            # Not by a name of its own: the lot would still be there while the next one is made.
            yield _programmed(self.deployment, self.seeds[first : first + self.lot_size], self.scheme)


def _seeds(deployment: Deployment, seed: int, chips: int, seeds: Iterable[int] | None, scheme: str) -> Sequence[int]:
    """The seed of each chip that is asked for; a range as long as their number was not checked."""
    if not isinstance(deployment, Deployment):
        raise HratError(f"expected what hrat.deploy returned, got {type(deployment).__name__}")
    if scheme not in SCHEMES:
        raise HratError(f"unknown programming scheme {scheme!r}; expected one of {', '.join(SCHEMES)}")
    chosen = range(seed, seed + chips) if seeds is None else tuple(seeds)
    if not chosen:
        raise HratError("expected at least one chip to program, got none")
    return chosen


def _bytes_of_a_chip(deployment: Deployment) -> int:
    return sum(2 * layer.g_pos_S.numel() * layer.g_pos_S.element_size() for layer in deployment.layers.values())


@torch.no_grad()
def _programmed(deployment: Deployment, seeds: tuple[int, ...], scheme: str) -> ProgrammedChip:
    layers: dict[str, ProgrammedLayer] = {}
    places: list[tuple[Tensor, Tensor, int]] = []
    """Targets, where the achieved conductances go, and the seed, for each partner of the pairs of a layer on a chip."""
    for name, target in deployment.layers.items():
        achieved = {}
        for sign, target_S in (("+", target.g_pos_S), ("-", target.g_neg_S)):
            achieved[sign] = target_S.new_empty((len(seeds), *target_S.shape))
            for seed, chip_S in zip(seeds, achieved[sign], strict=True):
                places.append((target_S, chip_S, _seed_of(seed, f"{name}/{sign}")))
        layers[name] = ProgrammedLayer(g_pos_S=achieved["+"], g_neg_S=achieved["-"])

    @torch.no_grad()  # which holds in the thread that says so
    def fill(place: tuple[Tensor, Tensor, int]) -> None:
        target_S, chip_S, seed = place
        generator = torch.Generator().manual_seed(seed)
        chip_S.copy_(SCHEMES[scheme].achieve(target_S, deployment.spec, generator))

    # One generator draws its numbers one after another, but each place has its own: places are filled side by side.
    workers = min(torch.get_num_threads(), 1 + len(seeds) * deployment.n_devices // DEVICES_WORTH_A_THREAD)
    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(fill, places) if workers > 1 else map(fill, places))
    return ProgrammedChip(deployment=deployment, layers=layers, seeds=seeds, scheme=scheme)


def _seed_of(seed: int, place: str) -> int:
    """A seed of its own for each chip and place on it; neighbours share nothing, whatever the seeds."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{place}".encode()).digest()[:8], "little", signed=True)
