"""`fit`: train a prepared model, or any other, so that an interrupted run resumes bit for bit.

Nothing in here is needed for training: the same parts (`parameter_groups`, `freeze_batch_norm`, `set_noise_strength`)
serve a loop of the user's own, see `examples/own_loop.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hrat.errors import TrainingError
from hrat.processes import stop_requests
from hrat.training.checkpoint import put_away
from hrat.training.logs import Display, MetricsLog, closing
from hrat.training.loop import Loss, TrainingLoop
from hrat.training.one_at_a_time import alone_in
from hrat.training.options import FitOptions
from hrat.training.ranks import the_ranks
from hrat.training.together import statistics_over_ranks

__all__ = ["FitResult", "fit"]


@dataclass(frozen=True)
class FitResult:
    """Result of a training run."""

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
    label_key: str | None = None,
    device: torch.device | str | None = None,
    tensorboard: bool = False,
    progress: bool = True,
    title: str = "training",
    identity: Mapping[str, Any] | None = None,
    **changes: Any,
) -> FitResult:
    """Train `model` in place.

    Args:
        model: a model from `hrat.prepare`, or any other module (then there is no noise and nothing to freeze).
        train: loader with a length, of `(input, label)` or of dicts with `labels` or `label` in them. The input is a
            tensor, a tuple or list of positional arguments, or a dict of keyword arguments (`hrat.batches`).
        val: loader for validation; after each epoch the accuracy over a few random chips is measured on it.
        options: see `FitOptions`; its fields can be given as keywords too, `fit(model, loader, epochs=5)`.
        folder: where `last.pt`, `best.pt` and `metrics.csv` go; nothing is written without one.
        resume: resume from `folder/last.pt` if it exists; the result is bit for bit that of a run that was not
            interrupted, on the same machine with the same number of threads. A state of another network, hardware,
            data, options or `identity` is refused. False removes the files of an earlier run from the folder.
        loss: function of `(output, label)`; where none is given the network's own, if its output has a `loss`, else
            cross entropy of its output, or of the `logits` in it. Sequences have scores `(batch, tokens, classes)` and
            labels `(batch, tokens)`, of which -100 does not count.
        label_key: key of the label in batches that are dicts, in place of `labels` or `label`. A network that takes an
            argument of that name gets the label too.
        device: where to train; by default where the model is.
        tensorboard: write TensorBoard logs to `folder/tensorboard`.
        progress: show a progress bar; where there is no terminal a line an epoch, and one at least every half minute.
        title: title of the progress bar.
        identity: further identity of the run, such as `{"seed": 3}`, as plain data; it is kept in the checkpoints.
        **changes: fields of `FitOptions`.

    Where a process group is there (`hrat.training.join_ranks`, `torchrun`), all its ranks train this model together:
    each works on its rows of every batch, gradients and batch statistics are those of the whole batch, and rank 0
    writes files and prints. A loader with a `DistributedSampler` yields each rank its own batches already. The result
    does not depend on the number of ranks, up to rounding, but for what a network draws for each image (dropout).

    Returns:
        The history, and the best validation accuracy. The model holds the weights of the last step.

    Raises:
        DataError: batches without a label, or a label that does not fit the output.
        TrainingError: the loss is no longer finite, the options make no sense, a checkpoint does not fit, or another
            process trains into the folder.
        KeyboardInterrupt: Ctrl-C, or within `hrat.processes.orderly_end`, as on the command line, SIGTERM or SIGHUP;
            the state was saved if there is a folder.
    """
    chosen = (options or FitOptions()).replace(**changes)
    if not isinstance(train, Sized) or len(train) == 0:
        raise TrainingError("expected a training loader with a length of at least one batch")
    if device is not None:
        model.to(device)
    ranks = the_ranks()
    root = None if folder is None else Path(folder)
    with statistics_over_ranks(model, ranks), alone_in(root, wanted=ranks.leads):
        run = TrainingLoop(model, train, val, chosen, root, loss, ranks, identity, label_key)
        if folder is not None and not resume and ranks.leads:
            put_away(folder)
        with closing(MetricsLog(folder if ranks.leads else None, tensorboard=tensorboard)) as log:
            if folder is not None:
                if resume and ranks.from_leader((Path(folder) / "last.pt").is_file()):
                    run.restore(log)
                Path(folder).mkdir(parents=True, exist_ok=True)
            wanted = progress and ranks.leads
            with Display(title, run.total_steps, wanted=wanted) as display, stop_requests() as asked:
                run.run(log, display, asked)
    model.eval()
    return FitResult(log.rows, run.at.best, run.at.seconds, run.folder, run.at.step)
