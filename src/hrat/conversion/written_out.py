"""PyTorch's large modules, written out as linear operations and what lies between them, with the same weights.

`nn.LSTM`, `nn.MultiheadAttention` and their like compute in one fused call, in which no crossbar could be found. Each
is replaced by a module that computes the same: its matrix products are `nn.Linear`s, all else are digital operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrat.circuit import CELLS
from hrat.conversion.frozen import as_batch_norm, is_frozen_batch_norm
from hrat.errors import ConversionError
from hrat.nn import Recurrence, TurnedLinear

__all__ = ["is_written_out", "write_out"]


def write_out(model: nn.Module) -> nn.Module:
    """Replace all fused modules of a model, and the model itself if it is one.

    Raises:
        ConversionError: one has an option that cannot be written out.
    """
    places: dict[int, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if path and _replacement(module) is not None:
            places.setdefault(id(module), []).append(path)
    for paths in places.values():  # one by one: what is replaced is given back at once
        old = model.get_submodule(paths[0])
        replace = _replacement(old)
        assert replace is not None
        new = replace(old, paths[0]).train(old.training)
        for path in paths:
            model.set_submodule(path, new)
    replace = _replacement(model)
    return model if replace is None else replace(model, "the model").train(model.training)


def is_written_out(module: nn.Module) -> bool:
    """Whether a module is one of those that are replaced."""
    return _replacement(module) is not None


class Attention(nn.Module):
    """`nn.MultiheadAttention`: four linear operations; the products of queries, keys and values are digital."""

    def __init__(self, attention: nn.MultiheadAttention, name: str) -> None:
        super().__init__()
        if attention.bias_k is not None or attention.add_zero_attn:
            raise ConversionError(
                f"'{name}' (MultiheadAttention) has add_bias_kv or add_zero_attn, which conversion does not know; "
                "expected neither: write its attention out with nn.Linear and F.scaled_dot_product_attention"
            )
        packed = attention.in_proj_weight
        weights = packed.chunk(3) if packed is not None else _separate_weights(attention)
        bias = attention.in_proj_bias
        biases = (None, None, None) if bias is None else bias.chunk(3)
        self.query, self.key, self.value = map(_linear, weights, biases)
        self.out_proj = attention.out_proj
        self.num_heads = attention.num_heads
        self.batch_first = attention.batch_first
        self.weight_dropout = nn.Dropout(attention.dropout)
        _keep_attributes(self, attention)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Output and attention weights, with the arguments and results of `nn.MultiheadAttention`."""
        if is_causal and attn_mask is None:
            raise ConversionError("nn.MultiheadAttention with is_causal=True needs its attn_mask as well")
        batched = query.dim() == 3
        q, k, v = (
            self._heads(linear(x), batched) for linear, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        mask = self._mask(attn_mask, key_padding_mask, query.dtype, batched)
        weights = None
        if need_weights or self.weight_dropout.p > 0:
            scores = q @ k.transpose(-2, -1) / q.size(-1) ** 0.5
            weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
            out = self.weight_dropout(weights) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out = out.transpose(-3, -2).flatten(-2)  # (batch, queries, features)
        if batched and not self.batch_first:
            out = out.transpose(0, 1)
        if not need_weights or weights is None:
            return self.out_proj(out), None
        return self.out_proj(out), weights.mean(-3) if average_attn_weights else weights

    def _heads(self, x: Tensor, batched: bool) -> Tensor:
        """`(batch, heads, tokens, features)`."""
        if batched and not self.batch_first:
            x = x.transpose(0, 1)
        heads: Tensor = x.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)
        return heads

    def _mask(
        self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, dtype: torch.dtype, batched: bool
    ) -> Tensor | None:
        """Mask that is added to the attention scores, in a shape that broadcasts against them."""
        mask = None
        if attn_mask is not None:
            mask = _additive(attn_mask, dtype)
            if batched and attn_mask.dim() == 3:  # (batch * heads, queries, keys)
                mask = mask.unflatten(0, (-1, self.num_heads))
        if key_padding_mask is not None:
            padding = _additive(key_padding_mask, dtype).unsqueeze(-2).unsqueeze(-2)
            mask = padding if mask is None else mask + padding
        return mask


