"""A parameter that takes several tensors, such as the states of nn.LSTM, is described by a dict."""

import pytest
from torch import nn

from rnnserve.export import Floats, Publication, WrongArguments
from rnnserve.export.description.described_model import describe_model


def test_states_that_are_one_parameter_need_a_dict():
    inputs, outputs = {"input": Floats("batch", "sequence", 3)}, ["output", "h_n", "c_n"]
    states = {name: Floats(1, "batch", 4) for name in ("h_0", "c_0")}
    module = nn.LSTM(3, 4, batch_first=True).eval()
    said = r'^inputs names "h_0", which is no .*: "hx": {"h_0": Floats\(…\), "c_0": Floats\(…\)}$'
    with pytest.raises(WrongArguments, match=said):
        describe_model(Publication(module, "model", {**inputs, **states}, outputs))
    model = describe_model(Publication(module, "model", {**inputs, "hx": states}, outputs))
    assert [tensor.name for tensor in model.inputs] == ["input", "h_0", "c_0"]
