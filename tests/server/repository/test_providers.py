"""What was asked for, what is there, and no silent fallback."""

import json

import grpc
import onnxruntime as ort
import pytest

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings
from rnnserve.server.errors import StartError
from rnnserve.server.repository.providers import choose_device, new_session

HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()


def test_cpu_is_always_there():
    assert choose_device("cpu") == "cpu"


@pytest.mark.skipif(HAS_CUDA, reason="CUDA is here: test_cuda_serves covers it")
def test_cuda_is_refused_where_it_is_not():
    with pytest.raises(StartError, match=r"provider cuda: this onnxruntime .* has only"):
        choose_device("cuda")
    assert choose_device("auto") == "cpu"


def test_a_session_that_fell_back_is_refused(repository, monkeypatch):
    """A build that has the CUDA provider but not the libraries under it makes a CPU session and says nothing."""
    real = ort.InferenceSession

    def fall_back(model, options, **_):
        return real(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", fall_back)
    assert choose_device("auto") == "cuda"
    with pytest.raises(StartError, match="provider cuda: onnxruntime made a session on CPUExecutionProvider instead"):
        new_session((repository / "direction_simple" / "1" / "model.onnx").read_bytes(), "cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="needs CUDA")
def test_cuda_serves(repository):
    with Server(Settings(repository, grpc_port=0, provider="cuda")) as server:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = rpc.GRPCInferenceServiceStub(channel)
            said = stub.ModelMetadata(pb.ModelMetadataRequest(name="direction_simple")).parameters
        assert said["provider"].string_param == "cuda"
        assert "RNN" in json.loads(said["nodes"].string_param)["CUDAExecutionProvider"]
