"""What stands before the first step: padding, or a constant that is joined to the sequence.

What is carried are the last steps of the sequence, which stand before the first step of the next part. A convolution
that reads them computes at least two steps, of which the first is dropped: onnxruntime computes a single one by another
kernel, whose last bits differ.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from rnnserve.export.analysis.decisions import causal_key
from rnnserve.export.analysis.sizes import named
from rnnserve.export.analysis.values import size_of
from rnnserve.export.found_states.known_graph import Beginning, KnownGraph, initial_of
from rnnserve.export.found_states.place import FoundState, Place, datatype_of
from rnnserve.protos import manifest_pb2

_FAR = 2**63 - 1
"""The end of any axis, for a Slice."""


class NodePieces:
    """Nodes and constants whose names begin with one prefix.

    Attributes:
        nodes: The nodes, in order.
        initializers: Their constants, of int64.
    """

    def __init__(self, prefix: str) -> None:
        """Begin without any.

        Args:
            prefix: Beginning of their names.
        """
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:  # noqa: ANN401 - as ONNX's own
        """Add a node, and give the name of its result."""
        name = output or f"{self._prefix}/{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values: object) -> str:
        """Add a constant of int64, and give its name."""
        name = f"{self._prefix}/constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, np.int64), name))
        return name

    def steps(self, tensor: str, axis: int, start: int, end: int, output: str = "") -> str:
        """Add a Slice along one axis, and give the name of its result."""
        bounds = [self.constant([number]) for number in (start, end, axis)]
        return self.add("Slice", [tensor, *bounds], output)

    def moved(self, node: onnx.NodeProto, given: str, result: str) -> onnx.NodeProto:
        """Add a copy of a node with another first input, and another result."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[0], copy.output[0] = given, result
        self.nodes.append(copy)
        return copy


_FOLDED = ("BatchNormalization", "Mul", "Add")


