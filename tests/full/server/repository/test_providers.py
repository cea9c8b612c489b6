"""What was asked for, what is there, and no silent fallback."""

import logging

import onnxruntime as ort
import pytest

from kit.served import served
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.repository import providers

HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()


@pytest.fixture
def cuda(monkeypatch):
    """Makes onnxruntime one that has CUDA, with this fault or none."""

    def fake(fault):
        monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
        monkeypatch.setattr(providers, "find_cuda_fault", lambda: fault)

    return fake


@pytest.mark.parametrize("library", ["for the CPU", "without a GPU"])
def test_auto_serves_on_the_cpu_where_there_is_no_gpu(repository, cuda, caplog, library):
    if library == "without a GPU":
        cuda("CUDA failure 100: no CUDA-capable device is detected")
    elif HAS_CUDA:
        pytest.skip("this onnxruntime has CUDA")
    with caplog.at_level(logging.WARNING), served(repository, provider="auto") as server:
        said = server.stub.ModelMetadata(pb.ModelMetadataRequest(name="direction_simple")).properties
    assert said["provider_requested"] == "auto"
    assert said["provider"] == "cpu"
    assert len(caplog.messages) == (library == "without a GPU")
