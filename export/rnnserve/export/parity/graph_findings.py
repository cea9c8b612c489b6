"""What a graph tells: what holds for all values, as a manifest records it, and which inputs may be special to it."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import onnx
import onnx_ir as ir

from rnnserve.export.analysis import Decision, Property, Verdict, decide, worst
from rnnserve.protos import manifest_pb2

__all__ = [
    "UNDECIDED",
    "GraphFindings",
    "computes_with_sizes",
    "contradictions",
    "finding",
    "named_integers",
    "walk_graph",
]

Tensors = Sequence[manifest_pb2.Tensor]

_MOST = 20  # nodes, or sentences, that are recorded of one property

UNDECIDED = Decision(Verdict.NOT_DECIDED)

_MOST_VALUES = 8
"""Values of a tensor that is looked at: larger ones are tables, and no numbers that somebody has written."""

_MOVES = frozenset(
    {"Add", "Cast", "Concat", "Gather", "Identity", "Max", "Min", "Mul", "Neg", "Reshape", "Slice", "Squeeze", "Sub"}
    | {"Unsqueeze"}
)
"""Through these a size stays a size: whole numbers that are right wherever they are small."""

_ROUNDS = frozenset({"Div", "Mod"})
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)


@dataclasses.dataclass(frozen=True)
class GraphFindings:
    """What was decided of a graph, for all values."""

    rows: Decision  # whether a row's results depend on no other row
    padding: Decision | None  # whether on nothing after the row's length; None if a sequence axis has no lengths
    causality: Mapping[str, Decision]  # by output: whether its steps depend on no later ones

    def recorded_causality(self) -> dict[str, manifest_pb2.Finding]:
        """Give what a manifest says of causality, which is not tried."""
        return {name: finding(decision, tried=False) for name, decision in self.causality.items()}


def walk_graph(graph: onnx.ModelProto, inputs: Tensors, outputs: Tensors) -> GraphFindings:
    """Decide what holds of a model's graph."""
    found = decide(graph, inputs, outputs)
    padding = found.get(Property.PADDING)
    return GraphFindings(
        rows=worst(found[Property.ROWS].values()),
        padding=None if padding is None else worst(padding.values()),
        causality=found.get(Property.CAUSALITY, {}),
    )


def contradictions(recorded: manifest_pb2.Manifest, found: GraphFindings, *, scan: bool) -> list[str]:
    """Name what a manifest says to be proven of a graph and is not, and what it allows though the graph refutes it."""
    batching = recorded.batching
    rows, padding = (batching.scan_rows, batching.scan_padding) if scan else (batching.rows, batching.padding)
    claims = [("rows are apart", rows, found.rows), ("padding is not read", padding, found.padding or UNDECIDED)]
    if not scan:
        claims += [
            (f'steps of "{name}" are causal', claim, found.causality.get(name, UNDECIDED))
            for name, claim in recorded.causality.items()
        ]
    failures = [
        f"the manifest says that {what} is proven, but found {decision.verdict}: {_why(decision)}"
        for what, claim, decision in claims
        if claim.means == manifest_pb2.MEANS_PROVEN and not decision.proven
    ]
    if found.rows.verdict is Verdict.REFUTED and batching.mode != manifest_pb2.BATCHING_ALONE:
        mode = manifest_pb2.BatchingMode.Name(batching.mode)
        failures.append(f"the manifest says {mode}, but rows depend on each other: {_why(found.rows)}")
    elif found.rows.counting and batching.mode != manifest_pb2.BATCHING_ALONE:
        mode = manifest_pb2.BatchingMode.Name(batching.mode)
        counting = ", ".join(found.rows.counting)
        failures.append(f"the manifest says {mode}, but {counting} treats rows by their number")
    return failures


def _why(decision: Decision) -> str:
    return "; ".join(decision.reasons or decision.nodes)


def finding(decision: Decision, *, tried: bool) -> manifest_pb2.Finding:
    """Give what a manifest says of how a property was found; `tried` if drawn values were compared, too."""
    means = {
        Verdict.PROVEN: manifest_pb2.MEANS_PROVEN,
        Verdict.REFUTED: manifest_pb2.MEANS_REFUTED,
        Verdict.NOT_DECIDED: manifest_pb2.MEANS_TRIED if tried else manifest_pb2.MEANS_NOT_DECIDED,
    }[decision.verdict]
    return manifest_pb2.Finding(means=means, nodes=decision.nodes[:_MOST], reasons=decision.reasons[:_MOST])


def named_integers(model: ir.Model) -> list[int]:
    """Give the whole numbers among the small constants of a graph and its loops, in order."""
    found: set[int] = set()
    for tensor in _constants(model):
        if tensor.size <= _MOST_VALUES and tensor.dtype in (ir.DataType.INT64, ir.DataType.INT32):
            found.update(tensor.numpy().reshape(-1).tolist())
    return sorted(found)


def computes_with_sizes(model: ir.Model) -> bool:
    """Whether a graph divides a size, makes a float of one, or holds Resize, which does so by itself."""
    sizes: set[ir.Value | None] = set()
    for node in model.graph.all_nodes():
        if node.op_type == "Resize":
            return True
        if node.op_type in ("Shape", "Size"):
            sizes.update(node.outputs)
        elif not sizes.isdisjoint(node.inputs):
            if node.op_type in _ROUNDS or (node.op_type == "Cast" and node.attributes.get_int("to", 0) in _FLOATS):
                return True
            if node.op_type in _MOVES:
                sizes.update(node.outputs)
    return False


def _constants(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value
        for node in graph:
            for attribute in node.attributes.values():
                if attribute.type is ir.AttributeType.TENSOR:
                    yield attribute.as_tensor()
