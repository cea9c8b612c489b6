"""Static analysis of an ONNX graph: what each value depends on, and whether it can be NaN or infinite.

The input is an ONNX graph with the specs of its inputs and outputs. For each output, the analysis decides three
properties: rows, padding and causality. Each property is proven, refuted (with the nodes that break it) or not decided
(with the nodes that no rule covers). The analysis also computes the range of each value, and whether the value is
finite if the inputs are finite.

This is an abstract interpretation: `walk` makes one record per value (`values`), and `table` holds the rules. A
property stays undecided if it depends on an operator without a rule. The analysis computes all sizes and never reads
them from the file, because the shapes that a file declares for its own tensors may be wrong.

The package imports onnx_ir, protos, and the parts of rnnserve.export that describe tensors. It never runs a model.

Public: `__all__`, `decisions`, `sizes`, `values`, `walk`.
"""

from rnnserve.export.analysis.decisions import Decision, Verdict, decide, worst
from rnnserve.export.analysis.values import Property

__all__ = ["Decision", "Property", "Verdict", "decide", "worst"]
