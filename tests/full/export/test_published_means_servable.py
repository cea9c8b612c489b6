"""What is published serves: the server's own trial has the last word, and serves three kinds that it once refused."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.client import Client
from rnnserve.export import ExportError, Floats, Integers, Lengths, publish
from rnnserve.export.server_trial import try_on_server
from rnnserve.export.verify import verify_version
from rnnserve.protos import manifest_pb2
from rnnserve.server import Settings
from rnnserve.server.testing import serve

X = Floats("batch", "sequence", ("features", 3))
PADDED, JOINED = manifest_pb2.BATCHING_PADDED, manifest_pb2.BATCHING_JOINED


def drawn(*shape):
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def eager(module, *arguments):
    with torch.no_grad():
        results = module(*map(torch.from_numpy, arguments))
    return [result.numpy() for result in (results if isinstance(results, tuple) else (results,))]


@pytest.fixture(params=["public", "lane"])
def settings(request):
    return Settings(provider="cpu", transport=request.param)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """`published(key, module, …)`: a module, its repository, and what `publish` gave: once for both transports."""
    made = {}

    def publish_once(key, module, **description):
        if key not in made:
            repository = tmp_path_factory.mktemp("published")
            done = publish(module.eval(), "model", repository=repository, progress=False, **description)
            assert not failures(done)
            made[key] = module, repository, done
        return made[key]

    return publish_once


class Attention(nn.Module):
    """Weights (batch, sequence, sequence), masked by lengths or not."""

    def __init__(self, masked):
        super().__init__()
        self.masked = masked
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        states = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.size(1))[0]
        scores = states @ states.transpose(1, 2)
        if self.masked:
            within = torch.arange(x.size(1)) < lengths[:, None]
            scores = scores.masked_fill(~within[:, None, :], -100.0)
            weights = scores.softmax(2) * within[:, None, :] * within[:, :, None]
        else:
            weights = scores.softmax(2)
        return weights, weights @ states


@pytest.mark.parametrize("masked", [True, False])
def test_an_output_that_has_the_sequence_twice(masked, settings, published):
    # Of 3,000 steps there would be nine million weights, for each way of computing them.
    sizes = {"sequence": (1, 300)}
    inputs = {"x": X, "lengths": Lengths()}
    key = "attention", masked
    module, repository, done = published(key, Attention(masked), inputs=inputs, outputs=["weights", "y"], sizes=sizes)
    assert done.manifest.batching.mode == (PADDED if masked else JOINED)
    assert done.manifest.outputs[0].zeros_after_lengths is masked
    rows = [drawn(steps, 3) for steps in (5, 2, 7, 5)]
    with serve(repository, settings) as server, Client(server.address) as client:
        for _ in range(2):
            answers = client.predict("model", rows)
            for row, answer in zip(rows, answers, strict=True):
                weights, y = eager(module, row[None], np.array([len(row)]))
                assert answer["weights"].shape == (len(row), len(row))
                np.testing.assert_allclose(answer["weights"], weights[0], atol=2e-6)
                np.testing.assert_allclose(answer["y"], y[0], atol=2e-6)
        if masked:  # steps after the longest length are left out of the run, and zeros in the answer
            sent = {"x": drawn(2, 9, 3), "lengths": np.array([4, 2])}
            found = client.infer("model", sent)["weights"]
            np.testing.assert_allclose(found, eager(module, *sent.values())[0], atol=2e-6)


class Decoder(nn.Module):
    """One step that takes its state alone."""

    def __init__(self, learned):
        super().__init__()
        self.cell = nn.Linear(4, 4)
        self.out = nn.Linear(4, 2)
        self.h_0 = nn.Parameter(torch.randn(4)) if learned else None

    def forward(self, h: torch.Tensor | None = None):
        if h is None:
            h = torch.zeros(1, 4) if self.h_0 is None else self.h_0.unsqueeze(0)
        h = torch.tanh(self.cell(h))
        return self.out(h), h


class PlainDecoder(Decoder):
    """The same without a default."""

    def forward(self, h: torch.Tensor):  # type: ignore[override]
        h = torch.tanh(self.cell(h))
        return self.out(h), h


@pytest.mark.parametrize(
    ("module", "first"), [(PlainDecoder(False), np.zeros((1, 4))), (Decoder(True), None)], ids=["zeros", "learned"]
)
def test_a_step_model_that_takes_states_alone(module, first, settings, published):
    inputs = {"h": Floats("batch", ("hidden", 4))}
    _, repository, _ = published(module, module, inputs=inputs, outputs=["y", "h_n"], states={"h_n": "h"})
    first = module.h_0.detach().numpy()[None] if first is None else first.astype(np.float32)
    given = drawn(3, 4)
    with serve(repository, settings) as server, Client(server.address) as client:
        for _ in range(2):
            np.testing.assert_allclose(client.infer("model", {})["y"], eager(module, first)[0], atol=1e-6)
            answers = client.predict("model", {"h": given})
            np.testing.assert_allclose(np.stack([a["y"] for a in answers]), eager(module, given)[0], atol=1e-6)
        (begun,) = client.predict("model", {})
        (further,) = client.predict("model", {}, continue_from=[begun])
        with client.session("model") as session:
            stepped = [session.step({})["y"], session.step({})["y"]]
    one, h = eager(module, first)
    two, _ = eager(module, h)
    for found, wanted in ((begun["y"], one), (further["y"], two), (stepped[0], one), (stepped[1], two)):
        np.testing.assert_allclose(found, wanted[0], atol=1e-6)


class Strided(nn.Module):
    """Frames of eight columns, as a network that reads lines of text has them; with lengths where it takes some."""

    def __init__(self, stride=8, *, transposed=False):
        super().__init__()
        layer = nn.ConvTranspose1d if transposed else nn.Conv1d
        self.conv = layer(3, 5, 8, stride=stride, padding=0 if transposed else 4)
        self.gru = nn.GRU(5, 4, batch_first=True)

    def forward(self, x):
        return self.gru(self.conv(x.transpose(1, 2)).transpose(1, 2))[0]


class Pooled(nn.Module):
    """Pooling by 2, then by 3: frames after a row's length are zeros, so that rows may be padded."""

    def forward(self, x, lengths):
        within = torch.arange(x.size(1)) < lengths[:, None]
        summed = (x * within[..., None]).transpose(1, 2)
        frames = nn.functional.avg_pool1d(nn.functional.avg_pool1d(summed, 2), 3).transpose(1, 2)
        return frames * (torch.arange(frames.size(1)) < (lengths // 6)[:, None])[..., None]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (Strided(), ("sequence/8", 1, 8, 8)),
        (Strided(3), ("sequence/3", 1, 3, 3)),
        (Strided(1), ("sequence+1", 1, 1, 1)),
        (Strided(2, transposed=True), ("2*sequence", 2, 6, 1)),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_an_output_whose_size_follows_from_the_inputs(module, expected, settings, published):
    sizes = {"sequence": (8, 64)}
    _, repository, done = published(module, module, inputs={"x": X}, outputs=["y"], sizes=sizes)
    (axis,) = done.manifest.outputs[0].derived_axes
    assert (axis.name, axis.multiply, axis.add, axis.divide) == expected
    assert axis.of == "sequence"
    rows = [drawn(steps, 3) for steps in (8, 9, 16, 23, 24, 64, 16)]
    with serve(repository, settings) as server, Client(server.address) as client:
        for _ in range(2):
            answers = client.predict("model", rows)
            for row, answer in zip(rows, answers, strict=True):
                np.testing.assert_allclose(answer["y"], eager(module, row[None])[0][0], atol=2e-6)


def test_frames_are_cut_at_each_rows_length(settings, published):
    inputs = {"x": X, "lengths": Lengths()}
    outputs = {"y": Floats("batch", "frames", 3)}
    sizes = {"sequence": (6, 99)}
    module, repository, done = published("pooled", Pooled(), inputs=inputs, outputs=outputs, sizes=sizes)
    assert done.manifest.batching.mode == PADDED
    assert done.manifest.outputs[0].axes[1].name == "frames"
    rows = [drawn(steps, 3) for steps in (6, 11, 12, 40, 13)]
    with serve(repository, settings) as server, Client(server.address) as client:
        assert client.metadata("model").outputs["y"].derived == {"frames": ("sequence", 1, 0, 6)}
        for _ in range(2):
            for row, answer in zip(rows, client.predict("model", rows), strict=True):
                wanted = eager(module, row[None], np.array([len(row)]))[0][0]
                assert answer["y"].shape == wanted.shape == (len(row) // 6, 3)
                np.testing.assert_allclose(answer["y"], wanted, atol=2e-6)


def failures(done):
    return [failure for check in verify_version(done.published.folder, progress=False) for failure in check.failures]


def test_a_size_that_follows_in_no_such_way_is_refused_with_words(tmp_path):
    class Doubled(nn.Module):
        def forward(self, x):
            return x[:, : x.size(1) // 2].repeat_interleave(2, 1)

    with pytest.raises(ExportError, match=r"nor \(a \* size \+ b\) // c of one"):
        publish(Doubled(), "model", repository=tmp_path, inputs={"x": X}, outputs=["y"], progress=False)
    assert not list(tmp_path.iterdir())


def test_what_the_servers_trial_refuses_is_not_published(tmp_path, monkeypatch):
    """The manifest says what the graph is not: only the server reads both."""
    from rnnserve.export import manifest, pipeline

    def another(*args, **kwargs):
        described = right(*args, **kwargs)
        described.outputs[0].datatype = "FP64"
        return described

    right = manifest.describe_version
    monkeypatch.setattr(pipeline, "describe_version", another)
    with pytest.raises(ExportError, match=r"a server would not serve this version, so nothing is published: manifest"):
        publish(nn.Tanh(), "model", repository=tmp_path, inputs={"input": X}, outputs=["y"], progress=False)
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_not_installed_is_named_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("rnnserve.export.server_trial._MODULE", "rnnserve.server_of_another_world.trial")
    done = publish(nn.Tanh(), "model", repository=tmp_path, inputs={"input": X}, outputs=["y"], progress=False)
    assert "the server's own trial was not made" in done.untried
    assert "\n" not in done.untried


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended with SIGSEGV"),
        ("raise SystemExit(3)", "ended with exit status 3"),
        ("raise ValueError('of the trial')", "of the trial"),
    ],
)
def test_a_trial_that_ends_its_process_is_a_refusal(code, said, tmp_path, monkeypatch):
    (tmp_path / "a_trial.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("rnnserve.export.server_trial._MODULE", "a_trial")
    with pytest.raises(ExportError, match=said):
        try_on_server(tmp_path, "model")


def test_the_trial_is_a_program_that_imports_no_grpc(tmp_path):
    done = publish(nn.Tanh(), "model", repository=tmp_path, inputs={"input": X}, outputs=["y"], progress=False)
    command = [sys.executable, "-X", "importtime", "-m", "rnnserve.server.trial", str(done.published.folder)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == {"serves": True, "graph": "native", "batch_invariant": True}
    assert not [line for line in ran.stderr.splitlines() if line.split("|")[-1].strip() in ("grpc", "torch", "onnx")]
    other = subprocess.run(
        [*command[:1], *command[3:], "--model", "other"], capture_output=True, text=True, check=False
    )
    assert other.returncode == 1
    assert json.loads(other.stdout)["serves"] is False


def test_a_table_of_integers_is_not_affected(tmp_path):
    inputs = {"input": Integers("batch", "sequence", high=9)}
    done = publish(nn.Embedding(9, 4), "model", repository=tmp_path, inputs=inputs, outputs=["y"], progress=False)
    assert not done.untried
    assert not done.manifest.outputs[0].derived_axes
