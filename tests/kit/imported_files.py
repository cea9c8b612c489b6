"""ONNX files as other exporters write them, traced or by hand, for tests of the import, and the imported versions."""

import io
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from rnnserve.export.parity import OnnxRunner

__all__ = ["SIZES", "Mean", "axes_of", "floats", "mean", "one_node", "published", "with_lengths", "words"]

SIZES = {"sequence": (1, 24)}


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.embedding = nn.Embedding(11, 3)
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, tokens, h_0):
        return self.gru(self.embedding(tokens), h_0)


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, input):
        return self.gru(input)[0].mean(1)


def traced(module, arguments, path, **options):
    file: Any = io.BytesIO()  # torch takes one, its annotations do not say it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), arguments, file, dynamo=False, verbose=False, **options)
    path.write_bytes(file.getvalue())
    return path


def words(folder, axes=None):
    return traced(
        Words(),
        (torch.zeros(2, 5, dtype=torch.int64), torch.zeros(1, 2, 4)),
        folder / "words.onnx",
        input_names=["tokens", "h_0"],
        output_names=["output", "h_n"],
        dynamic_axes=axes or {"tokens": {0: "batch_size", 1: "time"}, "h_0": {1: "batch_size"}},
    )


def mean(folder):
    return traced(
        Mean(),
        (torch.zeros(2, 5, 3),),
        folder / "mean.onnx",
        input_names=["input"],
        output_names=["y"],
        dynamic_axes={"input": {0: "batch", 1: "sequence"}},
    )


def with_lengths(folder, *, axes=("batch", "sequence")):
    """A GRU written by hand, with sequence_lens: tensors x (batch, sequence, 2), n (batch,), y (batch, sequence, 3)."""
    random = np.random.default_rng(0)
    weights = {
        name: onnx.numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("W", (1, 9, 2)), ("R", (1, 9, 3)), ("B", (1, 18)))
    }
    zero = onnx.numpy_helper.from_array(np.array([1]), "directions")
    nodes = [
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        helper.make_node("Cast", ["len"], ["n32"], to=TensorProto.INT32),
        helper.make_node("GRU", ["xt", "W", "R", "B", "n32"], ["yt"], hidden_size=3, linear_before_reset=1),
        helper.make_node("Squeeze", ["yt", "directions"], ["ys"]),
        helper.make_node("Transpose", ["ys"], ["y"], perm=[1, 0, 2]),
    ]
    graph = helper.make_graph(
        nodes,
        "by hand",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [*axes, 2]),
            helper.make_tensor_value_info("len", TensorProto.INT64, [axes[0]]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None, None])],
        [*weights.values(), zero],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = folder / "by_hand.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def one_node(folder, operator, *, kind=TensorProto.FLOAT, axes=("batch", 2), second=None):
    """A file of one operator: x, of one kind and axes, and y; and an input that has a value."""
    inputs = [helper.make_tensor_value_info("x", kind, axes)]
    names = ["x"]
    if second is not None:
        inputs.append(helper.make_tensor_value_info(second, TensorProto.INT64, ["batch"]))
    nodes = [helper.make_node(operator, names, ["y"])]
    graph = helper.make_graph(nodes, "one", inputs, [helper.make_tensor_value_info("y", kind, [None] * len(axes))])
    path = folder / "one.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def axes_of(tensors):
    """The names of the axes of tensors in a manifest, or their sizes where these are fixed."""
    return {tensor.name: [axis.name if axis.size < 0 else axis.size for axis in tensor.axes] for tensor in tensors}


def published(done):
    """Runs the published graph."""
    return OnnxRunner((done.published.folder / "model.onnx").read_bytes())


def floats(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
