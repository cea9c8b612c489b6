"""model.scan.onnx is published where it holds, and left out, with the reason, where it does not."""

from argparse import Namespace

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnserve.export import Floats, Lengths, Publication, pipeline, publish
from rnnserve.export.commands.export import _lines
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.parity.verification import Verification, verify_parity
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MODEL, SCAN, read_version


class Last(nn.Module):
    """The state after each row's last step. It is read forwards and backwards."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(3, 4, bidirectional=True, batch_first=True)

    def forward(self, x, lengths, h_0):
        return self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False), h_0)[1]


@pytest.fixture(scope="module")
def last():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Last().eval()
    state = Floats(("directions", 2), "batch", ("hidden", 4))
    inputs = {"x": Floats("batch", "sequence", ("features", 3)), "lengths": Lengths(), "h_0": state}
    return Publication(module, "last", inputs, ["h_n"], {"h_n": "h_0"})


def files_of(done):
    return [file.name for file in done.manifest.files]


def test_model_with_rnn_operators_has_a_verified_scan_file(last, tmp_path):
    done = publish(last, repository=tmp_path, progress=False)
    assert SCAN in files_of(done)
    assert done.unlowered == ""
    held = read_version(done.published.folder)
    nodes = [[n.op_type for n in onnx.load_model_from_string(held.files[name]).graph.node] for name in (MODEL, SCAN)]
    assert [("RNN" in operators, "Scan" in operators) for operators in nodes] == [(True, False), (False, True)]
    both = (held.manifest.parity, held.manifest.scan_parity)
    assert {"step", "random"} == {row.input for parity in both for row in parity.distances}
    assert {"h_n"} == {row.tensor for parity in both for row in parity.distances}
    assert max(row.onnx_from_eager_max for row in both[1].distances) < 1e-5


def lower_otherwise(data):
    """Lower a model, and change its recurrent weights."""
    model = onnx.load_model_from_string(lower_rnn(data) or b"")
    for tensor in model.graph.initializer:
        if tensor.name.endswith("R_0"):
            tensor.raw_data = (onnx.numpy_helper.to_array(tensor) + np.float32(1e-3)).tobytes()
    return model.SerializeToString()


@pytest.mark.parametrize("proof_is_blind", [False, True])
def test_scan_file_with_different_results_is_omitted_with_the_reason(last, tmp_path, monkeypatch, proof_is_blind):
    monkeypatch.setattr(pipeline, "lower_rnn", lower_otherwise)
    if proof_is_blind:
        none = Verification(manifest_pb2.Parity(), manifest_pb2.Batching(), ())
        is_lowered = iter((False, True))
        monkeypatch.setattr(
            pipeline, "verify_parity", lambda *args, **more: none if next(is_lowered) else verify_parity(*args, **more)
        )
    done = publish(last, repository=tmp_path, progress=False)
    assert MODEL in files_of(done)
    assert SCAN not in files_of(done)
    said = "it does not reproduce the golden results: case" if proof_is_blind else "it computes something else: onnx"
    assert done.unlowered.startswith(said)
    assert " (and " in done.unlowered
    printed = Namespace(table=False, sign_key=None)
    (line,) = [line for line in _lines(done, printed) if line.startswith("model.scan.onnx was left out")]
    assert line == f"model.scan.onnx was left out: {done.unlowered}"
