"""`program`: make chips from a deployment; `program_in_chunks`: many chips, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hrat.artifacts import Deployment, ProgrammedChip, ProgrammedLayer, PulseColumns
from hrat.errors import HratError
from hrat.physics import aim_S, has_stuck_devices, stuck_devices
from hrat.programming.memory import available_bytes
from hrat.programming.schemes import SCHEMES, Stuck
from hrat.seeds import check_seed, seed_of_place
from hrat.spec import HardwareSpec

__all__ = ["ChipChunks", "program", "program_in_chunks", "stuck_on_chip"]

MEMORY_BYTES = 2 * 1024**3
DEVICES_WORTH_A_THREAD = 1_000_000


def program(
    deployment: Deployment,
    *,
    seed: int = 0,
    chips: int = 1,
    seeds: Iterable[int] | None = None,
    scheme: str | None = None,
    max_pulses: int | None = None,
    memory_bytes: int | None = None,
) -> ProgrammedChip:
    """Program one chip, or several that differ in nothing but their programming errors.

    Args:
        deployment: the targets.
        seed: seed of the first chip; the others follow it, `seed + 1`, `seed + 2`, ...
        chips: number of chips.
        seeds: the seed of each chip, in place of `seed` and `chips`.
        scheme: programming scheme, in place of the spec's `programming.scheme`; see `hrat.programming.schemes`.
        max_pulses: most pulses for one device, in place of the spec's.
        memory_bytes: most memory that the chips may take; the free memory of the machine unless given.

    Returns:
        The chips. A chip depends on its seed and the deployment alone, not on the chips beside it, nor on the number of
        threads. Their deployment's spec names the scheme and the pulse budget that were used.

    Raises:
        HratError: the scheme is unknown, no chip is asked for, or more than the memory can hold.
        SpecError: the spec lacks what the scheme needs.
    """
    deployment = _programmed_as(deployment, scheme, max_pulses)
    chosen = _seeds(seed, chips, seeds)
    need = len(chosen) * _bytes_of_a_chip(deployment)
    left = available_bytes() if memory_bytes is None else memory_bytes
    if left is not None and need > left:
        raise HratError(
            f"{len(chosen)} chip(s) of {deployment.n_devices:,} devices take {need / 2**30:.3g} GiB; expected at most "
            f"{left / 2**30:.3g} GiB, {'the memory that is left' if memory_bytes is None else 'memory_bytes'}. Program "
            "fewer chips, or let hrat.programming.program_in_chunks make them in chunks, which hrat.simulate takes one "
            "after another"
        )
    return _programmed(deployment, tuple(chosen))


def program_in_chunks(
    deployment: Deployment,
    *,
    seed: int = 0,
    chips: int = 1,
    seeds: Iterable[int] | None = None,
    scheme: str | None = None,
    max_pulses: int | None = None,
    memory_bytes: int = MEMORY_BYTES,
) -> ChipChunks:
    """Any number of chips, in chunks whose conductances fit into the memory together.

        result = hrat.simulate(program_in_chunks(deployment, chips=1000), test_loader, keep_outputs=False)

    Args:
        deployment: the targets.
        seed: seed of the first chip; the others follow it.
        chips: number of chips in all.
        seeds: the seed of each chip, in place of `seed` and `chips`.
        scheme: programming scheme, in place of the spec's.
        max_pulses: most pulses for one device, in place of the spec's.
        memory_bytes: what the conductances of a chunk may take; a chunk has one chip at least.

    Returns:
        The chunks, each a `ProgrammedChip` that is made when it is asked for. The chips are those of `program`.

    Raises:
        HratError: the scheme is unknown, or no chip is asked for.
    """
    deployment = _programmed_as(deployment, scheme, max_pulses)
    chosen = _seeds(seed, chips, seeds)
    size = max(1, memory_bytes // max(1, _bytes_of_a_chip(deployment)))
    return ChipChunks(deployment=deployment, seeds=tuple(chosen), chunk_size=size)


@dataclass(frozen=True, kw_only=True)
class ChipChunks:
    """Chips that are programmed a chunk at a time, anew in each iteration over the chunks."""

    deployment: Deployment
    seeds: tuple[int, ...]
    """The seed of each chip, over all chunks."""
    chunk_size: int
    """Chips in a chunk; the last one may have fewer."""

    @property
    def n_chips(self) -> int:
        """Number of chips over all chunks."""
        return len(self.seeds)

    def __len__(self) -> int:
        """Number of chunks."""
        return -(-self.n_chips // self.chunk_size)

    def __iter__(self) -> Iterator[ProgrammedChip]:
        for first in range(0, self.n_chips, self.chunk_size):
            # Not by a name of its own: the chunk would still be there while the next one is made.
            yield _programmed(self.deployment, self.seeds[first : first + self.chunk_size])


def _programmed_as(deployment: Deployment, scheme: str | None, max_pulses: int | None) -> Deployment:
    """The deployment, with what the caller says of its programming in its spec."""
    if not isinstance(deployment, Deployment):
        raise HratError(f"expected what hrat.deploy returned, got {type(deployment).__name__}")
    chosen = None if scheme is None else scheme.replace("-", "_")
    if chosen is not None and chosen not in SCHEMES:
        raise HratError(f"unknown programming scheme {scheme!r}; expected one of {', '.join(SCHEMES)}")
    changes = {key: value for key, value in (("scheme", chosen), ("max_pulses", max_pulses)) if value is not None}
    if not changes:
        return deployment
    return replace(deployment, spec=deployment.spec.replace({f"programming.{k}": v for k, v in changes.items()}))


def _seeds(seed: int, chips: int, seeds: Iterable[int] | None) -> Sequence[int]:
    """The seed of each chip that is asked for; a range as long as their number was not checked."""
    if seeds is None:
        first = check_seed(seed)
        chosen: Sequence[int] = range(first, first + chips)
        if chosen:
            check_seed(chosen[-1], "seed of the last chip")
    else:
        chosen = tuple(check_seed(one, "seeds") for one in seeds)
    if not chosen:
        raise HratError("expected at least one chip to program, got none")
    return chosen


def _bytes_of_a_chip(deployment: Deployment) -> int:
    programming = deployment.spec.programming
    log = 0 if programming.scheme == "statistical" else PulseColumns.bytes_per_device(programming.max_pulses)
    return sum(layer.n_devices * (layer.g_pos_S.element_size() + log) for layer in deployment.layers.values())


@dataclass(frozen=True)
class _Place:
    """One partner of the pairs of a layer, on one chip."""

    target_S: Tensor
    g_S: Tensor
    """Memory for the achieved conductances."""
    pulses: PulseColumns | None
    """Memory for the pulse log."""
    chip_seed: int
    name: str


@torch.no_grad()
def _programmed(deployment: Deployment, seeds: tuple[int, ...]) -> ProgrammedChip:
    spec = deployment.spec
    programming = spec.programming
    # Without errors there is nothing that pulses could do wrong.
    scheme = programming.scheme if programming.limit_error else "statistical"
    layers: dict[str, ProgrammedLayer] = {}
    places: list[_Place] = []
    for name, target in deployment.layers.items():
        achieved, logs = {}, {}
        for sign, target_S in (("+", target.g_pos_S), ("-", target.g_neg_S)):
            shape = (len(seeds), *target_S.shape)
            achieved[sign] = target_S.new_empty(shape)
            logs[sign] = None if scheme == "statistical" else PulseColumns.empty(shape, programming.max_pulses)
            for i, seed in enumerate(seeds):
                log = logs[sign]
                own_log = None if log is None else log.of(i)
                places.append(_Place(target_S, achieved[sign][i], own_log, seed, f"{name}/{sign}"))
        layers[name] = ProgrammedLayer(
            g_pos_S=achieved["+"], g_neg_S=achieved["-"], pos_pulses=logs["+"], neg_pulses=logs["-"]
        )

    @torch.no_grad()  # which holds in the thread that says so
    def fill(place: _Place) -> None:
        generator = torch.Generator().manual_seed(seed_of_place(place.chip_seed, place.name))
        stuck = stuck_on_chip(place.target_S, spec, place.chip_seed, place.name)
        # The statistical scheme knows by itself at what programming aims.
        asked_S = place.target_S if scheme == "statistical" else aim_S(place.target_S, spec.programming)
        done = SCHEMES[scheme](asked_S, spec, generator, stuck)
        place.g_S.copy_(done.g_S)
        if place.pulses is not None and done.pulses is not None:
            for column in PulseColumns.NAMES:
                getattr(place.pulses, column).copy_(getattr(done.pulses, column))

    # One generator draws its numbers one after another, but each place has its own: places are filled side by side.
    # Pulses share the cores within a place.
    is_large = scheme == "statistical" and len(seeds) * deployment.n_devices > DEVICES_WORTH_A_THREAD
    workers = torch.get_num_threads() if is_large else 1
    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(fill, places) if workers > 1 else map(fill, places))
    return ProgrammedChip(deployment=deployment, layers=layers, seeds=seeds, scheme=scheme)


def stuck_on_chip(like: Tensor, spec: HardwareSpec, chip_seed: int, place: str) -> Stuck | None:
    """The stuck devices of one array of a chip: a property of the chip, whatever is programmed into it.

    Args:
        like: gives shape and type.
        spec: the hardware.
        chip_seed: seed of the chip.
        place: `layer/+` or `layer/-`.
    """
    if not has_stuck_devices(spec.faults):
        return None
    generator = torch.Generator().manual_seed(seed_of_place(chip_seed, f"{place}/stuck"))
    return stuck_devices(like, spec.device, spec.faults, generator=generator)
