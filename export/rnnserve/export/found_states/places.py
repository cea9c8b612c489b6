"""Find the nodes that carry a state from step to step: recurrent operators, scans, windows of steps, running sums.

Recurrent operators and scans already have inputs and outputs for their states, so these only need names. For a window,
the last steps of the sequence are carried and placed before the first step of the next part. A convolution that reads
them computes at least two steps, and the first of them is dropped. The reason is that onnxruntime computes a single
step by another kernel, whose last bits differ.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from rnnserve.export.analysis.decisions import ROWS, causal_key, padding_key
from rnnserve.export.analysis.sizes import named
from rnnserve.export.analysis.values import Track, Value, size_of
from rnnserve.export.tensors import lengths_inputs
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.protocol_words import BATCH


class Obstacle(Exception):
    """A graph can't be cut at some node. The message is the reason."""


@dataclasses.dataclass(frozen=True)
class FoundState:
    """A carried state, exposed as an input and as an output that continues it."""

    initial: manifest_pb2.Tensor
    final: manifest_pb2.Tensor
    default: npt.NDArray[Any] | None = None  # one row for the input, if it is known and not zeros
    computed: str = ""  # if the initial value must be computed: its tensor in the uncut graph


@dataclasses.dataclass(frozen=True)
class Place:
    """A node that carries a state from step to step."""

    node: int  # its index in the graph
    nodes: Mapping[int, Sequence[onnx.NodeProto]]  # replacements for the node and for readers of its result, by index
    initializers: Sequence[onnx.TensorProto]  # constants of the replacements
    states: Sequence[FoundState]  # the carried states that the model doesn't declare
    before: Sequence[str] = ()  # results of nodes that only prepare this node's input
    unread: Sequence[str] = ()  # names of inputs that no result depends on


@dataclasses.dataclass(frozen=True, eq=False)
class KnownGraph:
    """A graph whose recurrent nodes have names for all results, with the records of a traversal by tensor name."""

    model: onnx.ModelProto
    inputs: Sequence[manifest_pb2.Tensor]
    outputs: Sequence[manifest_pb2.Tensor]
    axis: str  # the sequence axis
    values: Mapping[str, Value]

    @functools.cached_property
    def lengths(self) -> str:
        """The input that holds the lengths of rows, or an empty string."""
        return lengths_inputs(self.inputs).get(self.axis, "")

    @functools.cached_property
    def makers(self) -> dict[str, onnx.NodeProto]:
        """The node that computes each result, by the result's name."""
        return {name: node for node in self.model.graph.node for name in node.output if name}

    @functools.cached_property
    def _element_types(self) -> dict[str, int]:
        try:
            graph = onnx.shape_inference.infer_shapes(self.model).graph
        except (onnx.shape_inference.InferenceError, ValueError):  # larger than 2 GiB, or with wrong shapes
            graph = self.model.graph
        typed = (*graph.value_info, *graph.input, *graph.output)
        found = {value.name: value.type.tensor_type.elem_type for value in typed}
        return found | {tensor.name: tensor.data_type for tensor in graph.initializer}

    def dtype(self, *names: str) -> np.dtype[Any]:
        """Return the datatype of the first of these tensors with a known type."""
        types = [self._element_types.get(name, 0) for name in names]
        try:
            return onnx.helper.tensor_dtype_to_np_dtype(next(filter(None, types), 0))
        except KeyError:
            return np.dtype(object)

    def steps_at(self, name: str) -> int | None:
        """Return the axis along which the steps lie. None unless they lie along one whole axis."""
        value = self.values.get(name)
        return None if value is None else _plain_axis(value, value.track(causal_key(self.axis)))

    def depends_on_steps(self, name: str) -> bool:
        """Whether a tensor may depend on the steps of the sequence."""
        value = self.values.get(name)
        return value is None or not value.track(causal_key(self.axis)).is_free

    def rows_at(self, name: str) -> int:
        """Return the axis along which the rows lie. Raises Obstacle unless they lie along one whole axis."""
        value = self.values[name]
        track = value.track(ROWS)
        if track.undecided:
            raise Obstacle(f"the axis of its rows is not known, because no rule covers {track.undecided[0].node}")
        at = _plain_axis(value, track)
        if at is None:
            raise Obstacle("it carries a value without a batch axis")
        return at

    def axes_of(self, name: str, steps: int | None = None, kept: int = 0) -> list[manifest_pb2.Axis]:
        """Describe the axes of a state like a tensor's axes, but with only `kept` entries along the axis `steps`.

        Raises Obstacle if the state's size isn't fixed.
        """
        rows, axes = self.rows_at(name), []
        for at, axis in enumerate(self.values[name].axes):
            size = kept if at == steps else size_of(axis).number
            if at == rows:
                axes.append(manifest_pb2.Axis(name=BATCH, size=-1))
            elif size is None:
                raise Obstacle(f"its state grows: axis {at} has {size_of(axis)} entries")
            else:
                axes.append(manifest_pb2.Axis(name="steps" if at == steps else f"axis_{at}", size=size))
        return axes

    def inputs_behind(self, name: str) -> set[str]:
        """Return the graph's inputs from whose values a tensor is computed. Their sizes don't count."""
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            at = waiting.pop()
            maker = self.makers.get(at)
            if at not in seen and maker is not None and maker.op_type not in ("Shape", "Size"):
                waiting += [each for each in maker.input if each]
            seen.add(at)
        return seen & {tensor.name for tensor in self.inputs}

    def continues_declared(self, name: str) -> bool:
        """Whether a tensor is computed from a declared initial state."""
        return not self.inputs_behind(name).isdisjoint(tensor.continues_as for tensor in self.outputs)

    def beginning(self, name: str) -> str | None:
        """Return the tensor with which a recurrence begins: empty for zeros, None for a declared state.

        A missing initial value has an empty name. Raises Obstacle if the value is computed from other inputs.
        """
        behind = self.inputs_behind(name)
        if self.continues_declared(name):
            return None
        if behind:
            raise Obstacle(
                f'its initial state is computed from "{min(behind)}", which every later part would have to send again'
            )
        value = self.values.get(name)
        return "" if value is not None and value.fill == 0 else name

    def state(
        self, name: str, axes: Sequence[manifest_pb2.Axis], dtype: np.dtype[Any], *, fill: float = 0.0, computed: str
    ) -> FoundState:
        """Describe a state that begins with a number, or with a tensor of the uncut graph."""
        datatype = next((key for key, known in DTYPES.items() if known == dtype), None)
        if datatype is None:
            raise Obstacle(f"its state has a datatype that requests cannot have ({dtype})")
        default = np.full([max(axis.size, 1) for axis in axes], fill, dtype) if fill else None
        means = manifest_pb2.DEFAULT_RECORDED if fill or computed else manifest_pb2.DEFAULT_ZEROS
        return FoundState(
            manifest_pb2.Tensor(name=name, datatype=datatype, axes=axes, default=means),
            manifest_pb2.Tensor(name=f"{name}_n", datatype=datatype, axes=axes, continues_as=name),
            default,
            computed,
        )


