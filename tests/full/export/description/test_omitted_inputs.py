"""Requests that leave inputs out, published and served: answers are those of forward without the argument."""

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.client import Client, InvalidRequest
from rnnserve.export import Floats, WrongArguments, publish
from rnnserve.protos import manifest_pb2
from rnnserve.server.testing import serve

REQUIRED, ZEROS, RECORDED = (
    manifest_pb2.DEFAULT_REQUIRED,
    manifest_pb2.DEFAULT_ZEROS,
    manifest_pb2.DEFAULT_RECORDED,
)

X = Floats("batch", "sequence", ("features", 3))
STATE = Floats(("layers * directions", 1), "batch", ("hidden", 4))


def published(tmp_path, module, **description):
    return publish(module.eval(), "model", repository=tmp_path, progress=False, **description)


def drawn(*shape):
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def eager(module, *arguments):
    with torch.no_grad():
        return [result.numpy() for result in module(*map(torch.from_numpy, arguments))]


class Each(nn.Module):
    """Two states with defaults of their own: one depends on the input, one is learned."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.c_0 = nn.Parameter(torch.randn(1, 1, 4))

    def forward(self, x, h_0=None, c_0=None):
        h_0 = x.mean(dim=(1, 2)).reshape(1, -1, 1).expand(1, -1, 4).contiguous() if h_0 is None else h_0
        c_0 = self.c_0.expand(1, x.size(0), 4).contiguous() if c_0 is None else c_0
        output, (h_n, c_n) = self.lstm(x, (h_0, c_0))
        return output, h_n, c_n


def test_state_that_depends_on_the_input_must_be_sent_and_the_other_may_be_left_out(tmp_path):
    module = Each()
    inputs, states = {"x": X, "h_0": STATE, "c_0": STATE}, {"h_n": "h_0", "c_n": "c_0"}
    done = published(tmp_path, module, inputs=inputs, outputs=["output", "h_n", "c_n"], states=states)
    assert [tensor.default for tensor in done.manifest.inputs[1:]] == [REQUIRED, RECORDED]
    with pytest.raises(WrongArguments, match="Triton begins with zeros"):
        published(
            tmp_path / "other", module, inputs=inputs, outputs=["output", "h_n", "c_n"], states=states, sequences=True
        )
    x, given = drawn(2, 5, 3), drawn(1, 2, 4)
    with serve(tmp_path) as server, Client(server.address) as client:
        for ask in (lambda: client.predict("model", x), lambda: client.infer("model", {"x": x})):
            with pytest.raises(InvalidRequest, match=r'"?h_0"? is missing'):
                ask()
        found = client.infer("model", {"x": x, "h_0": given})["output"]
    np.testing.assert_allclose(found, eager(module, x, given)[0], atol=2e-6)
