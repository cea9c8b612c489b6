"""Files of torch's own exporters: right ones are right, and what they froze or left out is named."""

import onnx
import torch
from torch import nn

from kit.checked_files import (
    SIZES,
    checked,
    drop_lengths,
    export_by_torch,
    forecaster,
    tagger,
)
from rnnserve.export import Floats, Publication


def test_a_fault_after_a_trace_that_sorts_rows(tmp_path):
    """Torch's tracing exporter sorts rows by their lengths, so that every node gives another order than ours."""
    publication = tagger(nn.LSTM)
    data = export_by_torch(
        publication.module,
        (torch.zeros(3, 5, 3), torch.tensor([5, 3, 2])),
        dynamo=False,
        input_names=["input", "lengths"],
        output_names=["scores"],
        dynamic_axes={"input": {0: "batch", 1: "sequence"}, "lengths": {0: "batch"}},
    )
    model = onnx.load_model_from_string(data)
    drop_lengths(model)
    faults = checked(tmp_path, model, publication).faults
    assert "has no sequence_lens" in faults[0]
    assert "(LSTM)" in next(fault for fault in faults if "the first node" in fault)


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


def test_the_tracing_exporter_without_states_or_lengths(tmp_path):
    publication = forecaster()
    data = export_by_torch(
        publication.module,
        (torch.zeros(3, 5, 3),),
        dynamo=False,
        input_names=["input"],
        output_names=["values", "h_n", "c_n"],
        dynamic_axes={"input": {0: "batch", 1: "sequence"}},
    )
    faults = checked(tmp_path, data, publication).faults
    assert [fault.split(",")[0] for fault in faults if fault.startswith("missing state")] == [
        'missing state: no input stands for "h_0"',
        'missing state: no input stands for "c_0"',
    ]


class WithoutLengths(nn.Module):
    def __init__(self, tagger):
        super().__init__()
        self.tagger = tagger

    def forward(self, input):
        return self.tagger.head(self.tagger.cell(input)[0]).tanh()


def test_an_export_without_lengths(tmp_path):
    data = export_by_torch(
        WithoutLengths(tagger().module),
        (torch.zeros(3, 5, 3),),
        dynamo=False,
        input_names=["input"],
        output_names=["scores"],
        dynamic_axes={"input": {0: "batch", 1: "sequence"}},
    )
    faults = checked(tmp_path, data, tagger()).faults
    assert len(faults) == 1
    assert faults[0].startswith('missing lengths: no input stands for "lengths"')


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
