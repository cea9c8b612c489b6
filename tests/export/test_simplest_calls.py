"""Modules whose forward takes its tensors in unusual ways: a call that can't work is explained."""

import pytest
from torch import nn

from rnnserve.export import Floats, Integers, WrongArguments, publish

X = Floats("batch", "sequence", ("features", 8))
STATE = Floats(1, "batch", ("hidden", 6))


class Forward(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 4)


class Variadic(Forward):
    def forward(self, *args):
        return self.linear(args[0]) + self.linear(args[1])


class ByKeyword(Forward):
    def forward(self, *, x, scale=2.0, y):
        return self.linear(x) * scale + self.linear(y)


class SomeByKeyword(Forward):
    def forward(self, x, shift=1.0, *, y=None):
        return self.linear(x) + shift + (self.linear(y) if y is not None else 0)


class Assigned(nn.Module):
    """Its forward is a function of the object, as tools that wrap modules make it."""

    def __init__(self):
        super().__init__()
        linear = self.linear = nn.Linear(8, 4)
        self.forward = lambda x: linear(x)


@pytest.mark.parametrize(
    ("module", "description", "said"),
    [
        (Forward(), {"inputs": {"x": X}, "outputs": ["y"]}, "missing the required"),
        (Assigned(), {"inputs": {"z": X}, "outputs": ["y"]}, "which is not a parameter"),
        (nn.LSTM(8, 6), {"inputs": {"input": X, "h_0": STATE}, "outputs": ["y"]}, '"hx": {"h_0"'),
        (nn.GRU(8, 6), {"inputs": [X], "outputs": ["y"]}, "expected a dict"),
        (nn.GRU(8, 6), {"inputs": {"hx": STATE, "input": X}, "outputs": ["y"]}, "has the order"),
        (nn.GRU(8, 6), {"inputs": {}, "outputs": ["y"]}, '"input", which forward needs'),
        (ByKeyword(), {"inputs": {"x": X}, "outputs": ["y"]}, '"y", which forward needs'),
        (SomeByKeyword(), {"inputs": {"y": X, "x": X}, "outputs": ["z"]}, "has the order"),
        (Variadic(), {"inputs": {}, "outputs": ["y"]}, "describes no tensor"),
        (nn.Embedding(9, 4), {"inputs": {"input": X}, "outputs": ["y"]}, "forward does not accept the described"),
        (
            nn.Embedding(9, 4),
            {"inputs": {"input": Integers("batch", high=10)}, "outputs": ["y"]},
            "number of embeddings",
        ),
        (nn.GRU(8, 6), {"inputs": {"input": X}, "outputs": ["output"]}, "forward returns 2"),
    ],
)
def test_description_that_cannot_be_called_is_explained(module, description, said, tmp_path):
    with pytest.raises(WrongArguments) as raised:
        publish(module.eval(), "model", repository=tmp_path, progress=False, **description)
    assert said in str(raised.value)
    assert not list(tmp_path.iterdir())
