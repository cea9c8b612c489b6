"""Rules of operators that compute elementwise, over axes, or over windows of steps."""

import dataclasses
from collections.abc import Sequence

import onnx

from rnnserve.export.analysis.flow import (
    At,
    Last,
    Node,
    Over,
    Read,
    Source,
    broadcast,
    broadcast_shape,
    flow,
    meet,
    numbered,
)
from rnnserve.export.analysis.moving import same_axes
from rnnserve.export.analysis.sizes import Size, computed, longest
from rnnserve.export.analysis.values import (
    ONE,
    Axis,
    Ends,
    Inside,
    NotCovered,
    Pattern,
    Property,
    Range,
    Reach,
    Steps,
    Value,
    size_of,
    symbolic,
)

_WIDE = {onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}


def identity(node: Node) -> Value:
    """Copy a tensor."""
    training = node.optional(2)
    if node.operator == "Dropout" and training is not None and training.fill != 0:
        raise NotCovered  # it drops values at random
    return node.input(0)


def elementwise(node: Node) -> Value:
    """Compute each value from the inputs' values at the same index."""
    result = broadcast(node, node.given if node.operator != "CastLike" else node.given[:1])
    given = [value for value in node.given if isinstance(value.pattern, Inside)]
    held = _held(node, node.input(0).pattern) if node.operator == "Where" else {}
    return dataclasses.replace(
        result, pattern=_pattern(node, result), held=held, fill=_cast_fill(node), masked=result.masked or bool(given)
    )


def _cast_fill(node: Node) -> float | None:
    """Return the number that all cast values are equal to (such as a state's zeros), if the datatype has it."""
    fill = node.input(0).fill
    is_kept = node.operator == "Cast" and node.attribute("to") in _WIDE and fill is not None and fill.is_integer()
    return fill if is_kept else None


def _pattern(node: Node, result: Value) -> Pattern | None:
    """Return the pattern of a result that copies one input, shifts it by a constant, or compares steps."""
    if node.operator in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
        return _compared(node, result)
    for at, value in enumerate(node.given):
        pattern, others = value.pattern, [other for other in node.given if other is not value]
        if pattern is None or value.rank != result.rank:
            continue
        number = others[0].fill if len(others) == 1 else None
        if not others and node.operator == "Cast":  # small integers and half floats can't hold all step numbers
            return pattern if isinstance(pattern, Inside) or node.attribute("to") in _WIDE else None
        if not others and node.operator == "Not" and isinstance(pattern, Inside):
            return dataclasses.replace(pattern, inverted=not pattern.inverted)
        if number is None or not isinstance(pattern, Steps | Ends):
            continue
        if node.operator == "Max" and isinstance(pattern, Ends) and pattern.offset == 0 and number <= 1:
            return pattern  # `lengths.clamp(min=1)`: no request has a smaller length
        if number.is_integer() and (node.operator == "Add" or (node.operator == "Sub" and at == 0)):
            return dataclasses.replace(
                pattern, offset=pattern.offset + int(number if node.operator == "Add" else -number)
            )
    return None


def _compared(node: Node, result: Value) -> Pattern | None:
    """Recognize a comparison of steps with lengths: whether a step lies before its row's length."""
    left, right = node.input(0), node.input(1)
    steps_first = isinstance(left.pattern, Steps)
    counted, held = (left, right) if steps_first else (right, left)
    steps, ends = counted.pattern, held.pattern
    if not isinstance(steps, Steps) or not isinstance(ends, Ends):
        return None
    # With the steps on the left, the comparison is: step + steps.offset OPERATOR length + ends.offset.
    less = node.operator.startswith("Less") == steps_first
    if ends.offset - steps.offset + (less == node.operator.endswith("OrEqual")) != 0:
        return None
    place = steps.place if steps.place < 0 else steps.place + result.rank - counted.rank
    rows = ends.place + result.rank - held.rank
    return None if place == rows else Inside(ends.axis, place, rows, inverted=not less)


def _held(node: Node, mask: Pattern | None) -> dict[str, str]:
    """In a loop over steps, return the tensor that Where selects after each row's length (by sequence axis)."""
    if not isinstance(mask, Inside) or mask.steps >= 0:
        return {}
    return {mask.axis: node.input(1 if mask.inverted else 2).name}


