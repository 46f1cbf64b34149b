"""The families of networks that people put on crossbars, each small, as their authors write them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrat.experiments.recipes.networks import resnet18, resnet20, resnet32, resnet50, vgg
from laws.networks import as_trained


def _rand(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def _tokens(*shape: int, below: int) -> Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(sum(shape)))


class InvertedResidual(nn.Module):
    def __init__(self, fan_in: int, fan_out: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = fan_in * expand
        layers: list[nn.Module] = []
        if expand != 1:
            layers += [nn.Conv2d(fan_in, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True)]
        layers += [
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, fan_out, 1, bias=False),
            nn.BatchNorm2d(fan_out),
        ]
        self.conv = nn.Sequential(*layers)
        self.adds = stride == 1 and fan_in == fan_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """Inverted residuals with depthwise convolutions (Sandler et al. 2018)."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(inplace=True)]
        fan_in = 8
        for expand, fan_out, repeats, stride in ((1, 4, 1, 1), (6, 6, 2, 2), (6, 8, 2, 1)):
            for index in range(repeats):
                blocks.append(InvertedResidual(fan_in, fan_out, stride if index == 0 else 1, expand))
                fan_in = fan_out
        blocks += [nn.Conv2d(fan_in, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(inplace=True)]
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1, self.act, self.pwconv2 = nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(0.5 * torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.dwconv(x).permute(0, 2, 3, 1)
        x = self.gamma * self.pwconv2(self.act(self.pwconv1(self.norm(x))))
        return shortcut + x.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """Depthwise 7x7, layer norm, GELU, layer scale (Liu et al. 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 4, stride=4)
        self.stages = nn.Sequential(ConvNeXtBlock(6), nn.Conv2d(6, 8, 2, stride=2), ConvNeXtBlock(8))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.stages(self.stem(x)).mean([-2, -1])))


class DenseLayer(nn.Module):
    def __init__(self, fan_in: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(fan_in), nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(fan_in, 4 * growth, 1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(4 * growth), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        bottleneck = self.conv1(self.relu1(self.norm1(torch.cat(features, 1))))
        return self.conv2(self.relu2(self.norm2(bottleneck)))


class DenseNet(nn.Module):
    """Concatenations, and batch norm in front of convolutions (Huang et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 1, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.block1 = nn.ModuleList([DenseLayer(6 + 3 * index, 3) for index in range(2)])
        self.transition = nn.Sequential(nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 6, 1, bias=False), nn.AvgPool2d(2))
        self.block2 = nn.ModuleList([DenseLayer(6, 3)])
        self.norm, self.classifier = nn.BatchNorm2d(9), nn.Linear(9, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in (self.block1, self.block2):
            features = [x]
            for layer in block:
                features.append(layer(features))
            x = torch.cat(features, 1)
            if block is self.block1:
                x = self.transition(x)
        x = F.adaptive_avg_pool2d(F.relu(self.norm(x), inplace=True), (1, 1))
        return self.classifier(torch.flatten(x, 1))


def _double_conv(fan_in: int, fan_out: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False), nn.BatchNorm2d(fan_out), nn.ReLU(inplace=True)),
        *(nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False), nn.BatchNorm2d(fan_out), nn.ReLU(inplace=True)),
    )


class UNet(nn.Module):
    """Transposed convolutions, skips that are concatenated, and sizes that do not fit (Ronneberger et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = _double_conv(1, 4), _double_conv(4, 6), _double_conv(6, 8)
        self.up2, self.up1 = nn.ConvTranspose2d(8, 6, 2, stride=2), nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.conv2, self.conv1 = _double_conv(12, 6), _double_conv(8, 4)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.bottom(F.max_pool2d(second, 2))
        for up, conv, skip in ((self.up2, self.conv2, second), (self.up1, self.conv1, first)):
            x = up(x)
            dy, dx = skip.size(2) - x.size(2), skip.size(3) - x.size(3)
            x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            x = conv(torch.cat([skip, x], dim=1))
        return self.head(x)


class TagSequence(nn.Module):
    """An embedding, `nn.LSTM` (or its like) and a linear layer for each token."""

    def __init__(self, kind: str, **how: Any) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 4)
        self.rnn = getattr(nn, kind)(4, 5, **how)
        self.head = nn.Linear(5 * (2 if how.get("bidirectional") else 1), 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        if not self.rnn.batch_first:
            x = x.transpose(0, 1)
        out, _ = self.rnn(x)
        if not self.rnn.batch_first:
            out = out.transpose(0, 1)
        return self.head(out)


class Stateful(nn.Module):
    """States go in and come out."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(4, 5, num_layers=2, bidirectional=True)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor, h: Tensor, c: Tensor | None = None) -> Any:
        out, state = self.rnn(x, h if c is None else (h, c))
        return self.head(out[-1]), state


