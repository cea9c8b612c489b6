"""Programs that torch.onnx need not trace again: composite operators are decomposed alone."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.onnx._internal.exporter import _fx_passes

from rnnserve.export import export_onnx
from rnnserve.export.onnx_runner import OnnxRunner


class Cell(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        state = self.cell(x)
        return state if isinstance(state, tuple) else (state, state + 0.5)


class Views(nn.Module):
    def forward(self, x):
        parts = x.reshape(x.shape[0], 2, -1).transpose(0, 1).flatten(1).chunk(2)
        joined = torch.cat(parts).contiguous().unflatten(1, (-1, 3))
        return joined.to(torch.float64).narrow(1, 0, 1), x.to(x.dtype)


def check(module, monkeypatch, *, is_traced_again=False):
    """Export a module of x (batch, 6) with two results, and compare it with eager at other sizes."""
    traced, decompose = [], _fx_passes.decompose_with_registry
    monkeypatch.setattr(_fx_passes, "decompose_with_registry", lambda *given: traced.append(1) or decompose(*given))
    program = export_onnx(
        module.eval(),
        (torch.randn(2, 6),),
        input_names=["x"],
        output_names=["first", "second"],
        dynamic_shapes=({0: "batch"},),
    )
    assert bool(traced) == is_traced_again
    runner = OnnxRunner(program.model_proto.SerializeToString())
    for batch in (1, 5):
        x = torch.randn(batch, 6)
        with torch.no_grad():
            expected = module(x)
        for found, each in zip(runner({"x": x.numpy()}).values(), expected, strict=True):
            np.testing.assert_allclose(found, each.numpy(), rtol=0, atol=1e-6)


def relu_cell(features, hidden, *, bias):
    return nn.RNNCell(features, hidden, bias, "relu")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", [nn.GRUCell, nn.LSTMCell, nn.RNNCell, relu_cell])
def test_cells_equal_eager_without_another_trace(cell, bias, monkeypatch):
    check(Cell(cell(6, 4, bias=bias)), monkeypatch)


def test_views_equal_eager_without_another_trace(monkeypatch):
    check(Views(), monkeypatch)


def test_writes_are_left_to_torch(monkeypatch):
    class Writes(nn.Module):
        def forward(self, x):
            y = x.clone()
            y[:, 1:] += x[:, :-1]
            return y, y.sum(1)

    check(Writes(), monkeypatch, is_traced_again=True)
