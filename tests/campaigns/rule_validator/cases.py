"""Random graphs of one or two operators, drawn from the schemas of `onnx.defs`, and of loops and branches."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, defs, helper, numpy_helper

from kit.graph_text import FEATURES
from rnnserve.export.analysis.table import RULES
from rnnserve.export.analysis.walk import OF_MICROSOFT

_OPSET, _NEWEST = 23, 27
_NOT_TRIED = {"SequenceMap"}
_BATCH, _STEPS = 4, 5
_FLOATS, _KINDS = "tensor(float)", {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
_KINDS |= {"tensor(int32)": np.int32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
_BY_ORDER = {  # the operators that take the axes of x in this order
    (0, 2, 1): "AveragePool BatchNormalization CausalConvWithState Conv ConvInteger ConvTranspose GroupNormalization "
    "InstanceNormalization LpPool MaxPool",
    (1, 0, 2): "GRU LSTM RNN ReverseSequence",
    (0, 1, 2): "Einsum LinearAttention",
}
_ORDERS = {name: list(order) for order, names in _BY_ORDER.items() for name in names.split()}
_BODY_TYPES: dict[str, tuple[int, Any]] = {  # types and shapes of inputs of bodies that aren't floats
    "inside": (TensorProto.BOOL, None),
    "number": (TensorProto.INT64, ()),
    "go": (TensorProto.BOOL, ()),
}
_ALWAYS = {"hidden_size", "num_groups", "kernel_shape"}
_FLAGS = (
    "keepdims noop_with_empty_axes exclusive reverse largest upper batch_dims transA transB allowzero fmod layout "
    "linear_before_reset time_axis batch_axis ceil_mode count_include_pad select_last_index detect_negative"
)
_EQUATIONS = [
    "abc,abd->acd", "abc,adc->abd", "abc,abc->ab", "abc->cb", "abc,abc->abc", "abc,bca->ac", "abc->bca", "ab,ab",
]  # fmt: skip
_ATTRIBUTES: dict[str, list[Any]] = {
    **{name: [0, 1] for name in _FLAGS.split()},
    **{name: [1, 3] for name in ("num_groups", "q_num_heads", "kv_num_heads")},
    **{name: [[1], [2]] for name in ("strides", "dilations")},
    **{name: [1] for name in ("group", "blocksize", "stash_type")},
    **{name: [0.5] for name in ("lambd", "beta")},
    "epsilon": [1e-5, 0.1],
    "alpha": [0.1, 2.0],
    "hidden_size": [3],
    "to": [1, 7, 6, 9],
    "p": [1, 2],
    "kernel_shape": [[1], [2], [3]],
    "pads": [[2, 0], [0, 0], [1, 1], [0, 2]],
    "auto_pad": ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"],
    "approximate": ["none", "tanh"],
    "start": [0, 1, -1],
    "mode": ["constant", "reflect", "edge", "wrap"],
    "direction": ["forward", "reverse", "bidirectional", "LEFT"],
    "reduction": ["none", "add", "max"],
    "num_outputs": [1, 2, 3],
    "update_rule": ["linear", "gated", "delta", "gated_delta"],
    "end": [1, 2, -1, 3],
    "gamma": [1.0],
    "bias": [0.1],
    "equation": _EQUATIONS,
    "activations": [["Tanh"], ["Relu"]],
    "activation": ["none", "silu"],
}


def operators() -> Iterator[tuple[str, str]]:
    """Yield the operators of ONNX and those of onnxruntime that have a rule, each with its domain."""
    schemas = {schema.name for schema in defs.get_all_schemas() if not schema.domain and not schema.deprecated}
    yield from (("", name) for name in sorted(schemas - _NOT_TRIED))
    yield from (("com.microsoft", name) for name in sorted(OF_MICROSOFT))


class Graph:
    """A graph of x (batch, sequence, 3) and lengths (batch,) to floats: views of x, an operator, perhaps another."""

    def __init__(self, operator: str, domain: str, seed: int) -> None:
        """Draw a graph. Raises an error if the drawn parts don't fit together."""
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, np.ndarray] = {}
        self._arrays = {"x": np.zeros((_BATCH, _STEPS, FEATURES), np.float32)}  # samples of what nodes compute
        results = WITH_BODIES[operator](self) if operator in WITH_BODIES else self._operator(operator, domain)
        if self._chance(0.3):  # another operator after it, because a rule's mistake may show only there
            known = [name for name in RULES if name not in OF_MICROSOFT]
            self._view_of = results[0]
            results += self._operator(str(self._random.choice(known)), "")
        self.outputs = [self._node("Cast", [name], to=TensorProto.FLOAT) for name in dict.fromkeys(results)]

    def model(self) -> onnx.ModelProto:
        """Return the graph as a model."""
        inputs = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", FEATURES]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
        ]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in self.outputs]
        constants = [numpy_helper.from_array(array, name) for name, array in self._constants.items()]
        graph = helper.make_graph(self._nodes, "graph", inputs, outputs, constants)
        is_new = any(node.op_type in OF_MICROSOFT and not node.domain for node in self._nodes)
        opsets = [helper.make_opsetid("", _NEWEST if is_new else _OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    _view_of = "x"
    _count = 0

    def _chance(self, probability: float) -> bool:
        return bool(self._random.random() < probability)

    def _choose(self, options: Any) -> Any:
        return options[int(self._random.integers(len(options)))]

    def _node(self, operator: str, inputs: list[str], domain: str = "", count: int = 1, **attributes: Any) -> str:
        self._count += 1
        names = [f"v{self._count}_{at}" for at in range(count)]
        self._nodes.append(helper.make_node(operator, inputs, names, domain=domain, **attributes))
        return names[0]

    def _constant(self, array: Any) -> str:
        name = f"c{len(self._constants)}"
        self._constants[name] = np.asarray(array)
        return name

    def _viewed(self, operator: str, name: str, array: np.ndarray, *more: str, **attributes: Any) -> str:
        made = self._node(operator, [name, *more], **attributes)
        self._arrays[made] = array
        return made

    def _view(self, operator: str) -> str:
        """Permute the axes of the input, and remove or add one."""
        name = self._view_of
        if name == "x" and operator in _ORDERS and self._chance(0.8):
            order = _ORDERS[operator]
            return self._viewed("Transpose", "x", self._arrays["x"].transpose(order), perm=order)
        if name in self._arrays:
            array: Any = self._arrays[name]
            if self._chance(0.3):
                at = int(self._random.integers(1, array.ndim))
                name = self._viewed("Gather", name, array.take(0, at), self._constant(0), axis=at)
            elif self._chance(0.2):
                at = int(self._random.integers(array.ndim + 1))
                name = self._viewed("Unsqueeze", name, np.expand_dims(array, at), self._constant([at]))
            if self._chance(0.6):
                array, axes = self._arrays[name], self._random.permutation(self._arrays[name].ndim).tolist()
                name = self._viewed("Transpose", name, array.transpose(axes), perm=axes)
        return name

    def _cast(self, name: str, kind: str) -> str:
        array = self._arrays.get(name, np.zeros((_BATCH, _STEPS, FEATURES), np.float32))
        if kind == "tensor(bool)":
            made = self._node("Greater", [name, self._constant(np.float32(0))])
        elif kind == _FLOATS:
            return name
        else:
            dtype = helper.np_dtype_to_tensor_dtype(np.dtype(_KINDS[kind]))
            ten = self._node("Mul", [name, self._constant(np.float32(10))])
            made = self._node("Cast", [self._node("Clip", [ten, "", self._constant(np.float32(99))])], to=dtype)
        self._arrays[made] = array.astype(_KINDS[kind])
        return made

    def _operator(self, operator: str, domain: str) -> list[str]:
        schema = defs.get_schema(operator, _NEWEST if operator in OF_MICROSOFT else _OPSET, "")
        attributes = self._attributes(schema)
        kinds = {
            each.type_param_str: sorted(set(each.allowed_type_strs) & set(_KINDS)) for each in schema.type_constraints
        }
        chosen = {name: _FLOATS if _FLOATS in some else self._choose(some) for name, some in kinds.items() if some}
        if all(not some for some in kinds.values()):
            raise ValueError("of types that no model has")
        view = self._view(operator)
        of_first = chosen.get(schema.inputs[0].type_str, _FLOATS) if schema.inputs else _FLOATS
        first = self._cast(view, of_first)
        inputs, rank = list[str](), self._arrays.get(view, self._arrays["x"]).ndim
        for at, parameter in enumerate(schema.inputs):
            is_more = parameter.option is defs.OpSchema.FormalParameterOption.Optional
            if is_more and self._chance(0.5):
                inputs.append("")  # left out
                continue
            variadic = parameter.option is defs.OpSchema.FormalParameterOption.Variadic
            several = attributes["equation"].count(",") + 1 if "equation" in attributes else self._random.integers(1, 4)
            for _ in range(int(several) if variadic else 1):
                kind = chosen.get(parameter.type_str, parameter.type_str)
                given = first if not at and not inputs else ""
                inputs.append(self._input((operator, parameter.name), kind, given, view, attributes))
        if "axis" in schema.attributes and self._chance(0.7) | schema.attributes["axis"].required:
            attributes["axis"] = int(self._random.integers(-rank, rank))
        if "perm" in schema.attributes and self._chance(0.8):
            attributes["perm"] = self._random.permutation(rank).tolist()
        most = schema.max_output if schema.max_output < 9 else 1
        least = max(schema.min_output, 1)
        count = int(
            attributes.get("num_outputs", self._random.integers(least, (most if self._chance(0.4) else least) + 1))
        )
        made = self._node(operator, inputs, domain, count, **attributes)
        return [f"{made[:-1]}{at}" for at in range(count)]

    def _attributes(self, schema: defs.OpSchema) -> dict[str, Any]:
        found = {}
        for name, attribute in schema.attributes.items():
            if name in _ATTRIBUTES and (attribute.required or name in _ALWAYS or self._chance(0.4)):
                found[name] = self._choose(_ATTRIBUTES[name])
        return found

    def _input(self, of: tuple[str, str], kind: str, first: str, view: str, attributes: dict[str, Any]) -> str:
        """Draw an input: the view, a constant that fits it, or another tensor of the same axes."""
        special = _SPECIAL.get(of) or (None if first else _SPECIAL.get(("", of[1])))
        array = self._arrays.get(view, self._arrays["x"])
        if special is not None:
            given = special(self, array, view, attributes)
            return given if isinstance(given, str) else self._constant(given)
        if first:
            return first
        if self._chance(0.5):
            return self._cast(self._viewed("Tanh", view, array), kind)
        sizes = [(), (array.shape[-1],) if array.shape[-1] == FEATURES else (1,), (1,) * array.ndim]
        values = self._random.normal(size=self._choose(sizes)) * 3
        return self._constant(values > 0 if kind == "tensor(bool)" else values.astype(_KINDS[kind]))

    def _body(self, given: Sequence[str], make: Callable[[], Sequence[str]]) -> onnx.GraphProto:
        """Make the body of a loop or branch, whose nodes may read the tensors around it."""
        around, self._nodes = self._nodes, []
        results = make()
        made = [self._node("Identity", [name]) for name in results]
        types = [[_BODY_TYPES.get(name, (TensorProto.FLOAT, None)) for name in names] for names in (given, results)]
        values = [
            [helper.make_tensor_value_info(name, *of) for name, of in zip(names, each, strict=True)]
            for names, each in zip((given, made), types, strict=True)
        ]
        body, self._nodes = helper.make_graph(self._nodes, "body", values[0], values[1]), around
        return body

    def _few(self, known: Sequence[str], rank: int) -> list[str]:
        """Compute a few tensors of the same shape from known ones, possibly across axes."""
        names = [*known]
        for _ in range(int(self._random.integers(1, 4))):
            one, other, at = self._choose(names), self._choose(names), self._constant([self._random.integers(rank)])
            operator = self._choose(["Add", "Sub", "Max", "Tanh", "Tanh", "ReduceMean", "CumSum"])
            if operator == "ReduceMean":
                made = self._node("Sub", [one, self._node(operator, [other, at])])
            elif operator == "CumSum":
                made = self._node(operator, [one, self._node("Squeeze", [at])])
            else:
                made = self._node(operator, [one, other][: 1 + (operator != "Tanh")])
            names.append(made)
        return names

    def _around(self, axis: int) -> list[str]:
        """Make tensors with the shape of one step: the first step, zeros, and an average of all."""
        first = self._node("Gather", ["x", self._constant(0)], axis=axis)
        zeros = self._node("ConstantOfShape", [self._node("Shape", [first])])
        return [first, zeros, zeros, self._node("ReduceMean", ["x", self._constant([axis])], keepdims=0)]

    def scan(self) -> list[str]:
        """Loop over one axis, with up to two states. A mask may keep the states after each row's length."""
        axis, around = self._choose([1, 1, 1, 0, 2]), self._around(self._choose([1, 1, 1, 0, 2]))
        around = self._around(axis) if self._chance(0.9) else around
        states = [f"h{at}" for at in range(int(self._random.integers(3)))]
        steps, scanned = ["s0", "s1"][: 1 + self._chance(0.3)], ["x", self._node("Tanh", ["x"])]
        is_masked, backward = axis == 1 and self._chance(0.5), self._choose([0, 0, 1])

        def make() -> list[str]:
            outer = self._choose(around)
            made = self._few([*states, *steps, *[outer] * self._chance(0.2)], 2)
            nexts = [self._choose(made[-2:]) for _ in states]
            if is_masked:
                column = self._node("Unsqueeze", ["inside", self._constant([1])])
                nexts = [self._node("Where", [column, *pair]) for pair in zip(nexts, states, strict=True)]
            return [*nexts, self._choose(made), made[-1]]

        mask = [self._mask()] if is_masked else []
        given, count = [*states, *steps, *["inside"] * is_masked], len(steps) + is_masked
        body = self._body(given, make)
        inputs = [*(self._choose(around) for _ in states), *scanned[: len(steps)], *mask]
        directions = [backward if self._chance(0.95) else 1 - backward for _ in range(count)]
        written = [backward if self._chance(0.9) else 1 - backward for _ in range(2)]
        made = self._node(
            "Scan",
            inputs,
            count=len(states) + 2,
            body=body,
            num_scan_inputs=count,
            scan_input_axes=[axis] * count,
            scan_input_directions=directions,
            scan_output_axes=[axis if self._chance(0.8) else int(self._random.integers(3)) for _ in range(2)],
            scan_output_directions=written,
        )
        return [f"{made[:-1]}{at}" for at in range(len(states) + 2)]

    def _mask(self) -> str:
        """Compare step numbers with lengths (batch, sequence)."""
        steps = self._node("Gather", [self._node("Shape", ["x"]), self._constant(1)])
        numbers = self._node("Range", [self._constant(0), steps, self._constant(1)])
        rows = self._node("Unsqueeze", ["lengths", self._constant([1])])
        return self._node(self._choose(["Less", "Less", "Less", "LessOrEqual", "Greater"]), [numbers, rows])

    def loop(self) -> list[str]:
        """Loop over the steps by their number, with a state."""
        steps, around = self._node("Gather", [self._node("Shape", ["x"]), self._constant(1)]), self._around(1)

        def make() -> list[str]:
            made = self._few(["h0", self._node("Gather", ["x", "number"], axis=1)], 2)
            return ["go", made[-1], self._choose(made)]

        body = self._body(["number", "go", "h0"], make)
        made = self._node("Loop", [steps, "", self._choose(around)], count=2, body=body)
        return [made, f"{made[:-1]}1"]

    def branch(self) -> list[str]:
        """Choose between two computations by a constant, by the values of all rows, or by their lengths."""
        values = self._node("ReduceMax", [self._choose(["x", self._node("Cast", ["lengths"], to=1)])], keepdims=0)
        wanted = self._choose([values, self._constant(np.float32(3))])
        condition = self._node("Greater", [wanted, self._constant(np.float32(2))])
        bodies = [self._body([], lambda: self._few(["x"], 3)[-1:]) for _ in range(2)]
        return [self._node("If", [condition], then_branch=bodies[0], else_branch=bodies[1])]

    def normal(self, *shape: int) -> np.ndarray:
        """Draw a constant."""
        return self._random.normal(size=shape).astype(np.float32)


WITH_BODIES = {"If": Graph.branch, "Loop": Graph.loop, "Scan": Graph.scan}
Special = Callable[..., Any]  # the graph, a sample of its view, the view and the attributes give a constant or a name


def _some_axes(graph: Graph, array: np.ndarray, *_: Any) -> np.ndarray:
    count = int(graph._random.integers(1, array.ndim + 1))
    axes = graph._random.permutation(array.ndim)[: min(count, 2)]
    return axes - array.ndim * graph._random.integers(2, size=len(axes))


def _one(*options: int) -> Special:
    return lambda graph, *_: np.array([graph._choose(options)])


def _shape(graph: Graph, array: np.ndarray, first: str, *_: Any) -> np.ndarray | str:
    if graph._chance(0.3):
        order = graph._constant(graph._random.permutation(array.ndim))
        return graph._node("Gather", [graph._node("Shape", [first]), order])
    return np.array(
        graph._choose([[0, 0, -1], [-1, FEATURES], [0, -1], [-1], [0, 0, FEATURES, 1], [0, 1, -1, FEATURES], [1]])
    )


def _expanded(graph: Graph, array: np.ndarray, first: str, *_: Any) -> np.ndarray | str:
    if graph._chance(0.5):
        return graph._node("Shape", [first])
    return np.array(graph._choose([[1], [2, *[1] * array.ndim], [1] * array.ndim]))


def _pads(graph: Graph, array: np.ndarray, *_: Any) -> np.ndarray:
    pads = np.zeros(2 * array.ndim, np.int64)
    pads[graph._random.integers(2 * array.ndim)] = graph._choose([1, 2, -1])
    return pads


def _indices(graph: Graph, array: np.ndarray, first: str, *_: Any) -> np.ndarray | str:
    if graph._chance(0.3):
        return graph._node("ArgMax", [first], axis=int(graph._random.integers(array.ndim)))
    size = graph._choose([(), (1,), (2,), (1,) * array.ndim, (2, 1), (1, 2)])
    return graph._random.integers(-1, 2, size=size)


def _lengths(graph: Graph, *_: Any) -> str:
    return graph._node("Cast", ["lengths"], to=TensorProto.INT32)


def _weights(gates: int, rows: str) -> Special:
    def drawn(graph: Graph, array: np.ndarray, _: str, attributes: dict[str, Any]) -> np.ndarray:
        directions = 2 if attributes.get("direction") == "bidirectional" else 1
        last = {"W": array.shape[-1], "R": 3}.get(rows)
        return graph.normal(directions, gates * 3, last) if last else graph.normal(directions, gates * 6)

    return drawn


def _channels(graph: Graph, array: np.ndarray, *_: Any) -> np.ndarray:
    values = graph.normal(array.shape[1 if graph._chance(0.7) and array.ndim > 1 else -1])
    return np.abs(values) + np.float32(0.1)


def _kernel(graph: Graph, array: np.ndarray, _: str, attributes: dict[str, Any]) -> np.ndarray:
    sizes = attributes.setdefault("kernel_shape", [2])
    attributes["kernel_shape"] = sizes * (array.ndim - 2)
    return graph.normal(3, array.shape[1], *attributes["kernel_shape"])


def _gate(graph: Graph, array: np.ndarray, first: str, attributes: dict[str, Any]) -> str:
    heads = graph._node("Slice", [first, *(graph._constant([n]) for n in (0, int(attributes["kv_num_heads"]), 2))])
    return graph._node("Neg", [graph._node("Sigmoid", [heads])])


def _factor(graph: Graph, array: np.ndarray, first: str, _: dict[str, Any]) -> np.ndarray | str:
    return graph._choose([first, graph.normal(array.shape[-1], 2)])


_GATES, _NORMALIZATIONS = {"RNN": 1, "GRU": 3, "LSTM": 4}, ("Batch", "Instance", "Layer", "Group")
_SPECIAL: dict[tuple[str, str], Special] = {
    ("", "axes"): _some_axes,
    ("", "axis"): lambda graph, array, *_: np.array(graph._random.integers(-array.ndim, array.ndim)),
    ("", "shape"): _expanded,
    ("Reshape", "shape"): _shape,
    ("", "starts"): _one(0, 1, -1, -2, 2**31 - 1),
    ("", "ends"): _one(1, 2, -1, 2**31 - 1, -(2**31)),
    ("", "steps"): _one(1, 1, 2, -1),
    ("Slice", "axes"): lambda graph, array, *_: graph._random.integers(-array.ndim, array.ndim, size=1),
    ("Pad", "pads"): _pads,
    ("Pad", "axes"): lambda graph, array, *_: np.arange(array.ndim),
    ("", "repeats"): lambda graph, array, *_: graph._random.permutation([2, *[1] * (array.ndim - 1)]),
    ("", "indices"): _indices,
    ("OneHot", "indices"): lambda graph, array, first, _: graph._cast(first, "tensor(int64)"),
    ("", "k"): _one(1, 2, 3),
    ("", "depth"): lambda *_: np.array(4),
    ("", "values"): lambda *_: np.array([0, 1], np.float32),
    ("", "split"): lambda graph, *_: np.array(graph._choose([[1, 2], [1, 1, 1], [2, 1]])),
    ("", "sequence_lens"): _lengths,
    ("ReverseSequence", "sequence_lens"): lambda *_: "lengths",
    **{(name, rows): _weights(gates, rows) for name, gates in _GATES.items() for rows in "WRB"},
    **{("", name): _channels for name in ("scale", "Scale", "mean", "var", "input_mean", "input_var")},
    **{(f"{name}Normalization", bias): _channels for name in _NORMALIZATIONS for bias in ("B", "bias")},
    ("LinearAttention", "past_state"): lambda *_: "",
    ("CausalConvWithState", "past_state"): lambda graph, array, first, _: graph._node(
        "Slice", [first, *(graph._constant([n]) for n in (0, 2, 2))]
    ),
    **{(name, "W"): _kernel for name in ("Conv", "ConvTranspose")},
    **{(name, "B"): lambda graph, *_: graph.normal(3) for name in ("Conv", "ConvTranspose")},
    **{("", name): lambda *_: "" for name in ("initial_h", "initial_c", "P")},
    ("ConvInteger", "w"): lambda *given: (_kernel(*given) * 10).astype(np.int8),
    ("CausalConvWithState", "weight"): lambda graph, array, *_: graph.normal(array.shape[1], 1, 3),
    **{("LinearAttention", name): _gate for name in ("decay", "beta")},
    **{(name, "B"): _factor for name in ("MatMul", "Gemm")},
    ("", "min"): lambda *_: np.float32(-0.5),
    ("", "max"): lambda *_: np.float32(0.5),
    ("", "ratio"): lambda *_: np.float32(0.5),
    ("", "training_mode"): lambda graph, *_: np.array(graph._chance(0.3)),
    ("Dropout", "training_mode"): lambda *_: np.array(False),
    ("Range", "start"): lambda *_: np.array(0),
    ("Range", "limit"): lambda graph, array, first, _: graph._node(
        "Gather", [graph._node("Shape", [first]), graph._constant(graph._random.integers(array.ndim))]
    ),
    ("Range", "delta"): lambda *_: np.array(1),
    ("ConstantOfShape", "input"): lambda graph, array, first, _: graph._node("Shape", [first]),
}
