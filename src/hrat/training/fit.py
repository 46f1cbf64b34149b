"""`fit`: train a prepared model, or any other, so that a killed run goes on as if nothing had happened.

Nothing in here is needed for training: the same parts (`parameter_groups`, `freeze_batch_norm`, `set_noise_strength`)
serve a loop of the user's own, see `examples/own_loop.py`.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrat.errors import TrainingError
from hrat.nn import CrossbarLayer, PreparedModel, freeze_batch_norm, sampled_chip, set_noise_strength
from hrat.training.checkpoint import RandomState, _into, load_state, save_state
from hrat.training.logs import Display, MetricsLog, closing
from hrat.training.optimizer import parameter_groups
from hrat.training.options import FitOptions
from hrat.training.schedule import frozen_from_epoch, lr_factor, noise_strength

__all__ = ["FitResult", "accuracy", "fit"]

Loss = Callable[[Any, Tensor], Tensor]


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
            interrupted, on the same machine with the same number of threads.
        loss: of `(output, label)`; cross entropy where none is given.
        device: where to train; where the model is, by default.
        tensorboard: write TensorBoard logs to `folder/tensorboard`.
        progress: show a progress bar, or a line an epoch where there is no terminal.
        title: what the progress bar is called.
        **changes: fields of `FitOptions`.

    Returns:
        The history, and the best validation accuracy. The model holds the weights of the last step.

    Raises:
        TrainingError: the loss is no longer finite, the options make no sense, or a checkpoint does not fit.
        KeyboardInterrupt: Ctrl-C; the state was saved if there is a folder.
    """
    chosen = (options or FitOptions()).replace(**changes)
    if not isinstance(train, Sized) or len(train) == 0:
        raise TrainingError("expected a training loader with a length of at least one batch")
    if device is not None:
        model.to(device)
    run = _Run(model, train, val, chosen, None if folder is None else Path(folder), loss)
    with closing(MetricsLog(folder, tensorboard=tensorboard)) as log:
        if folder is not None:
            if resume and (Path(folder) / "last.pt").is_file():
                run.restore(log)
            Path(folder).mkdir(parents=True, exist_ok=True)
        with Display(title, run.total_steps, wanted=progress) as display, _graceful_interrupt() as interrupted:
            run.loop(log, display, interrupted)
    model.eval()
    return FitResult(log.rows, run.best, run.seconds, run.folder, run.step)


