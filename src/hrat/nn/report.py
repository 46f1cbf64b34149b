"""What `prepare` did, as a table that a person reads."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hrat.names import plain_text

__all__ = ["ConversionReport", "IslandRow", "LayerRow"]


@dataclass(frozen=True)
class LayerRow:
    """One layer on crossbars."""

    name: str
    kind: str
    groups: int
    rows: int
    cols: int
    tiles: int
    batch_norm: str
    """Names of the batch norms fused, or an empty text."""
    bias: bool
    scale_in: str
    scale_out: str
    calls: int
    """How often the model calls it in one forward pass."""
    tile_adc_bits: str = ""
    """What the ADCs of its tiles' partial sums resolve, in words; empty where the tiles' currents are summed."""

    devices: int = 0
    """Memristors: two for each weight, unless weights share some."""


@dataclass(frozen=True)
class IslandRow:
    """One operation that runs in a digital island."""

    node: str
    """Where it is: the module of the network and the node of its graph."""
    operation: str
    why: str
    adc_bits: int | None
    """Of the ADC in front of it; None where it reads no voltage, or the spec does not limit ADCs."""
    dac_bits: int | None
    """Of the DAC behind it; None where it drives no crossbar, or the spec does not limit DACs."""


@dataclass(frozen=True)
class ConversionReport:
    """The layers, the digital islands and the scales of a prepared model."""

    layers: list[LayerRow]
    islands: list[IslandRow]
    scales: dict[str, int | None]
    """Name of each learned scale -> number of channels, or None for one value."""
    notes: list[str] = field(default_factory=list)
    adcs: int = 0
    """Signals that pass an ADC: those of the islands, layers whose tiles have ADCs, and the states of recurrences."""
    dacs: int = 0
    """Signals that pass a DAC: the network's inputs, what leaves islands, and the states of recurrences."""

    @property
    def devices(self) -> int:
        """Memristors of the whole chip."""
        return sum(row.devices for row in self.layers)

    def __str__(self) -> str:
        """The table as text, 120 columns wide at most."""
        layers = Table(title="Layers on crossbars", title_justify="left")
        for heading in (
            "layer",
            "kind",
            "rows x cols",
            "tiles",
            "devices",
            "batch norm fused",
            "bias",
            "scales in -> out",
        ):
            numeric = heading in ("tiles", "devices")
            layers.add_column(heading, justify="right" if numeric else "left", overflow="fold")
        for row in self.layers:
            size = f"{row.rows} x {row.cols}" + (f" ({row.groups} groups)" if row.groups > 1 else "")
            layers.add_row(
                escape(plain_text(row.name)) + (f" ({row.calls} calls)" if row.calls > 1 else ""),
                row.kind,
                size,
                str(row.tiles) + (f", ADCs of {row.tile_adc_bits}" if row.tile_adc_bits else ""),
                f"{row.devices:,}",
                row.batch_norm or "-",
                "-" if not row.bias else "digital" if row.tile_adc_bits else "DAC",
                f"{row.scale_in} -> {row.scale_out}",
            )
        islands = Table(title="Digital islands", title_justify="left")
        for heading in ("operation", "why", "ADC bits", "DAC bits", "count", "nodes"):
            numeric = heading in ("ADC bits", "DAC bits", "count")
            islands.add_column(heading, justify="right" if numeric else "left", overflow="fold")
        alike: dict[tuple[str, str, int | None, int | None], list[str]] = {}
        for island in self.islands:
            kind = (island.operation, island.why, island.adc_bits, island.dac_bits)
            alike.setdefault(kind, []).append(island.node)
        for (operation, why, *bits), nodes in alike.items():
            texts = [str(b) if b is not None else "-" for b in bits]
            cells = [operation, why, *texts, str(len(nodes)), ", ".join(nodes)]
            islands.add_row(*(escape(plain_text(cell)) for cell in cells))
        out = io.StringIO()
        console = Console(file=out, width=120, force_terminal=False, emoji=False)
        console.print(layers)
        if self.islands:
            console.print(islands)
        for note in self.notes:
            console.print(plain_text(f"note: {note}"), highlight=False, markup=False)
        console.print(
            f"{len(self.layers)} layers, {sum(row.tiles for row in self.layers)} tiles, {self.devices:,} memristors, "
            f"{len(self.scales)} learned scales",
            highlight=False,
        )
        console.print(
            f"{len(self.islands)} operations in digital islands, {self.adcs} signals through ADCs, {self.dacs} through "
            "DACs",
            highlight=False,
        )
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
