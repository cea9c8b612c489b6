"""What leaving an input out means: found for every way in which forwards write a default, recorded, and served."""

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.client import Client, InvalidRequest
from rnnserve.export import Floats, Integers, Lengths, WrongArguments, publish
from rnnserve.export.verify import verify_version
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import DEFAULTS, FORMAT, FORMAT_OF_DEFAULTS, GOLDEN
from rnnserve.protos.golden import load_cases
from rnnserve.protos.triton_config import CONFIG
from rnnserve.server.testing import serve

REQUIRED, FULL_LENGTH = manifest_pb2.DEFAULT_REQUIRED, manifest_pb2.DEFAULT_FULL_LENGTH
ZEROS, RECORDED = manifest_pb2.DEFAULT_ZEROS, manifest_pb2.DEFAULT_RECORDED

X = Floats("batch", "sequence", ("features", 3))
STATE = Floats(("layers * directions", 1), "batch", ("hidden", 4))
ROW = Floats("batch", ("hidden", 4))


class Base(nn.Module):
    """A GRU with a learned initial state."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.h_0 = nn.Parameter(torch.randn(1, 1, 4))
        self.start = nn.Linear(3, 4)


class Zeros(Base):
    def forward(self, x, h_0=None):
        return self.gru(x, h_0)


class MadeZeros(Base):
    def forward(self, x, h_0=None):
        return self.gru(x, torch.zeros(1, x.size(0), 4) if h_0 is None else h_0)


class Learned(Base):
    def forward(self, x, h_0: torch.Tensor | None = None):
        return self.gru(x, self.h_0.expand(-1, x.size(0), -1).contiguous() if h_0 is None else h_0)


class LearnedOfOneAxis(Base):
    """Parameters of other shapes, and something computed from them."""

    def forward(self, x, h_0=None):
        if h_0 is None:
            h_0 = torch.tanh(self.h_0.reshape(4) * 2).repeat(x.size(0), 1).unsqueeze(0)
        return self.gru(x, h_0)


class Ones(Base):
    def forward(self, x, h_0=None):
        return self.gru(x, x.new_ones(1, x.shape[0], 4) if h_0 is None else h_0)


class Cell(Base):
    """A state (batch, hidden), which is broadcast where it is the parameter."""

    def forward(self, x, h_0=None):
        h = self.h_0[0] if h_0 is None else h_0
        h = torch.tanh(self.start(x[:, 0]) + h * 0.5)
        return h, h


class FromInput(Base):
    def forward(self, x, h_0=None):
        return self.gru(x, self.start(x.mean(1)).unsqueeze(0) if h_0 is None else h_0)


class FromBatch(Base):
    def forward(self, x, h_0=None):
        return self.gru(x, self.h_0.expand(-1, x.size(0), -1) * x.size(0) if h_0 is None else h_0)


class ByChance(Base):
    def forward(self, x, h_0=None):
        return self.gru(x, torch.randn(1, x.size(0), 4) if h_0 is None else h_0)


class Needed(Base):
    def forward(self, x, h_0):
        return self.gru(x, h_0)


class NotNone(Base):
    def forward(self, x, h_0=None):
        return self.gru(x, h_0 * 1)


STATES = [
    (Zeros, ZEROS, STATE),
    (MadeZeros, ZEROS, STATE),
    (Needed, ZEROS, STATE),
    (NotNone, ZEROS, STATE),
    (Learned, RECORDED, STATE),
    (LearnedOfOneAxis, RECORDED, STATE),
    (Ones, RECORDED, STATE),
    (Cell, RECORDED, ROW),
    (FromInput, REQUIRED, STATE),
    (FromBatch, REQUIRED, STATE),
    (ByChance, REQUIRED, STATE),
]


def published(tmp_path, module, state=STATE, **more):
    description = {
        "inputs": {"x": X, "h_0": state},
        "outputs": ["output", "h_n"],
        "states": {"h_n": "h_0"},
        "progress": False,
        **more,
    }
    return publish(module.eval(), "model", repository=tmp_path, **description)


def drawn(*shape):
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def eager(module, *arguments):
    with torch.no_grad():
        results = module(*map(torch.from_numpy, arguments))
    return [result.numpy() for result in (results if isinstance(results, tuple) else (results,))]


@pytest.mark.parametrize(("kind", "default", "state"), STATES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_state_that_is_left_out_is_what_it_is_in_forward(kind, default, state, tmp_path):
    module = kind()
    done = published(tmp_path, module, state)
    described = done.manifest.inputs[1]
    assert described.default == default
    assert bool(described.required_because) is (default == REQUIRED)
    assert done.manifest.format == (FORMAT_OF_DEFAULTS if default == RECORDED else FORMAT)
    assert (done.published.folder / DEFAULTS).exists() is (default == RECORDED)
    assert not [
        failure for check in verify_version(done.published.folder, progress=False) for failure in check.failures
    ]
    x = drawn(3, 5, 3)
    with serve(tmp_path) as server, Client(server.address) as client:
        if default == REQUIRED:
            for ask in (lambda: client.predict("model", x), lambda: client.infer("model", {"x": x})):
                with pytest.raises(InvalidRequest, match=r'"?h_0"? is missing'):
                    ask()
            return
        answers = client.predict("model", x)
        alone = client.predict("model", x[:1])
    arguments = (x,) if kind not in (Needed, NotNone) else (x, np.zeros((1, 3, 4), np.float32))
    output, h_n = eager(module, *arguments)
    np.testing.assert_allclose(np.stack([answer["output"] for answer in answers]), output, atol=2e-6)
    np.testing.assert_allclose(alone[0]["output"], output[0], atol=2e-6)
    assert np.stack([answer["h_n"] for answer in answers]).shape == (3, *h_n.shape[:-2], 4)


class Lstm(nn.Module):
    """Two states of one parameter, of which one is learned."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.c_0 = nn.Parameter(torch.randn(1, 1, 4))

    def forward(self, x, hx=None):
        if hx is None:
            hx = (torch.zeros(1, x.size(0), 4), self.c_0.repeat(1, x.size(0), 1))
        output, (h_n, c_n) = self.lstm(x, hx)
        return output, h_n, c_n