_REDUCTIONS = {
    "ReduceSum": "sums over",
    "ReduceMean": "averages over",
    "ReduceMax": "takes the largest of",
    "ReduceMin": "takes the smallest of",
    "ReduceProd": "multiplies over",
    "ReduceL1": "sums over",
    "ReduceL2": "sums squares over",
    "ReduceSumSquare": "sums squares over",
    "ReduceLogSum": "sums over",
    "ReduceLogSumExp": "sums exponentials over",
}


def reduce(node: Node) -> Value:
    """Reduce axes to one value."""
    value = node.input(0)
    axes = node.axes(value.rank)
    if not axes:
        if node.attribute("noop_with_empty_axes", 0):
            raise NotCovered
        axes = list(range(value.rank))
    # The largest length is usually the number of steps of the longest row: a size.
    over = Over(_REDUCTIONS[node.operator], surely=not isinstance(value.pattern, Ends))
    keep = bool(node.attribute("keepdims", 1))
    result = _left(node, value, axes, over, keep=keep)
    if node.operator == "ReduceMax" and isinstance(value.pattern, Ends) and len(axes) == value.rank:
        batch = next((axis for kind, axis in node.keys if kind is Property.ROWS), "")
        content = symbolic([longest(value.pattern.axis, batch) + value.pattern.offset])
        return dataclasses.replace(result, content=content.reshape([1] * result.rank))
    return result


def _left(node: Node, value: Value, axes: Sequence[int], over: Over, *, keep: bool) -> Value:
    """Return the record of a result with one value for all indices of the given axes."""
    left = [at for at in range(value.rank) if keep or at not in axes]
    reads: list[Read] = [over if at in axes else At(left.index(at)) for at in range(value.rank)]
    return flow(node, tuple((ONE,) if at in axes else value.axes[at] for at in left), [(value, reads)])


def arg_extreme(node: Node) -> Value:
    """Find the index of the largest or smallest value along an axis."""
    value = node.input(0)
    over = Over("looks for the largest of")
    return _left(node, value, [node.axis(value.rank)], over, keep=bool(node.attribute("keepdims", 1)))


def _computed_over(node: Node, value: Value, axes: Sequence[int], over: Over) -> Value:
    """Return the record of a result of the input's shape whose values are computed over some axes."""
    reads: list[Read] = [over if at in axes else At(at) for at in range(value.rank)]
    return flow(node, value.axes, [(value, same_axes(value)), (value, reads)])


def softmax(node: Node) -> Value:
    """Divide exponentials by their sum over an axis."""
    value = node.input(0)
    is_old = node.opset < 13  # old opsets compute over `axis` and all later axes
    at = node.axis(value.rank, 1 if is_old else -1)
    axes = list(range(at, value.rank)) if is_old else [at]
    return _computed_over(node, value, axes, Over("computes softmax over"))


def normalize(node: Node) -> Value:
    """Normalize over the last axes, with constant scales."""
    value = node.input(0)
    if node.operator in ("GroupNormalization", "InstanceNormalization"):  # over (batch, channels, …)
        first = 1 if node.operator == "GroupNormalization" else 2
    else:
        first = node.axis(value.rank, -1)
    parameters = node.given[1:]
    if (
        len(list(filter(None, node.results))) > 1
        or any(v.shape is None for v in parameters)
        or not node.is_free(parameters)
    ):
        raise NotCovered
    return _computed_over(node, value, range(first, value.rank), Over("normalises over"))


def normalize_batch(node: Node) -> Value:
    """Normalize by constants, or over the batch in training mode."""
    value = node.input(0)
    if not node.is_free(node.given[1:]):
        raise NotCovered
    over = [0, *range(2, value.rank)] if node.attribute("training_mode", 0) else []
    return _computed_over(node, value, over, Over("normalises over"))


def running_sum(node: Node) -> Value:
    """Sum cumulatively along an axis."""
    value, axis = node.input(0), node.input(1).numbers
    if axis is None:
        raise NotCovered
    at = axis[0] % value.rank
    if node.attribute("reverse", 0):
        return _computed_over(node, value, [at], Over("sums backwards over"))
    reads = same_axes(value)
    reads[at] = At(at, Reach(exact=False, offset=-int(node.attribute("exclusive", 0))))
    return flow(node, value.axes, [(value, reads)])


