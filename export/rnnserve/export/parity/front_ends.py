"""Whether a module begins with a front end, whose usual values are a recording's: no drawing has them."""

from collections.abc import Collection

import onnx

__all__ = ["front_end_of"]

_SIGNS = {"DFT": "a Fourier transform", "STFT": "a Fourier transform", "Log": "a logarithm"}
"""What tells of one, by operator, in words."""

_BEHIND = frozenset({"GRU", "LSTM", "Loop", "RNN", "Scan"})
"""Operators behind which nothing is a front end."""


def front_end_of(model: onnx.ModelProto, inputs: Collection[str]) -> str:
    """Name what a graph computes of its inputs before anything recurrent, and what a front end computes.

    Args:
        model: Graph of the module.
        inputs: Names of the inputs that are floats, without states.

    Returns:
        The first such thing in words; empty where there is none.
    """
    reached = set(inputs)
    for node in model.graph.node:
        if node.op_type in _BEHIND or reached.isdisjoint(node.input):
            continue
        if node.op_type in _SIGNS:
            return _SIGNS[node.op_type]
        reached.update(node.output)
    return ""
