"""The simplest calls: PyTorch's own layers as they are, and forwards that take their tensors in unusual ways."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.client import Client
from rnnserve.export import Floats, Publication, publish
from rnnserve.protos.artifact import SCRIPT
from rnnserve.server.testing import serve

X = Floats("batch", "sequence", ("features", 8))
STATE = Floats(1, "batch", ("hidden", 6))


class Forward(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 4)


class ByKeyword(Forward):
    def forward(self, *, x, scale=2.0, y):
        return self.linear(x) * scale + self.linear(y)


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


CALLS: dict[str, Any] = {
    "keywords only": (ByKeyword, "xy", lambda m, x, y: m(x=x, y=y)),
    "**kwargs": (AnyKeyword, "xy", lambda m, x, y: m(x=x, y=y)),
    "*args and **kwargs": (Wrapped, "x", lambda m, x: m(x)),
    "a forward of the object": (Assigned, "x", lambda m, x: m(x)),
    "no weights": (nn.Softplus, ["input"], lambda m, x: m(x)),
}


@pytest.fixture(scope="module")
def modules():
    torch.manual_seed(0)
    return {name: make().eval() for name, (make, *_) in CALLS.items()}


@pytest.fixture(scope="module")
def client(modules, tmp_path_factory):
    folder, sizes = tmp_path_factory.mktemp("calls"), {"sequence": (1, 32)}  # short ones are proven in less time
    for number, (name, (_, names, _)) in enumerate(CALLS.items()):
        described = Publication(modules[name], f"m{number}", dict.fromkeys(names, X), ["result"], sizes=sizes)
        publish(described, repository=folder, progress=False)
    with serve(folder) as server, Client(server.address) as client:
        yield client


@pytest.mark.parametrize("name", CALLS)
def test_forward_with_unusual_arguments_is_published(modules, client, name):
    _, names, expected = CALLS[name]
    random = np.random.default_rng(0)
    sent = {each: random.normal(size=(3, 5, 8)).astype(np.float32) for each in names}
    with torch.no_grad():
        wanted = expected(modules[name], *map(torch.from_numpy, sent.values())).numpy()
    answers = client.predict(f"m{list(CALLS).index(name)}", sent)
    np.testing.assert_allclose(np.stack([answer["result"] for answer in answers]), wanted, atol=1e-6)


def test_plain_layer_with_states_is_published_with_a_script_and_served(tmp_path):
    torch.manual_seed(0)
    layer = nn.LSTM(8, 6).eval()
    inputs: dict[str, Any] = {"input": Floats("sequence", "batch", 8), "hx": {"h_0": STATE, "c_0": STATE}}
    done = publish(
        layer,
        "lstm",
        repository=tmp_path,
        inputs=inputs,
        outputs=["output", "h_n", "c_n"],
        states={"h_n": "h_0", "c_n": "c_0"},
        progress=False,
    )
    assert (done.published.folder / SCRIPT).exists(), done.unscripted
    steps, state = np.random.default_rng(0).normal(size=(5, 3, 8)).astype(np.float32), np.full((1, 3, 6), 0.5, "f4")
    with torch.no_grad():
        output, (h_n, _) = layer(torch.from_numpy(steps), (torch.from_numpy(state), torch.from_numpy(state)))
    with serve(tmp_path) as server, Client(server.address) as client:
        answers = client.predict("lstm", {"input": steps, "h_0": state, "c_0": state})
    np.testing.assert_allclose(np.stack([each["output"] for each in answers], 1), output.numpy(), atol=1e-6)
    np.testing.assert_allclose(np.stack([each["h_n"] for each in answers], 1), h_n.numpy(), atol=1e-6)


def test_subclass_of_a_layer_is_exported_like_the_layer(tmp_path):
    done = publish(
        WithoutForward(8, 6, batch_first=True).eval(),
        "model",
        repository=tmp_path,
        inputs={"input": X},
        outputs=["y", "h_n"],
        progress=False,
    )
    assert done.unscripted.startswith("TorchScript cannot compile")  # it knows nn.GRU's forward by the class's own name
