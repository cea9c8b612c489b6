"""Small ONNX graphs of random operators, of x (batch, sequence, 3) and lengths (batch,)."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

__all__ = ["RandomGraph"]

FEATURES = 3
FAR = 2**31 - 1


class RandomGraph:
    """A graph that grows by operators which run on a sample."""

    def __init__(self, seed: int, operators: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.values: dict[str, np.ndarray] = {
            "x": self.random.normal(size=(4, 5, FEATURES)).astype(np.float32),
            "lengths": np.array([5, 2, 4, 1]),
        }
        self.used: list[str] = []
        steps = sorted(name for name in dir(self) if name.startswith("op_"))
        while len(self.used) < operators:
            name = str(self.random.choice(steps))
            before = len(self.nodes), len(self.initializers), dict(self.values)
            try:
                with np.errstate(all="ignore"):
                    getattr(self, name)()
            except Exception:  # noqa: BLE001 - the operator does not take such tensors
                del self.nodes[before[0] :], self.initializers[before[1] :]
                self.values = before[2]
                continue
            self.used.append(name)

    def model(self, outputs: list[str], *, runs: bool = False) -> onnx.ModelProto:
        """Give the graph with these outputs.

        Args:
            outputs: Their names.
            runs: Whether onnxruntime is to run it, whose Softmax of an empty tensor ends the process.
        """
        kinds = {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "b": TensorProto.BOOL}
        graph = helper.make_graph(
            [each for node in self.nodes for each in (_written_out(node) if runs else [node])],
            "random",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", FEATURES]),
                helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
            ],
            [helper.make_tensor_value_info(name, kinds[self.values[name].dtype.kind], None) for name in outputs],
            self.initializers,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)

    def floats(self, rank: int | None = None) -> str:
        """Choose a tensor of floats, the latest ones most often."""
        names = [
            name
            for name, value in self.values.items()
            if value.dtype == np.float32 and value.size and (rank is None or value.ndim == rank)
        ]
        weights = np.arange(1, len(names) + 1) ** 2
        return str(self.random.choice(names, p=weights / weights.sum()))

    def axis(self, name: str) -> int:
        return int(self.random.integers(self.values[name].ndim))

    def pick(self, *choices):
        return choices[int(self.random.integers(len(choices)))]

    def const(self, array) -> str:
        name = f"c{len(self.initializers)}"
        array = np.asarray(array)
        self.initializers.append(numpy_helper.from_array(array, name))
        self.values[name] = array
        return name

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes) -> str:
        names = [f"v{len(self.nodes)}_{number}" for number in range(outputs)]
        node = helper.make_node(operator, list(inputs), names, **attributes)
        feeds = {name: self.values[name] for name in inputs if name}
        results = ReferenceEvaluator(node).run(None, feeds)
        assert all(isinstance(result, np.ndarray | np.generic) for result in results)
        if any(np.asarray(result).size > 4000 for result in results):
            raise ValueError("too large")
        self.nodes.append(node)
        self.values |= {name: np.asarray(result) for name, result in zip(names, results, strict=True)}
        return names[0]

    def op_unary(self):
        self.add(self.pick("Tanh", "Relu", "Neg", "Sigmoid", "Abs", "Identity"), self.floats())

    def op_binary(self):
        self.add(self.pick("Add", "Mul", "Sub", "Max"), self.floats(), self.floats())

    def op_constant(self):
        self.add(self.pick("Add", "Mul"), self.floats(), self.const(np.float32(self.pick(-1.5, 0, 2))))

    def op_transpose(self):
        name = self.floats()
        self.add("Transpose", name, perm=self.random.permutation(self.values[name].ndim).tolist())

    def op_unsqueeze(self):
        name = self.floats()
        self.add("Unsqueeze", name, self.const([self.axis(name)]))

    def op_reduce(self):
        name = self.floats()
        operator = self.pick("ReduceSum", "ReduceMean", "ReduceMax")
        self.add(operator, name, self.const([self.axis(name)]), keepdims=self.pick(0, 1))

    def op_softmax(self):
        name = self.floats()
        self.add("Softmax", name, axis=self.axis(name))

    def op_normalize(self):
        name = self.floats()
        axis = self.axis(name)
        size = self.values[name].shape[-1]
        self.add("LayerNormalization", name, self.const(np.ones(size, np.float32)), axis=axis if size == 3 else -1)

    def op_cumsum(self):
        name = self.floats()
        axis = self.const(np.int64(self.axis(name)))
        self.add("CumSum", name, axis, exclusive=self.pick(0, 1), reverse=self.pick(0, 0, 1))

    def op_slice(self):
        name = self.floats()
        start, end, step = self.pick((0, -1, 1), (1, FAR, 1), (-1, FAR, 1), (-1, -FAR, -1), (0, 2, 1), (0, FAR, 2))
        axis = self.const([self.axis(name)])
        self.add("Slice", name, self.const([start]), self.const([end]), axis, self.const([step]))

    def op_pad(self):
        name = self.floats()
        rank, axis = self.values[name].ndim, self.axis(name)
        pads = [0] * (2 * rank)
        pads[axis], pads[rank + axis] = self.pick((0, 1), (1, 0), (2, 1))
        self.add("Pad", name, self.const(pads), self.const(np.float32(self.pick(0, 1))))

    def op_shift(self):
        """One step, or row, or feature later: a constant first, or last, in the place of another."""
        name = self.floats()
        axis = self.axis(name)
        first = self.pick(True, False)
        bounds = ([0], [-1]) if first else ([1], [FAR])
        rest = self.add("Slice", name, *map(self.const, bounds), self.const([axis]))
        rank = self.values[name].ndim
        pads = [0] * (2 * rank)
        pads[axis if self.pick(True, False) else rank + axis] = 1
        self.add("Pad", rest, self.const(pads))

    def op_concat(self):
        first = self.floats()
        self.add("Concat", first, self.floats(self.values[first].ndim), axis=self.axis(first))

    def op_gather(self):
        name = self.floats()
        index = self.pick(np.int64(0), np.int64(-1), np.array([0, 0]), np.array([1, 0]))
        self.add("Gather", name, self.const(index), axis=self.axis(name))

    def op_scatter(self):
        """Write to one index of an axis, of a shape that is computed."""
        name = self.floats()
        axis = self.axis(name)
        row = self.add("Slice", name, self.const([0]), self.const([1]), self.const([axis]))
        shape = self.add("Shape", row)
        index = self.add("Expand", self.const(np.int64(self.pick(0, -1, 1))), shape)
        self.add("ScatterElements", name, index, self.add("Mul", row, self.const(np.float32(0))), axis=axis)

    def op_scatter_ends(self):
        name = self.floats(3)
        rows = self.add("Range", *self.range_of(self.axis(name), name))
        self.add("Concat", *(self.add("Unsqueeze", each, self.const([-1])) for each in (rows, rows)), axis=-1)
        columns = f"v{len(self.nodes) - 1}_0"
        updates = self.add("GatherND", name, columns)
        self.add("ScatterND", name, columns, self.add("Neg", updates))

    def op_topk(self):
        name = self.floats()
        axis = self.axis(name)
        size = self.add("Shape", name, start=axis, end=axis + 1)
        self.add("TopK", name, size, outputs=2, axis=axis)

    def op_matmul(self):
        self.add("MatMul", self.floats(), self.floats())

    def op_linear(self):
        weights = self.random.normal(size=(FEATURES, FEATURES)).astype(np.float32)
        self.add("MatMul", self.floats(), self.const(weights))

    def op_attention(self):
        name = self.floats(3)
        keys = self.add("Transpose", name, perm=[0, 2, 1])
        scores = self.add("MatMul", name, keys)
        if self.pick(True, False):
            scores = self.add("Trilu", scores, upper=0)
        self.add("MatMul", self.add("Softmax", scores, axis=self.pick(-1, 0, 1)), name)

    def op_einsum(self):
        name, other = self.floats(3), self.floats(3)
        equation = self.pick("abc,abd->acd", "abc,adc->abd", "abc,dbc->ad", "abc,abc->ab", "abc,bca->ac")
        self.add("Einsum", name, other, equation=equation)

    def op_reshape(self):
        name = self.floats()
        rank = self.values[name].ndim
        target = self.pick([-1, FEATURES], [0, -1], [-1], [0, 0, -1], [0, 1, 0, -1], [FEATURES, -1])
        del rank
        self.add("Reshape", name, self.const(target))

    def op_reshape_to_shape(self):
        """Give a tensor the axes of another, in their order or another one."""
        name, other = self.floats(), self.floats()
        shape = self.add("Shape", other)
        order = (
            self.random.permutation(self.values[other].ndim)
            if self.pick(0, 0, 1)
            else np.arange(self.values[other].ndim)
        )
        self.add("Reshape", name, self.add("Gather", shape, self.const(order)))

    def op_expand(self):
        self.add("Expand", self.floats(), self.add("Shape", self.floats()))

    def range_of(self, axis: int, name: str) -> tuple[str, str, str]:
        size = self.add("Squeeze", self.add("Shape", name, start=axis, end=axis + 1))
        return self.const(np.int64(0)), size, self.const(np.int64(1))

    def op_positions(self):
        name = self.floats()
        axis = self.axis(name)
        numbers = self.add("Cast", self.add("Range", *self.range_of(axis, name)), to=TensorProto.FLOAT)
        shape = [-1 if at == axis else 1 for at in range(self.values[name].ndim)]
        self.add("Add", name, self.add("Reshape", numbers, self.const(shape)))

    def op_table(self):
        """An entry of a table for each index of an axis."""
        name = self.floats()
        axis = self.axis(name)
        size = self.add("Shape", name, start=axis, end=axis + 1)
        table = self.const(self.random.normal(size=40).astype(np.float32))
        entries = self.add("Slice", table, self.const([0]), size, self.const([0]))
        shape = [-1 if at == axis else 1 for at in range(self.values[name].ndim)]
        self.add("Add", name, self.add("Reshape", entries, self.const(shape)))

    def op_size(self):
        name = self.floats()
        axis = self.axis(name)
        size = self.add("Cast", self.add("Shape", name, start=axis, end=axis + 1), to=TensorProto.FLOAT)
        self.add("Div", name, size)

    def mask(self, name: str, axis: int) -> str:
        """Whether steps lie before lengths, or something like it: a step more, a step less, or the other way round."""
        steps = self.add("Range", *self.range_of(axis, name))
        lengths = self.pick("lengths", "lengths", self.add("Sub", "lengths", self.const(np.int64(1))))
        steps, lengths = (
            self.add("Unsqueeze", steps, self.const([0])),
            self.add("Unsqueeze", lengths, self.const([1])),
        )
        operator = self.pick("Less", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
        pair = (steps, lengths) if self.pick(True, False) else (lengths, steps)
        mask = self.add(operator, *pair)
        return self.add("Not", mask) if self.pick(True, False) else mask

    def op_mask(self):
        name = self.floats(self.pick(2, 3))
        mask = self.mask(name, 1)
        if self.values[name].ndim == 3:
            mask = self.add("Unsqueeze", mask, self.const([2]))
        if self.pick(True, False):
            self.add("Mul", name, self.add("Cast", mask, to=TensorProto.FLOAT))
        else:
            fill = self.const(np.float32(self.pick(0, -np.inf, -1e9)))
            self.add("Where", mask, *((name, fill) if self.pick(True, False) else (fill, name)))

    def op_trim(self):
        name = self.floats()
        longest = self.add("ReduceMax", "lengths", self.const([0]), keepdims=1)
        axis = self.const([min(1, self.values[name].ndim - 1)])
        self.add("Slice", name, self.const([0]), longest, axis)

    def op_last(self):
        """What lies at each row's last step."""
        name = self.floats(3)
        ends = self.add("Sub", "lengths", self.const(np.int64(self.pick(1, 1, 0))))
        if self.pick(True, False):
            rows = self.add("Range", *self.range_of(0, "lengths"))
            pair = [self.add("Unsqueeze", each, self.const([-1])) for each in (rows, ends)]
            self.add("GatherND", name, self.add("Concat", *pair, axis=-1))
        else:
            index = self.add("Reshape", ends, self.const([-1, 1, 1]))
            shape = self.add("Concat", self.add("Shape", "lengths"), self.const([1, FEATURES]), axis=0)
            self.add("GatherElements", name, self.add("Expand", index, shape), axis=1)

    def op_recurrent(self):
        """Of (sequence, batch, 3), whichever of the two it is, with lengths or without."""
        name = self.floats(3)
        turned = self.add("Transpose", name, perm=self.pick([1, 0, 2], [1, 0, 2], [0, 1, 2]))
        direction = self.pick("forward", "reverse", "bidirectional")
        count = 2 if direction == "bidirectional" else 1
        weights = [self.const(self.random.normal(size=(count, 2, size)).astype(np.float32)) for size in (FEATURES, 2)]
        lengths = self.add("Cast", "lengths", to=TensorProto.INT32) if self.pick(True, False) else ""
        steps, rows = self.values[turned].shape[:2]
        names = [f"v{len(self.nodes)}_{number}" for number in range(2)]
        node = helper.make_node(
            "RNN",
            [turned, *weights, "", lengths],
            names,
            direction=direction,
            hidden_size=2,
            activations=["Tanh"] * count,
        )
        if lengths and rows != 4:
            raise ValueError("lengths of other rows")
        self.nodes.append(node)
        # The reference takes no lengths; of what the node gives, only the shape is needed here.
        self.values[names[0]] = self.random.normal(size=(steps, count, rows, 2)).astype(np.float32)
        self.values[names[1]] = self.random.normal(size=(count, rows, 2)).astype(np.float32)
        self.add("Squeeze", names[0], self.const([1])) if count == 1 else self.add(
            "Transpose", names[0], perm=[2, 0, 1, 3]
        )

    def op_convolution(self):
        name = self.floats(3)
        turned = self.add("Transpose", name, perm=self.pick([0, 2, 1], [0, 1, 2], [1, 2, 0]))
        size = self.pick(1, 2, 3)
        weights = self.random.normal(size=(2, self.values[turned].shape[1], size)).astype(np.float32)
        pads = self.pick([size - 1, 0], [0, 0], [0, size - 1], [1, 1])
        self.add("Conv", turned, self.const(weights), pads=pads, kernel_shape=[size], strides=[self.pick(1, 1, 2)])


def _written_out(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    if node.op_type != "Softmax":
        return [node]
    (given,), (result,) = node.input, node.output
    names = [f"{result}_{number}" for number in range(5)]
    axis = helper.make_node("Constant", [], [names[0]], value_ints=[helper.get_node_attr_value(node, "axis")])
    return [
        axis,
        helper.make_node("ReduceMax", [given, names[0]], [names[1]]),
        helper.make_node("Sub", [given, names[1]], [names[2]]),
        helper.make_node("Exp", [names[2]], [names[3]]),
        helper.make_node("ReduceSum", [names[3], names[0]], [names[4]]),
        helper.make_node("Div", [names[3], names[4]], [result]),
    ]
