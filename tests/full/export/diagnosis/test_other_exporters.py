"""Files of torch's own exporters: right ones are right, and what they froze or left out is named."""

import onnx
import torch
from torch import nn

from kit.checked_files import (
    SIZES,
    checked,
    drop_lengths,
    export_by_torch,
    tagger,
)
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
    assert checked(tmp_path, data, publication).faults == []
    # The exporter sorts rows by their lengths, so every node gives another order than ours.
    model = onnx.load_model_from_string(data)
    drop_lengths(model)
    faults = checked(tmp_path, model, publication).faults
    assert "has no sequence_lens" in faults[0]
    assert "(LSTM)" in next(fault for fault in faults if "the first node" in fault)


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
    frozen, first = checked(tmp_path, data, publication).faults
    assert frozen == 'frozen length: its values are right only with "sequence" 5, not with 1'
    assert first.startswith('the first node whose result differs is the node "/Div" (Div), which gives [3, 4]')


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
    assert any(fault.startswith("frozen batch: ") for fault in faults), faults
    assert any(fault.startswith("frozen length: ") for fault in faults), faults
