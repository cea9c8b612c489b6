"""Sizes that a graph need not read: a reshape infers one, and a slice of all of a fixed axis is none."""

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.export import export_onnx
from rnnserve.export.parity import OnnxRunner


class Uses(nn.Module):
    def __init__(self, use, layers=1):
        super().__init__()
        self.use = use
        self.rnn = nn.RNN(3, 4, num_layers=layers, batch_first=True)

    def forward(self, x):
        _, h_n = self.rnn(x)
        return self.use(x, h_n)


USES = {
    # What is done, with how many layers, and which operators that read sizes or take parts are left.
    "the last of one layer": (lambda x, h_n: h_n[-1:].transpose(0, 1).reshape(x.size(0), 4), 1, set()),
    "the last of two layers": (lambda x, h_n: h_n[-1:].transpose(0, 1).reshape(x.size(0), 4), 2, {"Slice"}),
    "all but the first": (lambda _, h_n: h_n[1:], 2, {"Slice"}),
    "both of two": (lambda x, h_n: h_n[-2:].transpose(0, 1).reshape(x.size(0), 8), 2, set()),
    "steps joined to rows": (lambda x, _: x.reshape(x.size(0) * x.size(1), 3), 1, set()),
    "a part of an axis that varies": (lambda x, _: x[:, -1:], 1, {"Slice"}),
}


@pytest.mark.parametrize(("use", "layers", "left"), USES.values(), ids=USES)
def test_what_is_left_and_what_it_gives(use, layers, left):
    module = Uses(use, layers).eval()
    program = export_onnx(
        module,
        (torch.randn(2, 5, 3),),
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes=({0: "batch", 1: "sequence"},),
    )
    operators = {node.op_type for node in program.model_proto.graph.node}
    assert operators & {"Shape", "Slice"} <= left | ({"Shape"} if "Mul" in operators else set())
    assert left <= operators
    run = OnnxRunner(program.model_proto.SerializeToString())
    for rows, steps in ((1, 1), (3, 7), (4, 2)):
        x = torch.randn(rows, steps, 3)
        with torch.no_grad():
            expected = module(x).numpy()
        found = run({"x": x.numpy()})["y"]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_two_sizes_that_are_read_stay_read():
    module = Uses(lambda x, _: x.transpose(0, 1).reshape(x.size(1), x.size(0), 3)).eval()
    program = export_onnx(
        module,
        (torch.randn(2, 5, 3),),
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes=({0: "batch", 1: "sequence"},),
    )
    run = OnnxRunner(program.model_proto.SerializeToString())
    x = torch.randn(3, 7, 3)
    np.testing.assert_array_equal(run({"x": x.numpy()})["y"], module(x).numpy())
