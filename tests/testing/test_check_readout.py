"""`check_readout`: the read-outs of hrat keep their contract, and one that breaks each clause is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from torch import Tensor

from hrat.encoding import Readout, Tile
from hrat.encoding.readouts import READOUTS, DualRail, ReferenceColumn, TwoStage
from hrat.errors import LawError, SpecError
from hrat.spec import Device, HardwareSpec, load_spec
from hrat.testing import check_readout


@pytest.mark.parametrize("readout", sorted(READOUTS))
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"device.pairs": "centred"},
        {"device.limit_states": False},
        {"device.weight_bits": 1},
        {"device.weight_bits": 3},
        {"device.levels_S": [50e-6, 70e-6, 95e-6, 130e-6, 180e-6]},
    ],
)
def test_the_readouts_of_hrat(readout: str, changes: dict[str, Any]) -> None:
    changes = {"periphery.readout": readout, **changes}
    if readout == "reference_column" and changes.get("device.weight_bits") == 1:
        with pytest.raises(SpecError, match="a state in the middle"):
            load_spec("generic-4bit").replace(changes)
        return
    spec = load_spec("generic-4bit").replace(changes)
    assert all(one.status == "holds" for one in check_readout(spec).findings)


@dataclass(frozen=True)
class Doubled(TwoStage):
    def full_S(self, device: Device) -> float:
        return 2 * super().full_S(device)


@dataclass(frozen=True)
class Swapped(TwoStage):
    def from_grid(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        return grid[..., 1::2], grid[..., 0::2]


@dataclass(frozen=True)
class OneRail(DualRail):
    def drive(self, voltage: Tensor) -> Tensor:
        return super().drive(voltage).abs()


@dataclass(frozen=True)
class Overlapping(ReferenceColumn):
    def grid_lines(self, tile: Tile) -> tuple[slice, slice]:
        return tile.rows, slice(tile.cols.start, tile.cols.stop + 1)


@dataclass(frozen=True)
class OneForAll(ReferenceColumn):
    def inner_feeds(self, cols: int) -> list[range]:
        return [range(cols)]


@dataclass(frozen=True)
class Coarse(TwoStage):
    def quantise_(self, fraction: Tensor, device: Device) -> Tensor:
        return super().quantise_(fraction, device).mul_(0.9)


@pytest.mark.parametrize(
    ("kind", "clauses"),
    [
        (Doubled, {"weights"}),
        (Swapped, {"grid", "currents", "lines"}),
        (OneRail, {"lines", "currents"}),
        (Overlapping, {"tiles"}),
        (OneForAll, {"amplifiers"}),
        (Coarse, {"states"}),
    ],
)
def test_what_breaks_the_contract_is_found(kind: type[Readout], clauses: set[str]) -> None:
    spec = HardwareSpec().replace({"array.rows": 5, "array.cols": 3})
    broken = kind(spec.array, spec.periphery)
    report = check_readout(spec, readout=broken, throw=False)
    assert clauses <= {one.name for one in report.findings if not one.ok}
    with pytest.raises(LawError, match="does not hold"):
        check_readout(spec, readout=broken)
