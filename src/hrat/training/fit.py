"""`fit`: train a prepared model, or any other, so that a killed run goes on as if nothing had happened.

Nothing in here is needed for training: the same parts (`parameter_groups`, `freeze_batch_norm`, `set_noise_strength`)
serve a loop of the user's own, see `examples/own_loop.py`.
"""

from __future__ import annotations

import inspect
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data.distributed import DistributedSampler

from hrat.errors import TrainingError
from hrat.files import path_within
from hrat.nn import freeze_batch_norm, sampled_chip, set_noise_strength
from hrat.nn.signals import batch_norm_over_ranks
from hrat.processes import StopRequest, stop_requests
from hrat.training.checkpoint import RandomState, _into, load_state, put_away, save_state
from hrat.training.identity import differences, identity_of
from hrat.training.logs import Display, MetricsLog, closing
from hrat.training.optimizer import build_optimizers
from hrat.training.options import FitOptions
from hrat.training.ranks import Ranks, gone, the_ranks
from hrat.training.schedule import frozen_from_epoch, lr_factor, noise_strength

__all__ = ["FitResult", "accuracy", "fit"]

Loss = Callable[[Any, Tensor], Tensor]


LOOK_EVERY = 50
"""Steps on a GPU after which the loss is looked at: looking means waiting."""
AGREE_EVERY = 10
"""Steps after which several ranks agree on whether to save or to stop."""
LOST = ("connection closed", "connection reset", "broken pipe", "timed out waiting", "gloo", "nccl")
"""Words by which a collective operation that has lost a rank complains."""


@dataclass(frozen=True)
class FitResult:
    """What a training run came to."""

    history: list[dict[str, float]]
    """One row an epoch: epoch, loss, accuracy on the training batches, val_accuracy (mean over random chips), lr."""
    best_val_accuracy: float | None
    seconds: float
    """Time that training took, of this call and those that it went on from."""
    folder: Path | None
    steps: int = 0


def fit(
    model: nn.Module,
    train: Any,
    val: Any = None,
    *,
    options: FitOptions | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = True,
    loss: Loss | None = None,
    device: torch.device | str | None = None,
    tensorboard: bool = False,
    progress: bool = True,
    title: str = "training",
    identity: Mapping[str, Any] | None = None,
    **changes: Any,
) -> FitResult:
    """Train `model` in place.

    Args:
        model: what `hrat.prepare` returned, or any other module (then there is no noise and nothing to freeze).
        train: loader of `(input, label)` with a length.
        val: loader for validation; after each epoch the accuracy over a few random chips is measured on it.
        options: see `FitOptions`; its fields can be given as keywords too, `fit(model, loader, epochs=5)`.
        folder: where `last.pt`, `best.pt` and `metrics.csv` go; nothing is written without one.
        resume: go on from `folder/last.pt` if it is there; the result is bit for bit that of a run that was not
            interrupted, on the same machine with the same number of threads. A state of another network, hardware,
            data, options or `identity` is refused. False puts away what a run has left in the folder.
        loss: of `(output, label)`; cross entropy where none is given.
        device: where to train; where the model is, by default.
        tensorboard: write TensorBoard logs to `folder/tensorboard`.
        progress: show a progress bar, or a line an epoch where there is no terminal.
        title: what the progress bar is called.
        identity: what else the run is known by, such as `{"seed": 3}`, as plain data; it is kept in the checkpoints.
        **changes: fields of `FitOptions`.

    Where a process group is there (`hrat.training.join_ranks`, `torchrun`), all its ranks train this model together:
    each works on its rows of every batch, gradients and batch statistics are those of the whole batch, and rank 0
    writes files and prints. A loader with a `DistributedSampler` yields each rank its own batches already. The result
    does not depend on the number of ranks, up to rounding, but for what a network draws for each image (dropout).

    Returns:
        The history, and the best validation accuracy. The model holds the weights of the last step.

    Raises:
        TrainingError: the loss is no longer finite, the options make no sense, or a checkpoint does not fit.
        KeyboardInterrupt: Ctrl-C, or within `hrat.processes.orderly_end`, as on the command line, SIGTERM or SIGHUP;
            the state was saved if there is a folder.
    """
    chosen = (options or FitOptions()).replace(**changes)
    if not isinstance(train, Sized) or len(train) == 0:
        raise TrainingError("expected a training loader with a length of at least one batch")
    if device is not None:
        model.to(device)
    ranks = the_ranks()
    with _statistics_over_ranks(model, ranks):
        run = _Run(model, train, val, chosen, None if folder is None else Path(folder), loss, ranks, identity)
        if folder is not None and not resume and ranks.leads:
            put_away(folder)
        with closing(MetricsLog(folder if ranks.leads else None, tensorboard=tensorboard)) as log:
            if folder is not None:
                if resume and ranks.from_leader((Path(folder) / "last.pt").is_file()):
                    run.restore(log)
                Path(folder).mkdir(parents=True, exist_ok=True)
            wanted = progress and ranks.leads
            with Display(title, run.total_steps, wanted=wanted) as display, stop_requests() as asked:
                run.loop(log, display, asked)
    model.eval()
    return FitResult(log.rows, run.best, run.seconds, run.folder, run.step)


