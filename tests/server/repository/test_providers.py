"""What was asked for, what is there, and no silent fallback."""

import json
import logging

import onnxruntime as ort
import pytest

from kit.served import served
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.errors import StartError
from rnnserve.server.repository import providers
from rnnserve.server.repository.cuda_trial import find_cuda_fault
from rnnserve.server.repository.providers import choose_device, new_session

HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()


@pytest.fixture
def cuda(monkeypatch):
    """Makes onnxruntime one that has CUDA, with this fault or none."""

    def fake(fault):
        monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
        monkeypatch.setattr(providers, "find_cuda_fault", lambda: fault)

    return fake


@pytest.mark.skipif(HAS_CUDA, reason="CUDA is here: test_cuda_serves covers it")
def test_onnxruntime_without_cuda(caplog):
    with pytest.raises(StartError, match=r"provider cuda: this onnxruntime .* has only .*; install onnxruntime-gpu"):
        choose_device("cuda")
    with caplog.at_level(logging.INFO):
        assert choose_device("auto") == "cpu"
    ((_, level, message),) = caplog.record_tuples
    assert level == logging.INFO
    assert message.startswith("provider auto: took cpu: this onnxruntime")


@pytest.mark.parametrize("provider", ["auto", "cuda"])
def test_cuda_is_taken_where_its_trial_succeeds(cuda, caplog, provider):
    cuda(None)
    with caplog.at_level(logging.INFO):
        assert choose_device(provider) == "cuda"
    assert caplog.messages == [f"provider {provider}: took cuda: a trial of it succeeded"]


def test_auto_warns_once_and_takes_the_cpu_where_the_trial_fails(cuda, caplog):
    cuda("libcuda.so.1 is missing")
    with caplog.at_level(logging.INFO):
        assert choose_device("auto") == "cpu"
    ((_, level, message),) = caplog.record_tuples
    assert level == logging.WARNING
    assert message == (
        f"provider auto: took cpu: onnxruntime {ort.__version__} cannot use CUDA here: libcuda.so.1 is missing"
    )


def test_cuda_refuses_to_start_where_the_trial_fails(cuda):
    cuda("libcuda.so.1 is missing")
    with pytest.raises(
        StartError, match=r"provider cuda: .* cannot use CUDA here: libcuda.so.1 is missing\. Otherwise"
    ):
        choose_device("cuda")


def test_a_session_that_fell_back_is_refused(repository, monkeypatch):
    """A build that has the CUDA provider but not the libraries under it makes a CPU session and says nothing."""
    real = ort.InferenceSession

    def fall_back(model, options, **_):
        return real(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "InferenceSession", fall_back)
    with pytest.raises(StartError, match="provider cuda: onnxruntime made a session on CPUExecutionProvider instead"):
        new_session((repository / "direction_simple" / "1" / "model.onnx").read_bytes(), "cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA or find_cuda_fault() is not None, reason="needs CUDA")
def test_cuda_serves(repository):
    with served(repository, provider="cuda") as server:
        said = server.stub.ModelMetadata(pb.ModelMetadataRequest(name="direction_simple")).properties
    assert said["provider"] == "cuda"
    assert "RNN" in json.loads(said["nodes"])["CUDAExecutionProvider"]
