"""Netlists as text: names, dialects, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrat.simulation.spice import Amplifier, CircuitError, SpiceOptions, ThresholdMemristor, netlist, save_netlist
from hrat.simulation.spice.circuit import Dialect
from hrat.simulation.spice.dialects import number, table, wrapped
from hrat.simulation.spice.memristor import pulse_netlist
from hrat.simulation.spice.settling import transient_netlist
from simulation.spice.circuits import READOUTS, inputs_of, layer_of, spec_of

ONLY_NGSPICE = [r"v\(x\w+\.", r"pwl\(v\(", r"\bklu\b", r"\$", r"^\.control", r"^\.save all", r"^\*ng_"]
ONLY_NGSPICE_AND_LTSPICE = [r"^\.save", r"^\.options reltol", r"^B\S+ \S+ \S+ [VI]=[^{]"]
ONLY_LTSPICE = [r"numdgt"]
ONLY_XYCE = [r"nonlin", r"^\.print", r"[{}]"]


def texts(dialect: Dialect, readout: str = "dual_rail") -> list[str]:
    """Every element that there is."""
    layers = [layer_of(5, 4, name="conv.1", clamp_V=0.3, rectifies=True), layer_of(4, 3, name="fc-2", high_V=1.0)]
    spec = spec_of(readout=readout, limit_wires=True, r_driver_ohm=5.0, r_sense_ohm=3.0, drive="both_ends")
    options = SpiceOptions(amplifier=Amplifier(offset_V=1e-3))
    ideal = SpiceOptions(amplifier=Amplifier(gain=None))
    memristor = ThresholdMemristor(g_min_S=1e-5, g_max_S=2e-4, v_set_V=0.3, v_reset_V=-0.3)
    return [
        netlist(layers, spec, inputs_of(3, 5), options, dialect=dialect),
        netlist(layers, spec, inputs_of(3, 5), ideal, dialect=dialect),
        transient_netlist(layers[0], spec, inputs_of(1, 5)[0], options, dialect=dialect, c_node_F=1e-15),
        transient_netlist(layers[0], spec, inputs_of(1, 5)[0], options, dialect=dialect, memristor=memristor),
        pulse_netlist(memristor, 1e-4, 1.0, 1e-6, options, dialect=dialect),
    ]


def found(patterns: list[str], text: str) -> list[str]:
    return [pattern for pattern in patterns if re.search(pattern, text, re.MULTILINE)]


@pytest.mark.parametrize("readout", READOUTS)
def test_a_dialect_has_none_of_the_others_words(readout: str) -> None:
    for text in texts("ngspice", readout):
        assert not found(ONLY_LTSPICE + ONLY_XYCE, text)
    for text in texts("ltspice", readout):
        assert not found(ONLY_NGSPICE + ONLY_XYCE, text)
    for text in texts("xyce", readout):
        assert not found(ONLY_NGSPICE + ONLY_NGSPICE_AND_LTSPICE + ONLY_LTSPICE, text)
    assert found([r"pwl\(v\("], texts("ngspice", readout)[0])
    assert found([r"table\(v\("], texts("ltspice", readout)[0])


@pytest.mark.parametrize("dialect", ["ngspice", "ltspice", "xyce"])
def test_names_lines_and_comments_are_of_the_common_form(dialect: Dialect) -> None:
    for text in texts(dialect):
        lines = text.splitlines()
        assert lines[0].startswith("*")
        assert lines[-1] == ".end"
        assert max(map(len, lines)) <= 250
        assert all(line[0] in "*+.XRCVBEH" for line in lines)
        elements = [line for line in lines if line[0] in "XRCVBEH"]
        names = [line.split()[0].lower() for line in elements]
        assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names)
        nodes = [node for line in elements if line[0] in "RCVE" for node in line.split()[1:3]]
        assert all(re.fullmatch(r"[a-zA-Z0-9_]+", node) for node in nodes)


def test_a_tile_and_its_pins_can_be_found_by_name() -> None:
    text = netlist([layer_of(20, 11, name="conv1")], spec_of(), inputs_of(1, 20))
    assert text.count("\n.subckt conv1_tile") == 2 * 2
    assert "\nXconv1_tile1_1 conv1_inv16 conv1_in16 conv1_inv17" in text
    assert len(re.findall(r"^Rm", text, re.MULTILINE)) == 2 * 20 * 11
    two_stage = netlist([layer_of(20, 11, name="conv1")], spec_of(readout="two_stage"), inputs_of(1, 20))
    assert "\nXconv1_tile1_1 conv1_inv16 conv1_inv17" in two_stage
    assert "conv1_sum8 conv1_sumfirst8 conv1_sum9" in two_stage


def test_numbers_keep_their_bits() -> None:
    for value in (1 / 3, 1e-300, -2.5e7, 0.0, np.nextafter(1.0, 2.0)):
        assert float(number(value)) == value


def test_tables_and_long_lines() -> None:
    assert table("step", [0.5], "ngspice") == "pwl(v(step),0,0.5,1,0.5)"
    assert table("step", [0.5, -1.0], "xyce") == "table(v(step),0,0.5,1,-1.0)"
    words = [f"word{k}" for k in range(100)]
    assert wrapped(words).replace("\n+ ", " ").split() == words
    assert wrapped(words, ",").replace("\n+ ", "").split(",") == words


def test_saved_netlists_are_those_that_are_returned(tmp_path: Path) -> None:
    arguments: tuple[Any, ...] = ([layer_of(3, 2)], spec_of(), inputs_of(2, 3))
    path = save_netlist(tmp_path / "circuit.cir", *arguments, dialect="ltspice")
    assert path.read_text() == netlist(*arguments, dialect="ltspice")


def test_what_does_not_fit_is_refused() -> None:
    spec, v = spec_of(), inputs_of(2, 5)
    first = layer_of(5, 4)
    with pytest.raises(CircuitError, match="dialect: expected one of ngspice, ltspice, xyce, got 'pspice'"):
        netlist([first], spec, v, dialect="pspice")  # type: ignore[arg-type]
    with pytest.raises(CircuitError, match=r"expected inputs of shape \(n, 5\), got \(2, 4\)"):
        netlist([first], spec, v[:, 1:])
    with pytest.raises(CircuitError, match="'fc2': expected 3 inputs, got the 4 outputs of 'fc1'"):
        netlist([first, layer_of(3, 2, name="fc2")], spec, v)
    with pytest.raises(CircuitError, match="two layers have the node name 'fc1'"):
        netlist([first, layer_of(4, 2, name="FC1")], spec, v)
    with pytest.raises(CircuitError, match="at least one layer"):
        netlist([], spec, v)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"g_neg_S": np.ones((4, 5))}, "one shape"),
        ({"g_pos_S": -np.ones((5, 4))}, "g_pos_S: expected finite conductances of 0 S or more"),
        ({"r_f_ohm": 0.0}, "r_f_ohm: expected a positive resistance"),
        ({"bias_V": np.zeros(5)}, r"bias_V: expected finite voltages of shape \(4,\)"),
        ({"low_V": 0.1}, "low_V <= 0 < high_V"),
        ({"clamp_V": 0.0}, "clamp_V: expected a positive voltage"),
    ],
)
def test_a_layer_says_what_is_wrong_with_it(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CircuitError, match=f"layer 'fc1': .*{message}"):
        layer_of(5, 4, **settings)


def test_amplifiers_and_options_say_what_is_wrong() -> None:
    for settings in ({"gain": 0.5}, {"gain": float("inf")}, {"offset_V": -1.0}, {"gbw_Hz": 0.0}):
        with pytest.raises(CircuitError, match=f"Amplifier.{next(iter(settings))}: expected"):
            Amplifier(**settings)
    for settings in ({"chunk": 0}, {"workers": 0}, {"time_limit_s": 0.0}, {"reltol": -1.0}):
        with pytest.raises(CircuitError, match=f"SpiceOptions.{next(iter(settings))}: expected"):
            SpiceOptions(**settings)
