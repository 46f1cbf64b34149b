"""`simulate`: one call for every solver."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hrat.artifacts import ProgrammedChip, ProgrammedLayer, SimulationResult
from hrat.errors import HratError
from hrat.simulation.behavioural import BehaviouralSolver

__all__ = ["SOLVERS", "Solver", "simulate"]

BATCH_OF_A_DATASET = 256
MEMORY_BYTES = 2 * 1024**3


class Solver(Protocol):
    """What a solver is: made once from chips, then asked for many batches."""

    def compute(self, inputs: Mapping[str, Any], *, record: Callable[[str, Tensor], None] | None = None) -> Any:
        """Outputs of every chip, each tensor `(chips, images, ...)`."""
        ...


SOLVERS: dict[str, Callable[..., Solver]] = {"behavioural": BehaviouralSolver}


@torch.no_grad()
def simulate(
    chip: ProgrammedChip,
    data: Any,
    *,
    solver: str = "behavioural",
    limit: int | None = None,
    voltages_of: Sequence[str] = (),
    device: torch.device | str = "cpu",
    memory_bytes: int = MEMORY_BYTES,
    progress: Callable[[int, int | None], None] | None = None,
) -> SimulationResult:
    """Run inputs through one or several chips.

    Args:
        chip: the chips; all of them see all inputs.
        data: a tensor of inputs `(images, ...)`; a tuple or dict of the network's arguments; or a loader, or Dataset,
            of `(input, label)`.
        solver: how each layer is solved; one of `SOLVERS`.
        limit: use the first so many images only.
        voltages_of: layers whose amplifier outputs are wanted.
        device: where to compute.
        memory_bytes: chips are taken in groups whose gains fit into this.
        progress: called with (images done, images in all or None) after each batch.

    Returns:
        Outputs of every chip, and the accuracy of each where there are labels.

    Raises:
        HratError: unknown solver, unknown layer, or no data.
        ValueError: inputs that are not finite.
    """
    if not isinstance(chip, ProgrammedChip):
        raise HratError(
            f"expected the chips that hrat.program returned, got {type(chip).__name__}; call "
            "hrat.program(deployment) first"
        )
    if solver not in SOLVERS:
        raise HratError(f"unknown solver {solver!r}; expected one of {', '.join(SOLVERS)}")
    unknown = [name for name in voltages_of if name not in chip.layers]
    if unknown:
        raise HratError(f"the chip has no layer {unknown[0]!r}; it has {', '.join(chip.layers)}")
    start = time.perf_counter()
    solvers = [SOLVERS[solver](part, device=device) for part in _groups(chip, memory_bytes)]
    outputs: list[Any] = []
    right: list[Tensor] = []
    voltages: dict[str, list[Tensor]] = {name: [] for name in voltages_of}
    done = 0
    total = _images_in(data, limit)
    for inputs, labels in _batches(chip, data, limit, torch.device(device)):
        parts: list[Any] = []
        seen: dict[str, list[Tensor]] = {}

        def record(name: str, voltage: Tensor, seen: dict[str, list[Tensor]] = seen) -> None:
            seen.setdefault(name, []).append(voltage.cpu())

        for one in solvers:
            parts.append(one.compute(inputs, record=record if voltages_of else None))
        out = _joined(parts, 0)
        if labels is not None and _are_classes(labels):
            classes = _class_scores(out).argmax(dim=2)
            right.append((classes == labels.to(classes.device)).cpu())
        for name in voltages_of:
            voltages[name].append(torch.cat(seen[name]))
        outputs.append(_to_cpu(out))
        done += _first_tensor(inputs).shape[0]
        if progress is not None:
            progress(done, total)
    if not outputs:
        raise HratError("there is nothing to simulate: the data has no images")
    accuracies = tuple(torch.cat(right, dim=1).double().mean(dim=1).tolist()) if right else None
    return SimulationResult(
        value=_joined(outputs, 1),
        solver=solver,
        seeds=chip.seeds,
        n_images=done,
        accuracies=accuracies,
        seconds=time.perf_counter() - start,
        voltages={name: torch.cat(parts, dim=1) for name, parts in voltages.items()},
    )


def _groups(chip: ProgrammedChip, memory_bytes: int) -> Iterator[ProgrammedChip]:
    """The chips in groups whose gains fit into the memory; at least one chip at a time."""
    each = sum(layer.g_pos_S[0].numel() * layer.g_pos_S.element_size() for layer in chip.layers.values())
    # Gains of a group stand beside the conductances, and a batched convolution copies them once.
    at_once = max(1, memory_bytes // (4 * each))
    for first in range(0, chip.n_chips, at_once):
        group = slice(first, first + at_once)
        layers = {
            n: ProgrammedLayer(g_pos_S=p.g_pos_S[group], g_neg_S=p.g_neg_S[group]) for n, p in chip.layers.items()
        }
        yield ProgrammedChip(deployment=chip.deployment, layers=layers, seeds=chip.seeds[group], scheme=chip.scheme)


def _input_names(chip: ProgrammedChip) -> list[str]:
    return [node.args[0] for node in chip.deployment.graph if node.op == "input"]


def _batches(
    chip: ProgrammedChip, data: Any, limit: int | None, device: torch.device
) -> Iterator[tuple[dict[str, Any], Tensor | None]]:
    """(arguments by name, labels or None) of each batch, cut at the limit."""
    names = _input_names(chip)
    left = limit

    def named(args: Any) -> dict[str, Any]:
        if len(args) > len(names):
            raise HratError(f"the network takes {len(names)} input(s) ({', '.join(names)}), got {len(args)}")
        return dict(zip(names, args, strict=False))

    for batch in _raw_batches(data):
        if isinstance(batch, dict):
            inputs, labels = dict(batch), None
            unknown = [name for name in inputs if name not in names]
            if unknown:
                raise HratError(f"the network has no input '{unknown[0]}'; it takes {', '.join(names)}")
        elif isinstance(batch, Tensor):
            inputs, labels = {names[0]: batch}, None
        elif isinstance(data, Tensor | tuple):
            inputs, labels = named(batch), None
        else:
            *args, labels = batch
            if len(args) == 1 and isinstance(args[0], tuple | list):
                args = list(args[0])  # ((x1, x2), label)
            inputs = named(args)
        if left is not None:
            if left <= 0:
                return
            inputs = {name: value[:left] if isinstance(value, Tensor) else value for name, value in inputs.items()}
            labels = None if labels is None else labels[:left]
            left -= _first_tensor(inputs).shape[0]
        yield {name: _sound(name, value, chip, device) for name, value in inputs.items()}, labels


def _raw_batches(data: Any) -> Iterable[Any]:
    if isinstance(data, Tensor):
        return [(data,)]
    if isinstance(data, tuple | dict):
        return [data]
    if isinstance(data, Dataset):
        return DataLoader(data, batch_size=BATCH_OF_A_DATASET)
    if not isinstance(data, Iterable):
        raise HratError(
            f"cannot simulate on a {type(data).__name__}; expected a tensor of inputs, a loader of (input, label), or "
            "a Dataset"
        )
    return data


def _sound(name: str, value: Any, chip: ProgrammedChip, device: torch.device) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value.is_floating_point():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"input '{name}' has values that are not finite; expected numbers")
        first = next(iter(chip.layers.values()))
        value = value.to(first.g_pos_S.dtype)
    return value.to(device)


def _images_in(data: Any, limit: int | None) -> int | None:
    if isinstance(data, Tensor):
        total: int | None = data.shape[0]
    else:
        source = data.dataset if isinstance(data, DataLoader) else data
        total = len(source) if isinstance(source, Sized) and isinstance(source, Dataset) else None
    if total is None or limit is None:
        return total if limit is None else limit
    return min(total, limit)


def _first_tensor(nested: Any) -> Tensor:
    if isinstance(nested, Tensor):
        return nested
    parts = nested.values() if isinstance(nested, dict) else nested
    return next(_first_tensor(part) for part in parts if isinstance(part, Tensor | tuple | list | dict))


def _are_classes(labels: Any) -> bool:
    """Whether accuracy makes sense: one whole number for each image."""
    return isinstance(labels, Tensor) and labels.ndim == 1 and not labels.is_floating_point()


def _class_scores(out: Any) -> Tensor:
    if isinstance(out, dict) and "logits" in out:
        out = out["logits"]
    if not isinstance(out, Tensor):
        raise HratError(
            f"the network returns several outputs ({type(out).__name__}), so which of them holds the class scores is "
            "not known; simulate on inputs alone and compare result.value with the labels"
        )
    scores = out
    if scores.ndim < 3:
        raise HratError(f"labels were given, but the network's output has shape {tuple(scores.shape[1:])}, no classes")
    return scores


def _joined(parts: list[Any], dim: int) -> Any:
    """The same nest of tensors, several times, joined along a dimension."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(parts, dim=dim)
    if isinstance(first, dict):
        return {key: _joined([part[key] for part in parts], dim) for key in first}
    if isinstance(first, tuple | list):
        return type(first)(_joined(list(column), dim) for column in zip(*parts, strict=True))
    return first


def _to_cpu(nested: Any) -> Any:
    if isinstance(nested, Tensor):
        return nested.cpu()
    if isinstance(nested, dict):
        return {key: _to_cpu(part) for key, part in nested.items()}
    return type(nested)(_to_cpu(part) for part in nested) if isinstance(nested, tuple | list) else nested
