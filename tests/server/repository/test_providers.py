"""What was asked for, what is there, and no silent fallback."""

import json
import logging

import grpc
import numpy as np
import onnxruntime as ort
import pytest

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings
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


def test_cpu_is_always_there(cuda, caplog):
    cuda("must not be tried")
    with caplog.at_level(logging.INFO):
        assert choose_device("cpu") == "cpu"
    assert caplog.messages == []


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


@pytest.mark.parametrize("library", ["for the CPU", "without a GPU"])
def test_auto_serves_on_the_cpu_where_there_is_no_gpu(repository, cuda, caplog, library):
    if library == "without a GPU":
        cuda("CUDA failure 100: no CUDA-capable device is detected")
    elif HAS_CUDA:
        pytest.skip("this onnxruntime has CUDA")
    settings = Settings(repository, grpc_port=0, provider="auto")
    with (
        caplog.at_level(logging.WARNING),
        Server(settings) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = rpc.GRPCInferenceServiceStub(channel)
        said = stub.ModelMetadata(pb.ModelMetadataRequest(name="direction_simple")).properties
    assert said["provider_requested"] == "auto"
    assert said["provider"] == "cpu"
    assert len(caplog.messages) == (library == "without a GPU")


def test_a_session_that_fell_back_is_refused(repository, monkeypatch):
    """A build that has the CUDA provider but not the libraries under it makes a CPU session and says nothing."""
    real = ort.InferenceSession

    def fall_back(model, options, **_):
        return real(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "InferenceSession", fall_back)
    with pytest.raises(StartError, match="provider cuda: onnxruntime made a session on CPUExecutionProvider instead"):
        new_session((repository / "direction_simple" / "1" / "model.onnx").read_bytes(), "cuda")


def test_a_run_that_fails_on_its_provider_is_not_made_again_on_another(repository):
    """onnxruntime's wrapper would print the failure, and go on with a session on the CPU."""
    session = new_session((repository / "direction_simple" / "1" / "model.onnx").read_bytes(), "cpu")

    class Broken:
        whole = session._sess

        def __getattr__(self, name):
            return getattr(self.whole, name)

        def run(self, *_):
            raise ort.capi.onnxruntime_pybind11_state.EPFail("CUDA failure 719: unspecified launch failure")

    feeds = {value.name: np.zeros((1,) * len(value.shape), np.float32) for value in session.get_inputs()}
    session._sess = Broken()
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.EPFail, match="CUDA failure 719"):
        session.run(None, feeds)


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA or find_cuda_fault() is not None, reason="needs CUDA")
def test_cuda_serves(repository):
    with Server(Settings(repository, grpc_port=0, provider="cuda")) as server:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = rpc.GRPCInferenceServiceStub(channel)
            said = stub.ModelMetadata(pb.ModelMetadataRequest(name="direction_simple")).properties
        assert said["provider"] == "cuda"
        assert "RNN" in json.loads(said["nodes"])["CUDAExecutionProvider"]