def _plain_axis(value: Value, track: Track) -> int | None:
    """Return the axis of a value along which a track lies. None unless it is exactly one whole axis."""
    if value.shape is None or track.is_lost or len(track.places) != 1:
        return None
    ((at, number),) = track.places
    return at if at >= 0 and number == 0 and len(value.shape[at]) == 1 else None


RECURRENT = {"RNN": "h", "GRU": "h", "LSTM": "hc"}
"""Recurrent operators, each with the letters of its states: the inputs from the sixth, the outputs from the second."""

_FIRST_STATE = 5
_WITH_STATE = {"LinearAttention": 1, "CausalConvWithState": 2}
"""Operators whose fourth input and second output are a state. Each has the axis of its steps."""
_Exposed = tuple[int, int, str, Sequence[manifest_pb2.Axis]]
"""A state of a node: the index of its input, the index of its output, its name, and its axes."""


def name_results(model: onnx.ModelProto) -> None:
    """Name the unnamed results of recurrent operators and scans, in place, so that a traversal records them."""
    for number, node in enumerate(model.graph.node):
        if node.op_type in (*RECURRENT, *_WITH_STATE, "Scan"):
            count = 1 + len(RECURRENT.get(node.op_type, "1")) if node.op_type != "Scan" else len(node.output)
            names = [*node.output, *[""] * (count - len(node.output))]
            node.output[:] = [name or f"found/{number}/{at}" for at, name in enumerate(names)]


