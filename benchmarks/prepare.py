"""Memory and time of `hrat.prepare` on a transformer of 100 million parameters; one line of JSON.

    python benchmarks/prepare.py [--layers 12] [--width 768] [--vocabulary 20000]

The peak is that of the process's resident memory while the model is made and prepared, beside what Python, torch and
hrat take themselves: the original model is part of it, and the prepared one.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time

import torch
from torch import Tensor, nn

import hrat


class Decoder(nn.Module):
    """A causal language model with the shape of GPT-2 small, its head tied to its embedding."""

    def __init__(self, layers: int, width: int, vocabulary: int, context: int = 128) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        block = nn.TransformerEncoderLayer(
            width, max(1, width // 64), 4 * width, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        x = self.tokens(ids) + self.positions(torch.arange(length, device=ids.device))
        causal = nn.Transformer.generate_square_subsequent_mask(length, device=ids.device)
        return self.head(self.blocks(x, mask=causal, is_causal=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=20_000)
    parser.add_argument("--inplace", action="store_true", help="convert the model itself")
    parser.add_argument("--no-check", action="store_true", help="compare outputs on the example alone")
    options = parser.parse_args()
    hrat.prepare(Decoder(1, 64, 50), "generic-4bit", torch.zeros(1, 4, dtype=torch.long))  # loads what is loaded once
    before = peak_bytes()
    torch.manual_seed(0)
    model = Decoder(options.layers, options.width, options.vocabulary)
    ids = torch.randint(options.vocabulary, (2, 64))
    numbers = sum(p.numel() for p in model.parameters())
    own_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    how = {"inplace": True} if options.inplace else {}
    how |= {"check": False} if options.no_check else {}
    start, start_cpu = time.perf_counter(), time.process_time()
    prepared = hrat.prepare(model, "generic-4bit", ids, **how)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    result = {
        "parameters": numbers,
        "model_MiB": round(own_bytes / 2**20),
        "peak_MiB": round((peak_bytes() - before) / 2**20),
        "peak_by_model": round((peak_bytes() - before) / own_bytes, 2),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "layers": len(prepared.report.layers),
        "devices": prepared.report.devices,
    }
    print(json.dumps(result))


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
