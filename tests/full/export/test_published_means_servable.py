"""A published version serves: the server's load check has the last word, on outputs and states of rare forms too."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.client import Client
from rnnserve.export import ExportError, Floats, Lengths, publish
from rnnserve.export.publishing import try_on_server
from rnnserve.protos import manifest_pb2
from rnnserve.protos.derived_size import DerivedSize
from rnnserve.server.testing import serve

X = Floats("batch", "sequence", ("features", 3))


def drawn(*shape):
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def eager(module, *arguments):
    with torch.no_grad():
        return [result.numpy() for result in module(*map(torch.from_numpy, arguments))]


def published(tmp_path, module, **description):
    return publish(module.eval(), "model", repository=tmp_path, progress=False, **description)


class Attention(nn.Module):
    """Weights (batch, sequence, sequence), masked by lengths, and pooled frames of six steps each."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        states = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.size(1))[0]
        within = torch.arange(x.size(1)) < lengths[:, None]
        scores = (states @ states.transpose(1, 2)).masked_fill(~within[:, None, :], -100.0)
        weights = scores.softmax(2) * within[:, None, :] * within[:, :, None]
        frames = nn.functional.avg_pool1d((x * within[..., None]).transpose(1, 2), 6).transpose(1, 2)
        return weights, frames * (torch.arange(frames.size(1)) < (lengths // 6)[:, None])[..., None]


def test_square_and_pooled_outputs_are_served_row_by_row(tmp_path):
    module, inputs = Attention(), {"x": X, "lengths": Lengths()}
    # With 3,000 steps there would be nine million weights.
    done = published(tmp_path, module, inputs=inputs, outputs=["weights", "frames"], sizes={"sequence": (6, 99)})
    assert done.manifest.batching.mode == manifest_pb2.BATCHING_PADDED
    assert done.manifest.outputs[0].zeros_after_lengths
    rows = [drawn(steps, 3) for steps in (6, 11, 12, 40, 13)]
    with serve(tmp_path) as server, Client(server.address) as client:
        assert client.metadata("model").outputs["frames"].derived == {"sequence/6": DerivedSize("sequence", 1, 0, 6)}
        for row, answer in zip(rows, client.predict("model", rows), strict=True):
            weights, frames = eager(module, row[None], np.array([len(row)]))
            assert answer["weights"].shape == (len(row), len(row))
            assert answer["frames"].shape == (len(row) // 6, 3)
            np.testing.assert_allclose(answer["weights"], weights[0], atol=2e-6)
            np.testing.assert_allclose(answer["frames"], frames[0], atol=2e-6)
        sent = {"x": drawn(2, 9, 3), "lengths": np.array([7, 6])}  # the run leaves steps 7 and 8 out
        found = client.infer("model", sent)["weights"]
    np.testing.assert_allclose(found, eager(module, *sent.values())[0], atol=2e-6)


def test_publishing_without_an_installed_server_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr("rnnserve.export.publishing._TRIAL", "rnnserve.server_of_another_world.trial")
    done = published(tmp_path, nn.Tanh(), inputs={"input": X}, outputs=["y"])
    assert "the server did not load the version" in done.untried
    assert "\n" not in done.untried


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended with SIGSEGV"),
        ("raise SystemExit(3)", "ended with exit status 3"),
        ("raise ValueError('of the trial')", "of the trial"),
    ],
)
def test_load_check_that_ends_its_process_is_a_refusal(code, said, tmp_path, monkeypatch):
    (tmp_path / "a_trial.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("rnnserve.export.publishing._TRIAL", "a_trial")
    with pytest.raises(ExportError, match=said):
        try_on_server(tmp_path, "model")


def test_load_check_is_a_program_that_imports_no_grpc_torch_or_onnx(exported):
    folder = exported[1].published.folder
    command = [sys.executable, "-X", "importtime", "-m", "rnnserve.server.repository.load_checks", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout)["serves"] is True
    assert not [line for line in ran.stderr.splitlines() if line.split("|")[-1].strip() in ("grpc", "torch", "onnx")]


class Decoder(nn.Module):
    """One step that takes only its state, which begins with learned values."""

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.Linear(4, 4), nn.Linear(4, 2)
        self.h_0 = nn.Parameter(torch.randn(4))

    def forward(self, h: torch.Tensor | None = None):
        h = torch.tanh(self.cell(self.h_0.unsqueeze(0) if h is None else h))
        return self.out(h), h


def test_step_that_takes_only_its_state_is_served(tmp_path):
    module = Decoder()
    inputs = {"h": Floats("batch", ("hidden", 4))}
    published(tmp_path, module, inputs=inputs, outputs=["y", "h_n"], states={"h_n": "h"})
    first, given = module.h_0.detach().numpy()[None], drawn(3, 4)
    with serve(tmp_path) as server, Client(server.address) as client:
        answers = client.predict("model", {"h": given})
        (begun,) = client.predict("model", {})
        (further,) = client.predict("model", {}, continue_from=[begun])
        with client.session("model") as session:
            stepped = [session.step({})["y"], session.step({})["y"]]
    np.testing.assert_allclose(np.stack([a["y"] for a in answers]), eager(module, given)[0], atol=1e-6)
    one, h = eager(module, first)
    two, _ = eager(module, h)
    for found, wanted in ((begun["y"], one), (further["y"], two), (stepped[0], one), (stepped[1], two)):
        np.testing.assert_allclose(found, wanted[0], atol=1e-6)