def find_padding(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find steps of padding before the first one, by a Pad: None where it adds none."""
    steps = graph.steps_at(node.input[0])
    mode = next((each.s for each in node.attribute if each.name == "mode"), b"constant")
    pads = graph.values[node.input[1]].numbers if node.input[1:] and node.input[1] in graph.values else None
    if steps is None or pads is None or mode != b"constant" or node.input[3:] or pads[steps] <= 0:
        return None
    fill = graph.values[node.input[2]].fill if node.input[2:] and node.input[2] else 0.0
    if fill is None:
        return None
    readers = _convolutions(graph, node.output[0])
    kept = pads[steps] + bool(readers)
    pieces = NodePieces(prefix)
    state = _window(graph, pieces, node.input[0], (steps, kept), prefix, fill)
    rest = [0 if at == steps else pad for at, pad in enumerate(pads)]
    if any(rest):
        pieces.add("Pad", [f"{prefix}/joined", pieces.constant(rest), *node.input[2:3]], node.output[0])
    else:
        pieces.add("Identity", [f"{prefix}/joined"], node.output[0])
    own = list(pieces.nodes)
    return Place(number, {number: own, **_shortened(graph, pieces, readers, steps)}, pieces.initializers, [state])


def find_convolution(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find steps of padding before the first one, by a convolution itself.

    A convolution that reads each step alone carries nothing, and computes two steps as others do.
    """
    steps = graph.steps_at(node.input[0])
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    if steps is None or steps < 2 or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    at = steps - 2
    spatial = graph.values[node.input[0]].rank - 2
    pads = list(attributes.get("pads", ())) or [0] * (2 * spatial)
    strides = list(attributes.get("strides", ())) or [1] * spatial
    kernel = size_of(graph.values[node.input[1]].axes[steps]).number
    if strides[at] != 1 or (pads[at] <= 0 and kernel != 1):
        return None
    pieces, states = NodePieces(prefix), []
    if pads[at] > 0:
        states.append(_window(graph, pieces, node.input[0], (steps, pads[at] + 1), prefix, 0.0))
    else:
        first = pieces.steps(node.input[0], steps, 0, 1)
        pieces.add("Concat", [first, node.input[0]], f"{prefix}/joined", axis=steps)
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    changed.input[0] = f"{prefix}/joined"
    for each in changed.attribute:
        if each.name == "pads":
            each.ints[at] = 0
    begun = list(pieces.nodes)
    nodes = _shortened(graph, pieces, {number: changed}, steps)
    nodes[number] = [*begun, *nodes[number]]
    return Place(number, nodes, pieces.initializers, states)


def find_sum(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find a running sum over the sequence, as the guards of recurrent operators have: the sum so far is carried.

    None where it runs over another axis, or backward.
    """
    given, axis_name = node.input
    steps, value = graph.steps_at(given), graph.values.get(given)
    attributes = {each.name: each.i for each in node.attribute}
    axis = graph.values[axis_name].numbers if axis_name in graph.values else None
    if steps is None or axis is None or value is None or axis[0] % value.rank != steps or attributes.get("reverse"):
        return None
    pieces, name = NodePieces(prefix), f"{prefix}.sum"
    axes = graph.axes_of(given, steps, 1)
    datatype = datatype_of(graph.element_types.get(given, 0))
    joined = pieces.add("Concat", [name, given], axis=steps)
    sums = pieces.add("CumSum", [joined, axis_name])
    first, end = (0, -1) if attributes.get("exclusive") else (1, _FAR)
    pieces.steps(sums, steps, first, end, node.output[0])
    _last_steps(graph, pieces, (sums, given), name, (steps, 1))
    state = FoundState(
        manifest_pb2.Tensor(name=name, datatype=datatype, axes=axes, default=manifest_pb2.DEFAULT_ZEROS),
        manifest_pb2.Tensor(name=f"{name}_n", datatype=datatype, axes=axes, continues_as=name),
    )
    return Place(number, {number: pieces.nodes}, pieces.initializers, [state])


def find_join(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find constants that stand before the first step, by a Concat: None where there are none.

    Where the last steps are cut off before, as in `cat([zeros, x[:, :-1]], 1)`, the last steps of the uncut sequence
    are carried.
    """
    if len(node.input) != 2:
        return None
    first, second = node.input
    steps, before = graph.steps_at(second), graph.values.get(first)
    axis = next(each.i for each in node.attribute if each.name == "axis")
    if steps is None or before is None or before.shape is None or graph.depends_on_steps(first):
        return None
    kept = size_of(before.axes[steps]).number
    if axis % before.rank != steps or not kept:
        return None
    initial = initial_of(graph, first)
    if initial.kind is Beginning.DECLARED:
        return Place(number, {}, [], [])
    computed = initial.tensor if initial.kind is Beginning.CONSTANT else ""
    source = _uncut(graph, second, steps, kept)
    readers = _convolutions(graph, node.output[0]) if source == second and not computed else {}
    pieces = NodePieces(prefix)
    state = _window(graph, pieces, source, (steps, kept + bool(readers)), prefix, 0.0, computed)
    if source == second:
        pieces.add("Identity", [f"{prefix}/joined"], node.output[0])
    else:
        pieces.steps(f"{prefix}/joined", steps, 0, -kept, node.output[0])
    prepared = [] if source == second else [second]
    own = list(pieces.nodes)
    nodes = {number: own, **_shortened(graph, pieces, readers, steps)}
    return Place(number, nodes, pieces.initializers, [state], prepared)


def _convolutions(graph: KnownGraph, name: str) -> dict[int, onnx.NodeProto]:
    """The nodes that read a tensor, by number, if all are convolutions of it; else none."""
    nodes = graph.model.graph.node
    readers = {number: node for number, node in enumerate(nodes) if name in node.input}
    is_output = any(value.name == name for value in graph.model.graph.output)
    alone = all(node.op_type == "Conv" and list(node.input).index(name) == 0 for node in readers.values())
    return readers if alone and not is_output else {}


def _shortened(
    graph: KnownGraph, pieces: NodePieces, convolutions: Mapping[int, onnx.NodeProto], steps: int
) -> dict[int, Sequence[onnx.NodeProto]]:
    """Let convolutions that compute a step more drop it: after what onnxruntime makes one node of with them.

    Between the two, the step would keep it from doing so, and the last bits would differ.
    """
    changed: dict[int, Sequence[onnx.NodeProto]] = {}
    for number, node in convolutions.items():
        chain = {number: node, **_fused(graph, node)}
        last = max(chain)
        begun = len(pieces.nodes)
        more = f"{chain[last].output[0]}/more"
        pieces.moved(chain[last], chain[last].input[0], more)
        pieces.steps(more, steps, 1, _FAR, chain[last].output[0])
        changed |= {at: [each] for at, each in chain.items()} | {last: pieces.nodes[begun:]}
    return changed


def _fused(graph: KnownGraph, node: onnx.NodeProto) -> dict[int, onnx.NodeProto]:
    """The nodes after a convolution that onnxruntime folds into its weights, by number."""
    nodes = graph.model.graph.node
    constants = {tensor.name for tensor in graph.model.graph.initializer}
    outputs = {value.name for value in graph.model.graph.output}
    found: dict[int, onnx.NodeProto] = {}
    name = node.output[0]
    while name not in outputs:
        readers = [number for number, each in enumerate(nodes) if name in each.input]
        reader = nodes[readers[0]] if len(readers) == 1 else None
        if (
            reader is None
            or reader.op_type not in _FOLDED
            or not {each for each in reader.input if each != name} <= constants
        ):
            break
        found[readers[0]] = reader
        name = reader.output[0]
    return found


def _uncut(graph: KnownGraph, name: str, steps: int, cut: int) -> str:
    """Give the tensor that this one is but for its last steps, as many as are said; itself where there is none."""
    maker = graph.makers.get(name)
    if maker is None or maker.op_type != "Slice" or graph.steps_at(maker.input[0]) != steps:
        return name
    longer, shorter = (graph.values[each] for each in (maker.input[0], name))
    whole, left = (size_of(each.axes[steps]) for each in (longer, shorter))
    key = causal_key(graph.axis)
    is_from_the_first = dict(shorter.track(key).places) == dict(longer.track(key).places)
    is_cut = whole == named(graph.axis) and (whole - left).number == cut
    is_read_here_only = sum(list(node.input).count(name) for node in graph.model.graph.node) == 1
    return maker.input[0] if is_from_the_first and is_cut and is_read_here_only else name


def _last_steps(
    graph: KnownGraph, pieces: NodePieces, tensors: tuple[str, str], state: str, window: tuple[int, int]
) -> None:
    """Give the last steps of each row of a tensor that begins with those of a state: up to the row's length.

    Args:
        graph: The graph.
        pieces: The nodes to add to.
        tensors: Names of the tensor, and of the one that it goes on with.
        state: Name of the initial state; that of the final one is the same with "_n" after it.
        window: The axis of steps, and how many are kept.
    """
    (joined, tensor), (steps, kept) = tensors, window
    if not graph.lengths:
        pieces.steps(joined, steps, -kept, _FAR, f"{state}_n")
        return
    rows, rank = graph.rows_at(tensor), graph.values[tensor].rank
    ends = pieces.add("Cast", [graph.lengths], to=onnx.TensorProto.INT64)
    by_row = pieces.add("Reshape", [ends, pieces.constant([-1 if at == rows else 1 for at in range(rank)])])
    places = np.arange(kept).reshape([kept if at == steps else 1 for at in range(rank)])
    indices = pieces.add("Add", [by_row, pieces.constant(places)])
    every = pieces.add("Expand", [indices, pieces.add("Shape", [state])])
    pieces.add("GatherElements", [joined, every], f"{state}_n", axis=steps)


def _window(
    graph: KnownGraph,
    pieces: NodePieces,
    tensor: str,
    window: tuple[int, int],
    prefix: str,
    fill: float,
    computed: str = "",
) -> FoundState:
    """Join the last steps of before to a tensor, and keep its own last steps.

    Args:
        graph: The graph.
        pieces: The nodes to add to: `<prefix>/joined` is what they give.
        tensor: Name of the tensor.
        window: The axis of its steps, and how many are kept.
        prefix: Prefix of the state's name.
        fill: Value of each of them before the first step.
        computed: The tensor that holds them instead, where they are not of one value.
    """
    steps, kept = window
    name, axes = f"{prefix}.last", graph.axes_of(tensor, steps, kept)
    element_type = graph.element_types.get(tensor, 0)
    datatype = datatype_of(element_type)
    joined = pieces.add("Concat", [name, tensor], f"{prefix}/joined", axis=steps)
    _last_steps(graph, pieces, (joined, tensor), name, window)
    shape = [max(axis.size, 1) for axis in axes]
    default: npt.NDArray[Any] | None = None
    if fill:
        default = np.full(shape, fill, onnx.helper.tensor_dtype_to_np_dtype(element_type))
    is_zeros = default is None and not computed
    means = manifest_pb2.DEFAULT_ZEROS if is_zeros else manifest_pb2.DEFAULT_RECORDED
    return FoundState(
        manifest_pb2.Tensor(name=name, datatype=datatype, axes=axes, default=means),
        manifest_pb2.Tensor(name=f"{name}_n", datatype=datatype, axes=axes, continues_as=name),
        default,
        computed,
    )
