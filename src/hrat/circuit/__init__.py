"""The graph of a chip: typed nodes, the table of operations between them, clamps merged, and loops over time."""

from __future__ import annotations

from hrat.circuit.as_json import decode_node, encode_node
from hrat.circuit.check import check_graph
from hrat.circuit.clamps import Plan, PlannedNode, make_plan
from hrat.circuit.merging import MergedClamps, merged_clamps, rectifies, voltages
from hrat.circuit.model_circuit import LayerCall, ModelCircuit, ScaleRef, TensorRef
from hrat.circuit.nodes import (
    Adc,
    Amplifier,
    ClampSwing,
    Constant,
    Converter,
    Crossbar,
    Dac,
    Input,
    Node,
    OpNode,
    Output,
    OutputRescale,
    Recurrence,
    Ref,
    TensorKey,
    Within,
    converters,
    input_names,
    layer_of,
    map_nested,
)
from hrat.circuit.operations import MOST_BITS, MOST_VALUES, OPS, Op, arguments_for, op_of, ways_to_call, ways_to_write
from hrat.circuit.outside import outside_by_reason, why_outside
from hrat.circuit.own_operations import operation
from hrat.circuit.recurrence import CELLS, Cell, through_time
from hrat.circuit.signatures import bind, result_names, signatures_of

__all__ = [
    "CELLS",
    "MOST_BITS",
    "MOST_VALUES",
    "OPS",
    "Adc",
    "Amplifier",
    "Cell",
    "ClampSwing",
    "Constant",
    "Converter",
    "Crossbar",
    "Dac",
    "Input",
    "LayerCall",
    "MergedClamps",
    "ModelCircuit",
    "Node",
    "Op",
    "OpNode",
    "Output",
    "OutputRescale",
    "Plan",
    "PlannedNode",
    "Recurrence",
    "Ref",
    "ScaleRef",
    "TensorKey",
    "TensorRef",
    "Within",
    "arguments_for",
    "bind",
    "check_graph",
    "converters",
    "decode_node",
    "encode_node",
    "input_names",
    "layer_of",
    "make_plan",
    "map_nested",
    "merged_clamps",
    "op_of",
    "operation",
    "outside_by_reason",
    "rectifies",
    "result_names",
    "signatures_of",
    "through_time",
    "voltages",
    "ways_to_call",
    "ways_to_write",
    "why_outside",
]
