"""Content of a file as tables for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hrat.artifacts import DeployedLayer, Deployment, ProgrammedChip
from hrat.circuit import input_names
from hrat.reports.words import count, percent, safe_markup
from hrat.spec import RESTRICTIONS, HardwareSpec

__all__ = ["artifact_table"]


def artifact_table(artifact: Deployment | ProgrammedChip) -> RenderableType:
    """Facts about a deployment or programmed chips, a table of their layers, and one of ADCs between tiles."""
    chip = artifact if isinstance(artifact, ProgrammedChip) else None
    deployment = artifact.deployment if isinstance(artifact, ProgrammedChip) else artifact
    return Group(_facts(deployment, chip), _layers(deployment, chip), *_tile_adcs(deployment))


def _facts(deployment: Deployment, chip: ProgrammedChip | None) -> Table:
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    spec = deployment.spec
    if chip is None:
        facts.add_row("what", "deployment: targets for a chip")
    else:
        first, last = chip.seeds[0], chip.seeds[-1]
        seeds = f"seed {first}" if chip.n_chips == 1 else f"seeds {first} to {last}"
        facts.add_row("what", f"{count(chip.n_chips, 'programmed chip')}, {seeds}, scheme {safe_markup(chip.scheme)}")
    facts.add_row("hardware", safe_markup(f"{spec.name} {_states(spec)}"))
    off = [name for name, r in RESTRICTIONS.items() if r.applies(spec) and not r.is_on(spec)]
    if off:
        facts.add_row("switched off", ", ".join(off))
    each = " a chip" if chip is not None and chip.n_chips > 1 else ""
    facts.add_row("size", f"{count(deployment.n_devices, 'device')} on {count(deployment.n_tiles, 'tile')}{each}")
    inputs = input_names(deployment.graph)
    facts.add_row("inputs", safe_markup(", ".join(inputs)) or "-")
    return facts


def _states(spec: HardwareSpec) -> str:
    device = spec.device
    states = f"{device.n_states} states" if device.n_states else "continuous"
    return f"({states}, {device.g_min_S * 1e6:g} to {device.g_max_S * 1e6:g} uS)"


def _layers(deployment: Deployment, chip: ProgrammedChip | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("layer", overflow="fold")
    table.add_column("kind")
    for heading in ("rows x cols", "tiles", "devices", "R_f kohm", "bias"):
        table.add_column(heading, justify="right")
    if chip is not None:
        table.add_column("rms error", justify="right", no_wrap=True)
    for name, layer in deployment.layers.items():
        cells = [
            safe_markup(name),
            layer.geometry.kind,
            _shape(layer),
            str(len(deployment.tiles(name))),
            f"{layer.n_devices:,}",
            f"{layer.r_f_ohm / 1e3:.4g}",
            _bias(layer),
        ]
        table.add_row(*cells, *([] if chip is None else [_error(chip, name)]))
    return table


def _tile_adcs(deployment: Deployment) -> list[Table]:
    """The ADCs of partial sums, if there are any: the smallest and the largest full scale of each layer's tiles."""
    layers = {name: layer.tile_adc_V for name, layer in deployment.layers.items() if layer.tile_adc_V is not None}
    if not layers:
        return []
    periphery = deployment.spec.periphery
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("ADCs between tiles of layer", overflow="fold")
    for heading in ("partial sums", "bits", "full scale V"):
        table.add_column(heading, justify="right")
    for name, full_scale_V in layers.items():
        bits = str(periphery.tile_adc_bits) if periphery.limit_tile_adc else "exact"
        low, high = (f"{float(scale_V):.3g}" for scale_V in full_scale_V.aminmax())
        table.add_row(safe_markup(name), str(len(full_scale_V)), bits, low if low == high else f"{low} to {high}")
    return [table]


def _bias(layer: DeployedLayer) -> str:
    if layer.bias_V is None:
        return "-"
    if layer.tile_adc_V is not None:
        return "digital"
    return "DAC" if layer.bias_codes is not None else "analog"


def _shape(layer: DeployedLayer) -> str:
    groups, rows, cols = layer.array_shape
    return f"{rows} x {cols}" if groups == 1 else f"{groups} of {rows} x {cols}"


def _error(chip: ProgrammedChip, name: str) -> str:
    rms_S = chip.rms_error_S(name)
    share = rms_S / chip.deployment.spec.device.g_range_S
    return f"{rms_S * 1e6:.2f} uS ({percent(share, 1)})"
