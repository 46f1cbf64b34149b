"""Networks that people write, each small, with an example input; in float64, with batch norms as after training."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import hrat
from hrat.spec import HardwareSpec


def hardware() -> dict[str, HardwareSpec]:
    """Hardware that differs in its error model, its states and its read-out."""
    harsh, wan = hrat.load_spec("generic-3bit-harsh"), hrat.load_spec("wan2022")
    levels_S = (6e-5, 7e-5, 9.5e-5, 1.2e-4, 1.21e-4, 1.9e-4)
    return {
        "harsh": harsh,
        "harsh two-stage": harsh.replace(readout="two_stage"),
        "wan2022": wan,
        "wan2022 two-stage": wan.replace(readout="two_stage"),
        "milo2021": hrat.load_spec("milo2021"),
        "measured levels": hrat.load_spec("generic-4bit", levels_S=levels_S),
        "centred": harsh.replace(pairs="centred"),
        "centred two-stage": harsh.replace(pairs="centred", readout="two_stage"),
        "centred measured levels": hrat.load_spec("milo2021", levels_S=levels_S, pairs="centred"),
        "centred continuous": wan.without("states").replace(pairs="centred"),
        "continuous": harsh.without("states", "bias_dac"),
        "tile ADCs": harsh.replace({"array.rows": 5, "partial_sums": "adc", "tile_adc_bits": 5}),
        "tile ADCs two-stage": wan.replace({"array.rows": 7, "partial_sums": "adc", "readout": "two_stage"}),
        "no error": harsh.without("error"),
        "error only": harsh.only("error"),
    }


SPECS = hardware()


@torch.no_grad()
def as_trained(model: nn.Module, seed: int = 3) -> nn.Module:
    """In float64 and eval mode, with running statistics and gammas that have all signs, zeros and tiny variances."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    for module in model.modules():
        if not isinstance(module, _BatchNorm):
            continue
        assert module.running_mean is not None
        assert module.running_var is not None
        n = module.num_features
        module.running_mean.copy_(0.5 * torch.randn(n, dtype=torch.float64, generator=generator))
        module.running_var.copy_(torch.rand(n, dtype=torch.float64, generator=generator) + 0.2)
        module.running_var[-1] = 1e-9
        if module.affine:
            module.weight.copy_(torch.randn(n, dtype=torch.float64, generator=generator))
            module.bias.copy_(0.3 * torch.randn(n, dtype=torch.float64, generator=generator))
            module.weight[0] = 0.0
            if n > 2:
                module.weight[1] = -0.7
            module.weight[-1] *= 0.01
    return model


def _rand(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def fc4() -> tuple[nn.Module, Any]:
    sizes = (20, 16, 12, 8)
    parts: list[nn.Module] = [nn.Flatten()]
    for a, b in pairwise(sizes):
        parts += [nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU(), nn.Dropout(0.2)]
    return nn.Sequential(*parts, nn.Linear(sizes[-1], 5)), _rand(6, 4, 5)


def lenet5() -> tuple[nn.Module, Any]:
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.BatchNorm1d(120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )
    return model, _rand(3, 1, 28, 28)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.LeakyReLU(0.1))
        self.conv1, self.bn1 = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.shortcut = nn.Sequential(nn.Conv2d(4, 6, 1, stride=2, bias=False), nn.BatchNorm2d(6))
        self.branch = nn.Conv2d(6, 3, 1)
        self.head = nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        out = F.leaky_relu(out, 0.2)
        out = torch.cat([out, self.branch(out)], dim=1)
        return self.head(F.adaptive_avg_pool2d(out, 1).flatten(1))


