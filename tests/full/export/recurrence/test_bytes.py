"""What is in the file: small graphs, whole weights, and nothing of this machine."""

import pathlib

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kit.machine_words import machine_words
from rnnserve.export import export_onnx


class Classifier(nn.Module):
    def __init__(self, cell="GRU", hidden=5, layers=2, bidirectional=True):
        super().__init__()
        torch.manual_seed(4)
        self.rnn = getattr(nn, cell)(3, hidden, layers, bidirectional=bidirectional, batch_first=True)
        self.head = nn.Linear(hidden, 2)

    def forward(self, input: torch.Tensor, lengths: torch.Tensor, h_0: torch.Tensor):
        packed = pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False)
        output, h_n = self.rnn(packed, h_0)
        padded, _ = pad_packed_sequence(output, batch_first=True, total_length=input.size(1))
        return self.head(h_n[-1]), padded, h_n


def export(module):
    states = module.rnn.num_layers * (1 + module.rnn.bidirectional)
    return export_onnx(
        module.eval(),
        (torch.randn(3, 4, 3), torch.tensor([4, 2, 1]), torch.zeros(states, 3, module.rnn.hidden_size)),
        input_names=["input", "lengths", "h_0"],
        output_names=["logits", "output", "h_n"],
        dynamic_shapes={"input": {0: "batch", 1: "sequence"}, "lengths": {0: "batch"}, "h_0": {1: "batch"}},
    ).model_proto


def test_nothing_of_the_exporting_machine():
    model = export(Classifier())
    content = model.SerializeToString()
    for word in machine_words(pathlib.Path(torch.__file__).parent, pathlib.Path(__file__).parent):
        assert word not in content, word
    for word in (b".py", b"File ", b"torch.ops", b"aten", b"site-packages", b"pkg.torch", b"fake"):
        assert word not in content, word
    assert [entry.key for entry in model.metadata_props] == ["rnnserve.translations"]
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


def test_the_simple_classifier_is_seven_nodes():
    model = export(Classifier("RNN", layers=1, bidirectional=False))
    operators = [node.op_type for node in model.graph.node]
    assert sorted(operators) == ["Cast", "Gather", "Gemm", "RNN", "Squeeze", "Transpose", "Transpose"]
    assert {entry.domain for entry in model.opset_import} == {""}
    assert {i.name for i in model.graph.initializer} >= {"RNN_0/W", "RNN_0/R", "RNN_0/B", "head.weight", "head.bias"}


def test_axes_have_their_names_on_inputs_and_outputs():
    model = export(Classifier())
    axes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert axes == {
        "input": ["batch", "sequence", 3],
        "lengths": ["batch"],
        "h_0": [4, "batch", 5],
        "logits": ["batch", 2],
        "output": ["batch", "sequence", 10],
        "h_n": [4, "batch", 5],
    }


@pytest.mark.parametrize("cell", ["GRU", "LSTM"])
def test_large_weights_are_folded_too(cell):
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
