"""Lowering: from a graph with native RNN operators to an equivalent one with a loop of its own, for the CPU.

`lower_rnn` takes the bytes of model.onnx and gives those of model.scan.onnx: `rnn_layers` replaces each RNN operator of
the graph, `rnn_loop` makes the nodes that stand for one, `node_builder` makes nodes. onnxruntime's RNN kernel computes
tanh by a function call for each element; from a hidden size of some tens on the loop is several times as fast
(docs/lab/findings.md, "The RNN kernel").

The package imports onnx and onnx_ir, and of rnnserve only `onnx_files` and `recurrence.graph_values`. What it makes is
proven like what the exporter makes.

Door: `__all__`, `node_builder`.
"""

from rnnserve.export.lowering.rnn_layers import lower_rnn

__all__ = ["lower_rnn"]
