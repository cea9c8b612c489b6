"""Properties of a graph that hold for all values, decided by walking it: rows apart, padding unread, steps causal.

Goes in: an ONNX graph, with the description of its inputs and outputs. Comes out: a decision for each property and
output: proven, refuted (with the node that is to blame) or not decided (with the nodes that no rule covers).

An abstract interpretation. Each tensor has a `Value`: its shape, in sizes that are polynomials of the dynamic axes
(`sizes`); a `Track` for each property, which says along which of its axes rows or steps lie (`tracks`); and what is
known of its values (`values`, `masks`). `rules/` says for each family of operators how the axes of inputs become those
of results; `flow` draws from that what follows for each property; `graph_walk` goes through the nodes, and into loops
(`scan_loop`, `repeated_loop`) and `branches`. What no rule covers is not decided. Nothing is computed but shapes, and
these are never taken from the file: what it says of its own tensors may be wrong.

The package imports onnx and protos, and of rnnserve.export what describes tensors. It never runs a model.

Door: `__all__`, `branches`, `counted_steps`, `sizes`, `stepwise`, `values`.
"""

from rnnserve.export.dataflow.tracks import Property
from rnnserve.export.dataflow.verdicts import Decision, Verdict, decide, worst

__all__ = ["Decision", "Property", "Verdict", "decide", "worst"]
