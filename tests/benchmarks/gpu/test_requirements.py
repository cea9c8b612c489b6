"""What is missing is named, all of it in one line, before anything is tried."""

import importlib.metadata
import importlib.util

import onnxruntime as ort
import pytest

from benchmarks.errors import MissingDependency
from benchmarks.gpu.requirements import check_requirements, find_faults
from rnnserve.server.repository import cuda_trial


class Distribution:
    def __init__(self, name):
        self.metadata = {"Name": name}


@pytest.fixture
def machine(monkeypatch):
    """`machine(installed=…, distributions=…, providers=…, fault=…)`: a machine like that."""
    real = importlib.util.find_spec

    def make(*, without=(), distributions=("onnxruntime-gpu",), providers=("CUDAExecutionProvider",), fault=None):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in without else real(name))
        monkeypatch.setattr(importlib.metadata, "distributions", lambda: map(Distribution, distributions))
        monkeypatch.setattr(ort, "get_available_providers", lambda: [*providers, "CPUExecutionProvider"])
        monkeypatch.setattr(cuda_trial, "find_cuda_fault", lambda: fault)

    return make


def test_a_machine_with_everything_is_not_refused(machine):
    machine()
    check_requirements(needs_cuda=True)


def test_no_device(machine):
    fault = "CUDA failure 100: no CUDA-capable device is detected"
    machine(fault=fault)
    with pytest.raises(MissingDependency) as caught:
        check_requirements(needs_cuda=True)
    assert str(caught.value) == f"no CUDA device that onnxruntime {ort.__version__} can use: {fault}"
    check_requirements(needs_cuda=False)


@pytest.mark.parametrize("gpu", ["onnxruntime-gpu", "onnxruntime_gpu"])
def test_two_onnxruntimes_beside_each_other(machine, gpu):
    machine(distributions=["onnxruntime", gpu], fault="must not be tried")
    for needs_cuda in (True, False):
        (fault,) = find_faults(needs_cuda=needs_cuda)
        assert "installed beside each other: run `pip uninstall onnxruntime onnxruntime-gpu`" in fault


def test_an_onnxruntime_for_the_cpu(machine):
    machine(distributions=["onnxruntime"], providers=[], fault="must not be tried")
    (fault,) = find_faults(needs_cuda=True)
    assert f"this onnxruntime {ort.__version__} has only CPUExecutionProvider: run `pip uninstall" in fault
    assert find_faults(needs_cuda=False) == []


def test_all_that_is_missing_is_one_line(machine):
    machine(without=["torch", "grpc"], fault="libcuda.so.1 is missing")
    with pytest.raises(MissingDependency) as caught:
        check_requirements(needs_cuda=True)
    message = str(caught.value)
    assert message.startswith("not installed: torch, grpcio (docs/cuda.md says how); no CUDA device that onnxruntime ")
    assert message.endswith("can use: libcuda.so.1 is missing")
    assert "\n" not in message


def test_no_onnxruntime_at_all(machine):
    machine(without=["onnxruntime"], distributions=[])
    (fault,) = find_faults(needs_cuda=True)
    assert fault == "not installed: onnxruntime-gpu (`pip install 'onnxruntime-gpu[cuda,cudnn]'`)"
