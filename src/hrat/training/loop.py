"""The loop over epochs, batches and steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.data.distributed import DistributedSampler

from hrat.batches import Batch, cross_entropy, right_and_counted, split_batch
from hrat.errors import DataError, TrainingError
from hrat.nn import PreparedModel, calibrate_scales, freeze_batch_norm, set_noise_strength
from hrat.processes import StopRequest
from hrat.training.batches import argument_names, equal_parts, on_device, part_of_rank
from hrat.training.checkpoint import RandomState
from hrat.training.evaluation import accuracy
from hrat.training.identity import identity_of
from hrat.training.logs import Display, MetricsLog
from hrat.training.optimizer import build_optimizers
from hrat.training.options import FitOptions
from hrat.training.progress import Progress
from hrat.training.ranks import Ranks
from hrat.training.resume import Resumption
from hrat.training.schedule import frozen_from_epoch, lr_factor, noise_strength
from hrat.training.together import averaged_over_ranks, others_are_there

__all__ = ["Loss", "TrainingLoop"]

Loss = Callable[[Any, Tensor], Tensor]

LOOK_EVERY = 50
"""Steps on a GPU after which the loss is looked at: looking means waiting."""
LOOK_EVERY_S = 10.0
"""Seconds after which it is looked at where steps take long."""
AGREE_EVERY = 10
"""Steps after which several ranks agree on whether to save or to stop."""


@dataclass
class TrainingLoop:
    """A model in training: its batches, steps and epochs."""

    model: nn.Module
    train: Any
    val: Any
    options: FitOptions
    folder: Path | None
    loss: Loss | None
    ranks: Ranks
    own_identity: Mapping[str, Any] | None = None
    label_key: str | None = None
    looked_at: int = 0
    """The last step behind which the loss was found to be finite."""
    looked_at_s: float = field(default_factory=time.monotonic)
    """When that was."""

    def __post_init__(self) -> None:
        options = self.options
        # Without a folder there is nothing to tell apart.
        identity = {}
        if self.folder is not None:
            identity = identity_of(self.model, self.train, options, self.loss, self.own_identity, self.label_key)
        self.takes = argument_names(self.model)
        self.steps_per_epoch = len(self.train)
        self.total_steps = options.epochs * self.steps_per_epoch
        if options.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizers = build_optimizers(self.model, options)
        self.peak_lrs = [group["lr"] for group in self.groups]
        self.device = next(self.model.parameters()).device
        self.at = Progress()
        self.at.sums = self.at.sums.to(self.device)
        self.random = RandomState(self.model, self.train)
        self.resumption = None
        if self.folder is not None:
            of_each = options.rank_noise == "per_rank"
            self.resumption = Resumption(
                self.folder, self.model, self.optimizers, self.at, self.random, self.ranks, identity, of_each
            )
        self._same_start()
        self.parallel = averaged_over_ranks(self.model, self.ranks, self.device)
        trained = self.model if self.parallel is None else self.parallel
        self.call = torch.compile(trained) if options.compile else trained
        self.at.started_at = self.saved_at = time.monotonic()

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups of all optimisers, which make them anew when they load a state."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    # ---- several ranks

    def _same_start(self) -> None:
        """Seed all ranks alike from here on, or each differently."""
        if self.ranks.world == 1:
            return
        self.random.set(self.ranks.from_leader(self.random.get()))
        if self.options.rank_noise == "per_rank":
            if self.random.loader_draws_from_default:
                raise TrainingError(
                    "rank_noise is per_rank, but the loader's order comes from PyTorch's default generator, which then "
                    "differs from rank to rank; expected a loader with a generator of its own, such as "
                    "make_loader(..., seed=0)"
                )
            self.random.part_ways(self.ranks.rank)

    # ---- the loop

    def run(self, log: MetricsLog, display: Display, asked: StopRequest) -> None:
        """Train to the last epoch, from where it stands.

        Raises:
            TrainingError: the loss is no longer finite.
            KeyboardInterrupt: it was asked to stop; the state was saved if there is a folder.
        """
        options = self.options
        frozen_from = frozen_from_epoch(options.epochs, options.freeze)
        while self.at.epoch < options.epochs:
            freeze_batch_norm(self.model, self.at.epoch >= frozen_from)
            self.model.train()
            for batch in self._batches():
                if self.at.step == 0:
                    self._first_scales(batch)
                self._step(batch)
                if self._is_time_to_look():
                    self._look()
                    display.step(self.at.step, self._figures())
                self._perhaps_stop(log, asked)
            self._end_epoch(log, display)
        freeze_batch_norm(self.model, False)

    def _first_scales(self, batch: Batch) -> None:
        """Calibrate the scales by a batch, where the options ask for it.

        Raises:
            TrainingError: several ranks train, each of which sees another part of the batch.
        """
        if self.options.first_scales == "as_given" or not isinstance(self.model, PreparedModel):
            return
        if self.ranks.world > 1:
            raise TrainingError(
                "first_scales = 'calibrated' looks at one batch, of which each rank has a part; expected one rank, or "
                "hrat.nn.calibrate_scales(model, batches) before training on several"
            )
        calibrate_scales(self.model, [batch], trained=False)

    def _perhaps_stop(self, log: MetricsLog, asked: StopRequest) -> None:
        """Save at intervals, and stop on request: all ranks at the same step."""
        if self.ranks.world > 1 and self.at.step % AGREE_EVERY:
            return
        late = time.monotonic() - self.saved_at > self.options.checkpoint_every_s
        stops, saves = self.ranks.any(asked.is_set(), late)
        if stops or saves:
            self.save("last.pt", log)
        if stops:
            raise asked.error()

    def _batches(self) -> Iterator[Batch]:
        """The epoch's batches, or this rank's part of each; after a restore, those that are left."""
        if self.at.steps_in_epoch:
            assert self.at.epoch_random is not None
            self.random.set(self.at.epoch_random)
        else:
            self.at.epoch_random = self.random.get()
        sampler = getattr(self.train, "sampler", None)
        is_shared_out = isinstance(sampler, DistributedSampler)
        if isinstance(sampler, DistributedSampler):
            sampler.set_epoch(self.at.epoch)
        batches = iter(self.train)
        for _ in range(self.at.steps_in_epoch):
            next(batches)
        if self.at.steps_in_epoch and self.at.random_now is not None:
            self.random.set(self.at.random_now)
        self.at.random_now = None
        for batch in batches:
            whole = split_batch(batch, label_key=self.label_key, takes=self.takes)
            yield whole if is_shared_out else part_of_rank(whole, self.ranks.rank, self.ranks.world)

    def _step(self, batch: Batch) -> None:
        options = self.options
        done = self.at.step / self.total_steps
        for group, peak in zip(self.groups, self.peak_lrs, strict=True):
            group["lr"] = peak * lr_factor(done, options.warmup)
        set_noise_strength(self.model, noise_strength(done, options.noise_ramp))
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        parts = equal_parts(batch, options.accumulate)
        for number, part in enumerate(parts, 1):
            # Gradients of the parts add up on each rank, and are averaged over the ranks with the last one.
            waits = nullcontext() if self.parallel is None or number == len(parts) else self.parallel.no_sync()
            with waits, others_are_there(self.ranks):
                self._forward_and_back(part, 1 / len(parts))
        if options.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), options.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        self.at.step += 1
        self.at.steps_in_epoch += 1

    def _forward_and_back(self, batch: Batch, share: float) -> None:
        """Gradients of a part of the batch, whose loss has a share in that of the whole."""
        batch = on_device(batch, self.device, channels_last=self.options.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.amp):
            out = batch.call(self.call)
            if self.loss is not None:
                loss = self.loss(out, batch.label)
            else:
                loss = cross_entropy(out, batch.label, label_smoothing=self.options.label_smoothing)
        value = loss.detach()
        if self.device.type == "cpu" and not math.isfinite(value):  # nothing has to wait for it here
            raise TrainingError(self._diverged(float(value), batch))
        (loss * share if share != 1 else loss).backward()
        images = batch.rows
        try:
            right, counted = (count.double() for count in right_and_counted(out, batch.label))
        except DataError:  # nothing to be right or wrong about
            right = counted = value.new_tensor(math.nan, dtype=torch.float64)
        self.at.sums += torch.stack((value.double() * images, right, torch.full_like(right, images), counted))

    def _is_time_to_look(self) -> bool:
        if self.device.type == "cpu" or self.at.step - self.looked_at >= LOOK_EVERY:
            return True
        return time.monotonic() - self.looked_at_s >= LOOK_EVERY_S

    def _look(self) -> None:
        """Raise an error if the loss is not finite."""
        if not math.isfinite(self.at.sums[0]):
            raise TrainingError(self._diverged(float(self.at.sums[0]), None))
        self.looked_at, self.looked_at_s = self.at.step, time.monotonic()

    def _figures(self) -> str:
        loss, right, images, labels = self.at.sums.tolist()
        return f"loss {loss / images:.3f}  accuracy {right / labels:.2%}" if images and labels else ""

    def _end_epoch(self, log: MetricsLog, display: Display) -> None:
        self._look()
        loss, right, images, labels = self.ranks.summed(self.at.sums).tolist()
        self.at.epoch += 1
        row = {"epoch": float(self.at.epoch), "loss": loss / images, "accuracy": right / labels if labels else math.nan}
        if self.val is not None:
            chips = self.options.val_chips
            row["val_accuracy"] = accuracy(self.model, self.val, chips=chips, label_key=self.label_key)
        row["lr"] = self.groups[0]["lr"]
        self.at.sums, self.at.steps_in_epoch = torch.zeros_like(self.at.sums), 0
        self.at.epoch_random = None
        log.add(row)
        display.epoch(row, self.options.epochs)
        if "val_accuracy" in row and (self.at.best is None or row["val_accuracy"] > self.at.best):
            self.at.best = row["val_accuracy"]
            self.save("best.pt", log)
        self.save("last.pt", log)

    def _diverged(self, value: float, batch: Batch | None) -> str:
        """`batch` is the one at which it happened; None where that is not known."""
        where = "the input of this batch holds values that are not finite"
        inputs = [] if batch is None else tree_leaves((batch.args, batch.kwargs))
        # Minus infinity is what masks have.
        if not any(isinstance(part, Tensor) and bool((part.isnan() | part.isposinf()).any()) for part in inputs):
            bad = [name for name, p in self.model.named_parameters() if not bool(torch.isfinite(p).all())]
            where = f"first parameter that is not finite: {bad[0]}" if bad else "all parameters are still finite"
        # On a GPU nobody waits for the loss of each step.
        when = (
            f"at step {self.at.step}"
            if batch is not None
            else f"at one of the steps {self.looked_at} to {self.at.step}"
        )
        kept = f" The last good state is {self.folder / 'last.pt'}." if self.folder and self.at.epoch else ""
        return (
            f"the loss became {value} {when} (epoch {self.at.epoch + 1}); {where}.{kept} Try a lower learning rate "
            f"than lr={self.options.lr:g}, a longer warm-up, or check the data."
        )

    # ---- states

    def save(self, name: str, log: MetricsLog) -> None:
        """Write the state, if there is a folder to write it to."""
        self.saved_at = time.monotonic()
        if self.resumption is None:
            return
        self._look()  # a state that is kept is a good one
        self.resumption.save(name, log)

    def restore(self, log: MetricsLog) -> None:
        """Go back to `last.pt`.

        Raises:
            TrainingError: it is damaged, or of another run.
        """
        assert self.resumption is not None
        self.resumption.restore(log)
