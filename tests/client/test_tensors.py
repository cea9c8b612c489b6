import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rnnserve.client import InvalidAnswer, InvalidRequest
from rnnserve.client.tensors import add_input, read_outputs
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import DTYPES


def answer_of(datatype, shape, raw=(), **contents):
    """An answer with one tensor, called t."""
    response = pb.ModelInferResponse(raw_output_contents=raw)
    typed = pb.InferTensorContents(**contents) if contents else None
    response.outputs.add(name="t", datatype=datatype, shape=shape, contents=typed)
    return response


def echoed(value):
    """Read a value from the answer of a server that echoes its request."""
    request = pb.ModelInferRequest()
    add_input(request, "t", value)
    (sent,) = request.inputs
    return read_outputs(answer_of(sent.datatype, sent.shape, request.raw_input_contents))["t"]


@given(
    st.sampled_from(list(DTYPES.values())).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_dims=4))
    ),
    st.booleans(),
)
def test_any_array_comes_back_unchanged(array, transposed):
    value = array.T if transposed else array
    found = echoed(value)
    np.testing.assert_array_equal(found, value)
    assert (found.dtype, found.shape, found.flags.writeable) == (value.dtype, value.shape, True)


@given(st.lists(st.binary(max_size=9)))
def test_bytes_come_back_unchanged(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    assert echoed(array).tolist() == values


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("INT8", "int_contents", [-128, 127]),
        ("INT16", "int_contents", [-5, 300]),
        ("INT32", "int_contents", [-5, 70000]),
        ("INT64", "int64_contents", [-(2**62), 1]),
        ("UINT8", "uint_contents", [0, 255]),
        ("UINT16", "uint_contents", [0, 65535]),
        ("UINT32", "uint_contents", [0, 2**32 - 1]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1]),
        ("FP32", "fp32_contents", [0.5, -1.0]),
        ("FP64", "fp64_contents", [0.1, 1e300]),
        ("BYTES", "bytes_contents", [b"a", b""]),
    ],
)
def test_typed_contents_are_read(datatype, field, values):
    found = read_outputs(answer_of(datatype, (2, 1), **{field: values}))["t"]
    assert found.tolist() == [[values[0]], [values[1]]]
    assert datatype == "BYTES" or found.dtype == DTYPES[datatype]


@pytest.mark.parametrize(
    ("response", "complaint"),
    [
        (answer_of("FP32", (2,), [b"1234"]), "t has 1 elements"),
        (answer_of("FP32", (2,), [b"123456789"]), "9 bytes, which is not a multiple of the size of FP32"),
        (answer_of("FP32", (1,), [b"1234", b""]), "1 outputs but 2 raw"),
        (answer_of("FP32", (2,), fp32_contents=[1]), "t has 1 elements"),
        (answer_of("FP32", (1,), fp64_contents=[1]), "t has 0 elements"),
        (answer_of("FP16", (1,)), "no typed contents for 'FP16'"),
        (answer_of("BF16", (1,), [b"12"]), "'BF16', for which numpy has no dtype"),
        (answer_of("FP32", (-1, -1), [b"1234"]), "1 elements, but shape"),
        (answer_of("INT8", (1,), int_contents=[300]), "outside the range of INT8"),
        (answer_of("BYTES", (1,), [b"\x09\0\0\0abc"]), "ends after the end"),
        (answer_of("BYTES", (1,), [b"\x09\0"]), "ends after the end"),
    ],
)
def test_answer_that_contradicts_itself_is_refused(response, complaint):
    with pytest.raises(InvalidAnswer, match=complaint):
        read_outputs(response)


def test_values_that_are_not_tensors_are_refused():
    for value, lesson in (
        ([[1, 2], [3]], "t is ragged"),
        (np.array([np.zeros(2), np.zeros(3)], dtype=object), "expected numbers, text or bytes"),
        (np.array([1j]), "complex128, which the protocol cannot represent"),
    ):
        with pytest.raises(InvalidRequest, match=lesson):
            add_input(pb.ModelInferRequest(), "t", value)
