"""Small ONNX graphs of the kinds that other people's files have: one row, no batch, scalars, If, int8, chunks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = [
    "but_last",
    "cached",
    "chunks",
    "ending_early",
    "flattened",
    "framed",
    "gru_weights",
    "narrow",
    "one_row_loop",
    "quantised",
    "save",
    "squeezed",
    "strided",
    "unbatched",
    "value",
]

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
IN, HIDDEN = 2, 3


def value(name: str, axes: Sequence[int | str | None] | None, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, axes)


def gru_weights() -> list[onnx.TensorProto]:
    random = np.random.default_rng(0)
    shapes = {"W": (1, 3 * HIDDEN, IN), "R": (1, 3 * HIDDEN, HIDDEN), "B": (1, 6 * HIDDEN)}
    return [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]


def numbers(name: str, *given: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(given), name)


def save(
    folder: Path, nodes: Any, inputs: Any, outputs: Any, weights: Any = (), *, opset: int = 18, domain: str = ""
) -> Path:
    graph = helper.make_graph(list(nodes), "foreign", list(inputs), list(outputs), list(weights))
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    path = folder / "foreign.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
    return path


def unbatched(folder: Path, axes: Sequence[int | str | None] = ("time", IN), *, opset: int = 18) -> Path:
    """A GRU of one row, without a batch: x (time, 2), h (1, 1, 3) to y (time, 3), hn (1, 1, 3)."""
    one = numbers("one", 1)
    squeeze = (
        [helper.make_node("Unsqueeze", ["x", "one"], ["xt"]), helper.make_node("Squeeze", ["yt", "both"], ["y"])]
        if opset >= 13
        else [
            helper.make_node("Unsqueeze", ["x"], ["xt"], axes=[1]),
            helper.make_node("Squeeze", ["yt"], ["y"], axes=[1, 2]),
        ]
    )
    gru = helper.make_node(
        "GRU", ["xt", "W", "R", "B", "", "h"], ["yt", "hn"], hidden_size=HIDDEN, linear_before_reset=1
    )
    return save(
        folder,
        [squeeze[0], gru, squeeze[1]],
        [value("x", axes), value("h", (1, 1, HIDDEN))],
        [value("y", (None, None)), value("hn", (None, None, None))],
        [*gru_weights(), one, numbers("both", 1, 2)],
        opset=opset,
    )


def chunks(folder: Path, axes: Sequence[int | str | None] = (None, None)) -> Path:
    """A detector by chunks of 4 samples, as foreign ones are: x, state (1, ?, 3), sr () to p (?, 1), stateN.

    An If chooses by the rate, and each branch has a GRU over two frames of two samples.
    """
    frames = [
        helper.make_node("Reshape", ["x", "frames"], ["framed"]),
        helper.make_node("Transpose", ["framed"], ["xt"], perm=[1, 0, 2]),
        helper.make_node("Equal", ["sr", "rate"], ["is_rate"]),
    ]

    def branch(name: str, initial: str) -> onnx.GraphProto:
        outputs = [f"{name}_y", f"{name}_h"]
        gru = helper.make_node(
            "GRU", ["xt", "W", "R", "B", "", initial], outputs, hidden_size=HIDDEN, linear_before_reset=1
        )
        scaled = helper.make_node("Neg" if name == "other" else "Identity", [outputs[1]], [f"{name}_s"])
        return helper.make_graph([gru, scaled], name, [], [value(f"{name}_s", None)])

    choose = helper.make_node(
        "If", ["is_rate"], ["stateN"], then_branch=branch("this", "state"), else_branch=branch("other", "state")
    )
    ends = [
        helper.make_node("ReduceMean", ["stateN", "last"], ["mean"], keepdims=1),
        helper.make_node("Squeeze", ["mean", "first"], ["p"]),
    ]
    return save(
        folder,
        [*frames, choose, *ends],
        [value("x", axes), value("state", (1, axes[0], HIDDEN)), value("sr", (), INT64)],
        [value("p", (None, None)), value("stateN", (None, None, None))],
        [
            *gru_weights(),
            numbers("frames", -1, 2, IN),
            numpy_helper.from_array(np.array(16000), "rate"),
            numbers("last", 2),
            numbers("first", 0),
        ],
    )


def flattened(folder: Path) -> Path:
    """Ids (1, steps) to scores (steps,): the batch is 1, and rows would be joined to one."""
    table = np.random.default_rng(1).standard_normal((7, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("CumSum", ["rows", "one"], ["sums"]),
        helper.make_node("Reshape", ["sums", "flat"], ["scores"]),
    ]
    weights = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array(1), "one"),
        numbers("flat", -1),
    ]
    return save(folder, nodes, [value("ids", (1, "steps"), INT64)], [value("scores", ("steps",))], weights)


def cached(folder: Path, before: str = "cache", after: str = "cache_out") -> Path:
    """Half of two caches (2, 1, 4, 1) and of x (1, 4), of which a Reshape makes one row; y (1, 4, 1) is the sum."""
    nodes = [
        helper.make_node("Reshape", ["x", "one"], ["step"]),
        helper.make_node("Add", [before, "step"], ["sums"]),
        helper.make_node("Mul", ["sums", "half"], [after]),
        helper.make_node("ReduceSum", [after, "first"], ["y"], keepdims=0),
    ]
    weights = [
        numbers("one", 1, 1, 4, 1),
        numbers("first", 0),
        numpy_helper.from_array(np.array(0.5, np.float32), "half"),
    ]
    given, made = [value("x", (1, 4))], [value("y", (1, 4, 1))]
    return save(folder, nodes, [*given, value(before, (2, 1, 4, 1))], [*made, value(after, (2, 1, 4, 1))], weights)


def quantised(folder: Path, axes: Sequence[int | str | None] = (1, "time", IN), *, loud: bool = False) -> Path:
    """A product in int8 whose scale is that of all rows, and onnxruntime's quantised LSTM, of x (1, time, 2).

    With `loud`, the result says where it is more than 0.99, which it seldom is.
    """
    random = np.random.default_rng(2)
    weights = [
        numpy_helper.from_array(random.integers(-120, 120, (1, IN, 4 * HIDDEN)).astype(np.int8), "W"),
        numpy_helper.from_array(random.integers(-120, 120, (1, HIDDEN, 4 * HIDDEN)).astype(np.int8), "R"),
        numpy_helper.from_array(np.full((1, 4 * HIDDEN), 0.01, np.float32), "scales"),
        numpy_helper.from_array(np.zeros((1, 4 * HIDDEN), np.int8), "zeros"),
        numbers("directions", 1),
    ]
    nodes = [
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        helper.make_node(
            "DynamicQuantizeLSTM",
            ["xt", "W", "R", "", "", "", "", "", "scales", "zeros", "scales", "zeros"],
            ["yt"],
            domain="com.microsoft",
            hidden_size=HIDDEN,
        ),
        helper.make_node("Squeeze", ["yt", "directions"], ["ys"]),
        helper.make_node("Transpose", ["ys"], ["y"], perm=[1, 0, 2]),
    ]
    result = value("y", (None, None, None))
    if loud:
        nodes += [helper.make_node("Greater", ["y", "limit"], ["is_loud"])]
        weights.append(numpy_helper.from_array(np.array(0.99, np.float32), "limit"))
        result = value("is_loud", (None, None, None), TensorProto.BOOL)
    return save(folder, nodes, [value("x", axes)], [result], weights, domain="com.microsoft")


def one_row_loop(folder: Path) -> Path:
    """Sums over steps by a Loop, of x (1, time, 2): y (1, 2)."""
    body = helper.make_graph(
        [
            helper.make_node("Gather", ["x", "i"], ["step"], axis=1),
            helper.make_node("Add", ["sum", "step"], ["next"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [value("i", (), INT64), value("go", (), TensorProto.BOOL), value("sum", None)],
        [value("on", (), TensorProto.BOOL), value("next", None)],
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "at"], ["steps"]),
        helper.make_node("ReduceMin", ["x", "axis"], ["low"], keepdims=0),
        helper.make_node("Sub", ["low", "low"], ["begin"]),
        helper.make_node("Loop", ["steps", "", "begin"], ["y"], body=body),
    ]
    weights = [numpy_helper.from_array(np.array(1), "at"), numbers("axis", 1)]
    return save(folder, nodes, [value("x", (1, "time", IN))], [value("y", (None, None))], weights)


def strided(folder: Path) -> Path:
    """Means of windows of 4 numbers; short rows are padded to 9: x (1, width) to y (1, width / 4)."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], start=1),
        helper.make_node("Sub", ["most", "shape"], ["lack"]),
        helper.make_node("Max", ["lack", "none"], ["more"]),
        helper.make_node("Concat", ["none", "none", "none", "more"], ["pads"], axis=0),
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        helper.make_node("Unsqueeze", ["padded", "one"], ["image"]),
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[4], strides=[4]),
        helper.make_node("Squeeze", ["pooled", "one"], ["y"]),
    ]
    weights = [numbers("most", 9), numbers("none", 0), numbers("one", 1)]
    return save(folder, nodes, [value("x", (1, "width"))], [value("y", (None, None))], weights)


