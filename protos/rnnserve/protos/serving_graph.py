"""Chooses which graph of a version serves on the CPU, by a rule, so that all servers return the same bits.

`model.onnx` has ONNX's own recurrent operators, and `model.scan.onnx` has loops instead of RNN operators. They differ
in speed, and in the last bits of their results. The rule is applied when a version is published, and the manifest
records its result. For older versions without this record, servers apply the rule.
"""

from collections.abc import Iterator

from rnnserve.protos import onnx_nodes_pb2
from rnnserve.protos.artifact import MODEL, SCAN

__all__ = ["LEAST_HIDDEN", "choose_file"]

LEAST_HIDDEN = 32
"""Smallest hidden size for which the loop serves. There it is 1.7 times as fast in the geometric mean over sizes of
runs, and 0.84 times at worst."""


def choose_file(model: bytes) -> tuple[str, str]:
    """Choose between the two graphs of a version.

    Args:
        model: The bytes of its model.onnx.

    Returns:
        `MODEL` or `SCAN`, and why, as the end of a sentence with "since".
    """
    sizes = sorted(set(_hidden_sizes(onnx_nodes_pb2.Model.FromString(model).graph)))
    if not sizes:
        return MODEL, f"{MODEL} has no RNN operator"
    if sizes[0] < LEAST_HIDDEN:
        return MODEL, f"an RNN operator of hidden size {sizes[0]}, below {LEAST_HIDDEN}, is as fast as a loop"
    return SCAN, f"a loop is faster than an RNN operator of hidden size {sizes[0]}, from {LEAST_HIDDEN} on"


def _hidden_sizes(graph: onnx_nodes_pb2.Graph) -> Iterator[int]:
    """Yield the hidden size of each RNN operator, including operators in bodies of loops and branches."""
    for node in graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "RNN":
            yield attributes["hidden_size"].i
        for attribute in attributes.values():
            yield from _hidden_sizes(attribute.g)
