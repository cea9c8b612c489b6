"""Lowering: from a graph with native RNN operators to an equivalent one with a loop of its own, for the CPU.

onnxruntime's RNN kernel computes tanh by a function call for each element; from a hidden size of some tens on the loop
is several times as fast (docs/lab/findings.md, "The RNN kernel"). What is made is proven like what the exporter makes.

Door: `__all__`.
"""

from rnnserve.export.lowering.rnn_layers import lower_rnn

__all__ = ["lower_rnn"]
