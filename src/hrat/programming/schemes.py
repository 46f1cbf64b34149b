"""Programming schemes: targets -> achieved conductances.

`statistical`
    The model that training draws from (`hrat.physics.errors`), without pulses in between.
`open_loop`
    As many pulses as the average device would need, without reading in between.
`write_verify`
    Read; within the tolerance, stop; else pulse towards the target; until the pulse budget is spent. As the spec says:
    several readings for each decision, amplitudes that grow while the direction stays, and further passes after the
    devices have relaxed.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from hrat.artifacts import PulseColumns, Status
from hrat.physics import aged_S, missed_target
from hrat.programming.engine import Cells, Pulser
from hrat.spec import HardwareSpec

__all__ = ["SCHEMES", "Achieved", "Stuck", "tolerance_S"]

PIECE = 2**15
"""Devices that go through their pulses together: what fits a core's cache, and too few for torch to split."""

Stuck = tuple[Tensor, Tensor]
"""Which devices are stuck, and where, S."""


@dataclass(frozen=True)
class Achieved:
    """Result of a programming scheme."""

    g_S: Tensor
    """Conductance of each device, S."""
    pulses: PulseColumns | None = None
    """Log of the pulses; None where none were applied."""


Scheme = Callable[[Tensor, HardwareSpec, torch.Generator, Stuck | None], Achieved]
"""`(targets, spec, generator, stuck devices)` -> what the devices end at; all of the shape of the targets."""


def tolerance_S(spec: HardwareSpec) -> float:
    """Accepted distance from the target, S."""
    programming = spec.programming
    if programming.tolerance_S is not None:
        return programming.tolerance_S
    assert programming.tolerance_rel is not None  # checked by the spec
    return programming.tolerance_rel * spec.device.g_range_S


def statistical(target_S: Tensor, spec: HardwareSpec, generator: torch.Generator, stuck: Stuck | None) -> Achieved:
    """Draw each device's end from the spec's Gaussian or table around its target, any shape, S."""
    g_S = missed_target(target_S, spec.device, spec.programming, generator=generator)
    return Achieved(g_S if stuck is None else torch.where(stuck[0], stuck[1], g_S))


def open_loop(target_S: Tensor, spec: HardwareSpec, generator: torch.Generator, stuck: Stuck | None) -> Achieved:
    """Apply the number of pulses that the average device needs, without reading; targets of any shape, S."""
    pulser = Pulser(spec, target_S.dtype)
    average_S = _average_sweep(pulser, target_S.dtype)
    direction = torch.tensor(1.0 if spec.programming.start == "lowest" else -1.0, dtype=target_S.dtype)

    def run(cells: Cells, generator: torch.Generator) -> Tensor:
        planned = _nearest(average_S, cells.target_S)

        def decide(now: Cells) -> tuple[Tensor, Tensor]:
            return direction.expand(len(now.g_S)), now.pulses < planned.index_select(0, now.index)

        pulser.apply(cells, decide, spec.programming.max_pulses, generator)
        _wait(cells, torch.zeros_like(planned), 0, spec.retention.age_s, spec, generator)
        return torch.full_like(planned, Status.NOT_READ)

    return _in_pieces(target_S, pulser, generator, stuck, run)


