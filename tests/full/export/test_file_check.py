"""Files of torch's own exporters: right ones are right, and a file with a fault is not."""

import onnx
import torch
from torch import nn

from kit.checked_files import SIZES, checked, drop_lengths, export_by_torch, tagger
from rnnserve.export import Floats, Publication


def test_tracing_exporter_with_packed_sequences_is_checked(tmp_path):
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


def test_default_exporter_freezes_sizes(tmp_path):
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
