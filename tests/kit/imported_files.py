"""ONNX files as other exporters write them, traced or by hand, for tests of the import, and the imported versions."""

import io
import warnings
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from torch import nn

from kit.foreign_files import drawn, save, value
from rnnserve.export.parity import OnnxRunner

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
    file: Any = io.BytesIO()  # torch accepts it, although its annotations don't
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
    weights = drawn(W=(1, 9, 2), R=(1, 9, 3), B=(1, 18))
    nodes = """
        xt = Transpose <perm = [1, 0, 2]> (x)  n32 = Cast <to = 6> (len)
        yt = GRU <hidden_size = 3, linear_before_reset = 1> (xt, W, R, B, n32)
        ys = Squeeze (yt, directions)  y = Transpose <perm = [1, 0, 2]> (ys)
    """
    given = [value("x", [*axes, 2]), value("len", [axes[0]], TensorProto.INT64)]
    return save(folder, nodes, given, [value("y", [None, None, None])], weights | {"directions": [1]})


def one_node(folder, operator, *, kind=TensorProto.FLOAT, axes=("batch", 2), second=None):
    """A file of one operator: x, of one kind and axes, and y; and an input that has a value."""
    given = [value("x", axes, kind)]
    if second is not None:
        given.append(value(second, ["batch"], TensorProto.INT64))
    return save(folder, f"y = {operator} (x)", given, [value("y", [None] * len(axes), kind)], {})


def axes_of(tensors):
    """The names of the axes of tensors in a manifest, or their sizes where these are fixed."""
    return {tensor.name: [axis.name if axis.size < 0 else axis.size for axis in tensor.axes] for tensor in tensors}


def published(done):
    """Runs the published graph."""
    return OnnxRunner((done.published.folder / "model.onnx").read_bytes())


def floats(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