class DigitalOperations(nn.Module):
    """GELU, layer norm, softmax and a product of signals: attention over few tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.qkv = nn.Linear(6, 18)
        self.out = nn.Linear(6, 6)
        self.mlp = nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6))
        self.position = nn.Parameter(torch.randn(5, 6))
        self.register_buffer("gain", torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.position
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        weights = torch.softmax(q @ k.transpose(1, 2) / 6**0.5, dim=-1)
        x = x + self.out(weights @ v)
        return torch.softmax(self.mlp(self.norm(x)).mean(1) * self.gain, dim=-1)


class PreActivation(nn.Module):
    """Batch norm in front: once where it folds, once where zero padding forbids it, once behind an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.bn0, self.conv0 = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)
        self.bn1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.bn2, self.fc = nn.BatchNorm1d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(self.bn0(x))
        x = F.relu(x + self.conv1(F.relu(self.bn1(x))))
        return self.fc(self.bn2(x.mean((2, 3))))


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        inner = nn.Sequential(OrderedDict(conv=nn.Conv1d(4, 4, 3, groups=2, padding="same"), bn=nn.BatchNorm1d(4)))
        self.blocks = nn.ModuleList([nn.Sequential(inner, nn.ReLU()), nn.Sequential(nn.Sequential(nn.Conv1d(4, 6, 2)))])
        self.heads = nn.ModuleDict(
            {"up": nn.ConvTranspose1d(6, 3, 3, stride=2, output_padding=1), "bn": nn.BatchNorm1d(3)}
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return F.max_pool1d(self.heads["bn"](self.heads["up"](x)), 2)


class SharedConv(nn.Module):
    """One convolution called twice: one set of devices."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        return self.fc(F.relu(self.conv(x)).mean((2, 3)))


class SharedConvTwoNorms(nn.Module):
    """One convolution with two batch norms: two sets of devices."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.Linear(3, 2)
        self.bn1, self.bn2 = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv(x)))
        return self.fc(F.relu(self.bn2(self.conv(x))).mean((2, 3)))


class SharedNorm(nn.Module):
    """Two layers with the same batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.bn = nn.Linear(5, 4), nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.b(F.relu(self.bn(self.a(x)))))


class Functional(nn.Module):
    """Parameters of its own, and calls of torch.nn.functional."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 1, 3, 3))
        self.up = nn.Parameter(torch.randn(4, 2, 2, 2))
        self.weight, self.bias = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(x, self.kernel, stride=2, padding=1, groups=2))
        x = F.dropout(F.conv_transpose2d(x, self.up, stride=2), 0.1, self.training)
        return F.linear(x.mean((2, 3)), self.weight, self.bias)


class TiedFunctional(nn.Module):
    """The same parameter in two functional calls."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.relu(F.linear(x, self.weight)), self.weight)


class InPlace(nn.Module):
    """Rectifiers that overwrite what they read, and readers of what they wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.a(x))
        x = self.b(x)
        y = x.relu_()
        z = x + y  # both names are the rectified one
        return self.c(F.relu(z, inplace=True))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.text, self.head = nn.Conv1d(2, 3, 2), nn.Linear(4, 5), nn.Linear(8, 2)

    def forward(self, image: Tensor, text: Tensor) -> dict[str, Any]:
        features = F.relu(torch.cat([self.image(image).mean(2), self.text(text)], dim=1))
        return {"logits": self.head(features), "parts": (features, text)}


class TupleOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = F.relu(self.body(x))
        return self.a(x), [self.b(x), torch.sigmoid(x)]