def write_verify(target_S: Tensor, spec: HardwareSpec, generator: torch.Generator, stuck: Stuck | None) -> Achieved:
    """Pulse and read in turns, in one or several passes; targets of any shape, S."""
    pulser = Pulser(spec, target_S.dtype)
    programming, limit_S = spec.programming, tolerance_S(spec)
    noise = spec.device.read_noise_rel / programming.reads_per_verify**0.5

    def run(cells: Cells, generator: torch.Generator) -> Tensor:
        def decide(now: Cells) -> tuple[Tensor, Tensor]:
            reading_S = now.g_S
            if noise > 0:
                reading_S = torch.empty_like(reading_S).normal_(1.0, noise, generator=generator).mul_(reading_S)
            error_S = now.target_S - reading_S
            unsatisfied = error_S.abs() > limit_S
            if programming.passes > 1:  # the budget is that of all passes together
                unsatisfied &= now.pulses < programming.max_pulses
            return error_S, unsatisfied

        pulsed_in = torch.zeros_like(cells.index)
        for number in range(programming.passes):
            if number > 0:
                _wait(cells, pulsed_in, number - 1, None, spec, generator)
            before = cells.pulses.clone()
            pulser.apply(cells, decide, programming.max_pulses, generator)
            pulsed_in[cells.pulses > before] = number
        # Who has pulses left was accepted; who has none is read once more, after the last one.
        spent = cells.pulses >= programming.max_pulses
        if bool(spent.any()):
            last = cells.some(spent.nonzero().squeeze(1))
            last.pulses = torch.zeros_like(
                last.pulses
            )  # the question is whether it lies right, not whether it may go on
            spent[last.index] = decide(last)[1]
        _wait(cells, pulsed_in, programming.passes - 1, spec.retention.age_s, spec, generator)
        return torch.where(spent, int(Status.BUDGET_SPENT), int(Status.ACCEPTED))

    return _in_pieces(target_S, pulser, generator, stuck, run)


SCHEMES: dict[str, Scheme] = {"statistical": statistical, "open_loop": open_loop, "write_verify": write_verify}


# ---- what the schemes share ------------------------------------------------------------------------------------------

Run = Callable[[Cells, torch.Generator], Tensor]
"""Programs a piece in place and returns the status of each device."""


def _in_pieces(target_S: Tensor, pulser: Pulser, generator: torch.Generator, stuck: Stuck | None, run: Run) -> Achieved:
    """Cut an array into pieces with generators of their own, and program them side by side.

    Each piece's seed comes from the given generator, so that the result does not depend on the number of threads.
    """
    spec, flat_S = pulser.spec, target_S.reshape(-1)
    out_S = torch.empty_like(flat_S)
    columns = PulseColumns.empty((len(flat_S),), spec.programming.max_pulses)
    pieces = [slice(first, first + PIECE) for first in range(0, len(flat_S), PIECE)]
    seeds = torch.randint(torch.iinfo(torch.int64).max, (len(pieces),), generator=generator).tolist()

    @torch.no_grad()  # which holds in the thread that says so
    def program(piece: slice, seed: int) -> None:
        own = torch.Generator().manual_seed(seed)
        some_stuck = None if stuck is None else (stuck[0].reshape(-1)[piece], stuck[1].reshape(-1)[piece])
        cells = _fresh_cells(flat_S[piece], pulser, own, some_stuck)
        status = run(cells, own)
        if some_stuck is not None:
            status = status.masked_fill(some_stuck[0], Status.STUCK)
        out_S[piece] = cells.g_S
        for name, value in (
            ("set_pulses", cells.set_pulses),
            ("reset_pulses", cells.pulses - cells.set_pulses),
            ("energy_J", cells.energy_J),
            ("status", status),
        ):
            getattr(columns, name)[piece] = value

    workers = min(torch.get_num_threads(), len(pieces))
    if workers > 1:
        with ThreadPoolExecutor(workers) as threads:
            list(threads.map(program, pieces, seeds))
    else:
        for piece, seed in zip(pieces, seeds, strict=True):
            program(piece, seed)
    shaped = {name: getattr(columns, name).view(target_S.shape) for name in PulseColumns.NAMES}
    return Achieved(out_S.view(target_S.shape), PulseColumns(**shaped))


