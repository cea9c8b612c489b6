"""Lowering for CPUs: replaces native RNN operators with an equivalent loop.

onnxruntime's RNN kernel calls a tanh function for each element. From a hidden size of a few dozen on, the loop is
several times as fast. The result is verified like the exporter's output.

Public: `__all__`.
"""

from rnnserve.export.lowering.rnn_layers import lower_rnn

__all__ = ["lower_rnn"]
