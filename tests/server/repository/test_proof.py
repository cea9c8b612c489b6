"""A version serves only while its proof holds. The version before it serves on."""

import shutil

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from kit.loaded import load_repository
from kit.served import served
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.artifact import ArtifactError
from rnnserve.server import Server, Settings
from rnnserve.server.errors import StartError
from rnnserve.server.repository.load_version import load_model

NAME = "direction_simple"
FILES = ["model.onnx", "model.scan.onnx", "model.pt", "golden.npz", "manifest.json"]


@pytest.fixture
def own(repository, tmp_path):
    """A repository of one's own to break, with one model."""
    shutil.copytree(repository / NAME, tmp_path / "own" / NAME)
    return tmp_path / "own"


def flip(path, position: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(position * (len(data) - 1))] ^= 0x10
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("file", FILES)
def test_version_with_a_flipped_byte_or_without_a_file_stays_out(own, file):
    folder = own / NAME / "1"
    whole = (folder / file).read_bytes()
    for position in (0.0, 0.3, 0.5, 0.97, 1.0):
        flip(folder / file, position)
        with pytest.raises(ArtifactError, match=f"^{file}: "):
            load_model(folder, NAME, "1", "cpu")
        (folder / file).write_bytes(whole)
    (folder / file).unlink()
    with pytest.raises(ArtifactError, match=f"^{file}: "):
        load_model(folder, NAME, "1", "cpu")


def test_version_before_a_broken_one_serves_and_the_index_has_the_reason(own):
    shutil.copytree(own / NAME / "1", own / NAME / "2")
    flip(own / NAME / "2" / "golden.npz", 0.5)
    sent = {"input": np.zeros((1, 2, 2), np.float32)}
    with served(own) as server:
        assert server.stub.ModelInfer(request(NAME, sent)).model_version == "1"
        index = {
            m.version: (m.state, m.reason) for m in server.stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
        }
        assert index["1"] == ("READY", "")
        assert index["2"][0] == "UNAVAILABLE"
        assert index["2"][1].startswith("golden.npz: ")
        with pytest.raises(grpc.RpcError) as refused:
            server.stub.ModelInfer(request(NAME, sent, version="2"))
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "version 2: golden.npz: " in refused.value.details()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "config.pbtxt: is missing"),
        ("name: 3", "config.pbtxt: is not a ModelConfig of Triton: line 1"),
        ('name: "other"', 'config.pbtxt: names the model "other"'),
        ('name: "direction_simple"', "config.pbtxt: its inputs do not fit the model"),
    ],
)
def test_config_that_does_not_fit_is_named(own, config, said):
    path = own / NAME / "config.pbtxt"
    path.unlink()
    if config is not None:
        path.write_text(config)
    with pytest.raises(StartError) as refused:
        load_repository(own)
    assert said in str(refused.value)


def test_version_of_another_model_stays_out(own, repository):
    shutil.rmtree(own / NAME / "1")
    shutil.copytree(repository / "direction_stacked" / "1", own / NAME / "1")
    with pytest.raises(StartError, match=r'manifest\.json: is of "direction_stacked"'):
        load_repository(own)


def test_repository_without_anything_to_serve_is_a_start_error(tmp_path):
    with pytest.raises(StartError, match="there is no folder"):
        Server(Settings(tmp_path / "nowhere", grpc_port=0))
    with pytest.raises(StartError, match="no model lies in"):
        Server(Settings(tmp_path, grpc_port=0))
    (tmp_path / NAME / "latest").mkdir(parents=True)
    with pytest.raises(StartError, match="has no versions"):
        load_repository(tmp_path)
