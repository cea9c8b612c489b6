"""A parameter that takes several tensors, as the states of nn.LSTM, is described by a dict: the error says so."""

from typing import Any

import pytest
from torch import nn

from rnnserve.export import Floats, Publication, WrongArguments
from rnnserve.export.description.described_model import describe_model

X = Floats("batch", "sequence", 3)


class PairOfStates(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x, state):
        return self.lstm(x, state)


@pytest.mark.parametrize(
    ("module", "pair"), [(PairOfStates(), "state"), (nn.LSTM(3, 4, batch_first=True), "hx")], ids=["state", "hx"]
)
def test_states_that_are_one_parameter_are_described_by_a_dict(module, pair):
    states = {name: Floats(1, "batch", 4) for name in ("h_0", "c_0")}
    outputs = ["output", "h_n", "c_n"]
    said = rf'^inputs names "h_0", which is no .*: "{pair}": {{"h_0": Floats\(…\), "c_0": Floats\(…\)}}$'
    with pytest.raises(WrongArguments, match=said):
        describe_model(Publication(module.eval(), "model", {"x" if pair == "state" else "input": X, **states}, outputs))
    described: dict[str, Any] = {"x" if pair == "state" else "input": X, pair: states}
    assert [tensor.name for tensor in describe_model(Publication(module, "model", described, outputs)).inputs][1:] == [
        *states
    ]
