"""Options of `fit`; each field's line is also its help on the command line."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hrat.errors import TrainingError
from hrat.training.fields import settle_fields

__all__ = ["FitOptions"]


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Options of training a model."""

    epochs: int = 20
    """Passes over the training data."""
    lr: float = 2e-3
    """Peak learning rate of the weights."""
    scale_lr: float | None = None
    """Peak learning rate of the learned scales and weight ranges; if none is given 0.3 of that of the weights
    where AdamW trains these, 6e-4 where SGD does."""
    weight_decay: float = 1e-4
    """Decay of the weights; scales, biases and batch norm never decay."""
    warmup: float = 0.05
    """Part of the training in which the learning rate rises linearly; after it, it falls as a cosine."""
    noise_ramp: float = 0.1
    """Part of the training in which the programming error rises from none to that of the spec."""
    freeze: float = 0.2
    """Last part of the training, in which batch norm is frozen, so that training and chip are the same function."""
    first_scales: Literal["as_given", "calibrated"] = "as_given"
    """as_given: scales start as the model has them; calibrated: first at the peaks of the first batch's signals, for a
    model whose scales may be far off, from which training would not come back."""
    label_smoothing: float = 0.0
    """Label smoothing of the cross entropy."""
    clip_norm: float | None = 1.0
    """Largest norm of the gradient; longer ones are shortened to it."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """adamw, or sgd with Nesterov momentum; scales, whose gradients are of another size, have AdamW either way."""
    momentum: float = 0.9
    """Momentum of sgd."""
    accumulate: int = 1
    """Parts in which each batch is worked on, one by one, to save memory; batch norm sees one part at a time."""
    amp: bool = False
    """Compute in bfloat16 where autocast allows it."""
    channels_last: bool = False
    """Keep images and kernels in the layout that suits tensor cores."""
    compile: bool = False
    """Compile the model with torch.compile."""
    rank_noise: Literal["shared", "per_rank"] = "shared"
    """How several ranks draw: shared, all the same random numbers, so that a batch meets one chip and training does not
    depend on their number; per_rank, each its own, so that a batch meets as many chips as there are ranks."""
    val_chips: int = 3
    """Random chips over which validation averages."""
    checkpoint_every_s: float = 60.0
    """Seconds between checkpoints within an epoch; there is one at the end of each epoch too."""

    def __post_init__(self) -> None:
        """Refuse values that make no sense.

        Raises:
            TrainingError: a value of another kind, or out of its range.
        """
        settle_fields(self, TrainingError, "training option ")
        for name in ("epochs", "val_chips", "accumulate"):
            if getattr(self, name) < 1:
                raise TrainingError(f"expected {name} to be at least 1, got {getattr(self, name)}")
        for name in ("warmup", "noise_ramp", "freeze"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise TrainingError(f"expected {name}, a part of the training, in [0, 1], got {getattr(self, name)}")
        if not 0.0 <= self.momentum < 1.0:
            raise TrainingError(f"expected momentum in [0, 1), got {self.momentum}")
        if not self.lr > 0.0:
            raise TrainingError(f"expected a positive learning rate lr, got {self.lr}")

    def replace(self, **changes: Any) -> FitOptions:
        """Options with some fields changed.

        Raises:
            TrainingError: an unknown option, or a value out of its range.
        """
        return self.from_dict({**dataclasses.asdict(self), **changes})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FitOptions:
        """Make options of plain data, such as a table of a TOML file.

        Raises:
            TrainingError: an unknown option, or a value out of its range.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        for key in data:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else f"; expected one of {', '.join(sorted(known))}"
                raise TrainingError(f"unknown training option '{key}'{hint}")
        return cls(**data)
