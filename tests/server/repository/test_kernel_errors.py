"""What a kernel refuses is the request's fault; lack of memory and a broken device are not. No message holds a path."""

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
def test_values_that_are_refused_are_told_to_the_sender(raised, said):
    with pytest.raises(InvalidRequest) as refused:
        reraise(state.Fail(raised))
    assert str(refused.value) == f"onnxruntime refuses the values of this request: Gather: {said}"


def test_what_eager_refuses_is_told_in_words():
    name = refusing_name("the largest of no values", "y0/0")
    with pytest.raises(InvalidRequest) as refused:
        reraise(state.Fail(REFUSED.replace("/e/Gather", name) + "The input tensor cannot be reshaped"))
    assert "the model computes the largest of no values, which is an error" in str(refused.value)


@pytest.mark.parametrize("raised", ["bad allocation", "Failed to allocate memory for requested buffer of size 9"])
@pytest.mark.parametrize("where", [REFUSED, ""], ids=["in a kernel", "elsewhere"])
def test_lack_of_memory_is_not_the_senders_fault(raised, where):
    error = state.RuntimeException(where + raised)
    with pytest.raises(state.RuntimeException) as passed_on:
        reraise(error)
    assert passed_on.value is error


@pytest.mark.parametrize(
    "raised",
    [
        "CUDNN failure 4000: CUDNN_STATUS_INTERNAL_ERROR ; GPU=0 ; hostname=vm",
        "CUDA failure 719: unspecified launch failure ; GPU=0 ; hostname=vm",
        "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED ; GPU=0 ; hostname=vm",
        "CUDA error cudaErrorIllegalAddress:an illegal memory access was encountered",
    ],
)
def test_a_device_that_fails_is_not_the_senders_fault(raised):
    error = state.Fail(REFUSED + raised)
    with pytest.raises(state.Fail) as passed_on:
        reraise(error)
    assert passed_on.value is error


def test_what_no_kernel_refused_is_a_defect():
    error = RuntimeError("Invalid rank for input: tokens Got: 1 Expected: 2")
    with pytest.raises(RuntimeError) as passed_on:
        reraise(error)
    assert passed_on.value is error
