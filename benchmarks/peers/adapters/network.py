"""What the adapters of peers that train networks have in common."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Infer = Callable[[Tensor], object]


class NetworkAdapter:
    """How a peer converts, trains and infers. The defaults are those of plain PyTorch."""

    package = ""
    """Name of the installed distribution, for its version."""
    note = ""
    """What a reader of the figures has to know."""

    def convert(self, network: nn.Module, x: Tensor) -> nn.Module:
        """The peer's version of `network`, with the same weights. `x` is a batch of its inputs."""
        raise NotImplementedError

    def optimizer(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        """SGD without momentum."""
        return torch.optim.SGD(model.parameters(), lr=lr)

    def after_step(self, model: nn.Module) -> None:
        """What the peer wants after each step of the optimiser."""

    def chip(self, model: nn.Module) -> Infer:
        """Program a chip with the trained model, with errors of its own, and give its inference."""
        return model.eval()

    def refuses(self, work: str) -> str:
        """Why the peer does not do this work; empty if it does."""
        return ""


def replace_layers(
    module: nn.Module, linear: Callable[[nn.Linear], nn.Module], conv: Callable[[nn.Conv2d], nn.Module]
) -> nn.Module:
    """Replace the linear layers and convolutions of a module, in place, and copy their weights."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear | nn.Conv2d):
            new = linear(child) if isinstance(child, nn.Linear) else conv(child)
            with torch.no_grad():
                new.weight.copy_(child.weight)
                new.bias.copy_(child.bias)
            setattr(module, name, new)
        else:
            replace_layers(child, linear, conv)
    return module
