"""Templates of pages, their style and script, and what goes into them as text."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from hrat.names import plain_text

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["asset", "for_script", "hrat_version", "template"]


def template(name: str) -> Template:
    """A page's template, into which all text goes escaped, and as far as it shows."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, finalize=_shown)
    return environment.from_string(asset(name))


def _shown(value: Any) -> Any:
    return plain_text(value) if type(value) is str else value  # the page's own pieces are Markup, not str


def asset(name: str) -> Markup:
    """A file of this package: no one else's words, so that it stands in the page as it is."""
    return Markup(files(__package__).joinpath("assets", name).read_text(encoding="utf-8"))


def for_script(data: Any) -> Markup:
    """JSON that no name in it can end the script element with."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def hrat_version() -> str:
    """The version of hrat that writes the page."""
    try:
        return version("hrat")
    except PackageNotFoundError:
        return "unknown"
