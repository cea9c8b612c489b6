"""The simplest calls: PyTorch's own layers as they are, and forwards that take their tensors in unusual ways."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.client import Client
from rnnserve.export import Floats, Integers, WrongArguments, publish
from rnnserve.protos.artifact import SCRIPT
from rnnserve.server.testing import serve

X = Floats("batch", "sequence", ("features", 8))
STATE = Floats(1, "batch", ("hidden", 6))


def published(tmp_path, module, **description):
    return publish(module.eval(), "model", repository=tmp_path, progress=False, **description)


def answer_of(tmp_path, **inputs):
    with serve(tmp_path) as server, Client(server.address) as client:
        return client.predict("model", inputs)


def stacked(answers, name, axis=0):
    return np.stack([answer[name] for answer in answers], axis)


@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("with_states", [False, True])
def test_a_bare_recurrent_layer(cell, batch_first, with_states, tmp_path):
    layer = cell(8, 6, batch_first=batch_first)
    names = ["output", "h_n", "c_n"][: 3 if cell is nn.LSTM else 2]
    axes = ("batch", "sequence") if batch_first else ("sequence", "batch")
    inputs: dict[str, Any] = {"input": Floats(*axes, ("features", 8))}
    states = {"h_n": "h_0", "c_n": "c_0"} if cell is nn.LSTM else {"h_n": "hx"}
    if with_states:
        inputs["hx"] = {"h_0": STATE, "c_0": STATE} if cell is nn.LSTM else STATE
    done = published(tmp_path, layer, inputs=inputs, outputs=names, states=states if with_states else None)
    assert (done.published.folder / SCRIPT).exists(), done.unscripted

    sent = {"input": np.random.default_rng(0).normal(size=(3, 5, 8)).astype(np.float32)}
    if not batch_first:
        sent["input"] = np.ascontiguousarray(sent["input"].swapaxes(0, 1))
    if with_states:
        sent |= {name: np.full((1, 3, 6), 0.5, np.float32) for name in states.values()}
    given = [torch.from_numpy(array) for name, array in sent.items() if name != "input"]
    hx = (tuple(given) if cell is nn.LSTM else given[0]) if given else None
    with torch.no_grad():
        output, final = layer(torch.from_numpy(sent["input"]), hx)
    answers = answer_of(tmp_path, **sent)
    axis = 0 if batch_first else 1
    np.testing.assert_allclose(stacked(answers, "output", axis), output.numpy(), atol=1e-6)
    h_n = final[0] if cell is nn.LSTM else final
    np.testing.assert_allclose(stacked(answers, "h_n", 1), h_n.numpy(), atol=1e-6)


class Forward(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 4)


class Variadic(Forward):
    def forward(self, *args):
        return self.linear(args[0]) + self.linear(args[1])


class AfterVariadic(Forward):
    def forward(self, x, scale=2.0, *args):
        return self.linear(x) * scale + self.linear(args[0])


class ByKeyword(Forward):
    def forward(self, *, x, scale=2.0, y):
        return self.linear(x) * scale + self.linear(y)


class SomeByKeyword(Forward):
    def forward(self, x, shift=1.0, *, y=None):
        return self.linear(x) + shift + (self.linear(y) if y is not None else 0)


class AnyKeyword(Forward):
    def forward(self, **tensors):
        return self.linear(tensors["x"]) - self.linear(tensors["y"])


class Wrapped(Forward):
    def forward(self, *args, **kwargs):
        return self.linear(*args, **kwargs)


class WithoutForward(nn.GRU):
    pass


class Assigned(nn.Module):
    """Its forward is a function of the object, as tools that wrap modules make it."""

    def __init__(self):
        super().__init__()
        linear = self.linear = nn.Linear(8, 4)
        self.forward = lambda x: linear(x)


@pytest.mark.parametrize(
    ("module", "names", "expected"),
    [
        pytest.param(Variadic, "ab", lambda m, a, b: m(a, b), id="*args"),
        pytest.param(AfterVariadic, "xb", lambda m, x, b: m(x, 2.0, b), id="*args after a default"),
        pytest.param(ByKeyword, "xy", lambda m, x, y: m(x=x, y=y), id="keywords only"),
        pytest.param(SomeByKeyword, "xy", lambda m, x, y: m(x, y=y), id="a default, then a keyword"),
        pytest.param(SomeByKeyword, "x", lambda m, x: m(x), id="a keyword that is left out"),
        pytest.param(AnyKeyword, "xy", lambda m, x, y: m(x=x, y=y), id="**kwargs"),
        pytest.param(Wrapped, "x", lambda m, x: m(x), id="*args and **kwargs"),
        pytest.param(Assigned, "x", lambda m, x: m(x), id="a forward of the object"),
        pytest.param(lambda: nn.Sequential(nn.Linear(8, 6), nn.Tanh()), ["input"], lambda m, x: m(x), id="Sequential"),
        pytest.param(lambda: nn.Linear(8, 4), ["input"], lambda m, x: m(x), id="Linear"),
        pytest.param(nn.Softplus, ["input"], lambda m, x: m(x), id="no weights"),
    ],
)
def test_a_forward_that_takes_tensors_in_its_own_way(module, names, expected, tmp_path):
    module = module().eval()
    published(tmp_path, module, inputs=dict.fromkeys(names, X), outputs=["result"])
    random = np.random.default_rng(0)
    sent = {name: random.normal(size=(3, 5, 8)).astype(np.float32) for name in names}
    with torch.no_grad():
        wanted = expected(module, *map(torch.from_numpy, sent.values())).numpy()
    np.testing.assert_allclose(stacked(answer_of(tmp_path, **sent), "result"), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "description", "said"),
    [
        (Forward(), {"inputs": {"x": X}, "outputs": ["y"]}, "missing the required"),
        (Assigned(), {"inputs": {"z": X}, "outputs": ["y"]}, "which is no parameter"),
        (nn.LSTM(8, 6), {"inputs": {"input": X, "h_0": STATE}, "outputs": ["y"]}, '"hx": {"h_0"'),
        (nn.GRU(8, 6), {"inputs": [X], "outputs": ["y"]}, "expected a dict"),
        (nn.GRU(8, 6), {"inputs": {"hx": STATE, "input": X}, "outputs": ["y"]}, "has the order"),
        (nn.GRU(8, 6), {"inputs": {}, "outputs": ["y"]}, '"input", which forward needs'),
        (ByKeyword(), {"inputs": {"x": X}, "outputs": ["y"]}, '"y", which forward needs'),
        (SomeByKeyword(), {"inputs": {"y": X, "x": X}, "outputs": ["z"]}, "has the order"),
        (Variadic(), {"inputs": {}, "outputs": ["y"]}, "describes no tensor"),
        (nn.Embedding(9, 4), {"inputs": {"input": X}, "outputs": ["y"]}, "forward does not take inputs as described"),
        (
            nn.Embedding(9, 4),
            {"inputs": {"input": Integers("batch", high=10)}, "outputs": ["y"]},
            "embedding has entries",
        ),
        (nn.GRU(8, 6), {"inputs": {"input": X}, "outputs": ["output"]}, "forward gives 2"),
    ],
)
def test_what_cannot_be_called_is_told_in_words(module, description, said, tmp_path):
    with pytest.raises(WrongArguments) as raised:
        published(tmp_path, module, **description)
    assert said in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_class_that_inherits_the_forward_of_a_layer_is_one(tmp_path):
    done = published(tmp_path, WithoutForward(8, 6, batch_first=True), inputs={"input": X}, outputs=["y", "h_n"])
    assert done.unscripted.startswith("TorchScript cannot compile")  # it knows nn.GRU's forward by the class's own name