def find_recurrence(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find the states of an RNN, GRU or LSTM operator. None if it doesn't run over the sequence."""
    if graph.steps_at(node.input[0]) != 0:
        return None
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    if attributes.get("direction", b"forward") != b"forward":
        raise Obstacle("it reads the sequence backwards")
    axes = [
        manifest_pb2.Axis(name="directions", size=1),
        manifest_pb2.Axis(name=BATCH, size=-1),
        manifest_pb2.Axis(name="hidden", size=attributes["hidden_size"]),
    ]
    letters = enumerate(RECURRENT[node.op_type])
    return _exposed(
        graph, number, node, [(_FIRST_STATE + at, 1 + at, f"{prefix}.{name}", axes) for at, name in letters]
    )


def find_operator_with_state(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find the state of a linear attention or a causal convolution. None if it doesn't run over the sequence."""
    if graph.steps_at(node.input[0]) != _WITH_STATE[node.op_type]:
        return None
    return _exposed(graph, number, node, [(3, 1, f"{prefix}.state", graph.axes_of(node.output[1]))])


def find_scan(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find the states of a Scan. None if it doesn't run over the sequence."""
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    body, count = attributes["body"], len(node.input) - attributes["num_scan_inputs"]
    axes = attributes.get("scan_input_axes") or [0] * (len(node.input) - count)
    scanned = zip(node.input[count:], axes, strict=True)
    if not any(
        (at := graph.steps_at(name)) is not None and axis % graph.values[name].rank == at for name, axis in scanned
    ):
        return None
    for name in captured_names(body):
        if graph.depends_on_steps(name):
            raise Obstacle("each of its steps reads values that are computed from other steps")
    needed, read = needed_inputs(graph.model.graph, node, body, count)
    states = [
        (at, at, f"{prefix}.state" + (f"_{at}" if len(needed) > 1 else ""), graph.axes_of(node.output[at]))
        for at in needed
    ]
    unread = {name for at, name in enumerate(node.input) if at not in read} - {node.input[at] for at in read}
    return _exposed(graph, number, node, states, sorted(unread))


def _exposed(
    graph: KnownGraph, number: int, node: onnx.NodeProto, states: Sequence[_Exposed], unread: Sequence[str] = ()
) -> Place:
    """Expose the states of a node that the model doesn't declare."""
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    changed.input.extend([""] * (max((at + 1 for at, *_ in states), default=0) - len(changed.input)))
    nodes: list[onnx.NodeProto] = [changed]
    found: list[FoundState] = []
    for at, result, name, axes in states:
        final = node.output[result]
        if graph.lengths and graph.values[final].track(padding_key(graph.axis)).is_lost:
            raise Obstacle("it runs past the lengths of rows, so the state at the end of a row is lost")
        begins = graph.beginning(changed.input[at])
        if begins is None:
            continue
        typed = [final, node.input[at]] if node.op_type == "Scan" else [node.input[0]]
        found.append(graph.state(name, axes, graph.dtype(*typed), computed=begins))
        changed.input[at] = name
        nodes.append(onnx.helper.make_node("Identity", [final], [f"{name}_n"], name=f"{name}_n"))
    return Place(number, {number: nodes}, [], found, unread=unread)


def needed_inputs(
    graph: onnx.GraphProto, node: onnx.NodeProto, body: onnx.GraphProto, count: int
) -> tuple[list[int], set[int]]:
    """Find the states and inputs of a Scan that affect the results used by its graph.

    Returns the indices of these states, and of all these inputs. The body's first `count` inputs and outputs are
    states.
    """
    read = {name for each in graph.node for name in each.input} | {value.name for value in graph.output}
    inputs = {value.name: at for at, value in enumerate(body.input)}
    waiting = [at for at, name in enumerate(node.output) if name in read]
    states, behind, seen = set[int](), set[int](), set[int]()
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        behind |= {inputs[name] for name in _names_behind(body, body.output[at].name) if name in inputs}
        states |= {each for each in behind if each < count} | ({at} if at < count else set())
        waiting += states
    return sorted(states), behind


def _names_behind(body: onnx.GraphProto, name: str) -> set[str]:
    """Return all names from which a tensor of a body is computed. A nested body counts as reading all inputs."""
    makers = {result: node for node in body.node for result in node.output}
    found: set[str] = set()
    waiting = [name]
    while waiting:
        at = waiting.pop()
        maker = makers.get(at)
        if at not in found and maker is not None:
            waiting += maker.input
            if any(each.type == onnx.AttributeProto.GRAPH for each in maker.attribute):
                waiting += [value.name for value in body.input]
        found.add(at)
    return found


def captured_names(body: onnx.GraphProto) -> Iterator[str]:
    """Yield the tensors of outer graphs that a body reads."""
    own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
    own |= {name for node in body.node for name in node.output}
    for node in body.node:
        yield from (name for name in node.input if name and name not in own)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from (name for name in captured_names(attribute.g) if name not in own)


_FAR = 2**63 - 1
"""The end of any axis, for a Slice."""
_FOLDED = ("BatchNormalization", "Mul", "Add")
"""Operators that onnxruntime folds into the weights of a preceding convolution."""


class _Pieces:
    """New nodes that replace others, and their int64 constants. All their names begin with a prefix."""

    def __init__(self, graph: KnownGraph, prefix: str) -> None:
        self._graph, self._prefix = graph, prefix
        self.joined = f"{prefix}/joined"  # the sequence, after the carried steps
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:  # noqa: ANN401 - as ONNX's own
        name = output or f"{self._prefix}/{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values: object) -> str:
        name = f"{self._prefix}/constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, np.int64), name))
        return name

    def steps(self, tensor: str, axis: int, start: int, end: int, output: str = "") -> str:
        """Cut a tensor along one axis."""
        bounds = [self.constant([number]) for number in (start, end, axis)]
        return self.add("Slice", [tensor, *bounds], output)

    def window(self, tensor: str, steps: int, kept: int, fill: float = 0.0, computed: str = "") -> FoundState:
        """Prepend the carried steps to a tensor, and keep its last steps as the next state.

        At the beginning of a sequence, the carried steps are `fill`, or the tensor `computed`.
        """
        graph, name = self._graph, f"{self._prefix}.last"
        axes = graph.axes_of(tensor, steps, kept)
        self.add("Concat", [name, tensor], self.joined, axis=steps)
        self.keep_last(self.joined, tensor, name, steps, kept)
        return graph.state(name, axes, graph.dtype(tensor), fill=fill, computed=computed)

    def keep_last(self, joined: str, tensor: str, state: str, steps: int, kept: int) -> None:
        """Output the last steps of each row of `joined`, which consists of a state and then of `tensor`."""
        lengths = self._graph.lengths
        if not lengths:
            self.steps(joined, steps, -kept, _FAR, f"{state}_n")
            return
        rows, rank = self._graph.rows_at(tensor), self._graph.values[tensor].rank
        ends = self.add("Cast", [lengths], to=onnx.TensorProto.INT64)
        by_row = self.add("Reshape", [ends, self.constant([-1 if at == rows else 1 for at in range(rank)])])
        places = np.arange(kept).reshape([kept if at == steps else 1 for at in range(rank)])
        indices = self.add("Add", [by_row, self.constant(places)])
        every = self.add("Expand", [indices, self.add("Shape", [state])])
        self.add("GatherElements", [joined, every], f"{state}_n", axis=steps)

    def place(
        self,
        number: int,
        states: Sequence[FoundState],
        convolutions: Mapping[int, onnx.NodeProto],
        steps: int,
        before: Sequence[str] = (),
    ) -> Place:
        """Replace a node by the new nodes, and drop the additional step that convolutions compute.

        The step is dropped after the nodes that onnxruntime fuses with the convolution. A Slice between them would
        prevent the fusion, and the last bits would differ.
        """
        nodes: dict[int, Sequence[onnx.NodeProto]] = {number: list(self.nodes)}
        for at, node in convolutions.items():
            chain = {at: node, **_folded(self._graph, node)}
            last = onnx.NodeProto()
            last.CopyFrom(chain[max(chain)])
            result = last.output[0]
            last.output[0] = f"{result}/more"
            self.steps(last.output[0], steps, 1, _FAR, result)
            chain_nodes: dict[int, Sequence[onnx.NodeProto]] = {key: [each] for key, each in chain.items()}
            chain_nodes[max(chain)] = [last, self.nodes[-1]]
            nodes |= {key: [*(nodes[key] if key == number else ()), *each] for key, each in chain_nodes.items()}
        return Place(number, nodes, self.initializers, states, before)


def find_padding(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find padding before the first step, made by a Pad. None if it doesn't pad the steps there."""
    steps = graph.steps_at(node.input[0])
    mode = next((each.s for each in node.attribute if each.name == "mode"), b"constant")
    pads = graph.values[node.input[1]].numbers if node.input[1:] and node.input[1] in graph.values else None
    if steps is None or pads is None or mode != b"constant" or node.input[3:] or pads[steps] <= 0:
        return None
    fill = graph.values[node.input[2]].fill if node.input[2:] and node.input[2] else 0.0
    if fill is None:
        return None
    readers = _convolutions(graph, node.output[0])
    pieces = _Pieces(graph, prefix)
    state = pieces.window(node.input[0], steps, pads[steps] + bool(readers), fill)
    rest = [0 if at == steps else pad for at, pad in enumerate(pads)]
    if any(rest):
        pieces.add("Pad", [pieces.joined, pieces.constant(rest), *node.input[2:3]], node.output[0])
    else:
        pieces.add("Identity", [pieces.joined], node.output[0])
    return pieces.place(number, [state], readers, steps)


def find_convolution(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find padding before the first step, made by a convolution.

    A convolution with a kernel of 1 carries nothing, but also computes at least two steps.
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
    more = (size_of(graph.values[node.input[0]].axes[steps]) - named(graph.axis)).number
    dilations = list(attributes.get("dilations", ())) or [1] * spatial
    if pads[at] > 0 and kernel is not None and more is not None and more >= (kernel - 1) * dilations[at]:
        return Place(number, {}, [], [])  # the input begins with a state, so no step of the sequence reads padding
    pieces, states = _Pieces(graph, prefix), []
    if pads[at] > 0:
        states.append(pieces.window(node.input[0], steps, pads[at] + 1))
    else:
        first = pieces.steps(node.input[0], steps, 0, 1)
        pieces.add("Concat", [first, node.input[0]], pieces.joined, axis=steps)
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    changed.input[0] = pieces.joined
    for each in changed.attribute:
        if each.name == "pads":
            each.ints[at] = 0
    return pieces.place(number, states, {number: changed}, steps)


def find_sum(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find a running sum over the sequence, such as the guards of recurrent operators use. The sum so far is carried.

    None if it runs over another axis, or backward.
    """
    given, axis_name = node.input
    steps, value = graph.steps_at(given), graph.values.get(given)
    attributes = {each.name: each.i for each in node.attribute}
    axis = graph.values[axis_name].numbers if axis_name in graph.values else None
    if steps is None or axis is None or value is None or axis[0] % value.rank != steps or attributes.get("reverse"):
        return None
    pieces, name = _Pieces(graph, prefix), f"{prefix}.sum"
    state = graph.state(name, graph.axes_of(given, steps, 1), graph.dtype(given), computed="")
    sums = pieces.add("CumSum", [pieces.add("Concat", [name, given], axis=steps), axis_name])
    first, end = (0, -1) if attributes.get("exclusive") else (1, _FAR)
    pieces.steps(sums, steps, first, end, node.output[0])
    pieces.keep_last(sums, given, name, steps, 1)
    return pieces.place(number, [state], {}, steps)


def find_join(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find constants placed before the first step by a Concat. None if there are none.

    If the last steps are cut off first, as in `cat([zeros, x[:, :-1]], 1)`, the last steps of the uncut sequence are
    carried.
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
    computed = graph.beginning(first)
    if computed is None:
        return Place(number, {}, [], [])
    source = _uncut(graph, second, steps, kept)
    readers = _convolutions(graph, node.output[0]) if source == second and not computed else {}
    pieces = _Pieces(graph, prefix)
    state = pieces.window(source, steps, kept + bool(readers), computed=computed)
    if source == second:
        pieces.add("Identity", [pieces.joined], node.output[0])
    else:
        pieces.steps(pieces.joined, steps, 0, -kept, node.output[0])
    return pieces.place(number, [state], readers, steps, [] if source == second else [second])


def _convolutions(graph: KnownGraph, name: str) -> dict[int, onnx.NodeProto]:
    """Return the nodes that read a tensor, by index, if all of them are convolutions of it. Otherwise empty."""
    readers = {number: node for number, node in enumerate(graph.model.graph.node) if name in node.input}
    is_output = any(value.name == name for value in graph.model.graph.output)
    alone = all(node.op_type == "Conv" and list(node.input).index(name) == 0 for node in readers.values())
    return readers if alone and not is_output else {}


def _folded(graph: KnownGraph, node: onnx.NodeProto) -> dict[int, onnx.NodeProto]:
    """Return the nodes after a convolution that onnxruntime folds into its weights, by index."""
    constants = {tensor.name for tensor in graph.model.graph.initializer}
    outputs = {value.name for value in graph.model.graph.output}
    found: dict[int, onnx.NodeProto] = {}
    name = node.output[0]
    while name not in outputs:
        readers = [(number, each) for number, each in enumerate(graph.model.graph.node) if name in each.input]
        if (
            len(readers) != 1
            or readers[0][1].op_type not in _FOLDED
            or not {*readers[0][1].input} - {name} <= constants
        ):
            break
        found |= readers
        name = readers[0][1].output[0]
    return found


def _uncut(graph: KnownGraph, name: str, steps: int, cut: int) -> str:
    """Return the longer tensor of which a tensor lacks only the last `cut` steps, or the tensor if there is none."""
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
