"""The networks of the recipes: plain PyTorch, with nothing of hrat in them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from torch import nn

__all__ = ["NETWORKS", "build_network"]


def fc4() -> nn.Module:
    """784-256-128-64-10, batch norm and ReLU after each hidden layer: `(batch, 1, 28, 28) -> (batch, 10)`."""
    widths = [784, 256, 128, 64]
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def lenet5() -> nn.Module:
    """LeNet-5 (LeCun et al. 1998) with batch norm, ReLU and max pooling: `(batch, 1, 28, 28) -> (batch, 10)`."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.BatchNorm1d(120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.BatchNorm1d(84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def vgg16(width: int = 64, classes: int = 10) -> nn.Module:
    """VGG-16 (Simonyan and Zisserman 2015) with batch norm, for 32x32 images: `(batch, 3, 32, 32) -> (batch, classes)`.

    As is usual on CIFAR, the image is one pixel after the five poolings, and a single linear layer reads it.

    Args:
        width: channels of the first convolutions; the others have 2, 4 and 8 times as many.
        classes: outputs.
    """
    layers: list[nn.Module] = []
    fan_in = 3
    for convolutions, factor in ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8)):
        fan_out = factor * width
        for _ in range(convolutions):
            layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.BatchNorm2d(fan_out), nn.ReLU()]
            fan_in = fan_out
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(fan_in, classes))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "fc4": fc4,
    "lenet5": lenet5,
    "vgg16": vgg16,
    "vgg16-quarter": partial(vgg16, width=16),
    "vgg16-eighth": partial(vgg16, width=8),
}


def build_network(name: str) -> nn.Module:
    """A new network by its name, with random weights from torch's default generator."""
    return NETWORKS[name]()
