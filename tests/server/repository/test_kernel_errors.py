"""What a kernel refuses is the request's fault. Lack of memory and a broken device are not. No message holds a path."""

import onnxruntime as ort
import pytest

from rnnserve.common.refusing_nodes import refusing_name
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.repository.kernel_errors import reraise

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
def test_refused_values_are_the_senders_fault(raised, said):
    with pytest.raises(InvalidRequest) as refused:
        reraise(state.Fail(raised))
    assert str(refused.value).endswith(f"Gather: {said}")


def test_what_eager_refuses_is_named():
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
def test_lack_of_memory_failing_devices_and_defects_are_not_the_senders_fault(error):
    with pytest.raises(type(error)) as passed_on:
        reraise(error)
    assert passed_on.value is error