class Both(Lstm):
    """Two parameters, and the second counts only where the first is there."""

    def forward(self, x, h_0=None, c_0=None):
        hx = None if h_0 is None else (h_0, torch.zeros_like(h_0) if c_0 is None else c_0)
        output, (h_n, c_n) = self.lstm(x, hx)
        return output, h_n, c_n


class Each(Lstm):
    """Two parameters, each with a default of its own, one of which depends on the input."""

    def forward(self, x, h_0=None, c_0=None):
        h_0 = x.mean(dim=(1, 2)).reshape(1, -1, 1).expand(1, -1, 4).contiguous() if h_0 is None else h_0
        c_0 = self.c_0.expand(1, x.size(0), 4).contiguous() if c_0 is None else c_0
        output, (h_n, c_n) = self.lstm(x, (h_0, c_0))
        return output, h_n, c_n


@pytest.mark.parametrize("kind", [Lstm, Both, Each])
def test_two_states_are_left_out_alone_and_together(kind, tmp_path):
    module = kind()
    states = {"h_0": STATE, "c_0": STATE}
    inputs = {"x": X, "hx": states} if kind is Lstm else {"x": X, **states}
    names = {"outputs": ["output", "h_n", "c_n"], "states": {"h_n": "h_0", "c_n": "c_0"}}
    done = published(tmp_path, module, inputs=inputs, **names)
    h_0, c_0 = done.manifest.inputs[1:]
    expected = {Lstm: (ZEROS, RECORDED), Both: (ZEROS, ZEROS), Each: (REQUIRED, RECORDED)}[kind]
    assert (h_0.default, c_0.default) == expected
    assert list(h_0.left_out_with) == (["c_0"] if kind is Both else [])
    x, given = drawn(2, 5, 3), drawn(1, 2, 4)
    with serve(tmp_path) as server, Client(server.address) as client:
        if kind is not Each:
            (output,) = (answer["output"] for answer in client.predict("model", x[:1]))
            np.testing.assert_allclose(output, eager(module, x[:1])[0][0], atol=2e-6)
        if kind is Both:
            with pytest.raises(InvalidRequest, match='"h_0" is missing, and "c_0" is there: the model takes both'):
                client.infer("model", {"x": x, "c_0": given})
        if kind is Each:
            found = client.infer("model", {"x": x, "h_0": given})["output"]
            np.testing.assert_allclose(found, eager(module, x, given)[0], atol=2e-6)


