"""Layers on tiles with wires, against tiles put together by hand and solved by the plain reference."""

import pytest
import torch
from torch import Tensor

import hrat
from hrat.artifacts import DeployedLayer, ProgrammedLayer
from hrat.encoding import Geometry
from hrat.errors import HratError
from hrat.simulation.nodal import layer_conductances
from hrat.simulation.nodal import layers as layers_module
from hrat.spec import HardwareSpec
from simulation.nodal import reference

WIRES = {"word_ohm": 20.0, "bit_ohm": 35.0, "driver_ohm": 50.0, "sense_ohm": 5.0}
GEOMETRIES = {
    "one tile": Geometry(kind="linear", in_channels=5, out_channels=4),
    "larger than a tile": Geometry(kind="linear", in_channels=17, out_channels=11),
    "grouped convolution": Geometry(
        kind="conv",
        in_channels=4,
        out_channels=6,
        kernel=(3, 3),
        stride=(1, 1),
        padding=((0, 0), (0, 0)),
        dilation=(1, 1),
        groups=2,
    ),
}


def spec(readout: str, *, drive: str = "one_end", wires: bool = True) -> HardwareSpec:
    return HardwareSpec().replace(
        rows=8,
        cols=6,
        readout=readout,
        drive=drive,
        limit_wires=wires,
        **{f"r_{name}": value for name, value in WIRES.items()},
    )


def programmed(geometry: Geometry, hardware: HardwareSpec, chips: int = 2) -> hrat.ProgrammedChip:
    shape = geometry.matrix_shape
    layer = DeployedLayer(
        name="fc",
        geometry=geometry,
        g_pos_S=torch.zeros(shape),
        g_neg_S=torch.zeros(shape),
        r_f_ohm=1e4,
        bias_V=None,
        bias_codes=None,
    )
    reached = ProgrammedLayer(
        g_pos_S=torch.rand(chips, *shape, dtype=torch.float64) * 1e-4,
        g_neg_S=torch.rand(chips, *shape, dtype=torch.float64) * 1e-4,
    )
    deployment = hrat.Deployment(spec=hardware, layers={"fc": layer}, graph=())
    return hrat.ProgrammedChip(
        deployment=deployment, layers={"fc": reached}, seeds=tuple(range(chips)), scheme="by hand"
    )


def tile_outputs_A(g_pos_S: Tensor, g_neg_S: Tensor, v_V: Tensor, readout: str, both_ends: bool) -> Tensor:
    """`I+ - I-` of one tile, wired device by device; `(rows, cols)` twice and `(rows,)` -> `(cols,)`."""
    rows, cols = g_pos_S.shape
    if readout == "dual_rail":
        grid, sources = torch.zeros(2 * rows, cols), torch.zeros(2 * rows)
        for k in range(rows):
            grid[2 * k], grid[2 * k + 1] = g_pos_S[k], g_neg_S[k]
            sources[2 * k], sources[2 * k + 1] = v_V[k], -v_V[k]
    else:
        grid, sources = torch.zeros(rows, 2 * cols), v_V
        for j in range(cols):
            grid[:, 2 * j], grid[:, 2 * j + 1] = g_pos_S[:, j], g_neg_S[:, j]
    solved = reference.solve(grid.numpy(), sources.numpy()[None], **WIRES, both_ends=both_ends)
    outputs_A = torch.from_numpy(solved.outputs_A[0])
    return outputs_A if readout == "dual_rail" else outputs_A[0::2] - outputs_A[1::2]


@pytest.fixture(autouse=True)
def _double_precision() -> object:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("drive", ["one_end", "both_ends"])
@pytest.mark.parametrize("readout", ["dual_rail", "two_stage"])
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_a_layer_is_its_tiles(geometry: Geometry, readout: str, drive: str) -> None:
    chip = programmed(geometry, spec(readout, drive=drive))
    eff_pos_S, eff_neg_S = layer_conductances(chip, "fc")
    groups, rows, cols = geometry.matrix_shape
    v_V = torch.rand(groups, rows) - 0.5
    for n in range(chip.n_chips):
        expected_A = torch.zeros(groups, cols)
        for tile in chip.deployment.tiles("fc"):
            pair = (g[n][tile.index] for g in (chip.layers["fc"].g_pos_S, chip.layers["fc"].g_neg_S))
            expected_A[tile.group, tile.cols] += tile_outputs_A(
                *pair, v_V[tile.group, tile.rows], readout, drive == "both_ends"
            )
        got_A = torch.einsum("grc,gr->gc", eff_pos_S[n] - eff_neg_S[n], v_V)
        assert torch.allclose(got_A, expected_A, rtol=1e-9, atol=1e-9 * float(expected_A.abs().max()))


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_without_the_restriction_it_is_the_chip(geometry: Geometry) -> None:
    chip = programmed(geometry, spec("dual_rail", wires=False))
    eff_pos_S, eff_neg_S = layer_conductances(chip, "fc")
    assert torch.equal(eff_pos_S, chip.layers["fc"].g_pos_S)
    assert torch.equal(eff_neg_S, chip.layers["fc"].g_neg_S)
    eff_pos_S.zero_()
    assert chip.layers["fc"].g_pos_S.any()


@pytest.mark.parametrize("readout", ["dual_rail", "two_stage"])
def test_pairs_that_are_taken_apart_wrongly_are_noticed(readout: str) -> None:
    """Partners swapped; the other read-out's grid in place of this one's."""
    chip = programmed(GEOMETRIES["larger than a tile"], spec(readout))
    eff_pos_S, eff_neg_S = layer_conductances(chip, "fc")
    other = "two_stage" if readout == "dual_rail" else "dual_rail"
    swapped = programmed(GEOMETRIES["larger than a tile"], spec(other))
    swapped.layers["fc"].g_pos_S.copy_(chip.layers["fc"].g_pos_S)
    swapped.layers["fc"].g_neg_S.copy_(chip.layers["fc"].g_neg_S)
    wrong_pos_S, _ = layer_conductances(swapped, "fc")
    assert float((wrong_pos_S - eff_pos_S).abs().max()) > 1e-7
    assert float((eff_neg_S - eff_pos_S).abs().max()) > 1e-5


def test_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = programmed(GEOMETRIES["larger than a tile"], spec("dual_rail"), chips=5)
    whole = layer_conductances(chip, "fc")
    for devices in (1, 100, 250):
        monkeypatch.setattr(layers_module, "DEVICES_AT_ONCE", devices)
        for part, expected in zip(layer_conductances(chip, "fc"), whole, strict=True):
            assert torch.allclose(part, expected, rtol=1e-12, atol=0)


def test_a_chip_alone_is_the_same_as_among_others() -> None:
    chip = programmed(GEOMETRIES["larger than a tile"], spec("two_stage"), chips=3)
    for part, expected in zip(layer_conductances(chip[1], "fc"), layer_conductances(chip, "fc"), strict=True):
        assert torch.allclose(part[0], expected[1], rtol=1e-12, atol=0)


def test_an_unknown_layer_is_named() -> None:
    with pytest.raises(HratError, match="no layer 'conv'; it has fc"):
        layer_conductances(programmed(GEOMETRIES["one tile"], spec("dual_rail")), "conv")
