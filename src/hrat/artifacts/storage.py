"""One file for one artefact: arrays as safetensors, all else as JSON in the file's header. No pickle.

The header's metadata has one entry, `hrat`: JSON with `kind`, `schema_version`, `hrat_version`, `content`, and
`digest`, a SHA-256 over the content and all arrays, so that a file that was cut or changed is refused and never half
believed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hrat.artifacts.decode import STRICT, decoded, parse_json
from hrat.errors import ArtifactError
from hrat.files import atomic_path
from hrat.names import one_line

__all__ = ["SCHEMA_VERSION", "digest_of", "kind_of", "read_artifact", "read_json", "write_artifact"]

SCHEMA_VERSION = 1
"""Version of files; raised when older ones can no longer be read."""


@dataclass(frozen=True, kw_only=True)
class _Header:
    """Metadata of a file."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: str
    schema_version: int
    hrat_version: str
    digest: str
    content: str
    """JSON."""


def _hrat_version() -> str:
    try:
        return version("hrat")
    except PackageNotFoundError:
        return "unknown"


def digest_of(head: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, in hexadecimal, of a text and of tensors with their names, types and shapes."""
    total = hashlib.sha256(head.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _digest(kind: str, content: str, tensors: dict[str, Tensor]) -> str:
    return digest_of(f"{kind}\n{content}\n", tensors)


def write_artifact(
    path: str | os.PathLike[str], kind: str, content: dict[str, Any], tensors: dict[str, Tensor]
) -> Path:
    """Write an artefact whole or not at all, and return its path.

    Raises:
        OSError: the folder cannot be written or the disk is full; what stood at `path` before is untouched.
    """
    text = json.dumps(content, allow_nan=False)
    tensors = _apart({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    header = {
        "kind": kind,
        "schema_version": SCHEMA_VERSION,
        "hrat_version": _hrat_version(),
        "digest": _digest(kind, text, tensors),
        "content": text,
    }
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={"hrat": json.dumps(header)})
        except SafetensorError as error:  # safetensors hides the OSError of a full disk in a text
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise OSError(f"{path} could not be written ({error}); is the disk full?") from error
            raise OSError(int(number[1]), os.strerror(int(number[1])), os.fspath(path)) from None
    return Path(path)


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share memory as copies: safetensors writes each by itself, and refuses what overlaps."""
    seen: set[int] = set()
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        if memory in seen:
            tensors[name] = tensor.clone()
        seen.add(memory)
    return tensors


def read_artifact(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read an artefact of a kind, checked.

    Returns:
        `(content, tensors)`.

    Raises:
        FileNotFoundError: nothing stands at `path`.
        ArtifactError: the file is truncated, altered, foreign, of another kind or of another schema version.
    """
    header, tensors = _read(path)
    if header.kind != kind:
        raise ArtifactError(f"{path} holds a {one_line(header.kind)}; expected a {kind}")
    if header.digest != _digest(kind, header.content, tensors):
        raise ArtifactError(f"{path} was changed after hrat wrote it, or is damaged: its check-sum does not hold")
    content = parse_json(header.content, path)
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} holds JSON of another shape than hrat writes; expected an object")
    return content, tensors


def kind_of(path: str | os.PathLike[str]) -> str:
    """Which kind of artefact a file holds; raises as `read_artifact` does."""
    header, _ = _read(path, header_only=True)
    return header.kind


def read_json(path: str | os.PathLike[str], expected: str) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        path: the file.
        expected: what should stand there, for the message.

    Raises:
        FileNotFoundError: nothing stands at `path`.
        ArtifactError: it is no JSON, or no object.
    """
    data = parse_json(Path(path).read_bytes(), path)
    if not isinstance(data, dict):
        raise ArtifactError(f"{path} is JSON, but nothing that hrat wrote; expected {expected}")
    return data


def _read(path: str | os.PathLike[str], header_only: bool = False) -> tuple[_Header, dict[str, Tensor]]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "hrat" not in metadata:
                raise ArtifactError(
                    f"{path} is a safetensors file, but none that hrat wrote; expected the output of deploy or program"
                )
            header = _header(path, metadata["hrat"])
            tensors = {} if header_only else {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is truncated, damaged or not an hrat file: {error}") from error
    return header, tensors


def _header(path: str | os.PathLike[str], text: str) -> _Header:
    data = parse_json(text, path)
    fields = ("kind", "schema_version", "hrat_version", "digest", "content")
    if not isinstance(data, dict) or any(name not in data for name in fields):
        raise ArtifactError(f"{path} has an incomplete hrat header; expected {', '.join(fields)}")
    header = decoded(_Header, data, f"{path} has a damaged hrat header")
    if header.schema_version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {header.schema_version} (written by hrat {one_line(header.hrat_version)}), "
            f"this hrat {_hrat_version()} reads version {SCHEMA_VERSION}; make the file again, or use the hrat that "
            "wrote it"
        )
    return header
