"""`hrat spec`: look at hardware and check it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from hrat.cli import completion
from hrat.cli.options import SetOption, spec_with
from hrat.cli.output import examples, note_warnings, say, show, tell

if TYPE_CHECKING:
    from hrat.spec import HardwareSpec

__all__ = ["spec_app"]

spec_app = typer.Typer(
    no_args_is_help=True, help="Look at hardware specs, and check your own.", rich_markup_mode="rich"
)

SpecArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE",
        help="A preset (see hrat spec list), or a TOML file.",
        autocompletion=completion.specs,
    ),
]


@spec_app.command("list", epilog=examples("hrat spec list"))
def list_specs() -> None:
    """List the presets, and the parts that can be put into them, as in generic-4bit+opa836."""
    from rich import box
    from rich.table import Table

    from hrat.spec import load_spec, part_names, preset_names

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("preset", no_wrap=True, style="bold")
    table.add_column("states", justify="right")
    table.add_column("window", no_wrap=True)
    table.add_column("what it is")
    spec_dicts = []
    for name in preset_names():
        spec = load_spec(name)
        spec_dicts.append(spec.to_dict())
        device = spec.device
        window = f"{device.g_min_S * 1e6:.4g} to {device.g_max_S * 1e6:.4g} uS"
        table.add_row(name, str(device.n_states or "any"), window, spec.description)
    parts = Table(box=None, padding=(0, 1, 0, 1))
    parts.add_column("part", no_wrap=True, style="bold")
    parts.add_column("what it is, as in generic-4bit+opa836")
    for name, description in part_names().items():
        parts.add_row(name, description)
    tell(presets=spec_dicts, parts=part_names())
    show(table)
    show(parts)


@spec_app.command(
    "show",
    epilog=examples(
        "hrat spec show yao2020",
        "hrat spec show generic-4bit --set device.weight_bits=3 > mine.toml",
    ),
)
def show_spec(spec: SpecArgument, settings: SetOption = None) -> None:
    """Print a spec as TOML, with the meaning of each field: a start for a spec of your own."""
    hardware = spec_with(spec, settings)
    tell(spec=hardware.to_dict())
    say(commented(hardware), nl=False)


@spec_app.command(
    "check",
    epilog=examples("hrat spec check mine.toml", "hrat spec check yao2020 --set programming.sigma_rel=0.3"),
)
def check_spec(spec: SpecArgument, settings: SetOption = None) -> None:
    """Check a spec: errors end with exit code 2, warnings about what is legal but odd do not."""
    checked = spec_with(spec, settings)
    note_warnings(checked)
    tell(spec=checked.to_dict())
    odd = len(checked.warnings())
    say(f"{checked.name}: correct" + (f", with {odd} warning{'s' * (odd > 1)}" if odd else ""))


def commented(spec: HardwareSpec) -> str:
    """TOML of a spec with what each field means above it."""
    lines: list[str] = []
    section = ""
    for line in spec.to_toml().splitlines():
        if table := re.fullmatch(r"\[([\w.]+)\]", line):
            section = table[1]
        elif field := re.match(r"(\w+) = ", line):
            lines += _meaning(spec, section, field[1])
        lines.append(line)
    return "\n".join(lines) + "\n"


def _meaning(spec: HardwareSpec, section: str, field: str) -> list[str]:
    part = getattr(spec, section, None) if section else spec
    fields = getattr(type(part), "model_fields", {})
    description = fields[field].description if field in fields else None
    return [f"# {line}" for line in (description or "").splitlines()]
