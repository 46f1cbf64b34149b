"""ProgrammedChip: the conductances that the devices of one or several chips ended at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hrat.artifacts.deployment import Deployment
from hrat.artifacts.storage import read_artifact, write_artifact
from hrat.errors import ArtifactError

__all__ = ["ProgrammedChip", "ProgrammedLayer"]


@dataclass(frozen=True, kw_only=True)
class ProgrammedLayer:
    """Conductances reached, `(chips, groups, rows, cols)`, S."""

    g_pos_S: Tensor
    g_neg_S: Tensor


@dataclass(frozen=True, kw_only=True)
class ProgrammedChip:
    """One or several chips programmed from the same deployment."""

    deployment: Deployment
    layers: dict[str, ProgrammedLayer]
    seeds: tuple[int, ...]
    """The seed of each chip: the same seed makes the same chip, alone or among others."""
    scheme: str
    """How they were programmed."""

    KIND = "chip"

    @property
    def n_chips(self) -> int:
        """How many chips there are."""
        return len(self.seeds)

    def __getitem__(self, index: int | slice) -> ProgrammedChip:
        """One or some of the chips, as a ProgrammedChip whose conductances share the memory of this one's."""
        if isinstance(index, slice):
            some = index
        elif -self.n_chips <= index < self.n_chips:
            some = slice(index % self.n_chips, index % self.n_chips + 1)
        else:
            raise IndexError(f"chip {index} of {self.n_chips}")
        layers = {n: ProgrammedLayer(g_pos_S=p.g_pos_S[some], g_neg_S=p.g_neg_S[some]) for n, p in self.layers.items()}
        return ProgrammedChip(deployment=self.deployment, layers=layers, seeds=self.seeds[some], scheme=self.scheme)

    def with_array(self, **fields: Any) -> ProgrammedChip:
        """The same devices on other arrays: `chip.with_array(limit_wires=True, r_word_ohm=0.5)`.

        Targets, resistors and DAC codes stay what they are: this shows what wires do to a network that was not trained
        for them. The switch stays as it is too: resistances without `limit_wires=True` do nothing where it is off.

        Args:
            fields: of `hrat.Array`, by name.

        Raises:
            SpecError: an unknown field, or a value out of range.
        """
        return replace(self, deployment=self.deployment.with_array(**fields))

    def errors_S(self, layer: str) -> tuple[Tensor, Tensor]:
        """Achieved minus target conductance of `(G+, G-)`, each `(chips, groups, rows, cols)`, S."""
        programmed, target = self.layers[layer], self.deployment.layers[layer]
        return programmed.g_pos_S - target.g_pos_S, programmed.g_neg_S - target.g_neg_S

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one file, the deployment with it, whole or not at all.

        Raises:
            OSError: the folder cannot be written or the disk is full.
        """
        content, tensors = self.deployment.to_parts()
        for name, layer in self.layers.items():
            tensors[f"chip/{name}/g_pos_S"] = layer.g_pos_S
            tensors[f"chip/{name}/g_neg_S"] = layer.g_neg_S
        content = {"deployment": content, "seeds": list(self.seeds), "scheme": self.scheme}
        return write_artifact(path, self.KIND, content, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ProgrammedChip:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: nothing stands at `path`.
            ArtifactError: the file is damaged, foreign, or of another version.
        """
        content, tensors = read_artifact(path, cls.KIND)
        return cls._from_parts(content, tensors)

    @classmethod
    def _from_parts(cls, content: dict[str, Any], tensors: dict[str, Tensor]) -> ProgrammedChip:
        deployment = Deployment.from_parts(
            content["deployment"], {key: value for key, value in tensors.items() if not key.startswith("chip/")}
        )
        try:
            seeds, scheme = tuple(int(seed) for seed in content["seeds"]), str(content["scheme"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"the file lacks or garbles {error}; expected what ProgrammedChip.save writes"
            ) from error
        layers = {}
        for name, target in deployment.layers.items():
            try:
                layer = ProgrammedLayer(
                    g_pos_S=tensors[f"chip/{name}/g_pos_S"], g_neg_S=tensors[f"chip/{name}/g_neg_S"]
                )
            except KeyError as error:
                raise ArtifactError(f"the file lacks {error}; expected what ProgrammedChip.save writes") from error
            for value in (layer.g_pos_S, layer.g_neg_S):
                expected = (len(seeds), *target.geometry.matrix_shape)
                if tuple(value.shape) != expected:
                    raise ArtifactError(
                        f"layer '{name}': conductances of shape {tuple(value.shape)}, expected {expected} "
                        "(one chip for each seed, groups, rows, cols)"
                    )
                if not bool(torch.isfinite(value).all()) or bool((value < 0).any()):
                    raise ArtifactError(f"layer '{name}' has conductances that are negative or not finite")
            layers[name] = layer
        return cls(deployment=deployment, layers=layers, seeds=seeds, scheme=scheme)

    def __str__(self) -> str:
        """How far the devices ended from their targets."""
        lines = [f"{self.n_chips} chip(s), {_seed_text(self.seeds)}, programmed by '{self.scheme}'"]
        lines.append(f"  {'layer':<16} {'devices':>10} {'rms error':>12} {'of the window':>13}")
        for name in self.layers:
            error = torch.cat([part.flatten() for part in self.errors_S(name)]).double()
            rms_S = float(error.square().mean().sqrt())
            share = rms_S / self.deployment.spec.device.g_range_S
            lines.append(f"  {name:<16} {error.numel() // self.n_chips:>10,} {rms_S * 1e6:>9.3f} uS {share:>12.2%}")
        return "\n".join(lines)

    __repr__ = __str__


def _seed_text(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]}..{seeds[-1]}"
