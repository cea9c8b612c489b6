"""States with initial values of their own, served with requests that send a state and without, and in sessions."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from kit.loaded import try_version
from rnnserve.client import Client, InvalidRequest
from rnnserve.export import Floats, Lengths, Publication, WrongArguments, publish
from rnnserve.export.verify import verify_version
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import (
    DEFAULTS,
    FORMAT_OF_DEFAULTS,
    GOLDEN,
    MANIFEST,
    ArtifactError,
    describe_file,
    dump_manifest,
    read_version,
)
from rnnserve.protos.golden import load_cases
from rnnserve.protos.recorded_defaults import dump_defaults, load_defaults
from rnnserve.server import Settings
from rnnserve.server.testing import serve

X = Floats("batch", "sequence", ("features", 3))
STATE = Floats(("layers * directions", 1), "batch", ("hidden", 4))


def drawn(*shape):
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


class Packed(nn.Module):
    """A GRU with a learned initial state."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.h_0 = nn.Parameter(torch.randn(1, 1, 4))

    def forward(self, x, lengths, h_0: torch.Tensor | None = None):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        h_0 = self.h_0.expand(-1, x.size(0), -1).contiguous() if h_0 is None else h_0
        return self.gru(packed, h_0)[1]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    module = Packed().eval()
    inputs = {"x": X, "lengths": Lengths(), "h_0": STATE}
    states, samples = {"h_n": "h_0"}, [{"x": drawn(3, 5, 3)}]
    described = Publication(module, "model", inputs, ["h_n"], states, samples=samples)
    return folder, module, publish(described, repository=folder, progress=False)


@pytest.mark.parametrize("plain", [True, False])
def test_requests_with_and_without_a_state_share_runs(learned, plain):
    """On both transports, in the same batch, recognised by their prefix or not, with the bits of each alone."""
    folder, module, _ = learned
    x, state = drawn(6, 7, 3), drawn(1, 6, 4)
    with serve(folder, Settings(provider="cpu", plain=plain)) as server, Client(server.address) as client:
        for _ in range(3):  # the first is validated, the others are recognised
            left_out = client.predict("model", list(x))
            mixed = client.predict(
                "model", {"x": list(x), "h_0": [None if row % 2 else state[:, row] for row in range(6)]}
            )
            alone = [client.predict("model", x[row : row + 1])[0]["h_n"] for row in range(6)]
            sessions = []
            for row in range(2):
                with client.session("model") as session:
                    session.step(x[row, :3])
                    sessions.append(session.step(x[row, 3:])["h_n"])
    lengths = np.full(6, 7)
    without, given = eager_states(module, x, lengths), eager_states(module, x, lengths, state)
    for row in range(6):
        np.testing.assert_allclose(left_out[row]["h_n"], without[:, row], atol=2e-6)
        np.testing.assert_allclose(mixed[row]["h_n"], (without if row % 2 else given)[:, row], atol=2e-6)
        np.testing.assert_array_equal(alone[row], left_out[row]["h_n"])
    for row in range(2):
        np.testing.assert_allclose(sessions[row], without[:, row], atol=2e-6)


def eager_states(module, x, lengths, *state):
    with torch.no_grad():
        return module(*map(torch.from_numpy, (x, lengths, *state))).numpy()


def test_golden_cases_without_the_input_are_reproduced_by_servers(learned, tmp_path):
    _, module, done = learned
    version = read_version(done.published.folder)
    cases = load_cases(version.files[GOLDEN])
    without = [case for case in cases if "h_0" not in case.inputs]
    assert without
    assert all({"x", "lengths"} <= case.inputs.keys() for case in without)
    sample = next(case for case in cases if case.kind == "sample" and "h_0" in case.inputs)
    rows = sample.inputs["h_0"].shape[1]
    np.testing.assert_array_equal(sample.inputs["h_0"], module.h_0.detach().expand(1, rows, 4).numpy())
    assert version.manifest.format == FORMAT_OF_DEFAULTS
    assert not [line for check in verify_version(done.published.folder, progress=False) for line in check.failures]
    # Another default: the replay notices it, in the server and in verify.
    changed = tmp_path / "model" / "1"
    changed.mkdir(parents=True)
    defaults = load_defaults(version.files, version.manifest.inputs)
    files = {**version.files, DEFAULTS: dump_defaults({name: array * 0.9 for name, array in defaults.items()})}
    del version.manifest.files[:]
    version.manifest.files.extend(describe_file(name, data) for name, data in sorted(files.items()))
    for name, data in {**files, MANIFEST: dump_manifest(version.manifest)}.items():
        (changed / name).write_bytes(data)
    with pytest.raises(ArtifactError, match=r"golden.npz: model.onnx does not reproduce these results"):
        try_version(changed, "model")
    failures = {check.name: check.failures for check in verify_version(changed, progress=False)}
    assert failures["golden.npz: model.onnx reproduces the results"]


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


def test_state_with_a_computed_default_is_required_and_the_other_optional(tmp_path):
    inputs, states = {"x": X, "h_0": STATE, "c_0": STATE}, {"h_n": "h_0", "c_n": "c_0"}
    described = Publication(Each().eval(), "model", inputs, ["output", "h_n", "c_n"], states)
    done = publish(described, repository=tmp_path, progress=False)
    defaults = [tensor.default for tensor in done.manifest.inputs[1:]]
    assert defaults == [manifest_pb2.DEFAULT_REQUIRED, manifest_pb2.DEFAULT_RECORDED]
    with pytest.raises(WrongArguments, match="Triton begins with zeros"):
        publish(dataclasses.replace(described, sequences=True), repository=tmp_path / "other", progress=False)
    x, given = drawn(2, 5, 3), drawn(1, 2, 4)
    with serve(tmp_path) as server, Client(server.address) as client:
        for ask in (lambda: client.predict("model", x), lambda: client.infer("model", {"x": x})):
            with pytest.raises(InvalidRequest, match=r'"?h_0"? is missing'):
                ask()
        found = client.infer("model", {"x": x, "h_0": given})["output"]
    with torch.no_grad():
        expected = described.module(torch.from_numpy(x), torch.from_numpy(given))[0]
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-6)
