"""What a walk decides of a graph: rows, padding and causality, each proven, refuted or not decided."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import onnx
import onnx_ir as ir

from rnnserve.export.analysis.sizes import named
from rnnserve.export.analysis.values import (
    COMPUTES,
    CUTS,
    LAST,
    NUMBERS,
    Ends,
    Key,
    Property,
    Reach,
    Reason,
    Track,
    Value,
    plain,
)
from rnnserve.export.analysis.walk import Walk, input_range
from rnnserve.export.description.publication import DYNAMIC
from rnnserve.export.tensors import axis_of, lengths_inputs, sequence_axes
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = [
    "ROWS",
    "Decision",
    "Verdict",
    "causal_key",
    "decide",
    "described_inputs",
    "padding_key",
    "values_of",
    "worst",
]

Tensors = Sequence[manifest_pb2.Tensor]

ROWS: Key = (Property.ROWS, BATCH)
"""The key of tracks that say which rows a value depends on."""


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
        reasons: If it is refuted, a sentence for each node that is to blame.
        nodes: If it is not decided, the nodes that no rule covers.
        readers: Those of the nodes that are known to read other indices, or to number them: whether that counts for a
            result may depend on values, so that drawn ones prove little.
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


def causal_key(axis: str) -> Key:
    """The key of tracks that say which steps of a sequence axis a value depends on."""
    return Property.CAUSALITY, axis


def padding_key(axis: str) -> Key:
    """The key of tracks that say whether a value depends on what lies after the length of its row."""
    return Property.PADDING, axis


def decide(
    model: onnx.ModelProto, inputs: Tensors, outputs: Tensors, *, finite_inputs: bool = True
) -> dict[Property, dict[str, Decision]]:
    """Decide what holds of a graph for all values of its inputs.

    What is proven holds as long as no number leaves the range of its datatype, and up to the rounding of sums: a kernel
    may add in another order if a batch has other rows.

    Args:
        model: The graph.
        inputs: Inputs, described: their axes, and which of them hold lengths.
        outputs: Outputs, described.
        finite_inputs: Whether no input is NaN or infinite, so that a product with zero is zero.

    Returns:
        By property, the decision for each output by name. Padding is decided for models all of whose sequence axes have
        lengths, causality for those that have a sequence axis.
    """
    return decide_of(values_of(model, inputs, finite_inputs=finite_inputs), inputs, outputs)


def decide_of(values: Mapping[str, Value], inputs: Tensors, outputs: Tensors) -> dict[Property, dict[str, Decision]]:
    """Decide as `decide` does, given what a walk found."""
    axes, lengths = sequence_axes(inputs), lengths_inputs(inputs)
    properties = [Property.ROWS]
    properties += [Property.PADDING] if axes and all(axis in lengths for axis in axes) else []
    properties += [Property.CAUSALITY] if axes else []
    return {
        kind: {
            tensor.name: worst(_output(tensor, values[tensor.name], key) for key in keys_of(inputs) if key[0] is kind)
            for tensor in outputs
        }
        for kind in properties
    }


def keys_of(inputs: Tensors) -> list[Key]:
    """List the properties, each with its axis, that are decided of a graph with these inputs."""
    axes, lengths = sequence_axes(inputs), lengths_inputs(inputs)
    return [ROWS, *(padding_key(axis) for axis in axes if axis in lengths), *map(causal_key, axes)]


def values_of(model: onnx.ModelProto, inputs: Tensors, *, finite_inputs: bool = True) -> dict[str, Value]:
    """Give what is known of each tensor of a graph, by name, with the keys of `decide`. Arguments as of that."""
    keys = keys_of(inputs)
    known = described_inputs(inputs, keys, finite=finite_inputs)
    return Walk(ir.serde.deserialize_model(model), keys).run(known).by_name()


def described_inputs(inputs: Tensors, keys: Sequence[Key], *, finite: bool = True) -> dict[str, Value]:
    """Give what is known of a graph's inputs, by name: where rows and steps lie in them, and which hold lengths."""
    known = {}
    for tensor in inputs:
        shape = plain([named(axis.name) if axis.size == DYNAMIC else axis.size for axis in tensor.axes])
        places = {key: axis_of(tensor, key[1]) for key in keys}
        tracks = {key: Track({(at, 0): Reach()}) for key, at in places.items() if at is not None}
        ends = Ends(tensor.lengths_of, axis_of(tensor, BATCH) or 0) if tensor.lengths_of else None
        range = input_range(is_finite=finite or tensor.datatype.startswith(("INT", "UINT", "BOOL")))
        known[tensor.name] = Value(shape, tracks, pattern=ends, range=range, name=tensor.name)
    return known


def worst(decisions: Iterable[Decision]) -> Decision:
    """Give what holds of several together: what is refuted of one is refuted of all."""
    found = list(decisions)
    for verdict in (Verdict.REFUTED, Verdict.NOT_DECIDED):
        those = [decision for decision in found if decision.verdict is verdict]
        if those:
            fields = ("reasons", "nodes", "readers", "counting")
            said = {
                name: dict.fromkeys(each for decision in those for each in getattr(decision, name)) for name in fields
            }
            return Decision(verdict, **{name: tuple(each) for name, each in said.items()})
    return Decision(Verdict.PROVEN)


def not_decided_by(undecided: Sequence[Reason]) -> Decision:
    """Give the decision that there is none, with the nodes that are to blame."""
    nodes = dict.fromkeys(reason.node for reason in undecided)
    readers = dict.fromkeys(reason.node for reason in undecided if reason.sentence)
    counting = dict.fromkeys(reason.node for reason in undecided if reason.sentence in (NUMBERS, COMPUTES, CUTS))
    return Decision(Verdict.NOT_DECIDED, nodes=tuple(nodes), readers=tuple(readers), counting=tuple(counting))


def _output(tensor: manifest_pb2.Tensor, value: Value, key: Key) -> Decision:
    track, at = value.track(key), axis_of(tensor, key[1])
    if track.mixing:
        reasons = tuple(f'"{tensor.name}": {reason.node} {reason.sentence}' for reason in track.mixing)
        return Decision(Verdict.REFUTED, reasons)
    if track.undecided:
        return not_decided_by(track.undecided)
    is_along = (
        at is not None and value.shape is not None and len(value.shape[at]) == 1 and set(track.places) == {(at, 0)}
    )
    if key[0] is Property.ROWS:
        # No other size is a place of rows: see `guarded`.
        is_same = is_along and dict(track.places) == {(at, 0): Reach()}
        return (
            Decision(Verdict.PROVEN) if is_same else Decision(Verdict.NOT_DECIDED, nodes=(f'output "{tensor.name}"',))
        )
    ahead = [reach for reach in track.places.values() if reach.offset > 0]
    said = [f'{reach.by} reads {reach.offset} steps ahead of "{key[1]}"' for reach in ahead]
    if not said and len(track.places) > 1 and LAST in track.places:
        said = [f'its steps depend on what there is after the last step of "{key[1]}"']
    if said:
        return Decision(Verdict.REFUTED, tuple(f'"{tensor.name}": {each}' for each in said))
    is_last = key[0] is Property.CAUSALITY and set(track.places) == {LAST}
    if not track.places or is_along or is_last:
        return Decision(Verdict.PROVEN)
    return Decision(Verdict.NOT_DECIDED, nodes=(f'output "{tensor.name}"',))