class Tokens(nn.Module):
    """Linear layers over the last of three dimensions, and layout changes on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x)).permute(0, 2, 1)
        first, second = x.split(3, dim=1)
        x = torch.stack([first, second], dim=1).reshape(x.size(0), -1, 5)
        return self.b(x[:, 1:])


class Slopes(nn.Module):
    """PReLU of one slope, behind a sum, and of one for each channel, with and without a batch norm in front."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(16, 3)
        self.each, self.norm, self.one = nn.PReLU(4), nn.BatchNorm2d(4), nn.PReLU(init=0.1)
        with torch.no_grad():
            self.each.weight.copy_(torch.tensor([0.25, -0.5, 1.5, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.each(self.a(x))
        x = self.one(x + self.each(self.norm(self.b(x))))
        return self.c(F.max_pool2d(x, 2).flatten(1))


class Factors(nn.Module):
    """Products with numbers: of branches of one convolution, in front of a digital operation, and at the output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.side = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.norm, self.head, self.last = nn.BatchNorm2d(4), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.norm(self.stem(x)))
        for _ in range(2):
            x = F.relu(x + 0.1 * self.conv(x))
        x = (torch.add(x, self.side(x), alpha=3) / 2).mean((2, 3))
        x = F.gelu(self.head(2 * F.max_pool1d(x, 1)) * 0.25)
        return self.last(x) / 4, -0.5 * x


class NormsFurtherInFront(nn.Module):
    """Batch norms behind activations, with pooling or a flatten between them and the operation that takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm_a, self.pool_a = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.MaxPool2d(3, 2, 1)
        self.b, self.norm_b, self.pool_b = nn.Conv2d(4, 5, 2), nn.BatchNorm2d(5), nn.AvgPool2d(2, 1)
        self.c, self.norm_c = nn.Conv2d(5, 4, 1, bias=False), nn.BatchNorm2d(4, momentum=None)
        self.norm_behind = nn.BatchNorm2d(4)
        self.d, self.e, self.norm_e = nn.Linear(36, 6), nn.Conv1d(3, 3, 1), nn.BatchNorm1d(3)
        self.f = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool_a(self.norm_a(F.relu(self.a(x))))
        x = self.pool_b(self.norm_b(F.leaky_relu(self.b(x), 0.2)))
        x = self.norm_c(F.relu(self.norm_behind(self.c(x))))
        x = F.gelu(self.d(x.flatten(1))).unflatten(1, (3, 2))
        return self.f(F.adaptive_max_pool1d(self.norm_e(F.silu(self.e(x))), 1).squeeze(2))


class FrozenBatchNorm2d(nn.Module):
    """As torchvision and detectron2 write it: four buffers, and a product and a sum."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        for name in ("weight", "bias", "running_mean"):
            self.register_buffer(name, torch.randn(channels))
        self.register_buffer("running_var", torch.rand(channels) + 0.1)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


class FrozenNorms(nn.Module):
    """A frozen batch norm behind a convolution, in front of one, and beside none."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.learning = nn.Conv2d(2, 4, 3), FrozenBatchNorm2d(4), nn.BatchNorm2d(5)
        self.before, self.b, self.beside = FrozenBatchNorm2d(4, 1e-2), nn.Conv2d(4, 5, 1), FrozenBatchNorm2d(5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(F.relu(self.norm(self.a(x))))
        return self.beside(F.gelu(self.learning(self.b(x))))


class Volumes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv3d(1, 4, 2, bias=False)
        self.bn, self.b = nn.BatchNorm3d(4), nn.ConvTranspose3d(4, 2, 2, stride=2, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.avg_pool3d(F.relu(self.bn(self.a(x))), 2))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "fc4": fc4,
    "lenet5": lenet5,
    "residual": lambda: (Residual(), _rand(3, 2, 8, 8)),
    "digital operations": lambda: (DigitalOperations(), _rand(3, 5, 6)),
    "pre-activation": lambda: (PreActivation(), _rand(4, 3, 6, 6)),
    "nested": lambda: (Nested(), _rand(3, 4, 9)),
    "shared conv": lambda: (SharedConv(), _rand(3, 3, 5, 5)),
    "shared conv, two norms": lambda: (SharedConvTwoNorms(), _rand(3, 3, 5, 5)),
    "shared norm": lambda: (SharedNorm(), _rand(6, 5)),
    "functional": lambda: (Functional(), _rand(3, 2, 6, 6)),
    "tied functional": lambda: (TiedFunctional(), _rand(5, 4)),
    "in place": lambda: (InPlace(), _rand(6, 5)),
    "two inputs": lambda: (TwoInputs(), (_rand(4, 2, 5), _rand(4, 4))),
    "keyword inputs": lambda: (TwoInputs(), {"text": _rand(4, 4), "image": _rand(4, 2, 5)}),
    "tuple output": lambda: (TupleOutput(), _rand(5, 4)),
    "tokens": lambda: (Tokens(), _rand(3, 5, 4)),
    "slopes": lambda: (Slopes(), _rand(4, 2, 6, 6)),
    "factors": lambda: (Factors(), _rand(4, 2, 6, 6)),
    "norms further in front": lambda: (NormsFurtherInFront(), _rand(4, 2, 9, 9)),
    "frozen norms": lambda: (FrozenNorms(), _rand(3, 2, 5, 5)),
    "volumes": lambda: (Volumes(), _rand(2, 1, 5, 5, 5)),
}


def network(name: str) -> tuple[nn.Module, Any]:
    """A network by name, as trained, and its example input."""
    model, x = NETWORKS[name]()
    return as_trained(model), x


def small_network() -> tuple[nn.Module, Tensor]:
    """Two layers with batch norm between them: the smallest in which all restrictions act."""
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    return as_trained(model), _rand(12, 6)
