"""Stopping and going on: the whole state of a run in a file, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hrat.errors import TrainingError
from hrat.files import path_within
from hrat.training.checkpoint import RandomState, load_state, put_into, save_state
from hrat.training.identity import differences
from hrat.training.logs import MetricsLog
from hrat.training.progress import Progress
from hrat.training.ranks import Ranks

__all__ = ["Resumption"]


@dataclass(frozen=True)
class Resumption:
    """State of a run that a checkpoint holds."""

    folder: Path
    model: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    at: Progress
    random: RandomState
    ranks: Ranks
    identity: Mapping[str, Any]
    noise_per_rank: bool
    """Whether each rank draws random numbers of its own."""

    def save(self, name: str, log: MetricsLog) -> None:
        """Write the state; all ranks call it, and the leading one writes."""
        random = [self.random.get()]
        if self.noise_per_rank:
            random = self.ranks.gathered(random[0])
        sums = self.ranks.summed(self.at.sums.clone()).tolist()
        if not self.ranks.leads:
            return
        state = {
            "model": self.model.state_dict(),
            "optimizer": [optimizer.state_dict() for optimizer in self.optimizers],
            "identity": self.identity,
            "epoch": self.at.epoch,
            "step": self.at.step,
            "steps_in_epoch": self.at.steps_in_epoch,
            "best": self.at.best,
            "seconds": self.at.seconds,
            "sums": sums,
            "history": log.rows,
            "random": random[0],
            "ranks_random": random[1:],
            "epoch_random": self.at.epoch_random,
        }
        save_state(path_within(self.folder, name), state)

    def restore(self, log: MetricsLog) -> None:
        """Go back to `last.pt`.

        Raises:
            TrainingError: it is damaged, or of another run.
        """
        path = self.folder / "last.pt"
        # From the leading rank: other machines may not see its files.
        state = self.ranks.from_leader(load_state(path) if self.ranks.leads else None)
        other = differences(state["identity"], self.identity)
        if other:
            raise TrainingError(
                f"{path} was trained with {', '.join(other)}; expected the same to go on. Give the same, or another "
                "folder, or begin anew (--fresh; resume=False)"
            )
        put_into(self.model, state, path)
        saved = state["optimizer"]
        for optimizer, of_optimizer in zip(self.optimizers, saved if isinstance(saved, list) else [saved], strict=True):
            optimizer.load_state_dict(of_optimizer)
        at = self.at
        at.epoch, at.step, at.steps_in_epoch = state["epoch"], state["step"], state["steps_in_epoch"]
        at.best, at.epoch_random = state["best"], state["epoch_random"]
        if self.ranks.leads:  # which then holds those of all
            sums = state["sums"]
            # An older state has no number of labels, of which each image had one.
            at.sums.copy_(torch.tensor([*sums, sums[2]] if len(sums) == 3 else sums, dtype=torch.float64))
        for row in state["history"]:
            log.rows.append(row)
        at.seconds_before = state["seconds"]
        at.random_now = self._own_random(state)
        if not at.steps_in_epoch:
            self.random.set(at.random_now)

    def _own_random(self, state: dict[str, Any]) -> dict[str, Any]:
        """This rank's random state: its own where each has one, and a new one where there were fewer ranks."""
        of_ranks: list[dict[str, Any]] = [state["random"], *state.get("ranks_random", [])]
        if not self.noise_per_rank or self.ranks.rank < len(of_ranks):
            return of_ranks[self.ranks.rank if len(of_ranks) > 1 else 0]
        self.random.set(of_ranks[0])
        self.random.part_ways(self.ranks.rank)
        return self.random.get()