@torch.no_grad()
def accuracy(
    model: nn.Module, loader: Any, *, chips: int = 0, limit: int | None = None, together: bool = True
) -> float:
    """Share of inputs classified right, in eval mode; the mean over `chips` random chips, or without errors for 0.

    Ranks that train together share the batches out, and each has to call it, unless `together` is False.
    """
    ranks = the_ranks() if together else Ranks()
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    shares = []
    for seed in range(max(1, chips)):
        right = total = 0
        with sampled_chip(model, seed) if chips else nullcontext():
            for number, (x, y) in enumerate(loader):
                total += len(y)
                if number % ranks.world == ranks.rank:
                    moved = _to(x, device)
                    out = model(*moved) if isinstance(moved, tuple) else model(moved)
                    right = right + (out.argmax(1) == y.to(device)).sum()  # on the device: nothing waits for it
                if limit is not None and total >= limit:
                    break
        if total == 0:
            raise TrainingError("expected a loader with at least one image to measure the accuracy on, got none")
        shares.append(float(ranks.summed(torch.as_tensor(right, dtype=torch.float64, device=device))) / total)
    model.train(was_training)
    return sum(shares) / len(shares)


@dataclass
class _Run:
    model: nn.Module
    train: Any
    val: Any
    options: FitOptions
    folder: Path | None
    loss: Loss | None
    ranks: Ranks
    own_identity: Mapping[str, Any] | None = None
    epoch: int = 0
    step: int = 0
    steps_in_epoch: int = 0
    best: float | None = None
    seconds_before: float = 0.0
    """Time that the run had taken when it was last stopped."""
    sums: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))
    """Of the epoch so far and of this rank: loss times images, images right, images; on the device."""
    looked_at: int = 0
    """The last step behind which the loss was found to be finite."""

    def __post_init__(self) -> None:
        options = self.options
        if self.folder is not None:  # else there is nothing to tell apart
            self.identity = identity_of(self.model, self.train, options, self.loss, self.own_identity)
        self.steps_per_epoch = len(self.train)
        self.total_steps = options.epochs * self.steps_per_epoch
        if options.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizers = build_optimizers(self.model, options)
        self.peak_lrs = [group["lr"] for group in self.groups]
        self.device = next(self.model.parameters()).device
        self.sums = self.sums.to(self.device)
        self.random = RandomState(self.model, self.train)
        self.epoch_random: dict[str, Any] | None = None
        self.random_now: dict[str, Any] | None = None
        self._same_start()
        self.parallel = self._parallel()
        trained = self.model if self.parallel is None else self.parallel
        self.call = torch.compile(trained) if options.compile else trained
        self.started_at = self.saved_at = time.monotonic()

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups of all optimisers, which make them anew when they load a state."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    @property
    def seconds(self) -> float:
        """Time that the run has taken, of this call and those that it goes on from."""
        return self.seconds_before + time.monotonic() - self.started_at

    # ---- several ranks

    def _parallel(self) -> nn.parallel.DistributedDataParallel | None:
        """What averages the gradients of the ranks; None where there is one."""
        if self.ranks.world == 1:
            return None
        devices = [self.device] if self.device.type == "cuda" else None
        # Buffers are running statistics, which are the same on all ranks. Newer versions of torch name it otherwise.
        wrapper = nn.parallel.DistributedDataParallel
        known = inspect.signature(wrapper).parameters
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        return wrapper(self.model, device_ids=devices, **{buffers: False})  # type: ignore[arg-type]

    def _same_start(self) -> None:
        """Let all ranks draw the same random numbers from here on, or each its own."""
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

    def loop(self, log: MetricsLog, display: Display, asked: StopRequest) -> None:
        options = self.options
        frozen_from = frozen_from_epoch(options.epochs, options.freeze)
        while self.epoch < options.epochs:
            freeze_batch_norm(self.model, self.epoch >= frozen_from)
            self.model.train()
            for x, y in self._batches():
                self._step(x, y)
                if self.device.type == "cpu" or self.step - self.looked_at >= LOOK_EVERY:
                    self._look()
                    display.step(self.step, self._figures())
                self._perhaps_stop(log, asked)
            self._end_epoch(log, display)
        freeze_batch_norm(self.model, False)

    def _perhaps_stop(self, log: MetricsLog, asked: StopRequest) -> None:
        """Save now and then, and stop if asked to: all ranks at the same step."""
        if self.ranks.world > 1 and self.step % AGREE_EVERY:
            return
        late = time.monotonic() - self.saved_at > self.options.checkpoint_every_s
        stops, saves = self.ranks.any(asked.is_set(), late)
        if stops or saves:
            self.save("last.pt", log)
        if stops:
            raise asked.error()

    def _batches(self) -> Iterator[tuple[Any, Any]]:
        """The epoch's batches, or this rank's part of each; after a restore, those that are left."""
        if self.steps_in_epoch:
            assert self.epoch_random is not None
            self.random.set(self.epoch_random)
        else:
            self.epoch_random = self.random.get()
        sampler = getattr(self.train, "sampler", None)
        is_shared_out = isinstance(sampler, DistributedSampler)
        if isinstance(sampler, DistributedSampler):
            sampler.set_epoch(self.epoch)
        batches = iter(self.train)
        for _ in range(self.steps_in_epoch):
            next(batches)
        if self.steps_in_epoch and self.random_now is not None:
            self.random.set(self.random_now)
        self.random_now = None
        for batch in batches:
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                raise TrainingError(f"expected the loader to yield (input, label), got {type(batch).__name__}")
            yield (batch[0], batch[1]) if is_shared_out else (self.ranks.part(batch[0]), self.ranks.part(batch[1]))

    def _step(self, x: Any, y: Any) -> None:
        options = self.options
        done = self.step / self.total_steps
        for group, peak in zip(self.groups, self.peak_lrs, strict=True):
            group["lr"] = peak * lr_factor(done, options.warmup)
        set_noise_strength(self.model, noise_strength(done, options.noise_ramp))
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        parts = _split((x, y), options.accumulate)
        for number, (part_x, part_y) in enumerate(parts, 1):
            # Gradients of the parts add up on each rank, and are averaged over the ranks with the last one.
            waits = nullcontext() if self.parallel is None or number == len(parts) else self.parallel.no_sync()
            with waits, self._others_are_there():
                self._forward_and_back(part_x, part_y, 1 / len(parts))
        if options.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), options.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.steps_in_epoch += 1

    def _forward_and_back(self, x: Any, y: Any, share: float) -> None:
        """Gradients of a part of the batch, whose loss has a share in that of the whole."""
        x, y = _to(x, self.device, channels_last=self.options.channels_last), _to(y, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.amp):
            out = self.call(*x) if isinstance(x, tuple) else self.call(x)
            loss = (
                self.loss(out, y)
                if self.loss is not None
                else F.cross_entropy(out, y, label_smoothing=self.options.label_smoothing)
            )
        value = loss.detach()
        if self.device.type == "cpu" and not math.isfinite(value):  # nothing has to wait for it here
            raise TrainingError(self._diverged(float(value), x))
        (loss * share if share != 1 else loss).backward()
        right = torch.full((), math.nan, dtype=torch.float64, device=self.device)
        if isinstance(out, Tensor) and isinstance(y, Tensor) and (out.ndim, y.ndim) == (2, 1):
            right = (out.detach().argmax(1) == y).sum().double()
        images = float(len(y))
        self.sums += torch.stack((value.double() * images, right, torch.full_like(right, images)))

    @contextmanager
    def _others_are_there(self) -> Iterator[None]:
        """Says in plain words that another rank is gone."""
        try:
            yield
        except RuntimeError as error:  # DistBackendError, of a collective operation, is one too
            of_ranks = isinstance(error, dist.DistBackendError) or any(word in str(error).lower() for word in LOST)
            if self.ranks.world == 1 or isinstance(error, TrainingError) or not of_ranks:
                raise
            raise gone(error) from error

    def _look(self) -> None:
        """Refuse to go on with a loss that is not finite."""
        if not math.isfinite(self.sums[0]):
            raise TrainingError(self._diverged(float(self.sums[0]), ()))
        self.looked_at = self.step

    def _figures(self) -> str:
        loss, right, images = self.sums.tolist()
        return f"loss {loss / images:.3f}  accuracy {right / images:.2%}" if images else ""

    def _end_epoch(self, log: MetricsLog, display: Display) -> None:
        self._look()
        loss, right, images = self.ranks.summed(self.sums).tolist()
        self.epoch += 1
        row = {"epoch": float(self.epoch), "loss": loss / images, "accuracy": right / images}
        if self.val is not None:
            row["val_accuracy"] = accuracy(self.model, self.val, chips=self.options.val_chips)
        row["lr"] = self.groups[0]["lr"]
        self.sums, self.steps_in_epoch = torch.zeros_like(self.sums), 0
        self.epoch_random = None
        log.add(row)
        display.epoch(row, self.options.epochs)
        if "val_accuracy" in row and (self.best is None or row["val_accuracy"] > self.best):
            self.best = row["val_accuracy"]
            self.save("best.pt", log)
        self.save("last.pt", log)

    def _diverged(self, value: float, x: Any) -> str:
        where = "the input of this batch holds values that are not finite"
        inputs = x if isinstance(x, tuple) else (x,)
        if all(bool(torch.isfinite(part).all()) for part in inputs):
            bad = [name for name, p in self.model.named_parameters() if not bool(torch.isfinite(p).all())]
            where = f"first parameter that is not finite: {bad[0]}" if bad else "all parameters are still finite"
        # On a GPU nobody waits for the loss of each step.
        when = f"at step {self.step}" if inputs else f"at one of the steps {self.looked_at} to {self.step}"
        kept = f" The last good state is {self.folder / 'last.pt'}." if self.folder and self.epoch else ""
        return (
            f"the loss became {value} {when} (epoch {self.epoch + 1}); {where}.{kept} Try a lower learning rate than "
            f"lr={self.options.lr:g}, a longer warm-up, or check the data."
        )

    # ---- states

    def save(self, name: str, log: MetricsLog) -> None:
        """Write the state, if there is a folder to write it to; all ranks call it, and the leading one writes."""
        self.saved_at = time.monotonic()
        if self.folder is None:
            return
        self._look()  # a state that is kept is a good one
        random = [self.random.get()]
        if self.options.rank_noise == "per_rank":
            random = self.ranks.gathered(random[0])
        sums = self.ranks.summed(self.sums.clone()).tolist()
        if not self.ranks.leads:
            return
        state = {
            "model": self.model.state_dict(),
            "optimizer": [optimizer.state_dict() for optimizer in self.optimizers],
            "identity": self.identity,
            "epoch": self.epoch,
            "step": self.step,
            "steps_in_epoch": self.steps_in_epoch,
            "best": self.best,
            "seconds": self.seconds,
            "sums": sums,
            "history": log.rows,
            "random": random[0],
            "ranks_random": random[1:],
            "epoch_random": self.epoch_random,
        }
        save_state(path_within(self.folder, name), state)

    def restore(self, log: MetricsLog) -> None:
        """Go back to `last.pt`.

        Raises:
            TrainingError: it is damaged, or of another run.
        """
        assert self.folder is not None
        path = self.folder / "last.pt"
        # From the leading rank: other machines may not see its files.
        state = self.ranks.from_leader(load_state(path) if self.ranks.leads else None)
        other = differences(state["identity"], self.identity)
        if other:
            raise TrainingError(
                f"{path} was trained with {', '.join(other)}; expected the same to go on. Give the same, or another "
                "folder, or begin anew (--fresh; resume=False)"
            )
        _into(self.model, state, path)
        saved = state["optimizer"]
        for optimizer, of_optimizer in zip(self.optimizers, saved if isinstance(saved, list) else [saved], strict=True):
            optimizer.load_state_dict(of_optimizer)
        self.epoch, self.step, self.steps_in_epoch = state["epoch"], state["step"], state["steps_in_epoch"]
        self.best, self.epoch_random = state["best"], state["epoch_random"]
        if self.ranks.leads:  # which then holds those of all
            self.sums.copy_(torch.tensor(state["sums"], dtype=torch.float64))
        for row in state["history"]:
            log.rows.append(row)
        self.seconds_before = state["seconds"]
        self.random_now = self._own_random(state)
        if not self.steps_in_epoch:
            self.random.set(self.random_now)

    def _own_random(self, state: dict[str, Any]) -> dict[str, Any]:
        """This rank's random state: its own where each has one, and a new one where there were fewer ranks."""
        of_ranks: list[dict[str, Any]] = [state["random"], *state.get("ranks_random", [])]
        if self.options.rank_noise == "shared" or self.ranks.rank < len(of_ranks):
            return of_ranks[self.ranks.rank if len(of_ranks) > 1 else 0]
        self.random.set(of_ranks[0])
        self.random.part_ways(self.ranks.rank)
        return self.random.get()


