"""The provider that was requested, what this machine has, and no silent fallback."""

import json
import logging
from types import SimpleNamespace

import onnxruntime as ort
import pytest

from kit.served import served
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.errors import StartError
from rnnserve.server.repository import providers
from rnnserve.server.repository.providers import choose_device, find_cuda_fault, new_session

NO_GPU = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:146 std::conditional_t<THRW, void, "
    "onnxruntime::common::Status> onnxruntime::CudaCall(ERRTYPE, const char*, const char*, SUCCTYPE, const char*, "
    "const char*, int) [with ERRTYPE = cudaError; bool THRW = true; SUCCTYPE = cudaError] CUDA failure 100: no "
    "CUDA-capable device is detected ; GPU=-1 ; hostname=vm ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/"
    "cuda_execution_provider.cc ; line=355 ; expr=cudaSetDevice(info_.device_id); \n\n"
)
ON_THE_CPU = (
    "[ONNXRuntimeError] : 1 : FAIL : This session contains graph nodes that are assigned to the default CPU EP, but "
    "fallback to CPU EP has been explicitly disabled by the user."
)


@pytest.fixture
def answer(monkeypatch):
    """Decides what onnxruntime answers to the trial, and the dynamic linker; returns the severities that were set."""

    def fake(error=None, linker=None, run=lambda *_: []):
        def session(model, options, **how):
            assert how == {"providers": ["CUDAExecutionProvider"], "enable_fallback": 0}
            if error is not None:
                raise error
            return type("Session", (), {"run": run})

        def load(_):
            if linker is not None:
                raise OSError(linker)

        severities = []
        # Not in the libraries themselves, which the threads of servers that other tests share use meanwhile.
        runtime = SimpleNamespace(
            preload_dlls=ort.preload_dlls,
            SessionOptions=ort.SessionOptions,
            InferenceSession=session,
            set_default_logger_severity=severities.append,
        )
        monkeypatch.setattr(providers, "ort", runtime)
        monkeypatch.setattr(providers, "ctypes", SimpleNamespace(CDLL=load))
        return severities

    return fake


@pytest.mark.parametrize(
    ("error", "linker", "fault"),
    [
        (
            RuntimeError(ON_THE_CPU),
            "libcublasLt.so.13: cannot open shared object file: No such file or directory",
            "libcublasLt.so.13 is missing; `pip install 'onnxruntime-gpu[cuda,cudnn]'` installs it",
        ),
        (
            RuntimeError(ON_THE_CPU),
            "libcuda.so.1: cannot open shared object file: No such file or directory",
            "libcuda.so.1 is missing; it belongs to the NVIDIA driver",
        ),
        (RuntimeError(NO_GPU), None, "CUDA failure 100: no CUDA-capable device is detected"),
        (RuntimeError(ON_THE_CPU), None, f"a recurrent layer does not run: {ON_THE_CPU}"),
        (ValueError("x\n  y"), "x.so: undefined symbol: y", "a recurrent layer does not run: x y"),
    ],
)
def test_cuda_fault_is_reported_in_one_line(answer, error, linker, fault):
    severities = answer(error, linker)
    assert find_cuda_fault() == fault
    assert severities == [4, 2]


HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()


@pytest.fixture
def cuda(monkeypatch):
    """Makes onnxruntime report CUDA, with this fault or none."""

    def fake(fault):
        monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
        monkeypatch.setattr(providers, "find_cuda_fault", lambda: fault)

    return fake


@pytest.mark.skipif(HAS_CUDA, reason="CUDA is here: test_cuda_serves_correct_results covers it")
def test_onnxruntime_without_cuda_is_reported(caplog):
    with pytest.raises(StartError, match=r"provider cuda: this onnxruntime .* has only .*; install onnxruntime-gpu"):
        choose_device("cuda")
    with caplog.at_level(logging.INFO):
        assert choose_device("auto") == "cpu"
    ((_, level, message),) = caplog.record_tuples
    assert level == logging.INFO
    assert message.startswith("provider auto: took cpu: this onnxruntime")


@pytest.mark.parametrize("provider", ["auto", "cuda"])
def test_cuda_is_used_when_its_trial_succeeds(cuda, caplog, provider):
    cuda(None)
    with caplog.at_level(logging.INFO):
        assert choose_device(provider) == "cuda"
    assert caplog.messages == [f"provider {provider}: took cuda, because a test of it succeeded"]


def test_auto_warns_and_uses_the_cpu_when_the_trial_fails(cuda, caplog):
    cuda("libcuda.so.1 is missing")
    with caplog.at_level(logging.INFO):
        assert choose_device("auto") == "cpu"
    ((_, level, message),) = caplog.record_tuples
    assert level == logging.WARNING
    assert message == (
        f"provider auto: took cpu: onnxruntime {ort.__version__} cannot use CUDA here: libcuda.so.1 is missing"
    )


def test_cuda_is_a_start_error_when_its_trial_fails(cuda):
    cuda("libcuda.so.1 is missing")
    with pytest.raises(
        StartError, match=r"provider cuda: .* cannot use CUDA on this machine: libcuda.so.1 is missing\. Correct"
    ):
        choose_device("cuda")


def test_session_that_fell_back_to_the_cpu_is_refused(repository, monkeypatch):
    """A build that has the CUDA provider but not the libraries under it makes a CPU session and says nothing."""
    real = ort.InferenceSession

    def fall_back(model, options, **_):
        return real(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "InferenceSession", fall_back)
    with pytest.raises(StartError, match="provider cuda: onnxruntime made a session on CPUExecutionProvider instead"):
        new_session((repository / "direction_simple" / "1" / "model.onnx").read_bytes(), "cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA or find_cuda_fault() is not None, reason="needs CUDA")
def test_cuda_serves_correct_results(repository):
    with served(repository, provider="cuda") as server:
        said = server.stub.ModelMetadata(pb.ModelMetadataRequest(name="direction_simple")).properties
    assert said["provider"] == "cuda"
    assert "RNN" in json.loads(said["nodes"])["CUDAExecutionProvider"]
