"""A model's runs: requests split by rows, values that kernels refuse, and memory."""

import dataclasses

import numpy as np
import onnxruntime as ort
import pytest

from rnnserve.common.refusing_nodes import refusing_name
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.repository.model import LARGE_RUN_OPTIONS, RUN_OPTIONS, Model, reraise
from rnnserve.server.repository.trial_requests import as_request

state = ort.capi.onnxruntime_pybind11_state

REFUSED = "Non-zero status code returned while running Gather node. Name:'/e/Gather' Status Message: "

SAID = {
    "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : " + REFUSED + "indices element out of data bounds, idx=99": (
        "indices element out of data bounds, idx=99"
    ),
    "[ONNXRuntimeError] : 1 : FAIL : " + REFUSED + "/onnxruntime_src/core/providers/cpu/math/element_wise_ops.h:563 "
    "void onnxruntime::Init(ptrdiff_t) axis == 1 was false. 2 by 3\n": (
        "void onnxruntime::Init(ptrdiff_t) axis == 1 was false. 2 by 3"
    ),
    "Error in execution: " + REFUSED + "C:\\a\\b\\core\\x.cc:12 what": "what",
    REFUSED + "x" * 1000: "x" * 299 + "…",
}


@pytest.mark.parametrize(("raised", "said"), SAID.items(), ids=["argument", "fail", "bound", "long"])
def test_values_that_a_kernel_refuses_are_an_invalid_request(raised, said):
    with pytest.raises(InvalidRequest) as refused:
        reraise(state.Fail(raised))
    assert str(refused.value).endswith(f"Gather: {said}")


def test_error_that_pytorch_raises_is_named():
    name = refusing_name("the largest of no values", "y0/0")
    with pytest.raises(InvalidRequest, match="the model computes the largest of no values, which is an error"):
        reraise(state.Fail(REFUSED.replace("/e/Gather", name) + "The input tensor cannot be reshaped"))


@pytest.mark.parametrize(
    "error",
    [
        state.RuntimeException(REFUSED + "bad allocation"),
        state.RuntimeException("Failed to allocate memory for requested buffer of size 9"),
        state.Fail(REFUSED + "CUDNN failure 4000: CUDNN_STATUS_INTERNAL_ERROR ; GPU=0 ; hostname=vm"),
        state.Fail(REFUSED + "CUDA failure 719: unspecified launch failure ; GPU=0 ; hostname=vm"),
        state.Fail(REFUSED + "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED ; GPU=0 ; hostname=vm"),
        state.Fail(REFUSED + "CUDA error cudaErrorIllegalAddress:an illegal memory access was encountered"),
        RuntimeError("Invalid rank for input: tokens Got: 1 Expected: 2"),
    ],
)
def test_lack_of_memory_device_failures_and_defects_are_not_the_senders_fault(error):
    with pytest.raises(type(error)) as passed_on:
        reraise(error)
    assert passed_on.value is error


def with_most(model, points):
    return dataclasses.replace(model, cost=dataclasses.replace(model.cost, max_points=points))


@pytest.fixture
def runs(monkeypatch):
    """Rows of each run, and whether it gave its memory back."""
    made, run_arrays, bind = [], Model.run_arrays, Model.bind

    def counted(model, names, feeds, options=RUN_OPTIONS):
        made.append((feeds["input"].shape[0], options is LARGE_RUN_OPTIONS))
        return run_arrays(model, names, feeds, options)

    def counted_bound(model, feeds, outputs, options=RUN_OPTIONS):
        made.append((feeds["input"].shape[0], options is LARGE_RUN_OPTIONS))
        return bind(model, feeds, outputs, options)

    monkeypatch.setattr(Model, "run_arrays", counted)
    monkeypatch.setattr(Model, "bind", counted_bound)
    return made


@pytest.mark.parametrize("batch", [7, 24, 25])
def test_request_split_by_rows_has_the_bits_of_the_whole(models, runs, batch):
    for model in models:
        numbers = np.random.default_rng(batch)
        walks = numbers.normal(size=(batch, 9, 2)).astype(np.float32)
        sent = {"input": walks, "lengths": numbers.integers(1, 10, batch)}
        request = as_request(model.signature, sent)
        (whole,) = with_most(model, 1 << 20).run([request])
        runs.clear()
        (parts,) = with_most(model, 8 * 9).run([request])
        assert [rows for rows, _ in runs] == [min(8, batch - at + (batch & 1)) for at in range(0, batch, 8)]
        for name, array in whole.items():
            assert parts[name].tobytes() == array.tobytes()


@pytest.mark.parametrize(("batch", "gives_back"), [(256, False), (258, True)])
def test_large_run_returns_its_memory(models, runs, batch, gives_back):
    request = as_request(models[0].signature, {"input": np.zeros((batch, 64, 2), np.float32)})
    (bound,) = models[0].run([request])
    (trimmed,) = dataclasses.replace(models[0], trims_outputs=True).run([request])
    assert runs == 2 * [(batch, gives_back)]
    assert {name: array.tobytes() for name, array in bound.items()} == {
        name: array.tobytes() for name, array in trimmed.items()
    }