def _to(value: Any, device: torch.device, *, channels_last: bool = False) -> Any:
    """An input, or several of them, on the device."""
    if isinstance(value, tuple | list):
        return tuple(_to(part, device, channels_last=channels_last) for part in value)
    if device.type == "cuda" and value.device.type == "cpu":
        value = value.pin_memory()  # from there the copy runs beside what the GPU computes
    moved = value.to(device, non_blocking=True)
    if channels_last and moved.ndim == 4:
        moved = moved.contiguous(memory_format=torch.channels_last)
    return moved


def _split(value: Any, count: int) -> list[Any]:
    """A batch, or several tensors of one, in equally long parts."""
    if count == 1:
        return [value]
    if isinstance(value, tuple | list):
        return list(zip(*(_split(part, count) for part in value), strict=True))
    if len(value) % count:
        raise TrainingError(
            f"expected batches that can be worked on in {count} equal parts (accumulate={count}), got one of "
            f"{len(value)} images on this rank; choose another batch size, and leave out a last batch that is not full "
            "(drop_last=True)"
        )
    return list(value.chunk(count))


@contextmanager
def _statistics_over_ranks(model: nn.Module, ranks: Ranks) -> Iterator[None]:
    """Batch norms of a network that was not prepared see the batch of all ranks, as those of hrat's layers do."""
    changed = [m for m in model.modules() if isinstance(m, _BatchNorm)] if ranks.world > 1 else []
    for bn in changed:
        bn.forward = partial(batch_norm_over_ranks, bn)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for bn in changed:
            del bn.forward