def _fresh_cells(target_S: Tensor, pulser: Pulser, generator: torch.Generator, stuck: Stuck | None) -> Cells:
    """Devices before their first pulse, each with its own strength and window."""
    spec = pulser.spec
    device, programming = spec.device, spec.programming
    if programming.start == "random":
        g_S = torch.empty_like(target_S).uniform_(device.g_min_S, device.g_max_S, generator=generator)
    else:
        g_S = torch.full_like(target_S, device.g_min_S if programming.start == "lowest" else device.g_max_S)
    cells = Cells.at(g_S, target_S)
    if spec.pulses.device_spread_rel > 0:
        cells.set_factor, cells.reset_factor = (
            torch.empty_like(target_S).normal_(0.0, spec.pulses.device_spread_rel, generator=generator).exp_()
            for _ in range(2)
        )
    if pulser.n_rungs > 1:
        cells.rung, cells.last_up = torch.zeros(len(g_S), dtype=torch.int64), torch.zeros_like(g_S)
    narrow = spec.faults.window_spread_rel * device.g_range_S if spec.faults.limit_faults else 0.0
    if narrow > 0 or stuck is not None:
        margins = [torch.empty_like(target_S).normal_(generator=generator).abs_().mul_(narrow) for _ in range(2)]
        # Margins that would cross leave the device the middle between them.
        cells.low_S = (device.g_min_S + margins[0]).clamp_(max=device.g_max_S)
        cells.high_S = torch.maximum(device.g_max_S - margins[1], cells.low_S)
        if stuck is not None:
            cells.low_S = torch.where(stuck[0], stuck[1], cells.low_S)
            cells.high_S = torch.where(stuck[0], stuck[1], cells.high_S)
        cells.g_S = torch.minimum(torch.maximum(g_S, cells.low_S), cells.high_S)
    return cells


def _wait(
    cells: Cells,
    pulsed_in: Tensor,
    after_pass: int,
    until_s: float | None,
    spec: HardwareSpec,
    generator: torch.Generator,
) -> None:
    """Let the devices relax: for the wait between two passes, or until they are used.

    Args:
        cells: the devices.
        pulsed_in: the pass in which each was pulsed last: its clock began then.
        after_pass: the pass that is over.
        until_s: time of use after the last pulse; None: the next pass.
        spec: the hardware.
        generator: source of the random numbers.
    """
    if not spec.retention.limit_retention:
        return
    wait_s = spec.programming.wait_s
    for last in pulsed_in.unique().tolist():
        since_s = (after_pass - last) * wait_s
        group = (pulsed_in == last).nonzero().squeeze(1)
        aged = aged_S(
            cells.g_S.index_select(0, group),
            since_s + wait_s if until_s is None else max(until_s, since_s),
            spec.retention,
            since_s=since_s,
            generator=generator,
        )
        if cells.low_S is not None and cells.high_S is not None:
            low_S, high_S = cells.low_S.index_select(0, group), cells.high_S.index_select(0, group)
            aged = torch.where(low_S == high_S, low_S, aged)  # what is stuck does not relax either
        cells.g_S.index_copy_(0, group, aged)


def _average_sweep(pulser: Pulser, dtype: torch.dtype) -> Tensor:
    """Conductance of the average device after 0, 1, 2, ... pulses from its start, S."""
    spec = pulser.spec
    device, rises = spec.device, spec.programming.start == "lowest"
    up = torch.tensor([float(rises)], dtype=dtype)
    g_S = torch.tensor([device.g_min_S if rises else device.g_max_S], dtype=dtype)
    sweep = [g_S]
    for _ in range(spec.programming.max_pulses):
        moved = g_S + pulser.response.change_S(g_S, up, None, None)
        g_S = moved.clamp(device.g_min_S, device.g_max_S)
        sweep.append(g_S)
        if g_S == sweep[-2]:
            break
    return torch.cat(sweep)


def _nearest(sweep: Tensor, target_S: Tensor) -> Tensor:
    """Number of pulses after which the sweep is nearest to each target."""
    rising, order = torch.sort(sweep, stable=True)
    right = torch.searchsorted(rising, target_S.contiguous()).clamp_(1, max(len(rising) - 1, 1))
    if len(rising) == 1:
        return torch.zeros_like(right)
    left_is_nearer = target_S - rising[right - 1] <= rising[right] - target_S
    return order[torch.where(left_is_nearer, right - 1, right)]
