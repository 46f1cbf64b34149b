"""What every peer has to do: the plain networks and their batches, and the crossbar tiles of the circuit solvers."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

# The environment of a circuit solver has no torch, hence the imports inside the functions below.
if TYPE_CHECKING:
    from torch import nn

TRAINING, INFERENCE, SOLVE = "training step", "inference", "solve"


def fc4() -> "nn.Module":
    """784-256-128-64-10, batch norm and ReLU behind each hidden layer."""
    from torch import nn

    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise((784, 256, 128, 64)):
        layers += [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def lenet5() -> "nn.Module":
    """LeNet-5 for 28x28 images, with batch norm, ReLU and max pooling."""
    from torch import nn

    def conv(fan_in: int, fan_out: int, padding: int) -> "list[nn.Module]":
        return [nn.Conv2d(fan_in, fan_out, 5, padding=padding), nn.BatchNorm2d(fan_out), nn.ReLU(), nn.MaxPool2d(2)]

    def dense(fan_in: int, fan_out: int) -> "list[nn.Module]":
        return [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out), nn.ReLU()]

    return nn.Sequential(
        *conv(1, 6, 2), *conv(6, 16, 0), nn.Flatten(), *dense(400, 120), *dense(120, 84), nn.Linear(84, 10)
    )


def vgg16() -> "nn.Module":
    """VGG-16 with batch norm for 32x32 images and one linear layer behind its convolutions."""
    from torch import nn

    layers: list[nn.Module] = []
    channels = 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if width == 0:
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


@dataclass(frozen=True, kw_only=True)
class NetworkWork:
    """Training and inference of a network."""

    build: Callable[[], "nn.Module"]
    shape: tuple[int, ...]
    """Of one image."""
    batch: int
    """Images of a training step."""
    images: int
    """Images of an inference."""
    steps: int
    """Training steps that show whether a peer learns."""
    lr: float
    """Learning rate."""

    kinds = (TRAINING, INFERENCE)


@dataclass(frozen=True, kw_only=True)
class TileWork:
    """Currents of one crossbar whose wires have resistance."""

    size: int
    """Word lines, and bit lines."""
    wire_ohm: float = 1.0
    """Of a segment of wire between two cells."""

    kinds = (SOLVE,)


WORKS: dict[str, NetworkWork | TileWork] = {
    "fc4": NetworkWork(build=fc4, shape=(784,), batch=128, images=500, steps=30, lr=0.05),
    "lenet5": NetworkWork(build=lenet5, shape=(1, 28, 28), batch=128, images=500, steps=30, lr=0.05),
    "vgg16": NetworkWork(build=vgg16, shape=(3, 32, 32), batch=32, images=64, steps=12, lr=0.005),
    "tile64": TileWork(size=64),
    "tile128": TileWork(size=128),
}
