"""Modules as people write them, exported: which carry states from step to step, and that their parts are the whole."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from kit.inference_requests import arrays, request
from kit.sequence_requests import in_parts
from kit.served import served
from rnnserve.client import Client
from rnnserve.export import Floats, Publication, publish, scan
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.found_states.parts_file import find_parts
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import OnnxRunner
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MODEL

D = 3
X = {"x": Floats("batch", "sequence", D)}


def record_of(module):
    torch.manual_seed(0)
    described = describe_model(Publication(module.eval(), "m", X, ["y"]))
    return find_parts(described, MODEL, {MODEL: to_onnx(described)}, OnnxRunner).record


class Causal(nn.Module):
    """Forms of causal layers, one after another: each has to be found for the last output to stream."""

    def __init__(self):
        super().__init__()
        self.dilated = nn.Conv1d(D, D, 3, dilation=2)
        self.norm = nn.BatchNorm1d(D)
        self.depthwise = nn.Conv1d(D, D, 3, groups=D)
        self.memory = nn.Conv1d(D, D, 10, groups=D, bias=False)
        self.gated = nn.Conv1d(D, 2 * D, 2)
        self.chomped = nn.Conv1d(D, D, 3, padding=2)
        self.plane = nn.Conv2d(1, 1, 3)

    def forward(self, x):
        x = 0.3 * x + 0.7 * F.pad(x, (0, 0, 1, -1))  # RWKV's time shift
        y = x.transpose(1, 2)
        y = self.norm(torch.relu(self.dilated(F.pad(y, (4, 0)))))
        y = y + self.depthwise(F.pad(y, (2, 0)))
        y = y + self.memory(F.pad(y, (9, 0)))  # FSMN
        y = F.glu(self.gated(F.pad(y, (1, 0))), 1)
        y = y + self.chomped(y)[:, :, :-2]  # a TCN's chomp
        y = F.avg_pool1d(F.pad(y, (2, 0)), 3, 1)
        y = F.max_pool1d(F.pad(y, (2, 0), value=float("-inf")), 3, 1)
        return self.plane(F.pad(y.transpose(1, 2).unsqueeze(1), (1, 1, 2, 0))).squeeze(1)


def test_causal_layers_can_be_combined_and_streamed():
    record = record_of(Causal())
    assert record.reason == ""
    assert record.steps.means == manifest_pb2.MEANS_PROVEN
    names = [tensor.name.rpartition(".") for tensor in record.inputs]
    of_module = {"dilated", "depthwise", "memory", "gated", "chomped", "plane"}
    assert {path for path, _, kind in names if kind == "last"} >= of_module


class LargestSoFar(nn.Module):
    """Two layers, and the running maximum of what they give. `forward` neither takes nor returns a state."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(D, 4, 2, batch_first=True)

    def forward(self, x):
        y = self.lstm(x)[0]
        first = torch.full_like(y[:, 0], -torch.inf)
        return scan(lambda before, values: (torch.maximum(before, values),) * 2, first, y, dim=1)[1]


def test_parts_of_a_published_module_have_the_bits_of_the_whole(tmp_path, session_key):
    torch.manual_seed(0)
    repository, cut = tmp_path / "repository", [1, 2, 6]
    done = publish(LargestSoFar().eval(), "m", repository=repository, inputs=X, outputs=["y"], progress=False)
    found = [tensor.name for tensor in done.manifest.parts.inputs]
    assert found == ["lstm.0.h", "lstm.0.c", "lstm.1.h", "lstm.1.c", "scan.state"]
    x = np.random.default_rng(1).normal(size=(2, 9, D)).astype(np.float32)
    with served(repository, session_key=session_key) as server, Client(server.address) as client:
        whole = arrays(server.stub.ModelInfer(request("m", {"x": x}, ["y"])))["y"]
        parts = in_parts(x, cut, 5, input_name="x", name="m", outputs=["y"])
        kept = [arrays(server.stub.ModelInfer(part)) for part in parts]
        with client.session("m", outputs=["y"], rows=len(x), state="sealed") as session:
            sealed = [session.step(list(part)) for part in np.split(x, np.cumsum(cut)[:-1], axis=1)]
    assert np.concatenate([part["y"] for part in kept], 1).tobytes() == whole.tobytes()
    for row, expected in enumerate(whole):
        assert np.concatenate([part[row]["y"] for part in sealed]).tobytes() == expected.tobytes()
