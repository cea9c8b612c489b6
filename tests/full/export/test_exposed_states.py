"""States that are found in a graph are inputs and outputs of the version if its publication asks for them."""

import numpy as np
import onnx
import torch
from torch import nn

from kit.cut_graphs import FEATURES, CutGraph
from rnnserve.export import Floats, publish
from rnnserve.export.adoption import Roles, adopt
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.verify import verify_version
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MODEL, PARTS, SCRIPT, read_version
from rnnserve.protos.golden import load_cases
from rnnserve.protos.triton_config import read_config

CONVOLVED = [
    ("Transpose", "x", "c", {"perm": [0, 2, 1]}),
    ("Conv", "c kernel bias", "v", {"pads": [2, 0], "name": "conv/node"}),
    ("Transpose", "v", "t", {"perm": [2, 0, 1]}),
    ("Cast", "lengths", "ends", {"to": onnx.TensorProto.INT32}),
    ("GRU", "t W R - ends", "all last", {"hidden_size": FEATURES, "name": "gru/node"}),
    ("Squeeze", "all one", "steps", {}),
    ("Transpose", "steps", "y", {"perm": [1, 0, 2]}),
]


def test_a_file_is_adopted_with_its_states_exposed(tmp_path):
    graph = CutGraph(CONVOLVED, inputs=("lengths",))
    onnx.save(graph.model, tmp_path / "graph.onnx")
    roles = Roles(lengths={"lengths": "sequence"}, expose_states=True)
    done = adopt(tmp_path / "graph.onnx", "graph", tmp_path / "repository", roles)
    folder = done.published.folder
    version = read_version(folder)
    assert PARTS not in version.files
    names = [tensor.name for tensor in version.manifest.outputs]
    assert names == ["y", "conv.last_n", "gru.h_n"] == [tensor.name for tensor in read_config(folder.parent).output]
    assert version.manifest.batching.mode == manifest_pb2.BATCHING_PADDED
    assert [check.failures for check in verify_version(folder, progress=False) if check.failures] == []


class Net(nn.Module):
    """A layer with a learned beginning, (batch, sequence, 3) -> (batch, sequence, 2). It takes and gives no state."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(FEATURES, 4, batch_first=True)
        self.begin = nn.Parameter(torch.ones(1, 1, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        output, _ = self.gru(x, self.begin.expand(1, x.size(0), 4).contiguous())
        return self.head(output)


def test_a_module_goes_on_from_a_state_that_its_forward_does_not_know(tmp_path):
    torch.manual_seed(0)
    module = Net().eval()
    inputs = {"x": Floats("batch", "sequence", FEATURES)}
    done = publish(module, "net", repository=tmp_path, inputs=inputs, outputs=["y"], expose_states=True, progress=False)
    version = read_version(done.published.folder)
    assert SCRIPT not in version.files
    assert "expose_states" in done.unscripted
    (state,) = [tensor for tensor in version.manifest.inputs if tensor.default]
    assert (state.name, state.default) == ("gru.h", manifest_pb2.DEFAULT_RECORDED)
    assert version.manifest.batching.mode == manifest_pb2.BATCHING_JOINED

    runner = OnnxRunner(version.files[MODEL])
    x = np.random.default_rng(0).normal(size=(2, 7, FEATURES)).astype(np.float32)
    first = runner({"x": x[:, :3], "gru.h": np.ones((1, 2, 4), np.float32)})
    second = runner({"x": x[:, 3:], "gru.h": first["gru.h_n"]})
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(np.concatenate([first["y"], second["y"]], 1), expected, atol=1e-6)

    begun = [(case.inputs["gru.h"] == 1).all() for case in load_cases(version.files["golden.npz"])]
    assert True in begun
    assert False in begun, "no golden result goes on from a state that was reached"
