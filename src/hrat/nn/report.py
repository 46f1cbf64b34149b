"""Report of `prepare`, as a table for people."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hrat.names import plain_text

__all__ = ["ConversionReport", "DigitalOperationRow", "LayerRow"]


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
    """Number of calls in one forward pass."""
    tile_adc_bits: str = ""
    """Resolution of the ADCs of its tiles' partial sums, in words; empty where the tiles' currents are summed."""

    devices: int = 0
    """Memristors: two for each weight, unless weights share some."""


@dataclass(frozen=True)
class DigitalOperationRow:
    """One operation that is computed digitally, between an ADC and a DAC."""

    node: str
    """Its place: the module of the network and the node of its graph."""
    operation: str
    why: str
    adc_bits: int | None
    """Resolution of the ADC in front of it; None where it reads no voltage, or the spec does not limit ADCs."""
    dac_bits: int | None
    """Resolution of the DAC behind it; None where it drives no crossbar, or the spec does not limit DACs."""


@dataclass(frozen=True)
class ConversionReport:
    """The layers, the digital operations and the scales of a prepared model."""

    layers: list[LayerRow]
    digital_operations: list[DigitalOperationRow]
    scales: dict[str, int | None]
    """Name of each learned scale -> number of channels, or None for one value."""
    notes: list[str] = field(default_factory=list)
    adcs: int = 0
    """Signals that pass an ADC: what digital operations read, layers whose tiles have ADCs, states of recurrences."""
    dacs: int = 0
    """Signals that pass a DAC: the network's inputs, digital values that crossbars read, states of recurrences."""

    @property
    def islands(self) -> list[DigitalOperationRow]:
        """The digital operations, by the older name of `digital_operations`: the same list."""
        return self.digital_operations

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
        digital = Table(title="Digital operations", title_justify="left")
        for heading in ("operation", "why", "ADC bits", "DAC bits", "count", "nodes"):
            numeric = heading in ("ADC bits", "DAC bits", "count")
            digital.add_column(heading, justify="right" if numeric else "left", overflow="fold")
        alike: dict[tuple[str, str, int | None, int | None], list[str]] = {}
        for operation_row in self.digital_operations:
            kind = (operation_row.operation, operation_row.why, operation_row.adc_bits, operation_row.dac_bits)
            alike.setdefault(kind, []).append(operation_row.node)
        for (operation, why, *bits), nodes in alike.items():
            texts = [str(b) if b is not None else "-" for b in bits]
            cells = [operation, why, *texts, str(len(nodes)), ", ".join(nodes)]
            digital.add_row(*(escape(plain_text(cell)) for cell in cells))
        out = io.StringIO()
        console = Console(file=out, width=120, force_terminal=False, emoji=False)
        console.print(layers)
        if self.digital_operations:
            console.print(digital)
        for note in self.notes:
            console.print(plain_text(f"note: {note}"), highlight=False, markup=False)
        console.print(
            f"{len(self.layers)} layers, {sum(row.tiles for row in self.layers)} tiles, {self.devices:,} memristors, "
            f"{len(self.scales)} learned scales",
            highlight=False,
        )
        console.print(
            f"{len(self.digital_operations)} digital operations, {self.adcs} signals through ADCs, {self.dacs} through "
            "DACs",
            highlight=False,
        )
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
