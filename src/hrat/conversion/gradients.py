"""Where the network stops its gradients, the prepared one does too."""

from __future__ import annotations

from torch import Tensor, fx

from hrat.circuit import OPS
from hrat.conversion.tracer import ModelTracer

__all__ = ["cut_gradients"]


def cut_gradients(graph: fx.Graph, tracer: ModelTracer) -> None:
    """What was computed under `torch.no_grad()` is detached where anything else reads it."""
    for node in list(graph.nodes):
        if not node.meta.get("no_grad") or node.op in ("placeholder", "get_attr", "output"):
            continue
        value = tracer.example_of(node)
        readers = [user for user in node.users if not user.meta.get("no_grad")]
        if isinstance(value, Tensor) and value.is_floating_point() and readers:
            with graph.inserting_after(node):
                cut = graph.call_function(OPS["detach"].function, (node,))
            cut.meta["no_grad"] = True
            for reader in readers:
                reader.replace_input_with(node, cut)
        elif isinstance(value, tuple | list):
            for reader in readers:  # parts of what was computed so
                reader.meta["no_grad"] = True
