"""One analysis of an ONNX graph: what each value depends on, and whether it can be NaN or infinite.

Goes in: an ONNX graph, with the description of its inputs and outputs. Comes out: a decision on rows, padding and
causality for each output: proven, refuted (with the node that is to blame) or not decided (with the nodes that no rule
covers). Or, for each value, its range: whether it is finite if the inputs are.

An abstract interpretation: `walk` makes one record per value (`values`), `table` has the rules. What no rule covers is
not decided. Only sizes are computed, and never taken from the file: what it says of its own tensors may be wrong.

The package imports onnx_ir and protos, and of rnnserve.export what describes tensors. It never runs a model.

Door: `__all__`, `decisions`, `sizes`, `values`, `walk`.
"""

from rnnserve.export.analysis.decisions import Decision, Verdict, decide, worst
from rnnserve.export.analysis.values import Property

__all__ = ["Decision", "Property", "Verdict", "decide", "worst"]
