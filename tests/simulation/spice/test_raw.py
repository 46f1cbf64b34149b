"""Raw files: real, complex, several plots, and damaged ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hrat.simulation.spice.raw import RawFileError, read_raw


def raw_bytes(name: str, variables: list[str], values: np.ndarray) -> bytes:
    kind = "complex" if np.iscomplexobj(values) else "real"
    head = [f"Title: t: x\nDate: today\nPlotname: {name}\nFlags: {kind}", f"No. Variables: {len(variables)}"]
    head += [f"No. Points: {len(values)}       ", "Variables:"]
    head += [f"\t{k}\t{variable}\tvoltage" for k, variable in enumerate(variables)]
    return ("\n".join(head) + "\nBinary:\n").encode() + values.tobytes()


REAL = np.arange(6.0).reshape(3, 2)
COMPLEX = REAL[:2] + 1j


def test_plots_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "out.raw"
    path.write_bytes(raw_bytes("DC", ["v(Step)", "v(a)"], REAL) + raw_bytes("AC", ["f", "v(b)"], COMPLEX))
    first, second = read_raw(path)
    assert (first.name, first.variables) == ("DC", ("v(step)", "v(a)"))
    np.testing.assert_array_equal(first["v(a)"], REAL[:, 1])
    assert second.values.dtype == np.complex128
    np.testing.assert_array_equal(second.columns(["v(b)", "f"]), COMPLEX[:, ::-1])
    with pytest.raises(RawFileError, match=r"plot 'DC' has no v\(c\)"):
        first["v(c)"]


WHOLE = raw_bytes("DC", ["v(step)", "v(a)"], REAL)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"\x7fELF\x02" * 50, "expected a header"),
        (WHOLE[:60], "expected a header"),
        (WHOLE[:-1], "expected 48 bytes of values .* got 47; the file is cut off"),
        (WHOLE.replace(b"No. Points: 3", b"No. Points: x"), "lacks or garbles"),
        (WHOLE.replace(b"No. Variables: 2", b"No. Variables: 3"), "expected 3 variables in the header, got 2"),
        (WHOLE + WHOLE[:80], "expected a header .* at byte"),
    ],
)
def test_damaged_files_are_told(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "out.raw"
    path.write_bytes(content)
    with pytest.raises(RawFileError, match=message):
        read_raw(path)
