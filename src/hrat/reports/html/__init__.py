"""Parts of HTML pages: tables and bars, charts, templates."""

from __future__ import annotations

from hrat.reports.html.charts import Dot, curve, dots, histogram, quantile
from hrat.reports.html.elements import Bar, Fact, Table
from hrat.reports.html.templates import asset, for_script, hrat_version, template

__all__ = [
    "Bar",
    "Dot",
    "Fact",
    "Table",
    "asset",
    "curve",
    "dots",
    "for_script",
    "histogram",
    "hrat_version",
    "quantile",
    "template",
]
