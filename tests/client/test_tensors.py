import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rnnserve.client import InvalidAnswer, InvalidRequest
from rnnserve.client.tensors import add_input, read_outputs
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import DTYPES


def answer_of(*tensors, raw=()):
    response = pb.ModelInferResponse(raw_output_contents=raw)
    for name, datatype, shape, contents in tensors:
        response.outputs.add(name=name, datatype=datatype, shape=shape, contents=contents)
    return response


def echoed(name, value):
    """The answer of a server that sends back what it got."""
    request = pb.ModelInferRequest()
    add_input(request, name, value)
    sent = request.inputs[0]
    return answer_of((name, sent.datatype, sent.shape, None), raw=request.raw_input_contents)


@given(
    st.sampled_from(list(DTYPES.values())).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_dims=4))
    ),
    st.booleans(),
)
def test_any_array_comes_back_as_it_was(array, transposed):
    value = array.T if transposed else array
    found = read_outputs(echoed("t", value))["t"]
    np.testing.assert_array_equal(found, value)
    assert (found.dtype, found.shape, found.flags.writeable) == (value.dtype, value.shape, True)


def test_big_endian_arrays_are_sent_little_endian():
    np.testing.assert_array_equal(
        read_outputs(echoed("t", np.array([1.5, 2], ">f4")))["t"], np.array([1.5, 2], np.float32)
    )


@given(st.lists(st.binary(max_size=9)))
def test_bytes_come_back_as_they_were(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    assert read_outputs(echoed("t", array))["t"].tolist() == values


def test_text_is_sent_as_utf8():
    assert read_outputs(echoed("t", [["à", "b"]]))["t"].tolist() == [["à".encode(), b"b"]]


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
    contents = pb.InferTensorContents(**{field: values})
    found = read_outputs(answer_of(("t", datatype, (2, 1), contents)))["t"]
    assert found.tolist() == [[values[0]], [values[1]]]
    assert datatype == "BYTES" or found.dtype == DTYPES[datatype]


@pytest.mark.parametrize(
    ("response", "complaint"),
    [
        (answer_of(("t", "FP32", (2,), None), raw=[b"1234"]), "t has 1 elements"),
        (answer_of(("t", "FP32", (2,), None), raw=[b"123456789"]), "9 bytes are not a whole number of FP32"),
        (answer_of(("t", "FP32", (1,), None), raw=[b"1234", b""]), "1 outputs but 2 raw"),
        (answer_of(("t", "FP32", (2,), pb.InferTensorContents(fp32_contents=[1]))), "t has 1 elements"),
        (answer_of(("t", "FP32", (1,), pb.InferTensorContents(fp64_contents=[1]))), "t has 0 elements"),
        (answer_of(("t", "FP16", (1,), None)), "'FP16' has no typed contents"),
        (answer_of(("t", "BF16", (1,), None), raw=[b"12"]), "no dtype for the datatype 'BF16'"),
        (answer_of(("t", "FP32", (-1, -1), None), raw=[b"1234"]), "do not make its shape"),
        (answer_of(("t", "INT8", (1,), pb.InferTensorContents(int_contents=[300]))), "values outside INT8"),
        (answer_of(("t", "BYTES", (1,), None), raw=[b"\x09\0\0\0abc"]), "ends after the end"),
        (answer_of(("t", "BYTES", (1,), None), raw=[b"\x09\0"]), "ends after the end"),
    ],
)
def test_answers_that_contradict_themselves_are_refused(response, complaint):
    with pytest.raises(InvalidAnswer, match=complaint):
        read_outputs(response)


@pytest.mark.parametrize(
    ("value", "lesson"),
    [
        ([[1, 2], [3]], "t is ragged"),
        (
            np.array([np.zeros(2), np.zeros(3)], dtype=object),
            "objects that are neither text nor bytes.*different sizes",
        ),
        (np.array([1j]), "complex128, for which the protocol has no datatype"),
    ],
)
def test_what_is_no_tensor_is_refused(value, lesson):
    with pytest.raises(InvalidRequest, match=lesson):
        add_input(pb.ModelInferRequest(), "t", value)
