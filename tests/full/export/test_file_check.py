"""Files of torch's own exporters: right ones are right, and a file with a fault is not."""

import onnx
import torch
from torch import nn

from kit.checked_files import SIZES, checked, drop_lengths, export_by_torch, tagger
from rnnserve.export import Floats, Publication


def test_the_tracing_exporter_with_packed_sequences(tmp_path):
    publication = tagger(nn.LSTM)
    arguments = (torch.zeros(3, 5, 3), torch.tensor([5, 3, 2]))
    axes = {"input": {0: "batch", 1: "sequence"}, "lengths": {0: "batch"}}
    data = export_by_torch(
        publication.module,
        arguments,
        dynamo=False,
        input_names=["input", "lengths"],
        output_names=["scores"],
        dynamic_axes=axes,
    )
    assert not checked(tmp_path, data, publication).faults
    # The exporter sorts rows by their lengths, so every node gives another order than ours.
    model = onnx.load_model_from_string(data)
    drop_lengths(model)
    found = checked(tmp_path, model, publication)
    assert found.faults
    assert 'LSTM "cell"' in found.operator


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, input):
        output, _ = self.gru(input)
        return output.sum(1) / len(input[0]), output[:, 0]


def test_a_length_that_tracing_froze_inside(tmp_path):
    """The axes are named dynamic, and the graph divides by the sample's length."""
    inputs = {"input": Floats("batch", "sequence", ("features", 3))}
    publication = Publication(Mean(), "mean", inputs, ["mean", "first"], sizes=SIZES)
    data = export_by_torch(
        publication.module,
        (torch.zeros(3, 5, 3),),
        dynamo=False,
        input_names=["input"],
        output_names=["mean", "first"],
        dynamic_axes={"input": {0: "batch", 1: "sequence"}},
    )
    found = checked(tmp_path, data, publication)
    assert any('"mean" at sequence ' in fault for fault in found.faults)
    assert found.operator.startswith("the first operator with a different result is div (test_file_check.py:")


def test_the_default_exporter_freezes_sizes(tmp_path):
    publication = Publication(
        nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True),
        "lstm",
        {"input": Floats("batch", "sequence", ("features", 3))},
        ["output", "h_n", "c_n"],
        sizes=SIZES,
    )
    data = export_by_torch(
        publication.module, (torch.zeros(3, 5, 3),), dynamo=True, input_names=["input"], external_data=False
    )
    faults = checked(tmp_path, data, publication).faults
    assert any('"input" has axes (3, 5, 3); expected (batch, sequence, 3)' in fault for fault in faults), faults
