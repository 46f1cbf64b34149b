"""The networks of the recipes: plain PyTorch, with nothing of hrat in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

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


_VGG = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions of the five stages, by depth (configurations A, B, D and E of Simonyan and Zisserman 2015)."""


def vgg(depth: int, width: int = 64, classes: int = 10) -> nn.Module:
    """VGG (Simonyan and Zisserman 2015) with batch norm, for 32x32 images: `(batch, 3, 32, 32) -> (batch, classes)`.

    As is usual on CIFAR, the image is one pixel after the five poolings, and a single linear layer reads it.

    Args:
        depth: 11, 13, 16 or 19.
        width: channels of the first convolutions; the others have 2, 4 and 8 times as many.
        classes: outputs.
    """
    layers: list[nn.Module] = []
    fan_in = 3
    for convolutions, factor in zip(_VGG[depth], (1, 2, 4, 8, 8), strict=True):
        fan_out = factor * width
        for _ in range(convolutions):
            layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.BatchNorm2d(fan_out), nn.ReLU()]
            fan_in = fan_out
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(fan_in, classes))


vgg16 = partial(vgg, 16)


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or 1x1, 3x3 and 1x1 with a bottleneck (He et al. 2016)."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, *, bottleneck: int = 1) -> None:
        """Make a block of `fan_out` channels, the middle ones of a bottleneck having `fan_out / bottleneck`."""
        super().__init__()
        middle = fan_out // bottleneck
        if bottleneck == 1:
            kernels, strides, channels = (3, 3), (stride, 1), (fan_in, fan_out, fan_out)
        else:
            kernels, strides, channels = (1, 3, 1), (1, stride, 1), (fan_in, middle, middle, fan_out)  # type: ignore[assignment]
        layers: list[nn.Module] = []
        for (a, b), kernel, step in zip(pairwise(channels), kernels, strides, strict=True):
            layers += [nn.Conv2d(a, b, kernel, step, kernel // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.branch = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Sequential()
        if stride != 1 or fan_in != fan_out:
            self.shortcut = nn.Sequential(nn.Conv2d(fan_in, fan_out, 1, stride, bias=False), nn.BatchNorm2d(fan_out))

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, fan_in, height, width) -> (batch, fan_out, height / stride, width / stride)`."""
        return torch.relu(self.branch(x) + self.shortcut(x))


def resnet(
    blocks: Sequence[int], width: int = 64, classes: int = 10, *, bottleneck: int = 1, stem: Sequence[nn.Module] = ()
) -> nn.Module:
    """A residual network (He et al. 2016): each stage halves the image and doubles the channels.

    Args:
        blocks: how many blocks each stage has.
        width: channels of the first stage, before a bottleneck's factor.
        classes: outputs.
        bottleneck: how many times fewer channels the middle of a block has.
        stem: module in front of the stages; one 3x3 convolution where none is given.
    """
    layers = list(stem) or [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    fan_in = width
    for stage, count in enumerate(blocks):
        fan_out = width * bottleneck * 2**stage
        for index in range(count):
            layers.append(Block(fan_in, fan_out, 2 if stage and not index else 1, bottleneck=bottleneck))
            fan_in = fan_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(fan_in, classes))


def resnet20(width: int = 16, classes: int = 10) -> nn.Module:
    """ResNet-20 for 32x32 images."""
    return resnet((3, 3, 3), width, classes)


def resnet32(width: int = 16, classes: int = 10) -> nn.Module:
    """ResNet-32 for 32x32 images."""
    return resnet((5, 5, 5), width, classes)


def resnet18(width: int = 64, classes: int = 1000) -> nn.Module:
    """ResNet-18 for 224x224 images."""
    return resnet((2, 2, 2, 2), width, classes, stem=_large_stem(width))


def resnet50(width: int = 64, classes: int = 1000) -> nn.Module:
    """ResNet-50 for 224x224 images."""
    return resnet((3, 4, 6, 3), width, classes, bottleneck=4, stem=_large_stem(width))


def _large_stem(width: int) -> list[nn.Module]:
    convolution = nn.Conv2d(3, width, 7, 2, 3, bias=False)
    return [convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "fc4": fc4,
    "lenet5": lenet5,
    "vgg11": partial(vgg, 11),
    "vgg13": partial(vgg, 13),
    "vgg16": vgg16,
    "vgg19": partial(vgg, 19),
    "resnet18": resnet18,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet50": resnet50,
    "vgg16-100": partial(vgg16, classes=100),
    "vgg16-quarter": partial(vgg16, width=16),
    "vgg16-eighth": partial(vgg16, width=8),
}


def build_network(name: str) -> nn.Module:
    """A new network by its name, with random weights from torch's default generator."""
    return NETWORKS[name]()
