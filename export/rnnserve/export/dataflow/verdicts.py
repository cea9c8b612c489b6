"""What a walk decides of a graph: rows, padding and causality, each proven, refuted or not decided."""

import dataclasses
from collections.abc import Iterable, Sequence
from enum import StrEnum

import onnx

from rnnserve.export.dataflow.graph_walk import GraphWalk
from rnnserve.export.dataflow.sizes import named
from rnnserve.export.dataflow.tracks import COMPUTES, CUTS, LAST, NUMBERS, Key, Property, Reach, Reason, Track
from rnnserve.export.dataflow.values import Ends, Shape, Value, plain
from rnnserve.export.description.input_descriptions import DYNAMIC
from rnnserve.export.tensor_shapes import axis_of, lengths_inputs, sequence_axes
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = ["Decision", "Verdict", "decide", "described_inputs", "not_decided_by", "worst"]


class Verdict(StrEnum):
    """Whether a property holds for all values."""

    PROVEN = "proven"
    REFUTED = "refuted"
    NOT_DECIDED = "not decided"


@dataclasses.dataclass(frozen=True)
class Decision:
    """What was decided of one property, of one output or of a graph.

    Attributes:
        verdict: Whether it holds.
        reasons: Where it is refuted, a sentence for each node that is to blame.
        nodes: Where it is not decided, the nodes that no rule covers.
        readers: Those of the nodes of which a rule says that they read other indices, or number them: whether that
            counts for a result may depend on values, so that drawn ones do not tell.
        counting: Those of the readers that compute with the numbers of rows, or of steps, or cut some of them off by
            their number: whether that counts may depend on how many there are.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    counting: tuple[str, ...] = ()

    @property
    def proven(self) -> bool:
        """Whether it holds for all values."""
        return self.verdict is Verdict.PROVEN


Tensors = Sequence[manifest_pb2.Tensor]


def decide(
    model: onnx.ModelProto, inputs: Tensors, outputs: Tensors, *, finite_inputs: bool = True
) -> dict[Property, dict[str, Decision]]:
    """Decide what holds of a graph for all values of its inputs.

    What is proven holds as long as no number leaves the range of its datatype, and up to the rounding of sums: a kernel
    may add in another order where a batch has other rows.

    Args:
        model: The graph.
        inputs: Inputs, described: their axes, and which of them hold lengths.
        outputs: Outputs, described.
        finite_inputs: Whether no input is NaN or infinite, so that a product with zero is zero.

    Returns:
        By property, the decision for each output by name. Padding is decided for models all of whose sequence axes have
        lengths, causality for those that have a sequence axis.
    """
    axes, lengths = sequence_axes(inputs), lengths_inputs(inputs)
    keys: list[Key] = [(Property.ROWS, BATCH)]
    keys += [(Property.PADDING, axis) for axis in axes if axis in lengths]
    keys += [(Property.CAUSALITY, axis) for axis in axes]
    values = GraphWalk(model, keys).results(model.graph, described_inputs(inputs, keys, finite=finite_inputs))
    properties = [Property.ROWS]
    properties += [Property.PADDING] if axes and all(axis in lengths for axis in axes) else []
    properties += [Property.CAUSALITY] if axes else []
    return {
        kind: {
            tensor.name: worst(_output(tensor, values[tensor.name], key) for key in keys if key[0] is kind)
            for tensor in outputs
        }
        for kind in properties
    }


def worst(decisions: Iterable[Decision]) -> Decision:
    """Give what holds of several together: what is refuted of one is refuted of all."""
    found = list(decisions)
    for verdict in (Verdict.REFUTED, Verdict.NOT_DECIDED):
        those = [decision for decision in found if decision.verdict is verdict]
        if those:
            return Decision(
                verdict,
                tuple(dict.fromkeys(reason for decision in those for reason in decision.reasons)),
                tuple(dict.fromkeys(node for decision in those for node in decision.nodes)),
                tuple(dict.fromkeys(node for decision in those for node in decision.readers)),
                tuple(dict.fromkeys(node for decision in those for node in decision.counting)),
            )
    return Decision(Verdict.PROVEN)


def not_decided_by(undecided: Sequence[Reason]) -> Decision:
    """Give the decision that there is none, with the nodes that are to blame."""
    nodes = dict.fromkeys(reason.node for reason in undecided)
    readers = dict.fromkeys(reason.node for reason in undecided if reason.sentence)
    counting = dict.fromkeys(reason.node for reason in undecided if reason.sentence in (NUMBERS, COMPUTES, CUTS))
    return Decision(Verdict.NOT_DECIDED, nodes=tuple(nodes), readers=tuple(readers), counting=tuple(counting))


def described_inputs(inputs: Tensors, keys: Sequence[Key], *, finite: bool = True) -> dict[str, Value]:
    """Give what is known of a graph's inputs, by name: where rows and steps lie in them, and which hold lengths."""
    return {tensor.name: dataclasses.replace(_input(tensor, keys), finite=finite) for tensor in inputs}


def _input(tensor: manifest_pb2.Tensor, keys: Sequence[Key]) -> Value:
    shape: Shape = plain([named(axis.name) if axis.size == DYNAMIC else axis.size for axis in tensor.axes])
    tracks = {}
    for key in keys:
        at = axis_of(tensor, key[1])
        if at is not None:
            tracks[key] = Track({(at, 0): Reach()})
    pattern = Ends(tensor.lengths_of, axis_of(tensor, BATCH) or 0) if tensor.lengths_of else None
    return Value(shape, tracks, pattern=pattern, finite=True, name=tensor.name)


def _output(tensor: manifest_pb2.Tensor, value: Value, key: Key) -> Decision:
    track = value.track(key)
    if track.mixing:
        reasons = tuple(f'"{tensor.name}": {reason.node} {reason.sentence}' for reason in track.mixing)
        return Decision(Verdict.REFUTED, reasons)
    if track.undecided:
        return not_decided_by(track.undecided)
    if key[0] is Property.ROWS:
        return _rows(tensor, value, track)
    ahead = [reach for reach in track.places.values() if reach.offset > 0]
    if ahead:
        return Decision(
            Verdict.REFUTED,
            tuple(f'"{tensor.name}": {reach.by} reads {reach.offset} steps ahead of "{key[1]}"' for reach in ahead),
        )
    if len(track.places) > 1 and LAST in track.places:
        sentence = f'"{tensor.name}": its steps depend on what there is after the last step of "{key[1]}"'
        return Decision(Verdict.REFUTED, (sentence,))
    if not track.places or _lies_along(tensor, value, track, key):
        return Decision(Verdict.PROVEN)
    return Decision(Verdict.NOT_DECIDED, nodes=(f'output "{tensor.name}"',))


def _rows(tensor: manifest_pb2.Tensor, value: Value, track: Track) -> Decision:
    at = axis_of(tensor, BATCH)
    if at is not None and value.shape is not None and dict(track.places) == {(at, 0): Reach()}:
        return Decision(Verdict.PROVEN)  # no other size is a place of rows: see `guarded`
    return Decision(Verdict.NOT_DECIDED, nodes=(f'output "{tensor.name}"',))


def _lies_along(tensor: manifest_pb2.Tensor, value: Value, track: Track, key: Key) -> bool:
    """Whether an output has a value for each step, or that after the last one."""
    if key[0] is Property.CAUSALITY and set(track.places) == {LAST}:
        return True
    at = axis_of(tensor, key[1])
    single = at is not None and value.shape is not None and len(value.shape[at]) == 1
    return single and set(track.places) == {(at, 0)}
