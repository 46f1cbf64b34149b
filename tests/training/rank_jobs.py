"""What ranks do in tests/training/test_ranks.py, in a module that their processes can import."""

from __future__ import annotations

import os
import signal
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import hrat
from hrat.training import fit, make_loader, the_ranks

OPTIONS = {"epochs": 3, "lr": 1e-2, "checkpoint_every_s": 0.0, "progress": False}


class Net(nn.Module):
    """Batch norm behind, in front of and beside crossbars."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
        self.before, self.hidden = nn.BatchNorm1d(16), nn.Linear(16, 6)
        self.digital = nn.BatchNorm1d(6)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x))).flatten(1)
        x = torch.sigmoid(self.hidden(self.before(x)))
        return self.out(torch.tanh(self.digital(x)))  # type: ignore[no-any-return]


class Dies(TensorDataset):
    """Images, on loading one of which the process is killed."""

    left: int | None = None

    def __getitem__(self, index: Any) -> Any:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def setting(form: str, *, prepared: bool = True, dies_at: int | None = None) -> tuple[nn.Module, DataLoader[Any]]:
    torch.manual_seed(5)
    x, y = torch.randn(96, 2, 4, 4, dtype=torch.float64), torch.arange(96) % 3
    net: nn.Module = Net().double()
    if prepared:
        spec = hrat.load_spec("generic-3bit-harsh")
        net = hrat.prepare(net, spec, x, batch_norm=form)  # type: ignore[arg-type]
    images = Dies(x, y)
    images.left = None if dies_at is None else 24 * dies_at
    return net, make_loader(images, 24, shuffle=True, seed=1, drop_last=True)


def train_a_rank(form: str, folder: str, options: dict[str, Any]) -> dict[str, Tensor]:
    """What each process does; the leading one's weights are the result."""
    prepared = options.pop("prepared", True)
    dies_at = options.pop("dies_at", None)
    model, loader = setting(form, prepared=prepared, dies_at=dies_at if the_ranks().rank == 1 else None)
    fit(model, loader, loader, folder=folder or None, **{**OPTIONS, **options})
    return dict(model.state_dict())


def train_several(settings: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Tensor]]:
    """Several trainings one after another by the same processes, whose start takes longer than these."""
    return [train_a_rank(form, "", dict(options)) for form, options in settings]


def too_large_a_world() -> None:
    model, _ = setting("one_pass")
    x, y = torch.randn(30, 2, 4, 4, dtype=torch.float64), torch.arange(30) % 3
    fit(model, make_loader(TensorDataset(x, y), 15), epochs=1, progress=False)


def order_from_the_default_generator() -> None:
    model, loader = setting("one_pass")
    fit(model, make_loader(loader.dataset, 24, shuffle=True), epochs=1, rank_noise="per_rank", progress=False)
