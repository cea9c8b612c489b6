"""One analysis of an ONNX graph: what each value depends on, and whether it can be NaN or infinite.

Goes in: an ONNX graph, with the description of its inputs and outputs. Comes out: a decision on rows, padding and
causality for each output: proven, refuted (with the node that is to blame) or not decided (with the nodes that no rule
covers). And for each value its range: whether it is finite if the inputs are.

An abstract interpretation. `walk` goes through the nodes once, into branches and loops (`loops`), and makes one record
per value (`values`). `table` says for each family of operators how the axes of inputs become those of results
(`computing`, `moving`), and what the range of the results is. `flow` draws from that what follows for each property.
`contents` computes with sizes (`sizes`). What no rule covers is not decided. Only sizes are computed, and never taken
from the file: what it says of its own tensors may be wrong.

The package imports onnx_ir and protos, and of rnnserve.export what describes tensors. It never runs a model.

Door: `__all__`, `decisions`, `sizes`, `steps`, `values`, `walk`.
"""

from rnnserve.export.analysis.decisions import Decision, Verdict, decide, worst
from rnnserve.export.analysis.values import Property

__all__ = ["Decision", "Property", "Verdict", "decide", "worst"]
