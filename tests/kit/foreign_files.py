"""Small ONNX graphs of the kinds that other people's files have: one row, no batch, scalars, If, int8, chunks."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kit.graph_text import parsed_nodes

BOOL, FLOAT, INT64 = TensorProto.BOOL, TensorProto.FLOAT, TensorProto.INT64
IN, HIDDEN = 2, 3
Axes = Sequence[int | str | None]


def value(name: str, axes: Axes | None, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, axes)


def drawn(seed: int = 0, **shapes: Sequence[int]) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


GRU = drawn(W=(1, 3 * HIDDEN, IN), R=(1, 3 * HIDDEN, HIDDEN), B=(1, 6 * HIDDEN))
OF_GRU = f"GRU <hidden_size = {HIDDEN}, linear_before_reset = 1>"


def save(
    folder: Path, nodes: str, given: Any, made: Any, constants: Mapping[str, Any], *, opset: int = 18, domain: str = ""
) -> Path:
    """Write a file with the constants that its nodes read. Numbers among them are int64."""
    read = set(re.findall(r"\w+", nodes))
    weights = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items() if name in read]
    graph = helper.make_graph(parsed_nodes(nodes), "foreign", given, made, weights)
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    path = folder / "foreign.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
    return path


def unbatched(folder: Path, axes: Axes = ("time", IN), *, opset: int = 18) -> Path:
    """A GRU of one row, without a batch: x (time, 2), h (1, 1, 3) to y (time, 3), hn (1, 1, 3)."""
    begin, end = ("(x, one)", "(yt, both)") if opset >= 13 else ("<axes = [1]> (x)", "<axes = [1, 2]> (yt)")
    nodes = f"xt = Unsqueeze {begin}  yt, hn = {OF_GRU} (xt, W, R, B, , h)  y = Squeeze {end}"
    given = [value("x", axes), value("h", (1, 1, HIDDEN))]
    made = [value("y", (None, None)), value("hn", (None, None, None))]
    return save(folder, nodes, given, made, GRU | {"one": [1], "both": [1, 2]}, opset=opset)


def chunks(folder: Path, axes: Axes = (None, None)) -> Path:
    """A detector by chunks of 4 samples: x, state (1, ?, 3), sr () to p (?, 1), stateN.

    An If chooses by the rate, and each branch has a GRU over two frames of two samples.
    """
    nodes = f"""
        framed = Reshape (x, frames)  xt = Transpose <perm = [1, 0, 2]> (framed)  is_rate = Equal (sr, rate)
        stateN = If (is_rate) <
            then_branch = a () => (float a) {{ a_y, a_h = {OF_GRU} (xt, W, R, B, , state)  a = Identity (a_h) }},
            else_branch = b () => (float b) {{ b_y, b_h = {OF_GRU} (xt, W, R, B, , state)  b = Neg (b_h) }}>
        mean = ReduceMean <keepdims = 1> (stateN, last)  p = Squeeze (mean, first)
    """
    given = [value("x", axes), value("state", (1, axes[0], HIDDEN)), value("sr", (), INT64)]
    made = [value("p", (None, None)), value("stateN", (None, None, None))]
    return save(folder, nodes, given, made, GRU | {"frames": [-1, 2, IN], "rate": 16000, "last": [2], "first": [0]})


def flattened(folder: Path) -> Path:
    """Ids (1, steps) to scores (steps,): the batch is 1, and rows would be joined to one."""
    nodes = "rows = Gather (table, ids)  sums = CumSum (rows, one)  scores = Reshape (sums, flat)"
    constants = drawn(1, table=(7, 1)) | {"one": 1, "flat": [-1]}
    return save(folder, nodes, [value("ids", (1, "steps"), INT64)], [value("scores", ("steps",))], constants)


def quantised(folder: Path, axes: Axes = (1, "time", IN), *, loud: bool = False) -> Path:
    """A product in int8 whose scale is that of all rows, and onnxruntime's quantised LSTM, of x (1, time, 2).

    With `loud`, the result says where it is more than 0.99, which it seldom is.
    """
    random = np.random.default_rng(2)
    constants = {
        "W": random.integers(-120, 120, (1, IN, 4 * HIDDEN)).astype(np.int8),
        "R": random.integers(-120, 120, (1, HIDDEN, 4 * HIDDEN)).astype(np.int8),
        "scales": np.full((1, 4 * HIDDEN), 0.01, np.float32),
        "zeros": np.zeros((1, 4 * HIDDEN), np.int8),
        "directions": [1],
        "limit": np.float32(0.99),
    }
    nodes = f"""
        xt = Transpose <perm = [1, 0, 2]> (x)
        yt = com.microsoft.DynamicQuantizeLSTM <hidden_size = {HIDDEN}>
            (xt, W, R, , , , , , scales, zeros, scales, zeros)
        ys = Squeeze (yt, directions)  y = Transpose <perm = [1, 0, 2]> (ys)
    """
    made = value("y", (None, None, None))
    if loud:
        nodes += "is_loud = Greater (y, limit)"
        made = value("is_loud", (None, None, None), TensorProto.BOOL)
    return save(folder, nodes, [value("x", axes)], [made], constants, domain="com.microsoft")


def one_row_loop(folder: Path) -> Path:
    """Sums over steps by a Loop, of x (1, time, 2): y (1, 2)."""
    nodes = """
        shape = Shape (x)  steps = Gather (shape, at)  low = ReduceMin <keepdims = 0> (x, axis)  begin = Sub (low, low)
        y = Loop <body = b (int64 i, bool go, float sum) => (bool on, float next)
            { step = Gather <axis = 1> (x, i)  next = Add (sum, step)  on = Identity (go) }> (steps, , begin)
    """
    return save(folder, nodes, [value("x", (1, "time", IN))], [value("y", (None, None))], {"at": 1, "axis": [1]})


def strided(folder: Path) -> Path:
    """Means of windows of 4 numbers. Short rows are padded to 9: x (1, width) to y (1, width / 4)."""
    nodes = """
        shape = Shape <start = 1> (x)  lack = Sub (most, shape)  more = Max (lack, none)
        pads = Concat <axis = 0> (none, none, none, more)  padded = Pad (x, pads)  image = Unsqueeze (padded, one)
        pooled = AveragePool <kernel_shape = [4], strides = [4]> (image)  y = Squeeze (pooled, one)
    """
    constants = {"most": [9], "none": [0], "one": [1]}
    return save(folder, nodes, [value("x", (1, "width"))], [value("y", (None, None))], constants)


def framed(folder: Path) -> Path:
    """Means of frames of 200 samples, the last one of what is left: x (1, samples) to y (1, frames)."""
    nodes = """
        image = Unsqueeze (x, one)
        pooled = AveragePool <kernel_shape = [200], strides = [200], pads = [100, 100]> (image)
        y = Squeeze (pooled, one)
    """
    return save(folder, nodes, [value("x", (1, "samples"))], [value("y", (1, "frames"))], {"one": [1]})


def squeezed(folder: Path) -> Path:
    """One number for each row, squeezed: x (n, 2) to y (n,), and of one row to y ()."""
    weights = {"weights": np.array([[0.5], [0.25]], np.float32)}
    nodes = "column = MatMul (x, weights)  y = Squeeze (column)"
    return save(folder, nodes, [value("x", ("n", 2))], [value("y", ())], weights)


def less_fourth(folder: Path) -> Path:
    """Numbers less the fourth of them: x (1, width) to y (1, width)."""
    nodes = "fourth = Gather <axis = 1> (x, at)  y = Sub (x, fourth)"
    return save(folder, nodes, [value("x", (1, "width"))], [value("y", (None, None))], {"at": [3]})
