"""What the trial of CUDA says where CUDA does not work. The messages are those of onnxruntime-gpu 1.31.1."""

from types import SimpleNamespace

import onnxruntime as ort
import pytest

from rnnserve.server.repository import cuda_trial
from rnnserve.server.repository.cuda_trial import find_cuda_fault

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
        monkeypatch.setattr(cuda_trial, "ort", runtime)
        monkeypatch.setattr(cuda_trial, "ctypes", SimpleNamespace(CDLL=load))
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
        (RuntimeError(ON_THE_CPU), None, "it runs no recurrent layer; is cuDNN installed?"),
        (RuntimeError(ON_THE_CPU), "x.so: undefined symbol: y", "it runs no recurrent layer; is cuDNN installed?"),
        (ValueError("something\n  else"), None, "something else"),
    ],
)
def test_a_fault_is_one_line(answer, error, linker, fault):
    severities = answer(error, linker)
    assert find_cuda_fault() == fault
    assert severities == [4, 2]
