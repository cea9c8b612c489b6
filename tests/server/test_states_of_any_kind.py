"""States of floats, integers and booleans that begin with anything, and windows: proven, served, continued, shown."""

import math

import grpc
import numpy as np
import pytest
import torch
from torch import nn

from kit.inference_requests import arrays, request
from kit.sequence_requests import PATIENCE, in_parts
from kit.served import served
from rnnserve.client import Client, InvalidRequest
from rnnserve.export import Flags, Floats, Integers, publish, scan
from rnnserve.protos.artifact import read_version
from rnnserve.protos.recorded_defaults import load_defaults

WINDOW, POSITIONS = 4, 40


class Kinds(nn.Module):
    """A learned beginning, a running maximum from -inf, a decay from 1, a position, flags, counters, a window."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.begin = nn.Parameter(torch.randn(4))
        self.positions = nn.Embedding(2 * POSITIONS, 3)

    def forward(self, x, h, top, decay, position, loud, hits, last):
        steps = position.unsqueeze(1) + torch.arange(x.size(1))
        seen = torch.cat([last, x], dim=1)
        y, h_n = self.gru(x + self.positions(steps), h)
        y = y + seen[:, :-WINDOW, :1] * 0.3 - seen[:, 1 : 1 - WINDOW, 1:2] * 0.2
        tops = scan(lambda before, values: (torch.maximum(before, values),) * 2, top, y, dim=1)[1]
        was_loud = loud.unsqueeze(1) | ((x > 1.5).int().cumsum(dim=1) > 0)
        hit = hits.unsqueeze(1) + (x > 0).int().cumsum(dim=1).int()
        decays = decay.unsqueeze(1) * 0.5 ** torch.arange(1, x.size(1) + 1).view(1, -1, 1)
        return (
            y + tops + decays + was_loud.any(dim=2, keepdim=True) + hit.sum(dim=2, keepdim=True),
            *(h_n, tops[:, -1], decays[:, -1], position + x.size(1), was_loud[:, -1], hit[:, -1]),
            seen[:, -WINDOW:],
        )


STATES = {
    "h": Floats(1, "batch", ("hidden", 4)),  # the initial value is the module's own
    "top": Floats("batch", 4, initial=-math.inf),
    "decay": Floats("batch", 1, initial=1),
    "position": Integers("batch", high=POSITIONS, initial=7),
    "loud": Flags("batch", 3, initial=[False, True, False]),
    "hits": Integers("batch", 3, low=-9, high=1000, dtype="int32", initial=-3),
    "last": Floats("batch", ("window", WINDOW), 3, initial=0.5),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder, module = tmp_path_factory.mktemp("kinds"), Kinds().eval()
    states = STATES | {"h": Floats(1, "batch", ("hidden", 4), initial=module.begin)}
    done = publish(
        module,
        "kinds",
        repository=folder / "repository",
        inputs={"x": Floats("batch", "sequence", 3), **states},
        outputs=["y", *(f"{name}_n" for name in states)],
        states={f"{name}_n": name for name in states},
        sizes={"sequence": (1, POSITIONS // 4)},
        progress=False,
    )
    return folder, module, done


def drawn(rows=2, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, 9, 3)).astype(np.float32)


def eager(module, x):
    rows = len(x)
    begin = (
        module.begin.expand(1, rows, 4).contiguous(),
        torch.full((rows, 4), -torch.inf),
        torch.ones(rows, 1),
        torch.full((rows,), 7),
        torch.tensor([[False, True, False]]).expand(rows, 3),
        torch.full((rows, 3), -3, dtype=torch.int32),
        torch.full((rows, WINDOW, 3), 0.5),
    )
    with torch.no_grad():
        results = module(torch.from_numpy(x), *begin)
    return {name: array.numpy() for name, array in zip(["y", *(f"{n}_n" for n in STATES)], results, strict=True)}


@pytest.fixture(scope="module")
def server(published, session_key):
    with served(published[0] / "repository", session_key=session_key) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with Client(server.address) as client:
        yield client


def whole(server, x, outputs):
    """The outputs of a request that leaves the states out."""
    return arrays(server.stub.ModelInfer(request("kinds", {"x": x}, outputs), timeout=PATIENCE))


def kept(server, x, outputs, cut, identity):
    """The answers to the parts of a sequence whose states the server keeps."""
    parts = in_parts(x, cut, identity, input_name="x", name="kinds", outputs=outputs)
    return [arrays(server.stub.ModelInfer(part, timeout=PATIENCE)) for part in parts]


@pytest.mark.parametrize(("identity", "cut"), [(100, [1, 2, 6]), (101, [4, 5])])
def test_sequence_has_the_same_bits_however_it_is_split(published, server, client, identity, cut):
    x = drawn()
    expected = eager(published[1], x)
    together = whole(server, x, list(expected))
    for name, array in expected.items():
        assert together[name].dtype == array.dtype, name
        np.testing.assert_allclose(together[name], array, atol=2e-6, err_msg=name)
    parts = kept(server, x, list(expected), cut, identity)
    for name in expected:
        found = np.concatenate([part["y"] for part in parts], 1) if name == "y" else parts[-1][name]
        np.testing.assert_array_equal(found, together[name], name)
    ends = np.cumsum(cut)
    for form in ("sealed", "carried"):
        with client.session("kinds", outputs=["y"], rows=len(x), state=form) as session:
            answers = [session.step(list(x[:, end - size : end])) for size, end in zip(cut, ends, strict=True)]
        rows = [np.concatenate([part[row]["y"] for part in answers]) for row in range(len(x))]
        np.testing.assert_array_equal(np.stack(rows), together["y"], form)


def test_infinite_state_is_accepted_only_if_the_initial_state_is_infinite(published, client):
    folder, _, done = published
    x = drawn(1)
    defaults = load_defaults(read_version(folder / "repository" / "kinds" / "1").files, done.manifest.inputs)
    begin = {name: list(np.moveaxis(array, 1 if name == "h" else 0, 0)) for name, array in defaults.items()}
    (left_out,) = client.predict("kinds", list(x))
    (sent,) = client.predict("kinds", {"x": list(x), **begin})
    np.testing.assert_array_equal(sent["y"], left_out["y"])
    with pytest.raises(InvalidRequest, match=r'"top".*must be finite'):
        client.predict("kinds", {"x": list(x), **begin, "top": [np.full(4, np.nan, np.float32)]})
    with pytest.raises(InvalidRequest, match=r'"decay".*must be finite'):
        client.predict("kinds", {"x": list(x), **begin, "decay": [np.full(1, np.inf, np.float32)]})


def test_exhausted_counter_is_refused_without_affecting_others(published, server, client):
    """A position beyond the table: with states that the server keeps, sealed, and sent by the client."""
    x = drawn(1)
    for form in ("sealed", "carried"):
        with client.session("kinds", outputs=["y"], state=form) as session:
            for _ in range(3):  # positions 7 to 33
                session.step(x[0])
            session.step(x[0, :6])
            with pytest.raises(InvalidRequest, match=r'"position".*0..39'):
                session.step(x[0])
    with pytest.raises(grpc.RpcError, match=r'has a state whose value is outside.*"position".*0..39'):
        kept(server, np.concatenate([x] * 6, 1), ["y"], [9] * 6, 5)
    np.testing.assert_allclose(whole(server, x, ["y"])["y"], eager(published[1], x)["y"], atol=2e-6)
