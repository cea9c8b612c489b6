"""From messages to HTTP bodies."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import DTYPES
from rnnserve.web.errors import RestError
from rnnserve.web.rest.infer_request import AnswerForm
from rnnserve.web.rest.infer_response import write_infer_response

BINARY = AnswerForm(others_are_binary=True)


def response(*outputs, **fields):
    made = pb.ModelInferResponse(model_name="m", model_version="2", **fields)
    for index, (datatype, shape, data) in enumerate(outputs):
        made.outputs.add(name=f"y{index}", datatype=datatype, shape=shape)
        made.raw_output_contents.append(data)
    return made


@given(
    arrays.arrays(
        st.sampled_from([dtype for name, dtype in DTYPES.items() if name != "FP16"]),
        arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4),
        elements={"allow_nan": True, "allow_infinity": True},
    )
)
def test_numbers_come_back_bit_for_bit(array):
    """NaN and infinities are written as Python reads them. Lists are flat."""
    name = next(name for name, dtype in DTYPES.items() if dtype == array.dtype)
    text, length = write_infer_response(response((name, array.shape, array.tobytes())), AnswerForm(), "id")
    (output,) = json.loads(text)["outputs"]
    assert length is None
    assert output["shape"] == list(array.shape)
    np.testing.assert_array_equal(np.array(output["data"], array.dtype), array.reshape(-1))


def test_binary_outputs_follow_the_json_in_order():
    made = response(("FP32", [1], b"abcd"), ("INT8", [2], b"\1\2"), ("FP16", [0], b""))
    text, length = write_infer_response(made, AnswerForm(frozenset({"y0", "y2"})), "id")
    head = json.loads(text[:length])
    assert text[length:] == b"abcd"
    first, second, third = head["outputs"]
    assert first == {"name": "y0", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}
    assert second == {"name": "y1", "datatype": "INT8", "shape": [2], "data": [1, 2]}
    assert third["parameters"] == {"binary_data_size": 0}


def test_answer_has_the_servers_id_or_the_given_one():
    parameters = {"session": pb.InferParameter(string_param="t"), "session_steps": pb.InferParameter(int64_param=3)}
    made = response(id="mine", parameters=parameters)
    assert json.loads(write_infer_response(made, BINARY, "other")[0]) == {
        "model_name": "m",
        "model_version": "2",
        "id": "mine",
        "parameters": {"session": "t", "session_steps": 3},
        "outputs": [],
    }
    assert json.loads(write_infer_response(response(), BINARY, "other")[0])["id"] == "other"


def test_classes_are_strings():
    data = b"".join(struct.pack("<I", len(text)) + text for text in (b"0.5:1:left", "0.1:0:é".encode()))
    text, _ = write_infer_response(response(("BYTES", [2], data)), AnswerForm(), "id")
    assert json.loads(text)["outputs"][0]["data"] == ["0.5:1:left", "0.1:0:é"]


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "BYTES"])
def test_datatype_without_a_json_form_names_binary_data(datatype):
    with pytest.raises(RestError, match="binary_data") as caught:
        write_infer_response(response((datatype, [1], b"\2\0\0\0\xff\xfe")), AnswerForm(), "id")
    assert caught.value.status == 400
    write_infer_response(response((datatype, [1], b"\2\0\0\0\xff\xfe")), BINARY, "id")