def but_last(folder: Path) -> Path:
    """All numbers but the last: of one number none is left."""
    nodes = [helper.make_node("Slice", ["x", "none", "last", "one"], ["y"])]
    weights = [numbers("none", 0), numbers("last", -1), numbers("one", 1)]
    return save(folder, nodes, [value("x", (1, "width"))], [value("y", (None, None))], weights)


def framed(folder: Path) -> Path:
    """Means of frames of 200 samples, the last one of what is left: x (1, samples) to y (1, frames)."""
    nodes = [
        helper.make_node("Unsqueeze", ["x", "one"], ["image"]),
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[200], strides=[200], pads=[100, 100]),
        helper.make_node("Squeeze", ["pooled", "one"], ["y"]),
    ]
    return save(folder, nodes, [value("x", (1, "samples"))], [value("y", (1, "frames"))], [numbers("one", 1)])


def narrow(folder: Path) -> Path:
    """A number for each step of a GRU of 7 features, squeezed: x (steps, width) to y (steps,), of one step to y ()."""
    random = np.random.default_rng(0)
    shapes = {"W": (1, 3 * HIDDEN, 7), "R": (1, 3 * HIDDEN, HIDDEN), "head": (HIDDEN, 1)}
    weights = [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Unsqueeze", ["x", "one"], ["xt"]),
        helper.make_node("GRU", ["xt", "W", "R"], ["all"], hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["all", "rows"], ["steps"]),
        helper.make_node("MatMul", ["steps", "head"], ["column"]),
        helper.make_node("Squeeze", ["column"], ["y"]),
    ]
    weights += [numbers("one", 1), numbers("rows", 1, 2)]
    return save(folder, nodes, [value("x", ("steps", "width"))], [value("y", ("steps",))], weights)


