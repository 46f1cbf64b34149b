"""What a stranger's names could make ngspice do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrat.simulation.spice import Amplifier, SpiceOptions, find_ngspice, memristor_pulse, netlist, run_chain
from hrat.simulation.spice.circuit import CircuitError, CircuitLayer
from hrat.simulation.spice.lines import harmless
from hrat.simulation.spice.memristor import ThresholdMemristor
from hrat.simulation.spice.runner import run_netlist
from hrat.simulation.spice.settling import transient_netlist
from hrat.spec import HardwareSpec
from ngspice import needs_ngspice
from simulation.spice.circuits import inputs_of, layer_of, spec_of

ANY = st.text(st.characters(exclude_categories=()), max_size=60)
COMMANDS = "x\n.control\nshell touch {here}\n.endc\n*#shell touch {here}\n"


def named(name: str) -> CircuitLayer:
    return replace(layer_of(3, 2), name=name)


@given(ANY)
def test_no_name_of_a_layer_adds_a_line(name: str) -> None:
    plain = netlist([named("fc")], spec_of(), inputs_of(2, 3))
    odd = netlist([named(name)], spec_of(), inputs_of(2, 3))
    assert odd.replace("\n+ ", " ").count("\n") == plain.replace("\n+ ", " ").count("\n")
    assert "".join(harmless([odd])) == odd
    odd.encode("utf-8")
    settling = transient_netlist(named(name), spec_of(), np.array([0.1, 0.2, 0.1]))
    assert "".join(harmless([settling])) == settling


def with_name(spec: HardwareSpec, name: str) -> HardwareSpec:
    """A spec whose name was never checked."""
    return spec.model_copy(update={"name": name})


@needs_ngspice
def test_names_with_commands_in_them_run_nothing(tmp_path: Path) -> None:
    text = COMMANDS.format(here=tmp_path / "here")
    found = run_chain([named(text)], with_name(spec_of(), text), inputs_of(2, 3), throw=True)
    plain = run_chain([named("fc")], spec_of(), inputs_of(2, 3), throw=True)
    assert not (tmp_path / "here").exists()
    np.testing.assert_array_equal(found.outputs[0], plain.outputs[0])


@pytest.mark.parametrize(
    "line",
    [
        ".control",
        ".CONTROL",
        " .control",
        "shell touch x",
        "*#shell touch x",
        "*ng_script",
        "*",
        ".include /etc/passwd",
        ".inc x",
        ".lib x y",
        ".csparam a=1",
        ".model m r",
        ".opt klu",
        ".measure tran x",
        "B1 a 0 V=`shell`",
        "R1 a 0 1; shell",
        "* a\x00b",
        "* a\rshell",
        "A1 a b model",
        "+`ls`",
    ],
)
def test_a_line_that_hrat_does_not_write_never_reaches_ngspice(line: str, tmp_path: Path) -> None:
    for text in (f"* title\n{line}\nR1 a 0 1\n.end\n", f"{line}\n.end\n", f"* title\n.end\n{line}"):
        with pytest.raises(CircuitError, match="which is none that hrat writes"):
            list(harmless([text]))


@needs_ngspice
def test_ngspice_would_obey_and_is_not_asked_to(tmp_path: Path) -> None:
    text = f"* title\nV1 a 0 1\n.op\n.control\nshell touch {tmp_path / 'here'}\n.endc\n.end\n"
    with pytest.raises(CircuitError, match=r"\.control"):
        run_netlist(find_ngspice(), [text], keep=tmp_path / "kept")
    assert not (tmp_path / "here").exists()


@needs_ngspice
@pytest.mark.parametrize("readout", ["dual_rail", "two_stage"])
@pytest.mark.parametrize("amplifier", [Amplifier(gain=None), Amplifier(offset_V=1e-3)])
def test_all_that_hrat_writes_passes(readout: str, amplifier: Amplifier) -> None:
    spec = spec_of(readout=readout, limit_wires=True, r_driver_ohm=3.0, r_sense_ohm=2.0, drive="both_ends")
    chain: list[Any] = [layer_of(3, 2), replace(layer_of(2, 2), name="second", clamp_V=0.3, low_V=-1.0, high_V=1.0)]
    assert len(run_chain(chain, spec, inputs_of(2, 3), SpiceOptions(amplifier=amplifier), throw=True).outputs) == 2
    device = ThresholdMemristor.of(spec)
    assert memristor_pulse(device, 1e-4, 0.5, 1e-6).g_S[-1] > 1e-4
