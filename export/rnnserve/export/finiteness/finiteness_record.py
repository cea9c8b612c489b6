"""What a manifest says of NaN and infinity in a model's answers."""

from collections.abc import Collection, Mapping

import onnx
import onnx_ir as ir

from rnnserve.export.finiteness.value_ranges import ValueRanges, swallows
from rnnserve.protos import manifest_pb2

__all__ = ["describe_finiteness"]

_Reach = Mapping[ir.Value, frozenset[str]]


def describe_finiteness(
    model: bytes, *, finite_inputs: bool, is_guarded: bool, infinite: Collection[str] = ()
) -> manifest_pb2.Finiteness:
    """Say which outputs can be NaN or infinite, and of which inputs a NaN would be lost.

    Args:
        model: The bytes of an ONNX file.
        finite_inputs: Whether inputs are finite, as servers see to.
        is_guarded: Whether its recurrent operators are guarded where what they read may not be finite.
        infinite: Names of inputs that are not finite even so: states that begin with infinity.
    """
    graph = ir.serde.deserialize_model(onnx.load_model_from_string(model)).graph
    ranges = ValueRanges(graph, finite_inputs=finite_inputs, infinite=infinite)
    lost: set[str] = set()
    if finite_inputs and is_guarded:
        reached: dict[ir.Value, frozenset[str]] = {}
        _follow(graph, {value: frozenset([value.name or ""]) for value in graph.inputs if _is_float(value)}, reached)
        for node in ir.traversal.RecursiveGraphIterator(graph):
            if swallows(node) and ranges.of(node.outputs[0]).finite:
                lost.update(*(reached.get(value, ()) for value in node.inputs if value is not None))
    return manifest_pb2.Finiteness(
        outputs=[value.name or "" for value in graph.outputs if not ranges.of(value).finite],
        lost_inputs=[value.name or "" for value in graph.inputs if value.name in lost],
        allowed=not finite_inputs,
    )


def _is_float(value: ir.Value) -> bool:
    return value.dtype is None or value.dtype.is_floating_point()


def _follow(graph: ir.Graph, known: _Reach, reached: dict[ir.Value, frozenset[str]]) -> None:
    """Note for every value which inputs its floats may come from, in the bodies of loops as well."""
    reached.update(known)
    for node in graph:
        sources = frozenset().union(*(reached.get(value, frozenset()) for value in node.inputs if value is not None))
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                body = attribute.as_graph()
                _follow(body, dict.fromkeys(body.inputs, sources), reached)
                sources = sources.union(*(reached.get(value, frozenset()) for value in body.outputs))
        reached.update({output: sources for output in node.outputs if _is_float(output)})
