"""A failed proof names the first operator of the module whose result the export does not have."""

import re

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from rnnserve.export import Floats, ParityError, Publication, pipeline, publish
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.file_check import differing_operator
from rnnserve.export.model_onnx import to_onnx


class Layers(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 5)
        self.gru = nn.GRU(5, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        y = torch.tanh(self.first(x))
        y = self.gru(y)[0]
        return torch.softmax(self.head(y) * 3.0, -1)


@pytest.fixture(scope="module")
def exported():
    torch.manual_seed(0)
    publication = Publication(Layers().eval(), "layers", {"x": Floats("batch", "sequence", 3)}, ["y"])
    model = describe_model(publication)
    return publication, model, to_onnx(model)


def changed(data, shape, *, op_type=None):
    """Double the first constant of a shape, or take another operator."""
    graph = onnx.load_model_from_string(data)
    if op_type is not None:
        (node,) = (node for node in graph.graph.node if node.op_type == op_type)
        node.op_type = "Sigmoid"
    else:
        tensor = next(each for each in graph.graph.initializer if tuple(each.dims) == shape)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(2), tensor.name))
    return graph.SerializeToString()


@pytest.mark.parametrize(
    ("shape", "op_type", "named"),
    [
        ((5,), None, r'^the first operator whose result differs is \w+ in "first" \(test_first_operator\.py:\d+\)$'),
        (None, "Tanh", r"^the first operator whose result differs is tanh \(test_first_operator\.py:\d+\)$"),
        ((1, 12, 4), None, r'^the first operator whose result differs is GRU "gru" \(test_first_operator\.py:\d+\)$'),
    ],
    ids=["bias", "another function", "recurrent weights"],
)
def test_the_operator_is_named_with_its_line(exported, shape, op_type, named):
    _, model, data = exported
    found = differing_operator(model, changed(data, shape, op_type=op_type))
    assert re.search(named, found), found


def test_a_right_export_has_none(exported):
    _, model, data = exported
    assert differing_operator(model, data) == ""


def test_publish_says_it(exported, tmp_path, monkeypatch):
    publication, _, data = exported
    monkeypatch.setattr(pipeline, "to_onnx", lambda _: changed(data, None, op_type="Tanh"))
    with pytest.raises(ParityError, match=r"the first operator whose result differs is tanh \(test_first_operator"):
        publish(publication, repository=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())
