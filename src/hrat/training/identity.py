"""Identity of a training run, which tells its checkpoints from those of another run.

Two runs with the same identity come to the same weights, as far as what is known of them goes: hardware, network,
options, data (by the digest of its arrays, where they are in memory), loss, and what the caller adds, such as the seed.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sized
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.data import Subset, TensorDataset

from hrat.artifacts import digest_of
from hrat.errors import TrainingError
from hrat.nn import CrossbarLayer, PreparedModel
from hrat.training.data import ArrayDataset
from hrat.training.options import FitOptions

__all__ = ["data_digest", "differences", "identity_of", "plain", "said"]

NO_MATTER = ("checkpoint_every_s",)
"""Options that training does not depend on."""
MOST_NAMED = 4
"""Most values of a group that a message names."""
LONGEST_VALUE = 40


def identity_of(
    model: nn.Module,
    train: Any,
    options: FitOptions,
    loss: Any,
    run: Mapping[str, Any] | None,
    label_key: str | None = None,
) -> dict[str, Any]:
    """Identity of a call of `fit`, as plain data.

    Args:
        model: as it is given to `fit`.
        train: the loader.
        options: training options.
        loss: the function, or None.
        run: the identity that the caller adds.
        label_key: key of the label in batches, where one is named.
    """
    prepared = isinstance(model, PreparedModel)
    forms = {module.form for module in model.modules() if isinstance(module, CrossbarLayer)}
    return plain(
        {
            "network": _network(model),
            "hardware": model.spec.to_dict() if isinstance(model, PreparedModel) else {},
            "forms": sorted(forms) if prepared else [],
            "options": {k: v for k, v in dataclasses.asdict(options).items() if k not in NO_MATTER},
            "data": _data(train),
            "loss": _name(loss) + (f" on '{label_key}'" if label_key else ""),
            "run": run or {},
        }
    )


def plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data as JSON has it, so that what was saved and what is given now compare.

    Raises:
        TrainingError: it holds what JSON has not.
    """
    try:
        copy = json.loads(json.dumps(data))
    except (TypeError, ValueError) as error:
        raise TrainingError(f"expected an identity of plain data (numbers, words, lists, dicts): {error}") from error
    assert isinstance(copy, dict)
    return copy


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Differences between two identities, as words that continue "trained with"."""
    sentences = []
    if saved["network"] != now["network"]:
        sentences.append("another network")
    if saved["hardware"] != now["hardware"]:
        sentences.append(f"other hardware ({_changes(saved['hardware'], now['hardware'])})")
    if saved["forms"] != now["forms"]:
        sentences.append(f"layers prepared in another way ({', '.join(saved['forms'])}, now {', '.join(now['forms'])})")
    # A loader of the user's own may say less of its data than another one of the same data.
    known = [key for key in saved["data"] if key in now["data"]]
    of_data = [{key: data[key] for key in known} for data in (saved["data"], now["data"])]
    if of_data[0] != of_data[1]:
        sentences.append(f"other data ({_changes(*of_data)})")
    # Options that came after a run was begun had their defaults in it.
    options = {**plain(dataclasses.asdict(FitOptions())), **saved["options"]}
    options = {key: value for key, value in options.items() if key not in NO_MATTER}
    # What came to recipes and specs after a run was begun is empty in it.
    for before, after in ((options, now["options"]), (said(saved["run"]), said(now["run"]))):
        if before != after:
            sentences.append(_changes(before, after))
    if saved["loss"] != now["loss"]:
        sentences.append(f"loss {saved['loss']}, now {now['loss']}")
    return sentences


def said(value: Any) -> Any:
    """Plain data without entries that say nothing: those that were added since it was written are not missed then."""
    if not isinstance(value, dict):
        return value
    left = {name: said(part) for name, part in value.items()}
    return {name: part for name, part in left.items() if part not in (None, {}, [], "")}


def data_digest(dataset: Any) -> str | None:
    """SHA-256 of a data set whose arrays are in memory; None of one that makes its images as it goes."""
    arrays = _arrays(dataset)
    return None if arrays is None else digest_of("", arrays)


def _data(loader: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"batches": len(loader)}
    dataset = getattr(loader, "dataset", None)
    if isinstance(dataset, Sized):
        facts["images"] = len(dataset)
    digest = data_digest(dataset)
    if digest is not None:
        facts["sha256"] = digest
    for owner in (getattr(loader, "batch_sampler", None), getattr(loader, "sampler", None)):
        size = getattr(owner, "batch_size", None)
        if isinstance(size, int):
            facts["batch_size"] = size
    return facts


def _arrays(dataset: Any) -> dict[str, Tensor] | None:
    if isinstance(dataset, ArrayDataset):
        scaling = torch.tensor([dataset.mean, dataset.std], dtype=torch.float64)
        return {"images": dataset.images, "labels": dataset.labels, "scaling": scaling}
    if isinstance(dataset, TensorDataset):
        return {str(number): tensor for number, tensor in enumerate(dataset.tensors)}
    if isinstance(dataset, Subset):
        whole = _arrays(dataset.dataset)
        return None if whole is None else {**whole, "indices": torch.tensor(list(dataset.indices), dtype=torch.int64)}
    return None


def _network(model: nn.Module) -> str:
    """Digest of what the network is made of, without the values of its weights."""
    lines = [f"{name} {type(module).__qualname__} {_words(module)}" for name, module in model.named_modules()]
    lines += [module.code for module in model.modules() if isinstance(module, fx.GraphModule)]
    lines += [f"{name} {tuple(value.shape)} {value.dtype}" for name, value in _tensors(model.state_dict())]
    lines += [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return digest_of(re.sub(r"0x[0-9a-f]+", "", "\n".join(lines)), {})  # addresses are not the network's


def _words(module: nn.Module) -> str:
    # A prepared model names its hardware there, which is compared by itself.
    return "" if isinstance(module, PreparedModel) else module.extra_repr()


def _tensors(state: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    return ((name, value) for name, value in state.items() if isinstance(value, Tensor))


def _name(loss: Any) -> str:
    if loss is None:
        return "cross entropy"
    return str(getattr(loss, "__qualname__", type(loss).__qualname__))


def _changes(saved: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """`weight_bits=3, now 4` for each value that differs, by its path."""
    before, after = dict(_leaves(saved)), dict(_leaves(now))
    names = [name for name in {**before, **after} if before.get(name, ...) != after.get(name, ...)]
    words = [f"{name}={_short(before, name)}, now {_short(after, name)}" for name in names[:MOST_NAMED]]
    return ", ".join([*words, *([f"and {len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else [])])


def _leaves(data: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _short(values: Mapping[str, Any], name: str) -> str:
    text = str(values[name]) if name in values else "not given"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