class LastStep(nn.Module):
    """A classifier on the last hidden state, of one sequence without a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[1][-1])


class OwnLoop(nn.Module):
    """A loop of one's own over the steps, with a cell of PyTorch or from parameters."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.cell = getattr(nn, cell)(4, 5) if cell != "own" else None
        self.has_memory = cell == "LSTMCell"
        self.w, self.u = nn.Parameter(0.4 * torch.randn(4, 5)), nn.Parameter(0.4 * torch.randn(5, 5))
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.size(0), 5)
        for step in range(x.size(1)):
            if self.cell is None:
                h = torch.tanh(x[:, step] @ self.w + h @ self.u)
            elif self.has_memory:
                h, c = self.cell(x[:, step], (h, c))
            else:
                h = self.cell(x[:, step], h)
        return self.head(h)


class Encoder(nn.Module):
    """`nn.TransformerEncoder` with a padding mask."""

    def __init__(self, **how: Any) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, **how)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        return self.head(self.encoder(x, src_key_padding_mask=padding)[:, 0])


class CausalEncoder(nn.Module):
    """A decoder of `nn.TransformerEncoder` with a causal mask, which it may look for by itself."""

    def __init__(self, told: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.told = told
        self.embed, self.encoder = nn.Embedding(9, 8), nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 9, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1], dtype=self.embed.weight.dtype)
        return self.head(self.encoder(self.embed(ids), mask=mask, is_causal=True if self.told else None))


class Translator(nn.Module):
    """`nn.Transformer`, with the causal mask that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(9, 8), nn.Embedding(9, 8)
        self.transformer = nn.Transformer(8, 2, 1, 1, 12, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 9)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.size(1), dtype=self.source.weight.dtype)
        return self.head(self.transformer(self.source(source), self.target(target), tgt_mask=mask))


class CrossAttention(nn.Module):
    """`nn.MultiheadAttention` between two sequences of different widths, time first, with its weights returned."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, dropout=0.1, kdim=4, vdim=5)
        self.head = nn.Linear(6, 2)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Any:
        out, weights = self.attention(query, key, value)
        return self.head(out), weights


class ViTBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        out = F.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(out.transpose(1, 2).reshape(batch, tokens, dim))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Patches, a class token, learned positions (Dosovitskiy et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 5, 8))
        self.blocks = nn.Sequential(ViTBlock(8, 2), ViTBlock(8, 2))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class GPTBlock(nn.Module):
    def __init__(self, dim: int, heads: int, context: int) -> None:
        super().__init__()
        self.ln1, self.attn, self.proj = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.ln2, self.fc, self.out = nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.heads = heads
        self.register_buffer("causal", torch.tril(torch.ones(context, context)).view(1, 1, context, context))

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.size()
        q, k, v = (
            part.view(B, T, self.heads, C // self.heads).transpose(1, 2) for part in self.attn(self.ln1(x)).split(C, 2)
        )
        scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        scores = scores.masked_fill(self.causal[:, :, :T, :T] == 0, float("-inf"))
        x = x + self.proj((F.softmax(scores, dim=-1) @ v).transpose(1, 2).contiguous().view(B, T, C))
        return x + self.out(F.gelu(self.fc(self.ln2(x)), approximate="tanh"))


class GPT(nn.Module):
    """A small decoder, as in nanoGPT: tied embedding and head, causal mask, learned positions."""

    def __init__(self, context: int = 8) -> None:
        super().__init__()
        self.context = context
        self.wte, self.wpe = nn.Embedding(11, 8), nn.Embedding(context, 8)
        self.blocks = nn.ModuleList([GPTBlock(8, 2, context) for _ in range(2)])
        self.ln_f, self.lm_head = nn.LayerNorm(8), nn.Linear(8, 11, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids: Tensor) -> Tensor:
        _, T = ids.size()
        assert self.context >= T, f"a sequence of {T}, the context is {self.context}"
        x = self.wte(ids) + self.wpe(torch.arange(0, T, dtype=torch.long, device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.ln_f(x))


ARCHITECTURES: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "vgg11": lambda: (vgg(11, width=2), _rand(2, 3, 32, 32)),
    "vgg13": lambda: (vgg(13, width=2), _rand(2, 3, 32, 32)),
    "vgg16": lambda: (vgg(16, width=2), _rand(2, 3, 32, 32)),
    "vgg19": lambda: (vgg(19, width=2), _rand(2, 3, 32, 32)),
    "resnet20": lambda: (resnet20(width=2), _rand(2, 3, 16, 16)),
    "resnet32": lambda: (resnet32(width=2), _rand(2, 3, 16, 16)),
    "resnet18": lambda: (resnet18(width=2), _rand(2, 3, 32, 32)),
    "resnet50": lambda: (resnet50(width=2), _rand(2, 3, 32, 32)),
    "mobilenet v2": lambda: (MobileNetV2(), _rand(2, 3, 16, 16)),
    "convnext": lambda: (ConvNeXt(), _rand(2, 3, 16, 16)),
    "densenet": lambda: (DenseNet(), _rand(2, 3, 8, 8)),
    "u-net": lambda: (UNet(), _rand(2, 1, 10, 9)),
    "lstm": lambda: (TagSequence("LSTM", batch_first=True), _tokens(3, 6, below=11)),
    "lstm deep": lambda: (
        TagSequence("LSTM", num_layers=2, bidirectional=True, dropout=0.2),
        _tokens(3, 6, below=11),
    ),
    "gru": lambda: (TagSequence("GRU", num_layers=2, bidirectional=True), _tokens(3, 6, below=11)),
    "rnn": lambda: (TagSequence("RNN", batch_first=True, bias=False), _tokens(3, 6, below=11)),
    "rnn relu": lambda: (TagSequence("RNN", nonlinearity="relu"), _tokens(3, 6, below=11)),
    "lstm with state": lambda: (Stateful("LSTM"), (_rand(6, 3, 4), _rand(4, 3, 5), _rand(4, 3, 5))),
    "gru with state": lambda: (Stateful("GRU"), (_rand(6, 3, 4), _rand(4, 3, 5))),
    "gru without batch": lambda: (LastStep(), _rand(6, 4)),
    "own loop, lstm cell": lambda: (OwnLoop("LSTMCell"), _rand(3, 4, 4)),
    "own loop, gru cell": lambda: (OwnLoop("GRUCell"), _rand(3, 4, 4)),
    "own loop, parameters": lambda: (OwnLoop("own"), _rand(3, 4, 4)),
    "transformer encoder": lambda: (Encoder(), _rand(2, 5, 8)),
    "transformer encoder, padded": lambda: (
        Encoder(activation="gelu", norm_first=True, dropout=0.0),
        (_rand(2, 5, 8), torch.tensor([[False] * 5, [False, False, False, True, True]])),
    ),
    "causal encoder": lambda: (CausalEncoder(told=False), _tokens(2, 5, below=9)),
    "causal encoder, told": lambda: (CausalEncoder(told=True), _tokens(2, 5, below=9)),
    "transformer": lambda: (Translator(), (_tokens(2, 5, below=9), _tokens(2, 4, below=9))),
    "cross attention": lambda: (CrossAttention(), (_rand(4, 2, 6), _rand(3, 2, 4), _rand(3, 2, 5))),
    "vit": lambda: (ViT(), _rand(2, 3, 8, 8)),
    "gpt": lambda: (GPT(), _tokens(2, 6, below=11)),
}


def architecture(name: str) -> tuple[nn.Module, Any]:
    """A network by name, as trained, and its example input."""
    torch.manual_seed(len(name))
    model, x = ARCHITECTURES[name]()
    return as_trained(model), x