class Masked(nn.Module):
    """A mean over the steps that count; without lengths, of all steps, or of the first half."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x, lengths: torch.Tensor | None = None):
        if lengths is None:
            lengths = torch.full((x.size(0),), x.size(1)).div(self.part, rounding_mode="floor").clamp(min=1)
        within = (torch.arange(x.size(1)) < lengths[:, None]).unsqueeze(2)
        return (x * within).sum(1) / lengths[:, None]


@pytest.mark.parametrize(("part", "default"), [(1, FULL_LENGTH), (2, REQUIRED)])
def test_lengths_that_are_left_out_are_full_where_forward_takes_them_so(part, default, tmp_path):
    module = Masked(part).eval()
    inputs = {"x": X, "lengths": Lengths()}
    done = publish(module, "model", repository=tmp_path, inputs=inputs, outputs=["mean"], progress=False)
    assert done.manifest.inputs[1].default == default
    x = drawn(2, 8, 3)
    with serve(tmp_path) as server, Client(server.address) as client:
        if default == REQUIRED:
            with pytest.raises(InvalidRequest, match='"lengths" is missing'):
                client.infer("model", {"x": x})
            # `predict` takes whole rows, whose lengths it sends.
            np.testing.assert_allclose(client.predict("model", x)[0]["mean"], x[0].mean(0), atol=1e-6)
        else:
            np.testing.assert_allclose(client.infer("model", {"x": x})["mean"], eager(module, x)[0], atol=1e-6)


def test_samples_that_leave_the_state_out_have_the_default(tmp_path):
    module = Learned().eval()
    samples = [{"x": drawn(3, 5, 3)}]
    done = published(tmp_path, module, samples=samples)
    cases = load_cases((done.published.folder / GOLDEN).read_bytes())
    sample = next(case for case in cases if case.kind == "sample")
    rows = sample.inputs["h_0"].shape[1]
    np.testing.assert_array_equal(sample.inputs["h_0"], module.h_0.detach().expand(1, rows, 4).numpy())


def test_triton_is_not_told_to_keep_states_that_begin_otherwise(tmp_path):
    class Step(Base):
        def forward(self, x, h_0=None):
            h_n = torch.tanh(self.start(x) + (self.h_0[0] if h_0 is None else h_0))
            return h_n * 2, h_n

    inputs = {"x": Floats("batch", ("features", 3)), "h_0": ROW}
    published(tmp_path, Step(), inputs=inputs)
    assert "sequence_batching" not in (tmp_path / "model" / CONFIG).read_text()
    with pytest.raises(WrongArguments, match="Triton begins with zeros"):
        published(tmp_path / "other", Step(), inputs=inputs, sequences=True)


def test_integers_have_defaults_too(tmp_path):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 4)

        def forward(self, x, count_0: torch.Tensor | None = None):
            count = torch.full((x.size(0), 1), 7) if count_0 is None else count_0
            return self.linear(x) * count.float(), count + 1

    inputs = {"x": Floats("batch", ("features", 3)), "count_0": Integers("batch", 1, high=100)}
    module = Counting().eval()
    published(tmp_path, module, inputs=inputs, outputs=["y", "count_n"], states={"count_n": "count_0"})
    x = drawn(2, 3)
    with serve(tmp_path) as server, Client(server.address) as client:
        found = client.predict("model", x)
        np.testing.assert_allclose(found[0]["y"], eager(module, x)[0][0], atol=1e-6)
        assert found[1]["count_n"].tolist() == [8]