def largest(node: Node) -> list[Value]:
    """Return the largest values along an axis, sorted, and their indices."""
    value, count = node.input(0), node.input(1).sizes
    if count is None:
        raise NotCovered
    at, reads = node.axis(value.rank, -1), same_axes(value)
    reads[at] = Over("sorts over", surely=False)
    result = flow(node, (*value.axes[:at], (count[0],), *value.axes[at + 1 :]), [(value, reads)])
    return [result, dataclasses.replace(result, range=Range(0.0, 1e9))]


def triangle(node: Node) -> Value:
    """Zero the values on one side of a diagonal. Not covered if rows lie along one of the last two axes."""
    value = node.input(0)
    places = [place for key in node.keys if key[0] is Property.ROWS for place in value.track(key).places]
    if any(place[0] >= value.rank - 2 for place in places):
        raise NotCovered
    return flow(node, value.axes, [(value, same_axes(value))])


def contract(node: Node) -> Value:
    """Sum products over the axes that the result doesn't have: MatMul, Gemm and Einsum."""
    values = [node.input(at) for at, value in enumerate(node.inputs) if value is not None]
    terms, given, added = _equation(node, values)
    values = values[: len(terms)]
    pairs = list(zip(terms, values, strict=True))
    if any(len(set(term)) != len(term) or len(term) != value.rank for term, value in pairs):
        raise NotCovered
    letters = dict.fromkeys("".join(terms))
    axes = {letter: meet(v.axes[t.index(letter)] for t, v in pairs if letter in t) for letter in letters}
    # If both factors vary, one may be a mask, which removes the values that must not mix.
    over = Over("sums products over", surely=sum(not node.is_free([value]) for value in values) < 2)
    sources: list[Source] = [
        (value, [At(given.index(letter)) if letter in given else over for letter in term]) for term, value in pairs
    ]
    shape = tuple(axes[letter] for letter in given)
    if added is not None:
        if broadcast_shape([shape, added.axes]) != shape:
            raise NotCovered
        sources.append((added, [At(at + 2 - added.rank) for at in range(added.rank)]))
    return flow(node, shape, sources)


def _equation(node: Node, values: list[Value]) -> tuple[list[str], str, Value | None]:
    """Return letters for the axes of the factors, letters for the axes of the result, and the added tensor."""
    if node.operator == "Gemm":
        terms = ["km" if node.attribute("transA", 0) else "mk", "nk" if node.attribute("transB", 0) else "kn"]
        return terms, "mn", values[2] if len(values) > 2 else None
    if node.operator != "Einsum":  # MatMul
        if len(values) > 2:
            raise NotCovered
        left, right = (value.rank for value in values)
        batch = "".join(chr(ord("A") + at) for at in range(max(left, right, 2) - 2))
        outer = [batch[len(batch) - max(rank - 2, 0) :] for rank in (left, right)]
        rows, columns = "m" * (left > 1), "n" * (right > 1)
        return [f"{outer[0]}{rows}k", f"{outer[1]}k{columns}"], f"{batch}{rows}{columns}", None
    equation = node.attribute("equation").replace(" ", "")
    taken, arrow, given = equation.partition("->")
    if "." in equation or taken.count(",") + 1 != len(values):
        raise NotCovered
    if not arrow:  # letters that occur once, sorted
        given = "".join(sorted(letter for letter in set(taken) - {","} if taken.count(letter) == 1))
    return taken.split(","), given, None


_INITIAL = {"RNN": (5,), "GRU": (5,), "LSTM": (5, 6)}