@torch.no_grad()
def accuracy(model: nn.Module, loader: Any, *, chips: int = 0, limit: int | None = None) -> float:
    """Share of inputs classified right, in eval mode; the mean over `chips` random chips, or without errors for 0."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    shares = []
    for seed in range(max(1, chips)):
        right = total = 0
        with sampled_chip(model, seed) if chips else _nothing():
            for x, y in loader:
                moved = _to(x, device)
                out = model(*moved) if isinstance(moved, tuple) else model(moved)
                right += int((out.argmax(1) == y.to(device)).sum())
                total += len(y)
                if limit is not None and total >= limit:
                    break
        if total == 0:
            raise TrainingError("expected a loader with at least one image to measure the accuracy on, got none")
        shares.append(right / total)
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
    epoch: int = 0
    step: int = 0
    steps_in_epoch: int = 0
    best: float | None = None
    seconds_before: float = 0.0
    """Time that the run had taken when it was last stopped."""
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    """Of the epoch so far: loss times images, images right, images."""

    def __post_init__(self) -> None:
        options = self.options
        self.steps_per_epoch = len(self.train)
        self.total_steps = options.epochs * self.steps_per_epoch
        groups = parameter_groups(
            self.model, lr=options.lr, weight_decay=options.weight_decay, scale_lr=options.scale_lr
        )
        self.peak_lrs = [group["lr"] for group in groups]
        self.optimizer = torch.optim.AdamW(groups)
        self.device = next(self.model.parameters()).device
        self.random = RandomState(self.model, self.train)
        self.epoch_random: dict[str, Any] | None = None
        self.random_now: dict[str, Any] | None = None
        self.call = torch.compile(self.model) if options.compile else self.model
        self.started_at = self.saved_at = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time that the run has taken, of this call and those that it goes on from."""
        return self.seconds_before + time.monotonic() - self.started_at

    # ---- the loop

    def loop(self, log: MetricsLog, display: Display, interrupted: threading.Event) -> None:
        options = self.options
        frozen_from = frozen_from_epoch(options.epochs, options.freeze)
        while self.epoch < options.epochs:
            freeze_batch_norm(self.model, self.epoch >= frozen_from)
            self.model.train()
            for x, y in self._batches():
                self._step(x, y)
                display.step(self.step, self._figures())
                if interrupted.is_set() or time.monotonic() - self.saved_at > options.checkpoint_every_s:
                    self.save("last.pt", log)
                if interrupted.is_set():
                    raise KeyboardInterrupt
            self._end_epoch(log, display)
        freeze_batch_norm(self.model, False)

    def _batches(self) -> Iterator[tuple[Any, Any]]:
        """The epoch's batches; after a restore, those that are left of it."""
        if self.steps_in_epoch:
            assert self.epoch_random is not None
            self.random.set(self.epoch_random)
        else:
            self.epoch_random = self.random.get()
        batches = iter(self.train)
        for _ in range(self.steps_in_epoch):
            next(batches)
        if self.steps_in_epoch and self.random_now is not None:
            self.random.set(self.random_now)
        self.random_now = None
        for batch in batches:
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                raise TrainingError(f"expected the loader to yield (input, label), got {type(batch).__name__}")
            yield batch[0], batch[1]

    def _step(self, x: Any, y: Any) -> None:
        options = self.options
        done = self.step / self.total_steps
        for group, peak in zip(self.optimizer.param_groups, self.peak_lrs, strict=True):
            group["lr"] = peak * lr_factor(done, options.warmup)
        set_noise_strength(self.model, noise_strength(done, options.noise_ramp))
        x, y = _to(x, self.device), _to(y, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=options.amp):
            out = self.call(*x) if isinstance(x, tuple) else self.call(x)
            loss = (
                self.loss(out, y)
                if self.loss is not None
                else F.cross_entropy(out, y, label_smoothing=options.label_smoothing)
            )
        value = float(loss.detach())
        if value != value or value in (float("inf"), float("-inf")):
            raise TrainingError(self._diverged(value, x))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if options.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), options.clip_norm)
        self.optimizer.step()
        self.step += 1
        self.steps_in_epoch += 1
        right = float("nan")
        if isinstance(out, Tensor) and isinstance(y, Tensor) and (out.ndim, y.ndim) == (2, 1):
            right = float((out.detach().argmax(1) == y).sum())
        images = float(len(y))
        for index, amount in enumerate((value * images, right, images)):
            self.sums[index] += amount

    def _figures(self) -> str:
        loss, right, images = self.sums
        return f"loss {loss / images:.3f}  accuracy {right / images:.2%}" if images else ""

    def _end_epoch(self, log: MetricsLog, display: Display) -> None:
        loss, right, images = self.sums
        self.epoch += 1
        row = {"epoch": float(self.epoch), "loss": loss / images, "accuracy": right / images}
        if self.val is not None:
            row["val_accuracy"] = accuracy(self.model, self.val, chips=self.options.val_chips)
        row["lr"] = self.optimizer.param_groups[0]["lr"]
        self.sums, self.steps_in_epoch = [0.0, 0.0, 0.0], 0
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
        kept = f" The last good state is {self.folder / 'last.pt'}." if self.folder and self.epoch else ""
        return (
            f"the loss became {value} at step {self.step} (epoch {self.epoch + 1}); {where}.{kept} Try a lower "
            f"learning rate than lr={self.options.lr:g}, a longer warm-up, or check the data."
        )

    # ---- states

    def save(self, name: str, log: MetricsLog) -> None:
        """Write the state, if there is a folder to write it to."""
        self.saved_at = time.monotonic()
        if self.folder is None:
            return
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "options": dataclasses.asdict(self.options),
            "steps_per_epoch": self.steps_per_epoch,
            "trained_for": _trained_for(self.model),
            "epoch": self.epoch,
            "step": self.step,
            "steps_in_epoch": self.steps_in_epoch,
            "best": self.best,
            "seconds": self.seconds,
            "sums": self.sums,
            "history": log.rows,
            "random": self.random.get(),
            "epoch_random": self.epoch_random,
        }
        save_state(self.folder / name, state)

    def restore(self, log: MetricsLog) -> None:
        """Go back to `last.pt`.

        Raises:
            TrainingError: it is damaged, or of another network, data set or set of options.
        """
        assert self.folder is not None
        path = self.folder / "last.pt"
        state = load_state(path)
        now = dataclasses.asdict(self.options)
        other = [k for k, v in state["options"].items() if k not in ("checkpoint_every_s",) and now.get(k) != v]
        if other or state["steps_per_epoch"] != self.steps_per_epoch:
            what = ", ".join(f"{k}={state['options'][k]}, now {now.get(k)}" for k in other)
            what = what or f"{state['steps_per_epoch']} batches an epoch, now {self.steps_per_epoch}"
            raise TrainingError(
                f"{path} was trained with {what}; expected the same options and data to go on. Use them, or another "
                "folder, or resume=False to begin anew"
            )
        same_network = state["model"].keys() == self.model.state_dict().keys()  # else `_into` says so
        if same_network and state["trained_for"] != _trained_for(self.model):
            raise TrainingError(
                f"{path} was trained for other hardware, or prepared in another way, than the model given; give "
                "another folder, or resume=False to begin anew"
            )
        _into(self.model, state, path)
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step, self.steps_in_epoch = state["epoch"], state["step"], state["steps_in_epoch"]
        self.best, self.sums, self.epoch_random = state["best"], list(state["sums"]), state["epoch_random"]
        for row in state["history"]:
            log.rows.append(row)
        self.seconds_before = state["seconds"]
        self.random_now = state["random"]
        if not self.steps_in_epoch:
            self.random.set(state["random"])


def _trained_for(model: nn.Module) -> dict[str, Any]:
    """What a checkpoint must have in common with the model beside its weights: hardware and forms of batch norm."""
    if not isinstance(model, PreparedModel):
        return {}
    forms = sorted({module.form for module in model.modules() if isinstance(module, CrossbarLayer)})
    return {"spec": model.spec.to_dict(), "forms": forms}


def _to(value: Any, device: torch.device) -> Any:
    """An input, or several of them, on the device."""
    if isinstance(value, tuple | list):
        return tuple(_to(part, device) for part in value)
    return value.to(device, non_blocking=True)


@contextmanager
def _graceful_interrupt() -> Iterator[threading.Event]:
    """The first Ctrl-C asks for a stop after the step in hand; the second one stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
