"""Which results count the steps of a request, though declared states go on from it.

Short sequences do not show a result that is another after 600 steps. So it is followed in the graph where the numbers
of steps go, and how many there are. What is numbered may be right still where numbers meet a declared state, as in
`position + arange(steps)`: whether the state counts on, the graph does not say.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import onnx

from rnnserve.export.dataflow.graph_walk import GraphWalk
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.numbering import INDICES, READING
from rnnserve.export.dataflow.tracks import COUNTS, Key, Property, Reason, Track
from rnnserve.export.dataflow.values import Columns, Inside, Value
from rnnserve.export.dataflow.verdicts import described_inputs
from rnnserve.protos import manifest_pb2

__all__ = ["CountedSteps", "counted_steps"]

Tensors = Sequence[manifest_pb2.Tensor]

_LENGTHS = {"RNN": 4, "GRU": 4, "LSTM": 4}  # the input that holds the number of steps of each row
_NOT_COMPUTED_WITH = _LENGTHS | dict.fromkeys(READING, INDICES)
_RELATING = ("Sub", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")


@dataclasses.dataclass(frozen=True)
class CountedSteps:
    """What becomes of the numbers of steps.

    Attributes:
        nodes: Nodes that number steps, or say how many there are, of which a result is computed.
        is_unsure: Whether other numbers meet declared states, or are compared with one another, or with how many steps
            there are: they may be right.
    """

    nodes: tuple[str, ...]
    is_unsure: bool


def counted_steps(
    model: onnx.ModelProto, inputs: Tensors, outputs: Tensors, axis: str, meets_state: Callable[[onnx.NodeProto], bool]
) -> CountedSteps:
    """Say which results of a model count the steps of a request.

    Args:
        model: The graph.
        inputs: Inputs of the graph, described.
        outputs: Outputs of the graph, described, final states among them.
        axis: The sequence axis.
        meets_state: A function that says whether what a node computes with is made of declared states, and of nothing
            else but sizes.
    """
    walk = _NumberWalk(model, axis, meets_state)
    values = walk.results(model.graph, described_inputs(inputs, walk.keys))
    found = {tensor.name: _counting(values[tensor.name].track(walk.key)) for tensor in outputs}
    nodes = [node for tensor in outputs if not tensor.continues_as for node in found[tensor.name]]
    is_unsure = walk.is_unsure or any(found[tensor.name] for tensor in outputs if tensor.continues_as)
    return CountedSteps(tuple(dict.fromkeys(nodes)), is_unsure)


class _NumberWalk(GraphWalk):
    """A walk along the sequence that follows numbers of steps until they meet what may make them right."""

    def __init__(self, model: onnx.ModelProto, axis: str, meets_state: Callable[[onnx.NodeProto], bool]) -> None:
        self.key: Key = (Property.ROWS, axis)
        super().__init__(model, [self.key])
        self.is_unsure = False
        self._axis, self._meets_state = axis, meets_state

    def of_node(self, proto: onnx.NodeProto, node: Node, values: Mapping[str, Value], path: str) -> list[Value]:
        """Give what is known of each result of a node."""
        indices = _NOT_COMPUTED_WITH.get(node.operator)
        given = [self._without(value) if at == indices else value for at, value in enumerate(node.inputs)]
        found = super().of_node(proto, dataclasses.replace(node, inputs=given), values, path)
        if self._may_be_right(proto, node):
            self.is_unsure = True
            return [self._without(value) or value for value in found]
        return [self._without(value) or value if self._is_within_rows(value) else value for value in found]

    def _may_be_right(self, proto: onnx.NodeProto, node: Node) -> bool:
        reasons = [_reasons(value.track(self.key)) for value in node.given]
        if node.operator in _RELATING and all(reasons):
            return True  # how far one step is from another, or from the last, does not depend on where they are
        return any(reasons) and self._meets_state(proto)

    def _is_within_rows(self, value: Value) -> bool:
        """Whether it says which steps lie before their row's length: so they do of a part, and of its lengths."""
        return isinstance(value.pattern, Inside) and value.pattern.axis == self._axis

    def _without(self, value: Value | None) -> Value | None:
        """Leave out that it is numbered."""
        if value is None:
            return None
        track, pattern = value.track(self.key), value.pattern
        left = Track(
            track.places,
            tuple(reason for reason in track.mixing if not _counts(reason)),
            tuple(reason for reason in track.undecided if not _counts(reason)),
        )
        if isinstance(pattern, Columns):
            parts = tuple(self._without(part) or part for part in pattern.parts)
            pattern = dataclasses.replace(pattern, parts=parts)
        return dataclasses.replace(value, tracks={**value.tracks, self.key: left}, pattern=pattern)


def _counting(track: Track) -> list[str]:
    return [reason.node for reason in _reasons(track)]


def _reasons(track: Track) -> list[Reason]:
    return [reason for reason in (*track.mixing, *track.undecided) if _counts(reason)]


def _counts(reason: Reason) -> bool:
    return reason.is_of_numbers or reason.sentence.startswith(COUNTS)