def recurrent(node: Node) -> list[Value]:
    """Compute rows step by step, up to their lengths.

    Y (sequence, directions, batch, hidden), Y_h and Y_c (directions, batch, hidden).
    """
    value, lengths = node.input(0), node.optional(4)
    constants = [node.input(1), node.input(2), *(v for at in (3, 7) if (v := node.optional(at)) is not None)]
    states = [node.input(at) for at in _INITIAL[node.operator] if node.optional(at) is not None]
    if node.attribute("layout", 0) or value.rank != 3 or not node.is_free(constants):
        raise NotCovered
    if any(state.rank != 3 for state in states) or (lengths is not None and len(lengths.axes) != 1):
        raise NotCovered
    direction = node.attribute("direction", "forward")
    directions: Axis = (Size.of(2 if direction == "bidirectional" else 1),)
    hidden: Axis = (Size.of(int(node.attribute("hidden_size"))),)
    batch = meet([value.axes[1], *(state.axes[1] for state in states)])
    is_forward, known = direction == "forward", lengths is None or isinstance(lengths.pattern, Ends)
    features = Over("sums products over")
    neutral = _neutral(lengths)
    backward = Over("runs backward over", surely=known, neutral=neutral)
    last: Read = Last("gives the state after", neutral) if known else Over("stops somewhere over", surely=False)
    y_sources: list[Source] = [(value, [At(0, Reach(exact=False)) if is_forward else At(0), At(2), features])]
    y_sources += [] if is_forward else [(value, [backward, At(2), features])]
    h_sources: list[Source] = [(value, [last if is_forward else backward, At(1), features])]
    y_sources += [(state, [At(1), At(2), features]) for state in states]
    h_sources += [(state, [At(0), At(1), features]) for state in states]
    if lengths is not None:
        y_sources.append((lengths, [At(2)]))
        h_sources.append((lengths, [At(1)]))
    result = flow(node, (value.axes[0], directions, batch, hidden), y_sources)
    result = dataclasses.replace(result, masked=result.masked or lengths is not None)
    return [result, *[flow(node, (directions, batch, hidden), h_sources)] * (len(node.results) - 1)]


def attend_linearly(node: Node) -> list[Value]:
    """Sum products of keys and values (batch, sequence, features) from step to step, and query the sum.

    Returns the result (batch, sequence, features) and the sum (batch, heads, key features, value features).
    """
    query, key, value = (node.input(at) for at in range(3))
    gates = [gate for at in (4, 5) if (gate := node.optional(at)) is not None]
    summed, state = [key, value, *gates], node.optional(3)
    if any(each.rank != 3 for each in [query, *summed]) or node.attribute("state_window", 0):
        raise NotCovered
    heads, key_heads = int(node.attribute("q_num_heads")), int(node.attribute("kv_num_heads"))
    of_key, of_value = (size_of(each.axes[2]).number for each in (key, value))
    if of_key is None or of_value is None or size_of(query.axes[2]).number != of_key // key_heads * heads:
        raise NotCovered
    shape = key_heads, of_key // key_heads, of_value // key_heads
    batch, steps = (meet([each.axes[at] for each in [query, *summed]]) for at in (0, 1))
    features = Over("sums products over")
    earlier, last = At(1, Reach(exact=False)), Last("gives the state after")
    y_sources: list[Source] = [(query, [At(0), At(1), features])]
    y_sources += [(each, [At(0), earlier, features]) for each in summed]
    sum_sources: list[Source] = [(each, [At(0), last, features]) for each in summed]
    if state is not None:
        y_sources.append((state, [At(0), *[features] * 3]))
        sum_sources.append((state, [At(0), *[features] * 3]))
    result = flow(node, (batch, steps, (Size.of(max(heads, key_heads) * shape[2]),)), y_sources)
    return [result, flow(node, (batch, *((Size.of(size),) for size in shape)), sum_sources)]


def convolve_causally(node: Node) -> list[Value]:
    """Sum products over windows of (batch, channels, sequence) that end at each step, and keep the last steps."""
    value, weights, state = node.input(0), node.input(1), node.optional(3)
    window = size_of(weights.axes[2]).number
    is_plain = value.rank == weights.rank == 3 and node.attribute("ndim", 1) == 1
    if not is_plain or window is None or not node.is_free([weights, node.optional(2)]):
        raise NotCovered
    if any(node.attribute(name, 0) for name in ("channels_last", "state_window")):
        raise NotCovered
    kept: Axis = (Size.of((window - 1) * int(node.attribute("dilation", 1))),)
    if state is not None and state.axes[2] != kept:
        raise NotCovered
    sources: list[Source] = [(value, [At(0), At(1), At(2, Reach(exact=window == 1))])]
    last: list[Source] = [(value, [At(0), At(1), Last("keeps the last of")])]
    if state is not None:
        before = Over("joins")
        sources.append((state, [At(0), At(1), before]))
        last.append((state, [At(0), At(1), before]))
    return [flow(node, value.axes, sources), flow(node, (*value.axes[:2], kept), last)]


