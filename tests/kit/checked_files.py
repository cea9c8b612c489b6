"""Modules, their exports to be changed, and what `rnnserve check` finds in these."""

import io
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.export import Floats, Lengths, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.file_check import check_file
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.torch_adapter import registry_read_once

SIZES = {"batch": (1, 5), "sequence": (1, 16)}


class Tagger(nn.Module):
    def __init__(self, cell):
        super().__init__()
        torch.manual_seed(3)
        self.cell = cell(3, 4, batch_first=True, bidirectional=True)
        self.head = nn.Linear(8, 2)

    def forward(self, input, lengths):
        packed = pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.cell(packed)[0], batch_first=True, total_length=input.size(1))
        return self.head(output).tanh()


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.lstm = nn.LSTM(3, 4, 2, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, input, state=None):
        output, state = self.lstm(input, state)
        return self.head(output), state


def tagger(cell=nn.GRU):
    inputs = {"input": Floats("batch", "sequence", ("features", 3)), "lengths": Lengths()}
    return Publication(Tagger(cell), "tagger", inputs, ["scores"], sizes=SIZES)


def forecaster():
    state = Floats(("layers", 2), "batch", ("hidden", 4))
    return Publication(
        Forecaster(),
        "forecaster",
        {"input": Floats("batch", "sequence", ("features", 3)), "state": {"h_0": state, "c_0": state}},
        ["values", "h_n", "c_n"],
        states={"h_n": "h_0", "c_n": "c_0"},
        sizes=SIZES,
    )


def exported(publication):
    """Our own export of a publication, to be changed."""
    return onnx.load_model_from_string(exported_bytes(publication))


EXPORTED = {}


def exported_bytes(publication):
    known = str(publication.module)
    if known not in EXPORTED:
        EXPORTED[known] = to_onnx(describe_model(publication))
    return EXPORTED[known]


def checked(tmp_path, model, publication):
    path = tmp_path / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return check_file(path, publication, progress=False)


def recurrent(model):
    return next(node for node in model.graph.node if node.op_type in ("RNN", "GRU", "LSTM"))


def set_attribute(node, name, value):
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


def change_weights(model, change):
    """Change W, R and B (directions, gates * hidden, …) of the first recurrent operator."""
    node = recurrent(model)
    for tensor in model.graph.initializer:
        if tensor.name in node.input[1:4]:
            tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)).copy(), tensor.name))


def drop_lengths(model):
    recurrent(model).input[4] = ""


def wrong_reset(model):
    set_attribute(recurrent(model), "linear_before_reset", 0)


def change_head(model):
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.shape == (2,):
            tensor.CopyFrom(numpy_helper.from_array(array + np.float32(0.25), tensor.name))


def export_by_torch(module, arguments, **options):
    file: Any = io.BytesIO()  # torch accepts it, although its annotations don't
    with warnings.catch_warnings(), registry_read_once():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), arguments, file, verbose=False, **options)
    return file.getvalue()