def ending_early(folder: Path) -> Path:
    """Halves of the sum of x (1, 4) until they are below 0.1: y (1, steps), of which there are as many as it takes."""
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["sum", "half"], ["next"]),
            helper.make_node("Abs", ["next"], ["size"]),
            helper.make_node("Greater", ["size", "limit"], ["on"]),
            helper.make_node("Identity", ["next"], ["step"]),
        ],
        "body",
        [value("i", (), INT64), value("go", (), TensorProto.BOOL), value("sum", ())],
        [value("on", (), TensorProto.BOOL), value("next", ()), value("step", ())],
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["begin"], keepdims=0),
        helper.make_node("Loop", ["most", "yes", "begin"], ["end", "steps"], body=body),
        helper.make_node("Unsqueeze", ["steps", "zero"], ["y"]),
    ]
    weights = [numbers("zero", 0)]
    weights += [
        numpy_helper.from_array(np.array(number, np.float32), name) for name, number in (("half", 0.5), ("limit", 0.1))
    ]
    weights += [numpy_helper.from_array(np.array(20), "most"), numpy_helper.from_array(np.array(True), "yes")]
    return save(folder, nodes, [value("x", (1, 4))], [value("y", (1, None))], weights)


def squeezed(folder: Path) -> Path:
    """One number for each row, squeezed: x (n, 2) to y (n,), and of one row to y ()."""
    weights = numpy_helper.from_array(np.array([[0.5], [0.25]], np.float32), "weights")
    nodes = [helper.make_node("MatMul", ["x", "weights"], ["column"]), helper.make_node("Squeeze", ["column"], ["y"])]
    return save(folder, nodes, [value("x", ("n", 2))], [value("y", ())], [weights])
