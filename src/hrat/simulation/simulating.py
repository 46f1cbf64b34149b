"""`simulate`: one call for every solver."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from hrat.artifacts import Deployment, ProgrammedChip, SimulationResult
from hrat.batches import right_and_counted
from hrat.errors import DataError, HratError
from hrat.simulation.batches import Batch, batches, beginning_with, images_in, read_ahead
from hrat.simulation.behavioural import Behavioural
from hrat.simulation.memory import Share, check_results, share_for
from hrat.simulation.nested import bytes_of, changed, joined, tensors_of
from hrat.simulation.network import ChipSolver
from hrat.simulation.nodal import Nodal
from hrat.simulation.solvers import Solver, SolverChoice, Statistics, choose_solvers, in_words
from hrat.simulation.spice import Spice

__all__ = ["SOLVERS", "simulate"]

MEMORY_BYTES = 2 * 1024**3


SOLVERS: dict[str, Solver] = {"behavioural": Behavioural(), "nodal": Nodal(), "spice": Spice()}
"""Solvers by name, each with its default settings."""


@torch.no_grad()
def simulate(
    chip: ProgrammedChip | Iterable[ProgrammedChip],
    data: Any,
    *,
    solver: SolverChoice = "behavioural",
    limit: int | None = None,
    voltages_of: Sequence[str] = (),
    keep_outputs: bool = True,
    device: torch.device | str = "cpu",
    memory_bytes: int = MEMORY_BYTES,
    throw: bool = True,
    progress: Callable[[int, int | None], None] | None = None,
    label_key: str | None = None,
) -> SimulationResult:
    """Run inputs through one or several chips.

    Args:
        chip: the chips; all of them see all inputs. Or several chunks of chips of the same deployment, simulated one
            after another: the result of `hrat.programming.program_in_chunks`, or a generator that loads files.
        data: a tensor of inputs `(images, ...)`; a tuple or dict of the network's arguments; or a loader, or Dataset,
            of `(input, label)`, or of dicts of arguments with `labels` or `label` in them (`hrat.batches`). It is read
            once for each chunk and has to be the same each time. Numbers keep their type up to the first DAC.
        solver: how the layers are solved: one of `SOLVERS` by name, a `Nodal` or `Spice` with settings of its own, or
            either by layer, `{"conv1": "spice", "*": "behavioural"}`.
        limit: use the first `limit` images only. An input without images, such as a mask, goes with all of them.
        voltages_of: layers whose amplifier outputs the result should hold.
        keep_outputs: False to get accuracies without `value`.
        device: where to compute.
        memory_bytes: most memory for gains, signals, batches that are read ahead, and results, beside chips and data.
            To keep it, chips and then images are split into parts, down to one chip and one image; results that take
            more than half of it are refused.
        throw: False to get failures as values: outputs and accuracy of a chip that cannot be solved are not a number,
            and `failures` of the result says why.
        progress: called with (images done, images in all or None) after each batch; every chunk counts them anew.
        label_key: key of the label in batches that are dicts, in place of `labels` or `label`.

    Returns:
        Outputs of every chip, and the accuracy of each where there are labels.

    Raises:
        SolverError: a chip cannot be solved, and `throw` is on.
        HratError: unknown solver, unknown layer, or no data; results that do not fit into the memory; chunks of
            different deployments, or data that is not the same for each chunk; a batch that has to be cut where it
            cannot be told which inputs have images.
        ValueError: inputs that are not numbers, or infinite ones that drive a DAC.
    """
    chunks = [chip] if isinstance(chip, ProgrammedChip) else chip
    if not isinstance(chunks, Iterable):
        raise _no_chip(chip)
    if chunks is chip and isinstance(data, Iterator):
        raise HratError(
            "each chunk of chips reads the data, and an iterator can be read only once; expected a tensor, a Dataset "
            "or a loader"
        )
    start = time.perf_counter()
    work = _Work(
        data=data,
        choice=solver,
        throw=throw,
        limit=limit,
        voltages_of=tuple(voltages_of),
        keep_outputs=keep_outputs,
        device=torch.device(device),
        memory_bytes=memory_bytes,
        progress=progress,
        label_key=label_key,
        several_chunks=chunks is chip,
        n_chips=getattr(chunks, "n_chips", 0),
    )
    done: list[_Outcome] = []
    notes = _Notes()
    for chunk in chunks:
        done.append(work.outcome(chunk, done, notes))
        del chunk  # or it would still be there while the next one is made
    if not done:
        raise HratError("there is nothing to simulate: no chips were given")
    kept = joined([outcome.kept for outcome in done], 0)
    return SimulationResult(
        value=kept["value"],
        solver=in_words(solver),
        seeds=tuple(seed for outcome in done for seed in outcome.seeds),
        n_images=done[0].n_images,
        accuracies=tuple(share for outcome in done for share in outcome.accuracies) or None,
        seconds=time.perf_counter() - start,
        voltages=kept["voltages"],
        failures=notes.failures,
        statistics=notes.statistics,
    )


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """Results of one chunk of chips."""

    deployment: Deployment
    seeds: tuple[int, ...]
    n_images: int
    accuracies: tuple[float, ...]
    """Accuracy of each chip; empty without labels."""
    kept: dict[str, Any]
    """`value`, the outputs or None, and `voltages` of the requested layers: `(chips, images, ...)`."""
    fingerprint: int
    """Check-sum of the data."""


@dataclass(frozen=True)
class _Notes:
    """Failures and statistics of the solvers."""

    failures: dict[int, str] = field(default_factory=dict)
    """Why a chip has no result, by its seed."""
    statistics: Statistics = field(default_factory=dict)
    """Sums over chips and batches."""

    def take(self, solver: ChipSolver, seeds: Sequence[int]) -> None:
        """Add the failures and statistics of a solver that is done."""
        self.failures.update({seeds[index]: why for index, why in solver.failures.items()})
        for layer, amounts in solver.statistics.items():
            of_layer = self.statistics.setdefault(layer, {})
            for what, amount in amounts.items():
                of_layer[what] = of_layer.get(what, 0.0) + amount


@dataclass(frozen=True)
class _Passed:
    """Results of some chips for a batch."""

    kept: dict[str, Any]
    """`value` and `voltages` of the batch; see `_Outcome`."""
    right: Tensor
    """Number of labels that each chip has right, `(chips,)`; empty without labels."""
    n_labels: int
    """Number of labels that count."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    """Arguments of `simulate`, for every chunk."""

    data: Any
    choice: SolverChoice
    throw: bool
    limit: int | None
    voltages_of: tuple[str, ...]
    keep_outputs: bool
    device: torch.device
    memory_bytes: int
    progress: Callable[[int, int | None], None] | None
    label_key: str | None
    several_chunks: bool
    n_chips: int
    """Number of chips over all chunks; 0 where that is not known."""

    def outcome(self, chip: ProgrammedChip, before: list[_Outcome], notes: _Notes) -> _Outcome:
        """Send all images through the chips of a chunk; `before` are the chunks that have had their turn."""
        if not isinstance(chip, ProgrammedChip):
            raise _no_chip(chip)
        unknown = [name for name in self.voltages_of if name not in chip.layers]
        if unknown:
            raise HratError(f"the chip has no layer {unknown[0]!r}; it has {', '.join(chip.layers)}")
        if before and not chip.deployment.is_same_as(before[0].deployment):
            raise HratError("the chunks are of different deployments; expected chips of one: simulate the others apart")
        solvers = choose_solvers(self.choice, SOLVERS, list(chip.layers))
        source = batches(chip, self.data, self.limit, self.device, label_key=self.label_key)
        first = list(islice(source, 1))
        if not first:
            raise HratError("there is nothing to simulate: the data has no images")
        taken = sum(bytes_of(outcome.kept) for outcome in before)
        share = self._share(chip, solvers, first[0], taken)
        kept: list[Any] = []
        right = torch.zeros(chip.n_chips, dtype=torch.int64)
        n_images = n_labelled = fingerprint = 0
        for batch, passed in self._passes(chip, solvers, beginning_with(first, source), share, notes):
            if kept:  # to which these are joined
                _check_rows(passed.kept["value"], batch.n_images)
            kept.append(passed.kept)
            taken += bytes_of(passed.kept)
            check_results(taken, self.memory_bytes)
            n_images += batch.n_images
            if passed.n_labels:
                right += passed.right
                n_labelled += passed.n_labels
            if self.several_chunks:
                fingerprint = batch.fingerprint(fingerprint)
            if self.progress is not None:
                self.progress(n_images, images_in(self.data, self.limit))
        if before and (n_images, fingerprint) != (before[0].n_images, before[0].fingerprint):
            raise HratError(
                "the data was not the same for each chunk of chips, so that their results cannot be compared; expected "
                "the same images in the same order: does the loader shuffle?"
            )
        whole = joined(kept, 1)
        for index in [index for index, seed in enumerate(chip.seeds) if seed in notes.failures]:
            # Also what was found before it failed: nobody should take a part of a chip's results for all of them.
            for tensor in tensors_of(whole):
                if tensor.is_floating_point():
                    tensor[index] = math.nan
        return _Outcome(
            deployment=chip.deployment,
            seeds=chip.seeds,
            n_images=n_images,
            accuracies=_accuracies(chip.seeds, right, n_labelled, notes),
            kept=whole,
            fingerprint=fingerprint,
        )

    def _share(self, chip: ProgrammedChip, solvers: Mapping[str, Solver], first: Batch, taken: int) -> Share:
        """Chips and images that fit into the memory together, judged by the first batch.

        `taken`: bytes that the results of other chunks take.
        """
        footprint = ChipSolver.footprint(
            chip,
            first.inputs,
            solvers=solvers,
            device=self.device,
            voltages_of=self.voltages_of,
            n_images=first.n_images,
        )
        each = footprint.voltages + (footprint.outputs if self.keep_outputs else 0)
        total = images_in(self.data, self.limit)
        results = max(
            taken + each * chip.n_chips * (first.n_images if total is None else total),
            each * self.n_chips * (total or 0),
        )
        check_results(results, self.memory_bytes)
        reserved = self.memory_bytes // 2 if each and total is None else 2 * results
        return share_for(footprint, self.memory_bytes - reserved, n_chips=chip.n_chips, n_images=first.n_images)

    def _passes(
        self,
        chip: ProgrammedChip,
        solvers: Mapping[str, Solver],
        source: Iterable[Batch],
        share: Share,
        notes: _Notes,
    ) -> Iterator[tuple[Batch, _Passed]]:
        """Each batch with the results of all chips."""
        solver_of = partial(ChipSolver, solvers=solvers, device=self.device, throw=self.throw)
        whole = solver_of(chip) if share.chips >= chip.n_chips else None
        done = 0
        for ahead in read_ahead(source, share.ahead):
            firsts = [done, *(done := done + batch.n_images for batch in ahead)]
            of_groups: list[list[_Passed]] = [[] for _ in ahead]
            for first in range(0, chip.n_chips, share.chips):
                group = slice(first, first + share.chips)
                solver = solver_of(chip[group]) if whole is None else whole
                for batch, passed, first_image in zip(ahead, of_groups, firsts, strict=False):
                    passed.append(self._pass(solver, batch, share.images, first_image))
                if whole is None:
                    notes.take(solver, chip.seeds[group])
                del solver  # or its gains would still be there while those of the next group are made
            for batch, passed in zip(ahead, of_groups, strict=True):
                right = torch.cat([p.right for p in passed])
                yield batch, _Passed(joined([p.kept for p in passed], 0), right, passed[0].n_labels)
                passed.clear()
            ahead.clear()  # or it would still be there while the next batches are read
        if whole is not None:
            notes.take(whole, chip.seeds)

    def _pass(self, solver: ChipSolver, batch: Batch, n_images: int, first_image: int) -> _Passed:
        """Results of a group of chips for a batch, `n_images` at a time; `first_image` counts over all batches."""
        pieces: list[Any] = []
        right: list[Tensor] = []
        n_labels = 0
        for piece in batch.pieces(n_images):
            voltages: dict[str, Tensor] = {}
            record = {name: partial(voltages.__setitem__, name) for name in self.voltages_of}
            out = solver.compute(piece.inputs, record=record, first_image=first_image)
            first_image += piece.n_images
            counts = _right_of_chips(out, piece)
            if counts is not None:
                right.append(counts[0])
                n_labels += counts[1]
            if piece is not batch:
                _check_rows(out, piece.n_images)
            pieces.append(changed({"value": out if self.keep_outputs else None, "voltages": voltages}, Tensor.cpu))
        return _Passed(joined(pieces, 1), torch.stack(right).sum(dim=0) if right else torch.zeros(0), n_labels)


def _check_rows(out: Any, n_images: int) -> None:
    """Refuse outputs that cannot be joined to those of other images.

    Raises:
        HratError: their first dimension is not that of the images.
    """
    for tensor in tensors_of(out):
        if tensor.ndim < 2 or tensor.shape[1] % n_images:
            raise HratError(
                f"the network makes an output of shape {tuple(tensor.shape[1:])} of {n_images} images, so that outputs "
                "of several batches cannot be put together; expected the batch as the first dimension of each output, "
                "or all images in one batch and a memory_bytes that holds them"
            )


def _right_of_chips(out: Any, batch: Batch) -> tuple[Tensor, int] | None:
    """Labels that each chip has right, `(chips,)`, and how many count; None without labels that are classes.

    Raises:
        HratError: the outputs are no class scores of the images.
    """
    classes = batch.classes
    if classes is None:
        return None
    if classes.ndim == 1:
        out = _class_scores(out, batch.n_images)
    scores = out.get("logits") if isinstance(out, dict) else out
    if not isinstance(scores, Tensor):
        return None
    try:
        counts = [right_and_counted(of_chip, classes.to(scores.device)) for of_chip in scores]
    except DataError:
        if classes.ndim == 1:
            raise
        return None  # whole numbers, several for an image, that are something else than the classes of tokens
    return torch.stack([right for right, _ in counts]).cpu(), int(counts[0][1])


def _accuracies(seeds: Sequence[int], right: Tensor, n_labelled: int, notes: _Notes) -> tuple[float, ...]:
    """Accuracy of each chip; not a number for one that failed."""
    if not n_labelled:
        return ()
    shares: list[float] = (right.double() / n_labelled).tolist()
    return tuple(math.nan if seed in notes.failures else share for seed, share in zip(seeds, shares, strict=True))


def _no_chip(got: Any) -> HratError:
    return HratError(
        f"expected the chips that hrat.program returned, got {type(got).__name__}; call hrat.program(deployment) first"
    )


def _class_scores(out: Any, n_images: int) -> Tensor:
    if isinstance(out, dict) and "logits" in out:
        out = out["logits"]
    if not isinstance(out, Tensor):
        raise HratError(
            f"the network returns several outputs ({type(out).__name__}), so which of them holds the class scores is "
            "not known; simulate on inputs alone and compare result.value with the labels"
        )
    if out.ndim < 3:
        raise HratError(f"labels were given, but the network's output has shape {tuple(out.shape[1:])}, no classes")
    if out.shape[1] != n_images:
        raise HratError(
            f"the network makes {out.shape[1]} outputs of {n_images} images, so that none belongs to a label; expected "
            "an output for each image"
        )
    return out
