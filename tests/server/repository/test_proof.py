"""A version serves only while its proof holds; the version before it serves on."""

import shutil

import grpc
import numpy as np
import pytest

from kit.inference_requests import arrays, request
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings
from rnnserve.server.errors import StartError

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


def serving(root, **settings):
    return Server(Settings(root, grpc_port=0, provider="cpu", **settings))


def stub_of(server):
    channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
    return channel, rpc.GRPCInferenceServiceStub(channel)


@pytest.mark.parametrize("position", [0.0, 0.3, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("file", FILES)
def test_a_flipped_byte_keeps_a_version_out_and_names_the_file(own, file, position):
    flip(own / NAME / "1" / file, position)
    with pytest.raises(StartError) as refused, serving(own):
        pass
    assert f'model "{NAME}" does not serve: version 1: {file}: ' in str(refused.value)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_keeps_a_version_out_and_is_named(own, file):
    (own / NAME / "1" / file).unlink()
    with pytest.raises(StartError, match=rf"version 1: {file}: "), serving(own):
        pass


def test_the_version_before_serves_and_the_index_says_why(own):
    shutil.copytree(own / NAME / "1", own / NAME / "2")
    flip(own / NAME / "2" / "golden.npz", 0.5)
    with serving(own) as server:
        channel, stub = stub_of(server)
        with channel:
            answer = stub.ModelInfer(request(NAME, {"input": np.zeros((1, 2, 2), np.float32)}))
            assert answer.model_version == "1"
            index = {m.version: (m.state, m.reason) for m in stub.RepositoryIndex(pb.RepositoryIndexRequest()).models}
            assert index["1"] == ("READY", "")
            assert index["2"][0] == "UNAVAILABLE"
            assert index["2"][1].startswith("golden.npz: ")
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(request(NAME, {"input": np.zeros((1, 2, 2), np.float32)}, version="2"))
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            assert "version 2: golden.npz: " in refused.value.details()


def test_the_newest_version_serves(own):
    shutil.copytree(own / NAME / "1", own / NAME / "10")
    shutil.copytree(own / NAME / "1", own / NAME / "9")
    with serving(own) as server:
        channel, stub = stub_of(server)
        with channel:
            answer = stub.ModelInfer(request(NAME, {"input": np.zeros((1, 2, 2), np.float32)}))
            assert answer.model_version == "10"
            assert not stub.ModelReady(pb.ModelReadyRequest(name=NAME, version="9")).ready


def test_version_policy_is_the_configs(own):
    shutil.copytree(own / NAME / "1", own / NAME / "2")
    config = own / NAME / "config.pbtxt"
    text = config.read_text()
    assert "version_policy" in text
    config.write_text(text[: text.index("version_policy")] + "version_policy { all {} }\n")
    with serving(own) as server:
        channel, stub = stub_of(server)
        with channel:
            assert list(stub.ModelMetadata(pb.ModelMetadataRequest(name=NAME)).versions) == ["1", "2"]
            for version in ("1", "2"):
                answer = stub.ModelInfer(request(NAME, {"input": np.zeros((1, 2, 2), np.float32)}, version=version))
                assert answer.model_version == version


@pytest.mark.parametrize("ready", ["any", "all"])
def test_one_broken_model_does_not_keep_the_others_out(repository, tmp_path, ready):
    root = tmp_path / "own"
    shutil.copytree(repository, root)
    flip(root / NAME / "1" / "model.onnx", 0.5)
    with serving(root, ready=ready) as server:
        channel, stub = stub_of(server)
        with channel:
            assert stub.ServerReady(pb.ServerReadyRequest()).ready == (ready == "any")
            assert not stub.ModelReady(pb.ModelReadyRequest(name=NAME)).ready
            sent = {"input": np.zeros((1, 2, 2), np.float32)}
            assert "logits" in arrays(stub.ModelInfer(request("direction_stacked", sent)))
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(request(NAME, sent))
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            assert "model.onnx: " in refused.value.details()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "config.pbtxt: is missing"),
        ("name: 3", "config.pbtxt: is not a ModelConfig of Triton: line 1"),
        ('name: "other"', 'config.pbtxt: names the model "other"'),
        (
            'name: "direction_simple"',
            "config.pbtxt: its inputs do not fit the model: it has none; expected, in this order, ",
        ),
    ],
)
def test_a_config_that_does_not_fit(own, config, said):
    path = own / NAME / "config.pbtxt"
    path.unlink()
    if config is not None:
        path.write_text(config)
    with pytest.raises(StartError) as refused, serving(own):
        pass
    assert said in str(refused.value)


def test_a_version_of_another_model_stays_out(own, repository):
    shutil.rmtree(own / NAME / "1")
    shutil.copytree(repository / "direction_stacked" / "1", own / NAME / "1")
    with pytest.raises(StartError, match=r'manifest\.json: is of "direction_stacked"'), serving(own):
        pass


def test_nothing_to_serve(tmp_path):
    with pytest.raises(StartError, match="there is no folder"):
        serving(tmp_path / "nowhere")
    with pytest.raises(StartError, match="no model lies in"):
        serving(tmp_path)
    (tmp_path / NAME / "latest").mkdir(parents=True)
    with pytest.raises(StartError, match="has no versions"), serving(tmp_path):
        pass


def test_a_port_in_use_is_said(own, server):
    with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        Server(Settings(own, grpc_port=server.port, provider="cpu"))
