"""Tests that need ngspice: skipped with the reason where there is none, unless HRAT_REQUIRE_NGSPICE asks for it."""

from __future__ import annotations

import os

import pytest

from hrat.errors import HratError
from hrat.simulation.spice import find_ngspice


def _missing() -> str | None:
    try:
        found = find_ngspice()
    except HratError as error:
        return str(error)
    # Some tests work in folders of their own, where one that was found in the current folder is not.
    os.environ.setdefault("HRAT_NGSPICE", str(found.path))
    return None


MISSING = None if os.environ.get("HRAT_REQUIRE_NGSPICE") == "1" else _missing()
needs_ngspice = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