class Recurrent(nn.Module):
    """`nn.LSTM`, `nn.GRU` or `nn.RNN`: of each layer and direction one linear operation and one recurrence."""

    def __init__(self, network: nn.RNNBase, name: str) -> None:
        super().__init__()
        if network.proj_size:
            raise ConversionError(
                f"'{name}' (LSTM) has proj_size={network.proj_size}; expected 0: put an nn.Linear behind it instead"
            )
        self.kind = network.mode.lower()
        self.hidden_size = network.hidden_size
        self.num_layers = network.num_layers
        self.directions = 2 if network.bidirectional else 1
        self.batch_first = network.batch_first
        self.between = nn.Dropout(network.dropout)
        _keep_attributes(self, network)
        for layer in range(network.num_layers):
            for suffix in _suffixes(layer, self.directions):
                of_input, of_state = (
                    _linear(
                        getattr(network, f"weight_{part}_{suffix}"), getattr(network, f"bias_{part}_{suffix}", None)
                    )
                    for part in ("ih", "hh")
                )
                self.add_module(f"input_{suffix}", of_input)
                reverse = suffix.endswith("_reverse")
                self.add_module(
                    f"state_{suffix}",
                    Recurrence(self.kind, of_state, time_dim=1 if self.batch_first else 0, reverse=reverse),
                )

    def flatten_parameters(self) -> None:
        """Nothing: there is no fused call to lay out parameters for."""

    def forward(self, x: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """Outputs and last states, with the arguments of `nn.LSTM` and `nn.GRU`; packed sequences are refused."""
        batched = x.dim() == 3
        starts = [] if hx is None else list(hx) if CELLS[self.kind].states == 2 else [hx]
        if not batched:
            x = x.unsqueeze(1 - (1 if self.batch_first else 0))
            starts = [start.unsqueeze(1) for start in starts]
        last: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer and self.between.p > 0:
                x = self.between(x)
            outputs = []
            for suffix in _suffixes(layer, self.directions):
                states = tuple(start[len(last)] for start in starts)
                out, *ends = self._one(suffix, x, states)
                outputs.append(out)
                last.append(tuple(ends))
            x = outputs[0] if self.directions == 1 else torch.cat(outputs, dim=-1)
        ends_of = [torch.stack(each) for each in zip(*last, strict=True)]
        if not batched:
            x, ends_of = x.squeeze(1 - (1 if self.batch_first else 0)), [end.squeeze(1) for end in ends_of]
        return x, tuple(ends_of) if len(ends_of) == 2 else ends_of[0]

    def _one(self, suffix: str, x: Tensor, states: tuple[Tensor, ...]) -> list[Tensor]:
        """One direction of one layer: outputs and last states."""
        results = self.get_submodule(f"state_{suffix}")(self.get_submodule(f"input_{suffix}")(x), *states)
        return [results[index] for index in range(1 + CELLS[self.kind].states)]


class RecurrentCell(nn.Module):
    """`nn.LSTMCell`, `nn.GRUCell` or `nn.RNNCell`: two linear operations and gates."""

    def __init__(self, cell: nn.RNNCellBase, name: str) -> None:
        super().__init__()
        del name
        kind = {nn.LSTMCell: "lstm", nn.GRUCell: "gru"}.get(type(cell))
        self.kind = kind or f"rnn_{cell.nonlinearity}"
        self.input = _linear(cell.weight_ih, cell.bias_ih)
        self.state = _linear(cell.weight_hh, cell.bias_hh)
        _keep_attributes(self, cell)

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        """Next state or states, with the arguments of the cell."""
        cell = CELLS[self.kind]
        from_input = self.input(x)
        if hx is None:
            hx = from_input.new_zeros(from_input[..., : self.state.in_features].shape)
            states: tuple[Tensor, ...] = (hx,) * cell.states
        else:
            states = (hx[0], hx[1]) if cell.states == 2 else (hx,)
        states = cell.step(from_input, self.state(states[0]), states)
        return states if cell.states == 2 else states[0]


def _keep_attributes(module: nn.Module, replaced: nn.Module) -> None:
    """Sizes and switches that a network may ask of the module that was replaced."""
    for name, value in vars(replaced).items():
        if isinstance(value, int | float | str) and not name.startswith("_") and not hasattr(module, name):
            setattr(module, name, value)


_Writer = Callable[[Any, str], nn.Module]
_WRITERS: dict[type[nn.Module], _Writer] = {
    nn.MultiheadAttention: Attention,
    nn.LSTM: Recurrent,
    nn.GRU: Recurrent,
    nn.RNN: Recurrent,
    nn.LSTMCell: RecurrentCell,
    nn.GRUCell: RecurrentCell,
    nn.RNNCell: RecurrentCell,
}


def _replacement(module: nn.Module) -> _Writer | None:
    for kind, writer in _WRITERS.items():
        # A subclass with a forward of its own computes something else.
        if isinstance(module, kind) and type(module).forward is kind.forward:
            return writer
    if is_frozen_batch_norm(module):
        return as_batch_norm
    if type(module).__name__ == "Conv1D" and type(module).__module__.startswith("transformers"):
        return _of_transformers_conv1d
    return None


def _of_transformers_conv1d(module: Any, name: str) -> nn.Module:
    """Linear layer for GPT-2's `Conv1D`, whose weight is stored as `(in, out)`."""
    del name
    with torch.device("meta"):
        layer = TurnedLinear(module.weight.shape[0], module.weight.shape[1], bias=module.bias is not None)
    layer.weight, layer.bias = module.weight, module.bias
    return layer


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer with weights of its own, `(out, in)`."""
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = _own(weight)
    if bias is not None:
        layer.bias = _own(bias)
    return layer


def _own(tensor: Tensor) -> nn.Parameter:
    """A parameter as it is, so that what shares it still does; a part of one as a parameter of its own."""
    if isinstance(tensor, nn.Parameter):
        return tensor
    return nn.Parameter(tensor.detach().clone(memory_format=torch.contiguous_format), tensor.requires_grad)


def _separate_weights(attention: nn.MultiheadAttention) -> tuple[Tensor, ...]:
    return attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight


def _suffixes(layer: int, directions: int) -> tuple[str, ...]:
    return (f"l{layer}", f"l{layer}_reverse")[:directions]


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as what is added to the scores: a boolean one is true where nothing may be looked at."""
    if mask.dtype is not torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, float("-inf"))
