"""Graphs hold no more nodes than they need: weights are folded, and sizes that are certain aren't read."""

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnserve.export import export_onnx


class After(nn.Module):
    """A layer, and a function of x and of its final states."""

    def __init__(self, use, layers=1):
        super().__init__()
        self.use, self.rnn = use, nn.RNN(4, 4, num_layers=layers, batch_first=True)

    def forward(self, x):
        return self.use(x, self.rnn(x)[1])


class ZeroStates(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x):
        return self.lstm(x, (torch.zeros(1, x.size(0), 4), x.new_zeros(1, x.size(0), 4)))[0]


class StepsReadBeforeTheLoop(nn.Module):
    """A model can be sent a sequence in parts if nothing reads how many steps there are."""

    def forward(self, x):
        h, outputs = x.new_zeros(x.size(0), 4), []
        for gate, step in zip(x.sigmoid().unbind(1), x.unbind(1), strict=True):
            h = torch.lerp(h, step, gate)
            outputs.append(h)
        return torch.stack(outputs, 1)


class LayersOfOneState(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.ModuleList([nn.RNNCell(4, 4), nn.RNNCell(4, 4)])

    def forward(self, x):
        h, outputs = x.new_zeros(2, x.size(0), 4), []
        for t in range(x.size(1)):
            first = self.cells[0](x[:, t], h[0])
            h = torch.stack([first, self.cells[1](first, h[1])])
            outputs.append(h[1])
        return torch.stack(outputs, 1)


class UpdatedAfterItsOutput(nn.Module):
    """The last update is dead code."""

    def forward(self, x):
        h, outputs = torch.zeros_like(x[:, 0]), []
        for t in range(x.size(1)):
            outputs.append(torch.tanh(h + x[:, t]))
            h = h * 0.5 + x[:, t].sigmoid()
        return torch.stack(outputs, 1)


def halves(x, _):
    parts = [part.chunk(2, -1)[1] for part in x.chunk(2, -1)]
    return torch.cat([*parts, x.unbind(-1)[0].unsqueeze(-1)], -1)


def operators(module, outputs=1):
    program = export_onnx(
        module.eval(),
        (torch.randn(2, 5, 4),),
        input_names=["x"],
        output_names=[f"output_{number}" for number in range(outputs)],
        dynamic_shapes=({0: "batch", 1: "sequence"},),
    )
    return Counter(node.op_type for node in program.model_proto.graph.node)


NORMS = nn.utils.parametrizations
SMALL: dict[str, Any] = {
    "an LSTM": (lambda: nn.LSTM(4, 4, batch_first=True), {"LSTM": 1}, ("Split", "Slice", "Concat")),
    "a loop": (StepsReadBeforeTheLoop, {"Scan": 1}, ("Range",)),
    "layers of one state": (LayersOfOneState, {"Scan": 1}, ("Range", "Slice")),
    "an update after the output": (UpdatedAfterItsOutput, {"Scan": 1}, ("Range", "Slice")),
    "zero states": (ZeroStates, {"LSTM": 1}, ("Shape", "Expand", "ConstantOfShape")),
    "weight norm": (
        lambda: NORMS.weight_norm(nn.GRU(4, 4, batch_first=True), "weight_hh_l0"),
        {"GRU": 1},
        ("Div", "Mul", "ReduceL2"),
    ),
    "the last of one layer": (
        lambda: After(lambda x, h: h[-1:].transpose(0, 1).reshape(x.size(0), 4)),
        {},
        ("Shape", "Slice"),
    ),
    "both of two": (
        lambda: After(lambda x, h: h[-2:].transpose(0, 1).reshape(x.size(0), 8), 2),
        {},
        ("Shape", "Slice"),
    ),
    "a part of an axis that varies": (lambda: After(lambda x, _: x[:, -1:]), {"Slice": 1}, ("Shape",)),
    "sizes that are fixed": (
        lambda: After(lambda x, _: x / (x.std(-1, keepdim=True) + 1e-9) + x.shape[1]),
        {},
        ("Gather", "ReduceProd"),
    ),
    "lists": (
        lambda: After(halves),
        {},
        ("SplitToSequence", "SequenceAt", "SequenceConstruct", "ConcatFromSequence"),
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_exported_graph_is_small(name):
    make, present, absent = SMALL[name]
    found = operators(make(), 3 if name == "an LSTM" else 2 if name == "weight norm" else 1)
    assert {operator: found[operator] for operator in present} == present
    assert not [operator for operator in absent if found[operator]]


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.RNN(3, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.rnn(packed)[1][-1])


def test_packed_classifier_has_five_nodes_and_no_source_text():
    model = export_onnx(
        Packed().eval(),
        (torch.randn(3, 4, 3), torch.tensor([4, 2, 1])),
        input_names=["x", "lengths"],
        output_names=["logits"],
        dynamic_shapes=({0: "batch", 1: "sequence"}, {0: "batch"}),
    ).model_proto
    assert sorted(node.op_type for node in model.graph.node) == ["Cast", "Gather", "Gemm", "RNN", "Transpose"]
    content = model.SerializeToString()
    assert not [word for word in (b".py", b"File ", b"torch.", b"aten", b"site-packages", b"fake") if word in content]
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


@pytest.mark.parametrize("cell", ["GRU", "LSTM"])
def test_large_weights_are_folded(cell):
    hidden = 600 if cell == "GRU" else 560  # beyond what the exporter folds by itself
    module = nn.Sequential(getattr(nn, cell)(3, hidden, batch_first=True)).eval()
    names = ["output", "h_n", "c_n"][: 3 if cell == "LSTM" else 2]
    model = export_onnx(
        module,
        (torch.randn(2, 3, 3),),
        input_names=["input"],
        output_names=names,
        dynamic_shapes=({0: "batch", 1: "sequence"},),
    ).model_proto
    assert [node.op_type for node in model.graph.node].count(cell) == 1
    assert not {"Split", "Concat", "Unsqueeze", "Gather", "Slice"} & {node.op_type for node in model.graph.node}
    weights = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    node = next(node for node in model.graph.node if node.op_type == cell)
    order = {"GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}[cell]
    theirs = module[0].weight_hh_l0.detach().numpy().reshape(-1, hidden, hidden)[list(order)]  # type: ignore[operator]
    np.testing.assert_array_equal(weights[node.input[2]], theirs.reshape(1, -1, hidden))
    total = sum(array.nbytes for array in weights.values())
    assert total < 1.01 * sum(parameter.nbytes for parameter in module.parameters()), "no weight is in the file twice"
