"""The recurrent operators: each row by itself, step by step, up to its length."""

import dataclasses

from rnnserve.export.dataflow.broadcasting import meet
from rnnserve.export.dataflow.flow import At, Last, Over, Read, Source, flow
from rnnserve.export.dataflow.masks import along
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.registry import rule
from rnnserve.export.dataflow.sizes import Size
from rnnserve.export.dataflow.tracks import Reach
from rnnserve.export.dataflow.values import Ends, NotCovered, Shape, Value

__all__: list[str] = []

_STATES = {"RNN": (5,), "GRU": (5,), "LSTM": (5, 6)}  # inputs that are initial states
_LENGTHS = 4


@rule(_STATES)
def _recurrent(node: Node) -> list[Value]:
    """Y (sequence, directions, batch, hidden), Y_h and Y_c (directions, batch, hidden)."""
    value, lengths = node.input(0), node.optional(_LENGTHS)
    if node.attribute("layout", 0) or value.rank != 3:
        raise NotCovered
    constants = [node.input(1), node.input(2), *(v for at in (3, 7) if (v := node.optional(at)) is not None)]
    if not all(constant.track(key).is_free for constant in constants for key in node.keys):
        raise NotCovered
    direction = node.attribute("direction", b"forward")
    directions = Size.of(2 if direction == b"bidirectional" else 1)
    steps, batch, _ = value.axes
    hidden = Size.of(int(node.attribute("hidden_size")))
    states = [state for at in _STATES[node.operator] if (state := node.optional(at)) is not None]
    for state in states:
        if state.shape is None or state.rank != 3:
            raise NotCovered
        batch = meet([batch, state.shape[1]])
    y: Shape = (steps, (directions,), batch, (hidden,))
    h: Shape = ((directions,), batch, (hidden,))
    is_forward = direction == b"forward"
    known = lengths is None or isinstance(lengths.pattern, Ends)
    features = Over("sums products over")

    def neutral(axis: str) -> bool:
        return _ends_there(lengths, axis)

    backward = Over("runs backward over", surely=known, neutral=neutral)
    y_sources: list[Source] = [(value, [At(0, Reach(exact=False)) if is_forward else At(0), At(2), features])]
    if not is_forward:
        y_sources.append((value, [backward, At(2), features]))
    last: Read = Last("gives the state after", neutral) if known else Over("stops somewhere over", surely=False)
    h_sources: list[Source] = [(value, [last if is_forward else backward, At(1), features])]
    for state in states:
        y_sources.append((state, [At(1), At(2), features]))
        h_sources.append((state, [At(0), At(1), features]))
    if lengths is not None:
        if lengths.shape is None or lengths.rank != 1:
            raise NotCovered
        y_sources.append((lengths, [At(2)]))
        h_sources.append((lengths, [At(1)]))
    result, state = flow(node, y, y_sources), flow(node, h, h_sources)
    finite = all(each.wholly_finite for each in (value, *constants, *states))
    after = {}
    if lengths is not None and isinstance(lengths.pattern, Ends) and _ends_there(lengths, lengths.pattern.axis):
        axis = lengths.pattern.axis
        if along(value, axis) == 0 and along(result, axis) == 0:
            after[axis] = 0.0
    results = [dataclasses.replace(result, after=after, finite=finite)]
    return results + [dataclasses.replace(state, finite=finite)] * (len(node.outputs) - 1)


@rule("ReverseSequence")
def _reversed(node: Node) -> Value:
    """The steps of each row the other way round, up to its length; those after it stay."""
    value, lengths = node.input(0), node.input(1)
    steps, rows = int(node.attribute("time_axis", 0)), int(node.attribute("batch_axis", 1))
    if len(value.axes[rows]) > 1 or lengths.rank != 1 or meet([value.axes[rows], lengths.axes[0]]) != value.axes[rows]:
        raise NotCovered
    # A step and its place change; what a row has after its length, and what it has before it, does not mix.
    same: list[Read] = [At(at) for at in range(value.rank)]
    turned = list(same)
    turned[steps] = Over("turns round", surely=False, neutral=lambda axis: _ends_there(lengths, axis))
    result = flow(node, value.axes, [(value, same), (value, turned), (lengths, [At(rows)])])
    after = {axis: number for axis, number in value.after.items() if _stays(value, result, lengths, axis, steps)}
    finite = value.finite and len(after) == len(value.after)
    return dataclasses.replace(result, after=after, finite=finite or value.wholly_finite)


def _stays(value: Value, result: Value, lengths: Value, axis: str, steps: int) -> bool:
    return _ends_there(lengths, axis) and along(value, axis) == steps == along(result, axis)


def _ends_there(lengths: Value | None, axis: str) -> bool:
    """Whether the operator stops at each row's length."""
    pattern = None if lengths is None else lengths.pattern
    return isinstance(pattern, Ends) and pattern.axis == axis and pattern.offset == 0