def _neutral(lengths: Value | None) -> list[str]:
    """Return a list of the sequence axis whose steps after each row's length the operator skips, if there is one."""
    pattern = None if lengths is None else lengths.pattern
    return [pattern.axis] if isinstance(pattern, Ends) and pattern.offset == 0 else []


def reverse_sequence(node: Node) -> Value:
    """Reverse the steps of each row up to its length. Later steps stay in place."""
    value, lengths = node.input(0), node.input(1)
    steps, rows = int(node.attribute("time_axis", 0)), int(node.attribute("batch_axis", 1))
    if len(value.axes[rows]) > 1 or lengths.rank != 1 or meet([value.axes[rows], lengths.axes[0]]) != value.axes[rows]:
        raise NotCovered
    # Reversal swaps steps within a row's length. It never mixes them with the steps after it.
    turned = same_axes(value)
    turned[steps] = Over("turns round", surely=False, neutral=_neutral(lengths))
    return flow(node, value.axes, [(value, same_axes(value)), (value, turned), (lengths, [At(rows)])])


def convolve(node: Node) -> Value:
    """Sum products over windows of the third and later axes."""
    value, weights = node.input(0), node.input(1)
    kernel = [size_of(axis).number for axis in weights.axes[2:]]
    if None in kernel or not node.is_free(node.given[1:]):
        raise NotCovered
    read = Over("sums products over")
    return _windowed(node, value, [number or 0 for number in kernel], "convolves over", weights.axes[0], read)


def pool(node: Node) -> Value:
    """Reduce each window of the third and later axes to one value, or the whole axes (Global…)."""
    value = node.input(0)
    if node.operator.startswith("Global"):
        return _left(node, value, range(2, value.rank), Over("pools over"), keep=True)
    if len([name for name in node.results if name]) > 1:
        raise NotCovered  # these are indices into all values
    return _windowed(node, value, list(node.attribute("kernel_shape")), "pools over", value.axes[1], At(1))


def _windowed(node: Node, value: Value, kernel: list[int], does: str, channels: Axis, of_channels: Read) -> Value:
    """Return a result with an index for each window. `of_channels` is how the input's channels are read."""
    count = value.rank - 2
    strides = node.attribute("strides") or [1] * count
    dilations = node.attribute("dilations") or [1] * count
    same = node.attribute("auto_pad", "NOTSET")
    pads = (None if same == "VALID" else node.attribute("pads")) or [0] * (2 * count)
    if node.attribute("ceil_mode", 0):
        raise NotCovered
    if same.startswith("SAME") and set(dilations) != {1}:
        raise NotCovered  # onnxruntime pads as if windows had no gaps, but the standard pads for the gaps, too
    reads: list[Read] = [At(0), of_channels]
    shape: list[Axis] = [value.axes[0], channels]
    padded_behind: list[Size] = []
    for number, (axis, length) in enumerate(zip(value.axes[2:], kernel, strict=True)):
        extent = dilations[number] * (length - 1)  # steps from the window's first to its last
        before, after = pads[number], pads[number + count]
        if same.startswith("SAME"):
            before, after = (extent // 2, -(-extent // 2)) if same == "SAME_UPPER" else (-(-extent // 2), extent // 2)
        size = size_of(axis) + before + after - extent
        padded_behind += [size_of(axis)] if after > 0 else []
        if strides[number] == 1:
            # A window may be longer than the axis: then the operator fails or returns an empty result.
            shape.append((size if size.at_least(0) else computed("window", size, lowest=0),))
            reads.append(At(number + 2, Reach(length == 1, extent - before)))
            continue
        reads.append(Over(does, surely=False))
        name = f"stride {strides[number]}"
        if same.startswith("SAME"):
            shape.append((computed(f"{name} {same} {length}", size_of(axis), lowest=0),))
        else:
            steps = None if size.number is None else (size.number - 1) // strides[number] + 1
            shape.append((computed(name, size - 1) + 1 if steps is None else Size.of(steps),))
    result = flow(node, tuple(shape), [(value, reads)])
    for boundary in padded_behind:
        result = numbered(node, result, boundary)
    return result
